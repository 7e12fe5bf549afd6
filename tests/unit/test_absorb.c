/* The absorb step of every kernel table, on float32 panels: against float64, and what a row must
 * not depend on.
 *
 * Scores are in units of log 2. The bound of one step, u = 2^-24, A the largest sum |q_i||k_i| of a
 * key and m the new maximum as computed: a score is within D u A of exact (a chain of D fused
 * steps); s - m is rounded, by u |s - m| <= u (A + |m|); 2^(s - m) moves by ln 2 < 1 times that and
 * is off by 4.1 u itself; the carried state by the same, with |m_old| for A, and a product; 64 sums
 * follow. So each term of d and of o is off by a factor
 *
 *     exp((D A + A + |m_old| + |m| + 72) u)
 *
 * and terms below 2^-149 are lost. */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "base/half.h"
#include "guard.h"
#include "random.h"
#include "tables.h"
#include "test.h"

enum { MOST_ROWS = 16, MOST_D = 256 };

/* A tile over one chunk; every array ends at a guard page. */
struct tile {
    struct absorb in;
    float *q, *k, *v; /* [rows][D], [CHUNK][D], [CHUNK][D] */
    uint64_t *words;  /* [rows] */
    void *memory;     /* of the panel */
    struct panel panel;
    /* lists of one */
    const struct panel *panels;
    const uint64_t *visible;
    bool finite;
};

static size_t out_floats(const struct absorb *t)
{
    return t->rows * value_stride(t->head_dim);
}

static struct tile *tile_new(size_t rows, size_t D)
{
    struct tile *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->in = (struct absorb){.rows = rows, .head_dim = D, .chunks = 1};
    t->in.q = t->q = guard_floats(rows * D);
    t->k = guard_floats(CHUNK * D);
    t->v = guard_floats(CHUNK * D);
    t->visible = t->words = guard_new(rows * sizeof *t->words);
    t->in.m = guard_floats(rows);
    t->in.d = guard_floats(rows);
    t->in.o = guard_floats(out_floats(&t->in));
    t->memory = guard_new(panel_bytes(D));
    t->panels = &t->panel;
    t->finite = true;
    t->in.panels = &t->panels;
    t->in.visible = &t->visible;
    t->in.finite = &t->finite;
    return t;
}

static void tile_free(struct tile *t)
{
    size_t rows = t->in.rows, D = t->in.head_dim;
    guard_free_floats(t->q, rows * D);
    guard_free_floats(t->k, CHUNK * D);
    guard_free_floats(t->v, CHUNK * D);
    guard_free(t->words, rows * sizeof *t->words);
    guard_free_floats(t->in.m, rows);
    guard_free_floats(t->in.d, rows);
    guard_free_floats(t->in.o, out_floats(&t->in));
    guard_free(t->memory, panel_bytes(D));
    free(t);
}

/* Loads the panel from what keys and values now are, and absorbs it. */
static void tile_absorb(const struct kernels *k, struct tile *t)
{
    size_t D = t->in.head_dim;
    struct chunk_rows rows = {.type = DTYPE_F32,
                              .k = (char *)t->k,
                              .v = (char *)t->v,
                              .stride = D * sizeof(float),
                              .to = CHUNK};
    k->panel_load(&t->panel, t->memory, &rows, D, D & 1 ? PANEL_MANY : PANEL_ONCE);
    k->absorb(&t->in);
}

static uint64_t drawn_mask(struct random *r)
{
    switch (random_below(r, 6)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return (uint64_t)1 << random_below(r, 64);
    case 3:
        return ((uint64_t)1 << random_below(r, 64)) - 1;
    default:
        return random_bits(r);
    }
}

