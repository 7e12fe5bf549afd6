/* States as the public API has them, (s, v) in float32, and their merge.
 *
 * Invariants: merging with the empty state returns the other operand bit for bit; no infinity is
 * subtracted from an infinity, so empty with empty is empty and never NaN. */
#include <math.h>
#include <string.h>

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
        v[i] = a * va[i] + b * vb[i];
    return m + logf(sum);
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
enum { MERGE_PARTS = 128, MERGE_COLUMNS = 128 };

/* exp(s_p - m) of up to MERGE_PARTS parts that are not empty, from *next on, and where their values
 * begin; returns how many there are and moves *next behind them. */
static size_t merge_weights(const struct kernels *kernels, const trib_states *parts, size_t n,
                            size_t i, float m, size_t *next, float *weight, const float **v)
{
    size_t count = 0;
    for (; *next < n && count < MERGE_PARTS; ++*next) {
        const trib_states *part = &parts[*next];
        if (part->s[i] == -INFINITY)
            continue;
        weight[count] = part->s[i] - m;
        v[count++] = part->v + i * part->head_dim;
    }
    kernels->exp(weight, count);
    return count;
}

/* Columns [j, j + columns) of state i: v = sum_p exp(s_p - m) v_p / sum; returns the sum of the
 * weights. Nothing is written before all is read, so that `out` may be one of the parts. */
static float merge_columns(const struct kernels *kernels, const trib_states *out,
                           const trib_states *parts, size_t n, size_t i, float m, size_t j,
                           size_t columns)
{
    float value[MERGE_COLUMNS] = {0}, weight[MERGE_PARTS], sum = 0;
    const float *v[MERGE_PARTS];
    for (size_t next = 0; next < n;) {
        size_t count = merge_weights(kernels, parts, n, i, m, &next, weight, v);
        for (size_t p = 0; p < count; p++)
            sum += weight[p];
        kernels->weigh(value, weight, v, count, j, columns);
    }
    for (size_t c = 0; c < columns; c++)
        out->v[i * out->head_dim + j + c] = value[c] / sum;
    return sum;
}

/* s = m + log sum_p exp(s_p - m) with m the largest s_p. One part alone among empty ones is
 * copied. */
static void merge_all_one(const struct kernels *kernels, const trib_states *out,
                          const trib_states *parts, size_t n, size_t i)
{
    size_t D = out->head_dim, full = 0, last = 0;
    float m = -INFINITY, sum = 0;
    for (size_t p = 0; p < n; p++) {
        if (parts[p].s[i] == -INFINITY)
            continue;
        full++;
        last = p;
        if (parts[p].s[i] > m)
            m = parts[p].s[i];
    }
    if (full == 0)
        memset(out->v + i * D, 0, D * sizeof *out->v);
    else if (full == 1)
        memmove(out->v + i * D, parts[last].v + i * D, D * sizeof *out->v);
    for (size_t j = 0; j < D && full > 1; j += MERGE_COLUMNS)
        sum = merge_columns(kernels, out, parts, n, i, m, j,
                            D - j < MERGE_COLUMNS ? D - j : MERGE_COLUMNS);
    out->s[i] = full == 0 ? -INFINITY : full == 1 ? parts[last].s[i] : m + logf(sum);
}

trib_status trib_state_merge_all(const trib_states *out, const trib_states *parts, size_t n,
                                 trib_error *error)
{
    trib_status status = check("merging states", out, out, error);
    for (size_t p = 0; p < n && status == TRIB_OK; p++)
        status = check("merging states", out, parts ? parts + p : NULL, error);
    if (status != TRIB_OK)
        return status;
    const struct kernels *kernels = kernels_best();
    for (size_t i = 0; i < out->count; i++)
        merge_all_one(kernels, out, parts, n, i);
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
            v[j] *= a / sum;
        states->s[i] = m + logf(sum);
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
