/* The fold where naive code breaks: rows that see nothing, NaN, infinities, extreme scores; and
 * what it needs of memory. */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "fold_oracle.h"
#include "tables.h"
#include "test.h"

static enum dtype stored(size_t i)
{
    return i & 1 ? DTYPE_F16 : DTYPE_F32;
}

static void fill(float *x, size_t n, float value)
{
    for (size_t i = 0; i < n; i++)
        x[i] = value;
}

static void assert_empty(const struct fold_result *out, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        assert_true(out->s[i] == -INFINITY);
        for (size_t d = 0; d < out->D; d++)
            assert_int_equal(float_bits(out->v[i * out->D + d]), 0);
    }
}

/* No key at all: v = 0 and s = -inf, whatever the threads and the mask; nothing is read. */
static void no_keys_give_the_empty_state(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (int threads = 1; threads <= 5; threads++) {
            enum dtype type = threads & 1 ? DTYPE_F32 : DTYPE_F16;
            enum mask_kind mask = threads & 2 ? MASK_CAUSAL : MASK_NONE;
            struct fold_case c = case_shape(40, 0, 6, 2, 40, type, mask, 3);
            case_open(&c, &r, 1);
            struct fold_result out = result_new(&c);
            case_fold(&c, k, 0, c.T, threads, &out);
            assert_empty(&out, 0, c.T * c.H);
            result_free(&out);
            case_close(&c);
        }
}

/* Every score of the first `dead` keys is -inf, which is as good as masked: with all keys dead the
 * rows are empty; else the rest counts, be it in a later chunk or in a later span. */
static void scores_of_minus_infinity_are_not_in_the_set(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const size_t deads[] = {1, 63, 64, 65, 512, 599, 600};
    for (size_t i = 0; i < 2 * sizeof deads / sizeof *deads; i++) {
        struct fold_case c = case_shape(9, 600, 4, 2, 16, stored(i), MASK_NONE, 0);
        case_open(&c, &r, 1);
        for (size_t at = 0; at < c.T * c.H; at++)
            c.q[at * c.D] = 1 + (float)(at % 3);
        for (size_t at = 0; at < deads[i / 2] * c.G; at++)
            c.k[at * c.D] = -INFINITY;
        case_store(&c, c.S);
        struct oracle o = oracle_new(&c, false);
        struct fold_result out = result_new(&c);
        double y[16];
        struct definition definition = case_definition(&c);
        double s = definition_timestep(&definition, 1, 1, y);
        assert_true(near(s, o.s[c.H + 1], 1e-12) && near(y[3], o.y[(c.H + 1) * c.D + 3], 1e-12));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            case_fold(&c, k, 0, c.T, 1 + (int)i % 3, &out);
            hold(&c, &o, &out, k->name, 0);
            if (deads[i / 2] == c.S)
                assert_empty(&out, 0, c.T * c.H);
        }
        result_free(&out);
        oracle_free(&o);
        case_close(&c);
    }
}

/* Which element is NaN, in what, and what it takes with it. */
enum where { IN_QUERY, IN_KEY, IN_VALUE };

static bool hit(const struct fold_case *c, enum where where, size_t at, size_t row, size_t d)
{
    size_t t = row / c->H, h = row % c->H, g = h / (c->H / c->G);
    if (where == IN_QUERY)
        return at / c->D == row;
    bool sees = at / c->D % c->G == g && case_visible(c, t, at / c->D / c->G);
    return sees && (where == IN_KEY || (d < c->D && at % c->D == d));
}

/* A NaN in a query takes its row; in a key, the rows that see it; in a value, its column of the
 * rows that see it. Every other bit is as without it. d = D stands for s. */
