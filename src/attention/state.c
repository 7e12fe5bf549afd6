/* States as the public API has them, (s, v) in float32, and their merge.
 *
 * Invariants: merging with the empty state returns the other operand bit for bit; no infinity is
 * subtracted from an infinity, so empty with empty is empty and never NaN; what is computed and no
 * number is one NaN. */
#include <math.h>
#include <string.h>

#include "attention/nan.h"
#include "base/error.h"
#include "kernel/exp.h"
#include "kernel/kernel.h"
#include "tributary/attention.h"

static trib_status check(const char *who, const trib_states *out, const trib_states *a,
                         trib_error *error)
{
    if (!out || !a || !out->s || !out->v || !a->s || !a->v)
        return error_set(error, TRIB_INVALID, "%s: a NULL pointer", who);
    if (a->count != out->count || a->head_dim != out->head_dim || out->head_dim == 0)
        return error_set(error, TRIB_INVALID, "%s: %zu states of %zu floats into %zu of %zu", who,
                         a->count, a->head_dim, out->count, out->head_dim);
    return TRIB_OK;
}

void trib_state_clear(const trib_states *states)
{
    for (size_t i = 0; i < states->count; i++)
        states->s[i] = -INFINITY;
    memset(states->v, 0, states->count * states->head_dim * sizeof *states->v);
}

/* Products and sum are rounded one by one, not fused: that keeps the merge commutative. */
static float merge_one(float *v, float sa, const float *va, float sb, const float *vb, size_t D)
{
    if (sa == -INFINITY || sb == -INFINITY) {
        memmove(v, sb == -INFINITY ? va : vb, D * sizeof *v);
        return sb == -INFINITY ? sa : sb;
    }
    float m = sa > sb ? sa : sb;
    float a = exp_scalar(sa - m), b = exp_scalar(sb - m), sum = a + b;
    a /= sum;
    b /= sum;
    for (size_t i = 0; i < D; i++)
        v[i] = one_nan(a * va[i] + b * vb[i]);
    return one_nan(m + logf(sum));
}

trib_status trib_state_merge(const trib_states *out, const trib_states *a, const trib_states *b,
                             trib_error *error)
{
    trib_status status = check("merging states", out, a, error);
    if (status == TRIB_OK)
        status = check("merging states", out, b, error);
    if (status != TRIB_OK)
        return status;
    size_t D = out->head_dim;
    for (size_t i = 0; i < out->count; i++)
        out->s[i] = merge_one(out->v + i * D, a->s[i], a->v + i * D, b->s[i], b->v + i * D, D);
    return TRIB_OK;
}

/* Parts and columns that are weighed together. */
enum { MERGE_PARTS = 128, MERGE_COLUMNS = 256 };

/* States [first, first + rows) of all parts on their way into one. */
struct merging {
    const struct kernels *kernels;
    const trib_states *parts; /* [n] */
    size_t n, first, rows;
    float m[MERGE_ROWS];                       /* the largest s */
    size_t full[MERGE_ROWS], last[MERGE_ROWS]; /* parts that are not empty, and the last of them */
    bool holes;                                /* some part of some state is empty */
    float sum[MERGE_ROWS];                     /* of the weights */
    float value[MERGE_ROWS * MERGE_COLUMNS];   /* [rows][columns] sum of weights times values */
    float weight[MERGE_PARTS][MERGE_ROWS];     /* exp(s - m) of some parts, before that their s */
    const float *v[MERGE_PARTS];               /* their values */
};

/* How many parts are weighed together, from part p on. */
static size_t some_parts(const struct merging *g, size_t p)
{
    return g->n - p < MERGE_PARTS ? g->n - p : MERGE_PARTS;
}

/* weight = s of parts [p, p + count). Past the last state it is empty. A copy of one length is a
 * few instructions. */
static void read_scores(struct merging *g, size_t p, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const float *from = g->parts[p + i].s + g->first;
        float *s = g->weight[i];
        if (g->rows == MERGE_ROWS)
            memcpy(s, from, MERGE_ROWS * sizeof *s);
        for (size_t r = 0; r < MERGE_ROWS && g->rows < MERGE_ROWS; r++)
            s[r] = r < g->rows ? from[r] : -INFINITY;
    }
}

static void count_full(struct merging *g)
{
    memset(g->full, 0, sizeof g->full);
    for (size_t p = 0; p < g->n; p++)
        for (size_t r = 0; r < g->rows; r++)
            if (g->parts[p].s[g->first + r] != -INFINITY) {
                g->full[r]++;
                g->last[r] = p;
            }
}

static void find_largest(struct merging *g)
{
    float least[MERGE_ROWS];
    for (size_t r = 0; r < MERGE_ROWS; r++) {
        g->m[r] = -INFINITY;
        least[r] = INFINITY;
    }
    for (size_t p = 0; p < g->n; p += MERGE_PARTS) {
        read_scores(g, p, some_parts(g, p));
        g->kernels->state_range(g->m, least, g->weight[0], some_parts(g, p));
    }
    g->holes = false;
    for (size_t r = 0; r < g->rows; r++) {
        g->full[r] = g->n;
        g->last[r] = 0;
        g->holes |= least[r] == -INFINITY;
    }
    if (g->holes)
        count_full(g);
}

/* The weights of parts [p, p + count) and their sums, and where their values are. */
static void find_weights(struct merging *g, size_t p, size_t count)
{
    for (size_t i = 0; i < count; i++)
        g->v[i] = g->parts[p + i].v;
    read_scores(g, p, count);
    g->kernels->state_weights(g->weight[0], g->sum, g->m, count);
}

/* value[r] gains those of parts [p, p + count) that are not empty: what an empty one holds for
 * values is not looked at. */