/* Keys, values, masks and running states, a third of these empty. */
static void tile_fill(const struct tile *t, struct random *r, float size)
{
    size_t D = t->in.head_dim, Dv = value_stride(D);
    random_fill(r, t->q, t->in.rows * D, size);
    random_fill(r, t->k, CHUNK * D, size);
    random_fill(r, t->v, CHUNK * D, 2);
    for (size_t row = 0; row < t->in.rows; row++) {
        bool empty = random_below(r, 3) == 0;
        t->words[row] = drawn_mask(r);
        t->in.m[row] = empty ? -INFINITY : random_between(r, -size, size);
        t->in.d[row] = empty ? 0 : random_between(r, 1, 9);
        memset(t->in.o + row * Dv, 0, Dv * sizeof(float));
        if (!empty)
            random_fill(r, t->in.o + row * Dv, D, 9);
    }
}

/* The outputs of a tile, to compare or to put back. */
struct outputs {
    float m[MOST_ROWS], d[MOST_ROWS], o[MOST_ROWS * MOST_D];
};

static struct outputs outputs_of(const struct absorb *t)
{
    struct outputs out;
    memset(&out, 0, sizeof out);
    memcpy(out.m, t->m, t->rows * sizeof(float));
    memcpy(out.d, t->d, t->rows * sizeof(float));
    memcpy(out.o, t->o, out_floats(t) * sizeof(float));
    return out;
}

static void outputs_put(const struct absorb *t, const struct outputs *from)
{
    memcpy(t->m, from->m, t->rows * sizeof(float));
    memcpy(t->d, from->d, t->rows * sizeof(float));
    memcpy(t->o, from->o, out_floats(t) * sizeof(float));
}

/* Drops the signs of zeros in o, which the contract leaves open. */
static struct outputs without_zero_signs(struct outputs out)
{
    for (size_t i = 0; i < MOST_ROWS * MOST_D; i++)
        out.o[i] += 0.0f;
    return out;
}

static void hold_row(const struct kernels *k, const struct tile *t, size_t row,
                     const struct outputs *before)
{
    size_t D = t->in.head_dim, Dv = value_stride(D);
    uint64_t visible = t->visible ? t->visible[row] : UINT64_MAX;
    double m_old = before->m[row], top = m_old, reach = 0, score[CHUNK];
    for (size_t j = 0; j < CHUNK; j++) {
        double size = 0;
        score[j] = 0;
        for (size_t i = 0; i < D; i++) {
            double term = (double)t->q[row * D + i] * t->k[j * D + i];
            score[j] += term;
            size += fabs(term);
        }
        if (visible >> j & 1) {
            top = fmax(top, score[j]);
            reach = fmax(reach, size);
        }
    }
    double m = t->in.m[row], u = 0x1p-24, carry = m_old == -(double)INFINITY ? 0 : exp2(m_old - m);
    if (visible == 0 && m_old == -(double)INFINITY) {
        assert_true(m == m_old);
        return;
    }
    if (!(fabs(m - top) <= 1.001 * (double)D * u * reach))
        fail_msg("%s: D = %zu: m = %.9g, expected %.17g", k->name, D, m, top);
    double carried = carry == 0 ? 0 : fabs(m_old);
    double relative = expm1(((double)D * reach + reach + carried + fabs(m) + 72) * u);
    for (size_t c = 0; c <= Dv; c++) { /* column Dv stands for d */
        const float *old = c < Dv ? before->o + row * Dv + c : before->d + row;
        double got = c < Dv ? t->in.o[row * Dv + c] : t->in.d[row];
        double sum = carry * *old, size = fabs(sum);
        for (size_t j = 0; j < CHUNK; j++) {
            if (!(visible >> j & 1))
                continue;
            double term = exp2(score[j] - m) * (c == Dv ? 1 : c < D ? t->v[j * D + c] : 0);
            sum += term;
            size += fabs(term);
        }
        if (!(fabs(got - sum) <= 1.001 * relative * size + CHUNK * 0x1p-147))
            fail_msg("%s: %zu rows, D = %zu: %s [%zu] = %.9g, expected %.17g", k->name, t->in.rows,
                     D, c < Dv ? "o" : "d", c, got, sum);
    }
}

static const size_t dims[] = {1, 2, 7, 8, 16, 17, 40, 64, 80, 128, 256};
enum { DIMS = sizeof dims / sizeof *dims };