static void nan_shows_exactly_where_it_is_seen(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t trial = 0; trial < 24; trial++) {
            struct fold_case c = case_shape(40, 600, 4, 2, 8, stored(trial / 3), MASK_CAUSAL, 560);
            enum where where = (enum where)(trial % 3);
            case_open(&c, &r, 1);
            struct fold_result clean = result_new(&c), out = result_new(&c);
            case_fold(&c, k, 0, c.T, 1, &clean);
            size_t position = trial & 1 ? 520 + random_below(&r, 80) : random_below(&r, 600);
            size_t at = (position * c.G + random_below(&r, c.G)) * c.D + random_below(&r, c.D);
            if (where == IN_QUERY)
                at = random_below(&r, c.T * c.H * c.D);
            *((where == IN_QUERY ? c.q : where == IN_KEY ? c.k : c.v) + at) = NAN;
            case_store(&c, c.S);
            case_fold(&c, k, 0, c.T, 1 + (int)trial % 4, &out);
            for (size_t row = 0; row < c.T * c.H; row++)
                for (size_t d = 0; d <= c.D; d++) {
                    float got = d < c.D ? out.v[row * c.D + d] : out.s[row];
                    float was = d < c.D ? clean.v[row * c.D + d] : clean.s[row];
                    if (hit(&c, where, at, row, d) ? !isnan(got)
                                                   : float_bits(got) != float_bits(was))
                        fail_msg("%s: NaN in %d [%zu]: row %zu, [%zu] is %g, was %g", k->name,
                                 (int)where, at, row, d, got, was);
                }
            result_free(&clean);
            result_free(&out);
            case_close(&c);
        }
}

/* Infinities in queries, keys and values give what the definition gives: infinite values where
 * weights are positive, NaN for a score of +inf and for both signs in one column. */
static void infinities_do_as_the_definition_does(void **state)
{
    (void)state;
    struct random r = random_start(4);
    for (size_t trial = 0; trial < 24; trial++) {
        struct fold_case c = case_shape(30, 530, 4, 2, 16, stored(trial / 4), MASK_CAUSAL, 505);
        case_open(&c, &r, 1);
        for (size_t n = random_below(&r, 4); n > 0; n--)
            c.v[random_below(&r, c.S * c.G * c.D)] = n & 1 ? INFINITY : -INFINITY;
        if (trial & 1)
            c.q[random_below(&r, c.T * c.H * c.D)] = INFINITY;
        if (trial & 2) /* among the last: some rows see it, some do not */
            c.k[c.S * c.G * c.D - 1 - random_below(&r, 20 * c.G * c.D)] = INFINITY;
        case_store(&c, c.S);
        struct oracle o = oracle_new(&c, false);
        for (size_t i = 0; i < c.T * c.H; i++)
            o.error[i] = isfinite(o.error[i]) ? o.error[i] : 0; /* NaN is expected there */
        struct fold_result out = result_new(&c);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            case_fold(&c, k, 0, c.T, 1 + (int)trial % 3, &out);
            hold(&c, &o, &out, k->name, 0);
        }
        result_free(&out);
        oracle_free(&o);
        case_close(&c);
    }
}

/* Scores that are whole numbers have no rounding error, so their height costs nothing: the bound is
 * that of A = 0. q_0 is 1 and scores are k_0: a height, less 0 to `spread`. */
static void extreme_scores_keep_full_precision(void **state)
{
    (void)state;
    struct random r = random_start(5);
    static const float heights[] = {0, 1e4f, -1e4f, 1e6f, -1e6f, 1e30f, -1e30f, FLT_MAX, -FLT_MAX};
    for (size_t i = 0; i < 2 * sizeof heights / sizeof *heights; i++) {
        struct fold_case c = case_shape(3, 700, 2, 1, 8, DTYPE_F32, MASK_NONE, 0);
        case_open(&c, &r, 1);
        c.scale = 1;
        fill(c.q, c.T * c.H * c.D, 0);
        for (size_t at = 0; at < c.T * c.H; at++)
            c.q[at * c.D] = 1;
        for (size_t at = 0; at < c.S; at++)
            c.k[at * c.D] = heights[i / 2] - (float)(i & 1 ? random_below(&r, 60) : 0);
        case_store(&c, c.S);
        struct oracle o = oracle_new(&c, true);
        struct fold_result out = result_new(&c);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            case_fold(&c, k, 0, c.T, 1 + (int)i % 3, &out);
            hold(&c, &o, &out, k->name, 0);
        }
        result_free(&out);
        oracle_free(&o);
        case_close(&c);
    }
}