static void weigh_full(struct merging *g, size_t r, size_t p, size_t count, size_t j,
                       size_t columns)
{
    size_t i = g->first + r, some = 0;
    float weight[MERGE_PARTS];
    const float *v[MERGE_PARTS];
    for (size_t c = 0; c < count; c++)
        if (g->parts[p + c].s[i] != -INFINITY) {
            weight[some] = g->weight[c][r];
            v[some++] = g->v[c];
        }
    g->kernels->weigh(g->value + r * columns, weight, 1, v, some, i * g->parts->head_dim + j, 1,
                      columns);
}

/* The same for all states, none of which has an empty part. */
static void weigh_all(struct merging *g, size_t count, size_t j, size_t columns)
{
    size_t D = g->parts->head_dim, from = g->first * D + j;
    if (columns == D)
        g->kernels->weigh(g->value, g->weight[0], MERGE_ROWS, g->v, count, from, g->rows, D);
    for (size_t r = 0; r < g->rows && columns < D; r++)
        g->kernels->weigh(g->value + r * columns, g->weight[0] + r, MERGE_ROWS, g->v, count,
                          from + r * D, 1, columns);
}

/* Columns [j, j + columns): v = sum_p exp(s_p - m) v_p / sum. Nothing is written before all is
 * read, so that `out` may be one of the parts. A state that one part alone has is copied. */
static void merge_columns(struct merging *g, const trib_states *out, size_t j, size_t columns)
{
    memset(g->value, 0, g->rows * columns * sizeof *g->value);
    memset(g->sum, 0, sizeof g->sum);
    for (size_t p = 0; p < g->n; p += MERGE_PARTS) {
        size_t count = some_parts(g, p);
        find_weights(g, p, count);
        if (!g->holes)
            weigh_all(g, count, j, columns);
        for (size_t r = 0; r < g->rows && g->holes; r++)
            weigh_full(g, r, p, count, j, columns);
    }
    for (size_t r = 0; r < g->rows; r++) {
        size_t at = (g->first + r) * out->head_dim + j;
        if (g->full[r] == 0)
            memset(out->v + at, 0, columns * sizeof *out->v);
        else if (g->full[r] == 1)
            memmove(out->v + at, g->parts[g->last[r]].v + at, columns * sizeof *out->v);
        float *v = out->v + at, sum = g->sum[r];
        for (size_t c = 0; c < columns && g->full[r] > 1; c++)
            v[c] = one_nan(g->value[r * columns + c] / sum);
    }
}

/* s = m + log sum_p exp(s_p - m) with m the largest s_p. */
static void merge_rows(struct merging *g, const trib_states *out)
{
    size_t D = out->head_dim;
    find_largest(g);
    for (size_t j = 0; j < D; j += MERGE_COLUMNS)
        merge_columns(g, out, j, D - j < MERGE_COLUMNS ? D - j : MERGE_COLUMNS);
    for (size_t r = 0; r < g->rows; r++) {
        float *s = out->s + g->first + r;
        *s = g->full[r] == 0   ? -INFINITY
             : g->full[r] == 1 ? g->parts[g->last[r]].s[g->first + r]
                               : one_nan(g->m[r] + logf(g->sum[r]));
    }
}

trib_status trib_state_merge_all(const trib_states *out, const trib_states *parts, size_t n,
                                 trib_error *error)
{
    trib_status status = check("merging states", out, out, error);
    for (size_t p = 0; p < n && status == TRIB_OK; p++)
        status = check("merging states", out, parts ? parts + p : NULL, error);
    if (status != TRIB_OK)
        return status;
    struct merging g; /* too large to be cleared for every call */
    g.kernels = kernels_best();
    g.parts = parts;
    g.n = n;
    for (g.first = 0; g.first < out->count; g.first += MERGE_ROWS) {
        g.rows = out->count - g.first < MERGE_ROWS ? out->count - g.first : MERGE_ROWS;
        merge_rows(&g, out);
    }
    return TRIB_OK;
}

trib_status trib_state_sink(const trib_states *states, const float *sink, size_t heads,
                            trib_error *error)
{
    trib_status status = check("sink", states, states, error);
    if (status != TRIB_OK)
        return status;
    if (!sink || heads == 0 || states->count % heads != 0)
        return error_set(error, TRIB_INVALID,
                         "sink: expected heads that divide %zu states, found %zu%s", states->count,
                         heads, sink ? "" : " and NULL");
    size_t D = states->head_dim;
    for (size_t i = 0; i < states->count; i++) {
        float s = states->s[i], other = sink[i % heads], *v = states->v + i * D;
        if (other == -INFINITY)
            continue;
        /* Merged with (sink, 0): only the weight of v changes. */
        float m = s > other ? s : other, a = s == -INFINITY ? 0 : exp_scalar(s - m);
        float sum = a + exp_scalar(other - m);
        for (size_t j = 0; j < D; j++)
            v[j] = one_nan(v[j] * (a / sum));
        states->s[i] = one_nan(m + logf(sum));
    }
    return TRIB_OK;
}

trib_status trib_state_finish(const trib_states *states, float *y, size_t stride, trib_error *error)
{
    trib_status status = check("finish", states, states, error);
    if (status != TRIB_OK)
        return status;
    if (!y || stride < states->head_dim)
        return error_set(error, TRIB_INVALID,
                         "finish: expected y and a stride of %zu or more, found %zu",
                         states->head_dim, stride);
    for (size_t i = 0; i < states->count; i++)
        memcpy(y + i * stride, states->v + i * states->head_dim, states->head_dim * sizeof *y);
    return TRIB_OK;
}