static void absorb_is_within_its_bound(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < DIMS; i++)
            for (size_t rows = 1; rows <= k->tile_rows; rows++) {
                struct tile *t = tile_new(rows, dims[i]);
                tile_fill(t, &r, rows % 3 ? 1 : 6);
                t->visible = rows == 4 ? NULL : t->words;
                t->finite = rows & 1;
                struct outputs before = outputs_of(&t->in);
                tile_absorb(k, t);
                for (size_t row = 0; row < rows; row++)
                    hold_row(k, t, row, &before);
                tile_free(t);
            }
}

/* Equal bits, or NaN in both: which NaN comes out of two is the machine's choice. */
static bool same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (float_bits(a[i]) != float_bits(b[i]) && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

/* A row of a tile of any size has the bits it has alone, whatever its neighbours hold: other
 * states, other masks, NaN; a NaN in a value, too, which some rows see and some do not. */
static void row_is_independent_of_its_neighbours(void **state)
{
    (void)state;
    struct random r = random_start(2);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < DIMS; i++)
            for (size_t rows = 1; rows <= k->tile_rows; rows++) {
                size_t D = dims[i], Dv = value_stride(D);
                struct tile *t = tile_new(rows, D), *one = tile_new(1, D);
                tile_fill(t, &r, 1);
                if (rows > 2)
                    t->q[random_below(&r, rows * D)] = NAN;
                if (rows & 1)
                    t->v[random_below(&r, CHUNK * D)] = NAN;
                t->finite = one->finite = !(rows & 1);
                struct outputs before = outputs_of(&t->in);
                tile_absorb(k, t);
                memcpy(one->k, t->k, CHUNK * D * sizeof(float));
                memcpy(one->v, t->v, CHUNK * D * sizeof(float));
                for (size_t row = 0; row < rows; row++) {
                    memcpy(one->q, t->q + row * D, D * sizeof(float));
                    *one->words = t->words[row];
                    *one->in.m = before.m[row];
                    *one->in.d = before.d[row];
                    memcpy(one->in.o, before.o + row * Dv, Dv * sizeof(float));
                    tile_absorb(k, one);
                    if (!same(one->in.m, t->in.m + row, 1) || !same(one->in.d, t->in.d + row, 1) ||
                        !same(one->in.o, t->in.o + row * Dv, Dv))
                        fail_msg("%s: D = %zu: row %zu of %zu differs from itself alone", k->name,
                                 D, row, rows);
                }
                tile_free(t);
                tile_free(one);
            }
}

/* Several chunks in one call are the chunks one after the other; what differs between rows is which
 * chunks they see at all. */
static void chunks_at_once_are_chunks_one_by_one(void **state)
{
    (void)state;
    struct random r = random_start(6);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < DIMS; i++) {
            size_t n = 1 + random_below(&r, SPAN_CHUNKS), rows = 1 + i % k->tile_rows;
            struct tile *t[SPAN_CHUNKS];
            const struct panel *panels[SPAN_CHUNKS];
            const uint64_t *visible[SPAN_CHUNKS];
            bool finite[SPAN_CHUNKS];
            for (size_t c = 0; c < n; c++) {
                t[c] = tile_new(rows, dims[i]);
                tile_fill(t[c], &r, 1);
                t[c]->visible = random_below(&r, 4) ? t[c]->words : NULL;
                panels[c] = &t[c]->panel;
                visible[c] = t[c]->visible;
                finite[c] = true;
            }
            struct outputs before = outputs_of(&t[0]->in), state_now = before;
            for (size_t c = 0; c < n; c++) {
                memcpy(t[c]->q, t[0]->q, rows * dims[i] * sizeof(float));
                outputs_put(&t[c]->in, &state_now);
                tile_absorb(k, t[c]);
                state_now = outputs_of(&t[c]->in);
            }
            struct absorb all = t[0]->in;
            all.chunks = n;
            all.panels = panels;
            all.visible = visible;
            all.finite = finite;
            outputs_put(&all, &before);
            k->absorb(&all);
            struct outputs at_once = without_zero_signs(outputs_of(&all));
            state_now = without_zero_signs(state_now);
            assert_memory_equal(&at_once, &state_now, sizeof at_once);
            for (size_t c = 0; c < n; c++)
                tile_free(t[c]);
        }
}