/* One key far above all others, at every place that is special: v is its value, s its score. */
static void one_key_far_above_takes_all(void **state)
{
    (void)state;
    struct random r = random_start(6);
    static const size_t places[] = {0, 1, 63, 64, 511, 512, 600, 699};
    static const float heights[] = {1e4f, 1e30f, FLT_MAX};
    for (size_t i = 0; i < 3 * sizeof places / sizeof *places; i++) {
        struct fold_case c = case_shape(2, 700, 1, 1, 8, DTYPE_F32, MASK_NONE, 0);
        size_t place = places[i / 3];
        case_open(&c, &r, 1);
        c.scale = 1;
        fill(c.q, c.T * c.D, 0);
        c.q[0] = c.q[c.D] = 1;
        for (size_t at = 0; at < c.S; at++)
            c.k[at * c.D] = at == place ? heights[i % 3] : -heights[i % 3];
        case_store(&c, c.S);
        struct fold_result out = result_new(&c);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            case_fold(&c, k, 0, c.T, 1 + (int)i % 3, &out);
            for (size_t t = 0; t < c.T; t++) {
                assert_true(out.s[t] == heights[i % 3]);
                assert_memory_equal(out.v + t * c.D, c.v + place * c.D, c.D * sizeof(float));
            }
        }
        result_free(&out);
        case_close(&c);
    }
}

/* A weight that underflows is still a weight: a NaN or an infinity in the value of a key far below
 * the others shows, in both forms of the definition and in the fold. */
static void values_of_no_weight_stay_visible(void **state)
{
    (void)state;
    struct random r = random_start(9);
    for (size_t i = 0; i < 8; i++) {
        struct fold_case c = case_shape(1, 130, 1, 1, 8, DTYPE_F32, MASK_NONE, 0);
        size_t low = i & 1 ? 129 : 3;
        double y[8];
        case_open(&c, &r, 1);
        fill(c.q, c.D, 1);
        fill(c.k + low * c.D, c.D, -1e4f);
        c.v[low * c.D + 5] = i & 2 ? NAN : INFINITY;
        case_store(&c, c.S);
        struct oracle o = oracle_new(&c, false);
        struct definition definition = case_definition(&c);
        definition_timestep(&definition, 0, 0, y);
        assert_true(isnan(y[5]) && isnan(o.y[5]) && !isnan(y[4]) && !isnan(o.y[4]));
        struct fold_result out = result_new(&c);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            case_fold(&c, k, 0, c.T, 1, &out);
            hold(&c, &o, &out, k->name, 0);
        }
        result_free(&out);
        oracle_free(&o);
        case_close(&c);
    }
}

/* An output whose every term underflows from below is a zero; whether a neighbour's chunk was
 * computed for the row or skipped must not show in its sign. Query 0 sees chunk 0, query 1 a key of
 * chunk 1. */
static void zeros_have_no_sign(void **state)
{
    (void)state;
    struct random r = random_start(10);
    struct fold_case c = case_shape(2, 65, 1, 1, 8, DTYPE_F32, MASK_CAUSAL, 63);
    case_open(&c, &r, 1);
    c.scale = 1;
    fill(c.q, 2 * c.D, 1);
    fill(c.k, c.S * c.D, -10);
    fill(c.k, c.D, 0);
    fill(c.v, c.S * c.D, -1e-38f);
    fill(c.v, c.D, 0);
    fill(c.v + 64 * c.D, c.D, 1);
    case_store(&c, c.S);
    struct fold_result both = result_new(&c), alone = result_new(&c);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        case_fold(&c, k, 0, 2, 1, &both);
        case_fold(&c, k, 0, 1, 1, &alone);
        case_fold(&c, k, 1, 2, 1, &alone);
        assert_same(&both, &alone, k->name, "a zero");
        for (size_t d = 0; d < c.D; d++)
            assert_int_equal(float_bits(both.v[d]), 0);
    }
    result_free(&both);
    result_free(&alone);
    case_close(&c);
}