/* No mask, a mask of ones, either value of `finite`: ways to say the same, so the same bits.
 */
static void ways_to_say_all_visible_agree(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < DIMS; i++) {
            struct tile *t = tile_new(k->tile_rows, dims[i]);
            tile_fill(t, &r, 1);
            for (size_t row = 0; row < k->tile_rows; row++)
                t->words[row] = UINT64_MAX;
            struct outputs before = outputs_of(&t->in), first = before, next;
            for (size_t way = 0; way < 4; way++) {
                t->visible = way & 1 ? NULL : t->words;
                t->finite = way & 2;
                outputs_put(&t->in, &before);
                tile_absorb(k, t);
                next = outputs_of(&t->in);
                if (way == 0)
                    first = next;
                assert_memory_equal(&first, &next, sizeof next);
            }
            tile_free(t);
        }
}

/* NaN and infinities in keys and values that no row sees leave the bits of zeros there; so do
 * numbers. Rows differ in what they see, so a key unseen by one is seen by another: garbage stands
 * only where no row looks. */
static void unseen_keys_and_values_do_not_matter(void **state)
{
    (void)state;
    struct random r = random_start(4);
    static const float garbage[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -1e30f};
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t trial = 0; trial < 8 * DIMS; trial++) {
            size_t D = dims[trial % DIMS];
            struct tile *t = tile_new(1 + trial % k->tile_rows, D);
            tile_fill(t, &r, 1);
            uint64_t hidden = random_bits(&r);
            for (size_t row = 0; row < t->in.rows; row++)
                t->words[row] &= ~hidden;
            struct outputs before = outputs_of(&t->in), results[3];
            for (size_t way = 0; way < 3; way++) {
                for (size_t j = 0; j < CHUNK; j++) {
                    if (!(hidden >> j & 1))
                        continue;
                    for (size_t i = j * D; i < (j + 1) * D; i++) {
                        t->k[i] = way == 2 ? garbage[random_below(&r, 5)] : (float)way;
                        t->v[i] = way == 2 ? garbage[random_below(&r, 5)] : (float)way;
                    }
                }
                t->finite = way < 2;
                outputs_put(&t->in, &before);
                tile_absorb(k, t);
                results[way] = without_zero_signs(outputs_of(&t->in));
                assert_memory_equal(&results[0], &results[way], sizeof results[0]);
            }
            tile_free(t);
        }
}

/* A row that sees nothing, and one whose every score is -inf, keeps its state: bit for bit, save
 * the sign of a zero in o. */
static void nothing_seen_changes_nothing(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t trial = 0; trial < 4 * DIMS; trial++) {
            struct tile *t = tile_new(1 + trial % k->tile_rows, dims[trial % DIMS]);
            tile_fill(t, &r, 1);
            bool masked = trial & 1;
            size_t D = t->in.head_dim;
            for (size_t row = 0; row < t->in.rows; row++) {
                t->words[row] = masked ? 0 : UINT64_MAX;
                t->q[row * D] = 1;
            }
            for (size_t j = 0; j < CHUNK; j++)
                t->k[j * D] = masked ? random_any_float(&r) : -INFINITY;
            if (masked)
                t->v[random_below(&r, CHUNK * D)] = NAN;
            t->finite = !masked;
            struct outputs before = without_zero_signs(outputs_of(&t->in));
            tile_absorb(k, t);
            struct outputs after = without_zero_signs(outputs_of(&t->in));
            assert_memory_equal(&before, &after, sizeof after);
            tile_free(t);
        }
}

/* One row, D = 1, q = 1: scores are the keys themselves; v_j is j + 1. */
struct single {
    float m, d, o[VALUE_ALIGN];
};