/* Real scores of that order: the general bound, which grows with them; no NaN, no infinity. */
static void large_random_scores_stay_within_the_bound(void **state)
{
    (void)state;
    struct random r = random_start(7);
    static const float sizes[] = {100, 1e4f, 1e6f, 1e20f};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct fold_case c = case_shape(9, 650, 4, 2, 8, DTYPE_F32, MASK_CAUSAL, 640);
        case_open(&c, &r, sizes[i]);
        struct oracle o = oracle_new(&c, false);
        struct fold_result out = result_new(&c);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            case_fold(&c, k, 0, c.T, 1, &out);
            hold(&c, &o, &out, k->name, 0);
            for (size_t at = 0; at < c.T * c.H * c.D; at++)
                assert_true(fabsf(out.v[at]) <= 2.0001f); /* a mean of values of up to 2 */
        }
        result_free(&out);
        oracle_free(&o);
        case_close(&c);
    }
}

/* A workspace for so many queries, keys and threads serves all smaller calls too; each call gets it
 * ending at a guard page. fold_case.h runs every other call of these tests with just its own. */
static void workspace_serves_smaller_calls(void **state)
{
    (void)state;
    struct random r = random_start(8);
    static const size_t shapes[][2] = {{1, 1}, {4, 4}, {8, 2}, {6, 1}};
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < 4; i++) {
            struct fold_case c =
                case_shape(50, 600, shapes[i][0], shapes[i][1], 8, DTYPE_F16, MASK_CAUSAL, 550);
            case_open(&c, &r, 1);
            struct fold_result whole = result_new(&c), out = result_new(&c);
            size_t bytes = fold_workspace(k, c.T, c.H, c.G, c.D, c.S, 5), rounded;
            rounded = (bytes + 63) / 64 * 64;
            void *workspace = guard_new(rounded);
            struct segment segment = case_segment(&c);
            case_fold(&c, k, 0, c.T, 1, &whole);
            for (size_t trial = 0; trial < 12; trial++) {
                size_t n = trial < 5 ? trial + 1 : 1 + random_below(&r, c.T);
                int threads = 1 + (int)(trial % 5);
                struct fold fold = {n,        c.H, c.first, c.scale, MASK_CAUSAL,
                                    &segment, c.q, out.v,   NULL};
                assert_true(fold_workspace(k, n, c.H, c.G, c.D, c.S - n, threads) <= bytes);
                fold_run(k, &fold, workspace, threads);
                assert_memory_equal(out.v, whole.v, n * c.H * c.D * sizeof(float));
            }
            guard_free(workspace, rounded);
            result_free(&whole);
            result_free(&out);
            case_close(&c);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_keys_give_the_empty_state),
        cmocka_unit_test(scores_of_minus_infinity_are_not_in_the_set),
        cmocka_unit_test(nan_shows_exactly_where_it_is_seen),
        cmocka_unit_test(infinities_do_as_the_definition_does),
        cmocka_unit_test(extreme_scores_keep_full_precision),
        cmocka_unit_test(one_key_far_above_takes_all),
        cmocka_unit_test(values_of_no_weight_stay_visible),
        cmocka_unit_test(zeros_have_no_sign),
        cmocka_unit_test(large_random_scores_stay_within_the_bound),
        cmocka_unit_test(workspace_serves_smaller_calls),
    };
    random_seed();
    return cmocka_run_group_tests_name("fold extremes", tests, NULL, NULL);
}