static struct single absorb_scores(const struct kernels *k, struct single from, const float *scores,
                                   uint64_t visible)
{
    static _Alignas(64) char memory[2 * VALUE_ALIGN * CHUNK * sizeof(float)];
    static float keys[CHUNK], values[CHUNK];
    const struct chunk_rows rows = {DTYPE_F32,     false, (char *)keys, (char *)values,
                                    sizeof(float), 0,     CHUNK};
    const uint64_t *const words = &visible;
    const bool finite = true;
    const float one = 1;
    struct panel panel;
    const struct panel *const panels = &panel;
    for (size_t j = 0; j < CHUNK; j++) {
        keys[j] = visible >> j & 1 ? scores[j] : NAN;
        values[j] = (float)(j + 1);
    }
    k->panel_load(&panel, memory, &rows, 1, PANEL_ONCE);
    k->absorb(&(struct absorb){.rows = 1,
                               .head_dim = 1,
                               .chunks = 1,
                               .q = &one,
                               .panels = &panels,
                               .visible = &words,
                               .finite = &finite,
                               .m = &from.m,
                               .d = &from.d,
                               .o = from.o});
    return from;
}

static void extreme_scores_are_numbers(void **state)
{
    (void)state;
    const struct single empty = {.m = -INFINITY};
    static const float heights[] = {1e4f, -1e4f, 1e30f, -1e30f, -FLT_MAX, FLT_MAX, 0, -0.0f};
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < sizeof heights / sizeof *heights; i++) {
            float s[CHUNK] = {heights[i], heights[i], -INFINITY};
            struct single two = absorb_scores(k, empty, s, 3), three = absorb_scores(k, two, s, 7);
            assert_true(two.m == heights[i] && two.d == 2 && two.o[0] == 3);
            assert_true(three.m == heights[i] && three.d == 4 && three.o[0] == 6);
            if (heights[i] >
                0) { /* far above: what was before is gone; far below: it adds nothing */
                float low[CHUNK] = {-heights[i]};
                struct single below = absorb_scores(k, two, low, 1);
                struct single above = absorb_scores(k, absorb_scores(k, empty, low, 1), s, 2);
                assert_true(below.m == two.m && below.d == 2 && below.o[0] == 3);
                assert_true(above.m == heights[i] && above.d == 1 && above.o[0] == 2);
            }
        }
}

/* NaN is not lost to a maximum, whatever lane it is in, alone or among numbers and -inf, first or
 * later; +inf becomes NaN too (inf - inf), as in the definition. */
static void nan_and_infinite_scores_stay_visible(void **state)
{
    (void)state;
    const struct single empty = {.m = -INFINITY}, full = {.m = 1, .d = 2, .o = {3}};
    static const float others[] = {0, -INFINITY, 1e30f, -1e30f, NAN};
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t j = 0; j < CHUNK; j++)
            for (size_t trial = 0; trial < 40; trial++) {
                float s[CHUNK], zeros[CHUNK] = {0};
                for (size_t i = 0; i < CHUNK; i++)
                    s[i] = others[trial % 5];
                s[j] = trial & 1 ? NAN : INFINITY;
                uint64_t visible = trial & 2 ? UINT64_MAX : (uint64_t)1 << j;
                struct single out = absorb_scores(k, trial & 4 ? empty : full, s, visible);
                struct single later = absorb_scores(k, out, zeros, UINT64_MAX);
                assert_true(isnan(out.d) && isnan(out.o[0]) && out.m != -INFINITY);
                assert_true(isnan(later.d) && isnan(later.o[0]) && later.m != -INFINITY);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absorb_is_within_its_bound),
        cmocka_unit_test(row_is_independent_of_its_neighbours),
        cmocka_unit_test(chunks_at_once_are_chunks_one_by_one),
        cmocka_unit_test(ways_to_say_all_visible_agree),
        cmocka_unit_test(unseen_keys_and_values_do_not_matter),
        cmocka_unit_test(nothing_seen_changes_nothing),
        cmocka_unit_test(extreme_scores_are_numbers),
        cmocka_unit_test(nan_and_infinite_scores_stay_visible),
    };
    random_seed();
    return cmocka_run_group_tests_name("absorb", tests, NULL, NULL);
}
