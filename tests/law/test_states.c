/* The laws of merging states, through the public header: identity, commutativity, any split, any
 * order, any tree against the float64 definition, and the values that break naive code.
 *
 * The bound, with u = 2^-24 and S at least every |s| that occurs, for one merge of n states:
 * s - m is rounded (relative error u, so e^(s - m) is off by a factor of 2 S u), the exponential is
 * off by 2 u, a sum of n by (n - 1) u, the logarithm by an ulp of at most log n, the last addition
 * by S u: s is off by (3 S + n + 2 + 2 log n) u < (3 S + 3 n + 3) u. A weight is off by the same
 * and by a division, a product and n - 1 additions more. Over the h merges on the way from a leaf
 * to the root the factors exp(s_child - s_parent) telescope to exp(s_leaf - s_root), so errors add
 * up:
 *
 *     |s - exact|  <= h (3 S + 3 n + 3) u
 *     |v - exact|  <= (exp(h (6 S + 8 n + 6) u) - 1) sum_i a_i |v_i|      a_i the exact weights
 *
 * and weights and products below 2^-149 are lost: n 2^-148 of the largest |v|, and of 1. */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "base/half.h"
#include "random.h"
#include "test.h"
#include "tributary/attention.h"

enum { D = 5, MOST = 48 };

/* One state as an array of one. */
struct leaf {
    float s;
    float v[D];
    size_t depth; /* merges below it */
};

static trib_states view(struct leaf *leaf)
{
    return (trib_states){&leaf->s, leaf->v, 1, D};
}

static bool same(const struct leaf *a, const struct leaf *b)
{
    return float_bits(a->s) == float_bits(b->s) && memcmp(a->v, b->v, sizeof a->v) == 0;
}

static struct leaf merged(struct leaf a, struct leaf b)
{
    struct leaf out = {.depth = 1 + (a.depth > b.depth ? a.depth : b.depth)};
    trib_states into = view(&out), left = view(&a), right = view(&b);
    assert_int_equal(trib_state_merge(&into, &left, &right, NULL), TRIB_OK);
    return out;
}

static struct leaf merged_all(struct leaf *leaves, size_t n)
{
    struct leaf out = {0};
    trib_states into = view(&out), parts[MOST];
    for (size_t i = 0; i < n; i++) {
        parts[i] = view(leaves + i);
        out.depth = leaves[i].depth > out.depth ? leaves[i].depth : out.depth;
    }
    out.depth++;
    assert_int_equal(trib_state_merge_all(&into, parts, n, NULL), TRIB_OK);
    return out;
}

static struct leaf empty(void)
{
    struct leaf out;
    memset(&out, 0x77, sizeof out);
    out.depth = 0;
    trib_states states = view(&out);
    trib_state_clear(&states);
    return out;
}

static struct leaf drawn(struct random *r, float size)
{
    struct leaf out = {.s = random_between(r, -size, size)};
    random_fill(r, out.v, D, 3);
    return out;
}

/* Holds `got`, made of `leaves` by merges of up to `arity` states, to the definition. */
static void hold(const struct leaf *got, const struct leaf *leaves, size_t n, size_t arity)
{
    double m = -(double)INFINITY, sum = 0, reach = log((double)n), u = 0x1p-24;
    for (size_t i = 0; i < n; i++)
        m = fmax(m, leaves[i].s);
    for (size_t i = 0; i < n; i++) {
        sum += exp(leaves[i].s - m);
        reach = fmax(reach, fabs((double)leaves[i].s) + log((double)n));
    }
    double s = m + log(sum), count = (double)arity, h = (double)got->depth;
    if (!(fabs(got->s - s) <= 1.001 * h * (3 * reach + 3 * count + 3) * u))
        fail_msg("s = %.9g, expected %.17g; %zu leaves, depth %zu", got->s, s, n, got->depth);
    for (size_t j = 0; j < D; j++) {
        double v = 0, size = 0, largest = 0;
        for (size_t i = 0; i < n; i++) {
            double term = exp(leaves[i].s - s) * leaves[i].v[j];
            v += term;
            size += fabs(term);
            largest = fmax(largest, fabs((double)leaves[i].v[j]));
        }
        double bound = expm1(h * (6 * reach + 8 * count + 6) * u) * size;
        if (!(fabs(got->v[j] - v) <= 1.001 * bound + (double)n * 0x1p-148 * (largest + 1)))
            fail_msg("v = %.9g, expected %.17g; %zu leaves, depth %zu", got->v[j], v, n,
                     got->depth);
    }
}

static const float sizes[] = {0, 1, 30, 300, 1e4f, 1e5f};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* The empty state on either side gives back the other operand's bits, whatever they are: numbers,
 * signed zeros, infinities, NaN with a payload. */
static void empty_is_the_identity(void **state)
{
    (void)state;
    struct random r = random_start(1);
    static const float special[] = {0.0f,    -0.0f,    INFINITY, NAN,
                                    FLT_MAX, -FLT_MAX, -1e30f,   0x1p-149f};
    for (size_t trial = 0; trial < 2000; trial++) {
        struct leaf x = {.s = random_any_float(&r)};
        if (trial < sizeof special / sizeof *special)
            x.s = special[trial];
        for (size_t j = 0; j < D; j++)
            x.v[j] = trial % 3 ? random_any_float(&r) : special[random_below(&r, 8)];
        if (x.s == -INFINITY)
            memset(x.v, 0, sizeof x.v);
        struct leaf right = merged(x, empty()), left = merged(empty(), x);
        assert_true(same(&right, &x));
        assert_true(same(&left, &x));
        for (size_t at = 0; at < 4; at++) {
            struct leaf parts[4] = {empty(), empty(), empty(), empty()};
            parts[at] = x;
            struct leaf all = merged_all(parts, 4), alone = merged_all(parts + at, 1);
            assert_true(same(&all, &x));
            assert_true(same(&alone, &x));
        }
    }
}

static void empty_with_empty_is_empty(void **state)
{
    (void)state;
    struct leaf parts[3] = {empty(), empty(), empty()}, expected = {.s = -INFINITY};
    struct leaf two = merged(parts[0], parts[1]);
    assert_true(same(&two, &expected));
    for (size_t n = 0; n <= 3; n++) {
        struct leaf all = merged_all(parts, n);
        assert_true(same(&all, &expected));
    }
}

static void merging_is_commutative_bit_for_bit(void **state)
{
    (void)state;
    struct random r = random_start(2);
    for (size_t trial = 0; trial < 20000; trial++) {
        struct leaf a = drawn(&r, sizes[trial % SIZES]), b = drawn(&r, sizes[trial / 7 % SIZES]);
        if (trial % 5 == 0)
            b.s = a.s;
        if (trial % 11 == 0)
            a.s = -FLT_MAX;
        struct leaf ab = merged(a, b), ba = merged(b, a);
        assert_true(same(&ab, &ba));
    }
}

static void merging_is_associative_within_the_bound(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (size_t trial = 0; trial < 5000; trial++) {
        struct leaf x[3];
        for (size_t i = 0; i < 3; i++)
            x[i] = drawn(&r, sizes[trial % SIZES]);
        struct leaf left = merged(merged(x[0], x[1]), x[2]),
                    right = merged(x[0], merged(x[1], x[2]));
        hold(&left, x, 3, 2);
        hold(&right, x, 3, 2);
    }
}

/* Random leaves, some empty; two random ones merge until one is left: every tree and every order
 * has a chance. Chains (the deepest trees) to the left and in descending order besides. */
static void any_tree_in_any_order(void **state)
{
    (void)state;
    struct random r = random_start(4);
    for (size_t trial = 0; trial < 1500; trial++) {
        struct leaf leaves[MOST], live[2 * MOST], chain = empty();
        size_t n = 1 + random_below(&r, MOST), count = n;
        for (size_t i = 0; i < n; i++) {
            live[i] = leaves[i] = drawn(&r, sizes[trial % SIZES]);
            chain = trial % 2 ? merged(chain, leaves[i]) : merged(leaves[i], chain);
        }
        for (size_t i = random_below(&r, 4); i > 0; i--)
            live[count++] = empty();
        while (count > 1) {
            size_t i = random_below(&r, count);
            struct leaf a = live[i];
            live[i] = live[--count];
            size_t j = random_below(&r, count);
            live[j] = merged(a, live[j]);
        }
        hold(&live[0], leaves, n, 2);
        hold(&chain, leaves, n, 2);
    }
}

/* A random split into groups, each merged in one step, and the groups in one step again. */
static void any_split_in_one_step(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (size_t trial = 0; trial < 1500; trial++) {
        struct leaf leaves[MOST], groups[MOST];
        size_t n = 1 + random_below(&r, MOST), count = 0;
        for (size_t i = 0; i < n; i++)
            leaves[i] = drawn(&r, sizes[trial % SIZES]);
        for (size_t i = 0, part; i < n; i += part) {
            part = random_below(&r, n - i + 1); /* 0 makes an empty group */
            if (count == MOST - 1)
                part = n - i;
            groups[count++] = merged_all(leaves + i, part);
        }
        struct leaf once = merged_all(leaves, n), twice = merged_all(groups, count);
        hold(&once, leaves, n, n);
        hold(&twice, leaves, n, n);
    }
}

/* Whole numbers as scores: s - m has no rounding error, so v keeps full precision at any height. */
static void high_scores_cost_the_values_nothing(void **state)
{
    (void)state;
    static const float heights[] = {0, 1e4f, -1e4f, 1e6f, -1e6f, 8388600};
    for (size_t i = 0; i < sizeof heights / sizeof *heights; i++)
        for (int apart = 0; apart < 100; apart++) {
            struct leaf a = {heights[i], {1, -2, 3, 0, 1e-3f}, 0};
            struct leaf b = {heights[i] - (float)apart, {2, 1, -3, 1, 7}, 0};
            struct leaf c = merged(a, b);
            for (size_t j = 0; j < D; j++) {
                double wa = 1 / (1 + exp(-apart)), wb = exp(-apart) / (1 + exp(-apart));
                double exact = wa * a.v[j] + wb * b.v[j];
                double size = wa * fabs((double)a.v[j]) + wb * fabs((double)b.v[j]);
                assert_true(fabs(c.v[j] - exact) <= 7 * 0x1p-24 * size + 0x1p-145);
            }
        }
}

/* What other engines use for "nothing" is a score like any other here. */
static void finite_stand_ins_are_numbers(void **state)
{
    (void)state;
    static const float low[] = {-1e30f, -FLT_MAX, -1e4f, -3e38f};
    for (size_t i = 0; i < sizeof low / sizeof *low; i++) {
        struct leaf a = {low[i], {1, 2, 3, 4, 5}, 0}, b = {low[i], {3, 2, 1, 0, -5}, 0};
        struct leaf high = {12, {-7, 0.5f, 9, 0, 1}, 0}, mean = merged(a, b);
        struct leaf parts[2] = {a, b}, all = merged_all(parts, 2);
        for (size_t j = 0; j < D; j++) {
            assert_true(mean.v[j] == (a.v[j] + b.v[j]) / 2);
            assert_true(all.v[j] == mean.v[j]);
        }
        assert_true(mean.s == low[i] + (float)log(2) && all.s == mean.s);
        struct leaf over = merged(high, mean), top = {FLT_MAX, {1, 1, 1, 1, 1}, 0};
        assert_true(same(&over, &high));
        over = merged(a, top); /* s - m overflows to -inf */
        assert_true(same(&over, &top));
    }
}

/* +inf is no empty state: with the empty one it stays, with any other it becomes a visible NaN. */
static void plus_infinity_is_not_empty(void **state)
{
    (void)state;
    struct leaf high = {INFINITY, {1, 2, 3, 4, 5}, 0}, low = {3, {5, 4, 3, 2, 1}, 0};
    struct leaf pairs[2][2] = {{high, low}, {low, high}};
    for (size_t i = 0; i < 2; i++) {
        struct leaf out[2] = {merged(pairs[i][0], pairs[i][1]), merged_all(pairs[i], 2)};
        for (size_t k = 0; k < 2; k++) {
            assert_true(isnan(out[k].s));
            for (size_t j = 0; j < D; j++)
                assert_true(isnan(out[k].v[j]));
        }
    }
}

/* Arrays of COUNT states, as the API takes them. */
enum { COUNT = 7 };
struct many {
    float s[COUNT];
    float v[COUNT][D];
};

static trib_states view_many(struct many *many)
{
    return (trib_states){many->s, many->v[0], COUNT, D};
}

static struct many drawn_many(struct random *r)
{
    struct many out;
    random_fill(r, out.s, COUNT, 8);
    random_fill(r, out.v[0], COUNT * D, 8);
    out.s[2] = -INFINITY;
    memset(out.v[2], 0, sizeof out.v[2]);
    return out;
}

/* A NaN in s takes its state, a NaN in v its column of it; every other bit is as without it. */
static void nan_stays_in_its_own_state(void **state)
{
    (void)state;
    struct random r = random_start(6);
    for (size_t trial = 0; trial < 400; trial++) {
        struct many a = drawn_many(&r), b = drawn_many(&r), clean, out;
        trib_states into = view_many(&clean), parts[2] = {view_many(&a), view_many(&b)};
        bool all = trial & 1, in_s = trial & 2, left = trial & 4;
        size_t i = random_below(&r, COUNT), j = random_below(&r, D);
        b.s[2] = 1;
        assert_int_equal(all ? trib_state_merge_all(&into, parts, 2, NULL)
                             : trib_state_merge(&into, parts, parts + 1, NULL),
                         TRIB_OK);
        if (i == 2)
            left = false; /* the left one is empty: its v is zero */
        *(in_s ? (left ? a.s : b.s) + i : (left ? a.v : b.v)[i] + j) = NAN;
        into = view_many(&out);
        assert_int_equal(all ? trib_state_merge_all(&into, parts, 2, NULL)
                             : trib_state_merge(&into, parts, parts + 1, NULL),
                         TRIB_OK);
        for (size_t k = 0; k < COUNT; k++) {
            bool s_hit = k == i && in_s;
            assert_true(s_hit ? isnan(out.s[k]) : float_bits(out.s[k]) == float_bits(clean.s[k]));
            for (size_t d = 0; d < D; d++) {
                bool hit = k == i && (in_s ? k != 2 : d == j);
                if (k == 2 && in_s)
                    continue; /* merged with the empty state: v comes through as it is */
                assert_true(hit ? isnan(out.v[k][d])
                                : float_bits(out.v[k][d]) == float_bits(clean.v[k][d]));
            }
        }
    }
}

/* The output may be an operand: the bits are those of an output of its own. */
static void output_may_be_an_operand(void **state)
{
    (void)state;
    struct random r = random_start(7);
    struct many first[3] = {drawn_many(&r), drawn_many(&r), drawn_many(&r)}, x[3], expected;
    trib_states into = view_many(&expected), in[3];
    first[1].s[3] = first[0].s[4] = first[1].s[4] = -INFINITY;
    memset(first[1].v[3], 0, sizeof first[1].v[3]);
    memset(first[0].v[4], 0, sizeof first[0].v[4]);
    memset(first[1].v[4], 0, sizeof first[1].v[4]);
    for (size_t i = 0; i < 3; i++)
        in[i] = view_many(&x[i]);

    for (size_t target = 0; target < 2; target++) {
        memcpy(x, first, sizeof x);
        assert_int_equal(trib_state_merge(&into, in, in + 1, NULL), TRIB_OK);
        assert_int_equal(trib_state_merge(in + target, in, in + 1, NULL), TRIB_OK);
        assert_memory_equal(&x[target], &expected, sizeof expected);
    }
    for (size_t target = 0; target < 3; target++) {
        memcpy(x, first, sizeof x);
        assert_int_equal(trib_state_merge_all(&into, in, 3, NULL), TRIB_OK);
        assert_int_equal(trib_state_merge_all(in + target, in, 3, NULL), TRIB_OK);
        assert_memory_equal(&x[target], &expected, sizeof expected);
    }
    memcpy(x, first, sizeof x); /* a state with itself: the same values, twice the weight */
    assert_int_equal(trib_state_merge(in, in, in, NULL), TRIB_OK);
    for (size_t i = 0; i < COUNT; i++)
        for (size_t d = 0; d < D; d++)
            assert_true(x[0].v[i][d] == first[0].v[i][d]);
}

/* A sink is a merge with a state that has a score and no value; that of an empty state is the sink
 * alone, and a sink of -inf changes no bit. */
static void a_sink_is_a_state_without_value(void **state)
{
    (void)state;
    struct random r = random_start(9);
    for (size_t trial = 0; trial < 3000; trial++) {
        struct leaf leaves[2] = {drawn(&r, sizes[trial % SIZES])}, got, before;
        leaves[1].s = random_between(&r, -sizes[trial / 7 % SIZES], 50);
        if (trial % 5 == 0)
            leaves[0] = empty();
        got = before = leaves[0];
        trib_states states = view(&got);
        float none = -INFINITY;
        assert_int_equal(trib_state_sink(&states, &none, 1, NULL), TRIB_OK);
        assert_true(same(&got, &before));
        assert_int_equal(trib_state_sink(&states, &leaves[1].s, 1, NULL), TRIB_OK);
        got.depth = 1;
        if (trial % 5 == 0)
            assert_true(same(&got, &leaves[1]));
        else
            hold(&got, leaves, 2, 2);
    }
}

/* State i takes sink i mod heads; a NaN or +inf shows in the states of its head alone. */
static void sinks_go_by_head(void **state)
{
    (void)state;
    struct random r = random_start(10);
    for (size_t heads = 1; heads <= 6; heads++)
        for (size_t bad = 0; bad < 2 * heads; bad++) {
            struct many x = drawn_many(&r), one = x, got = x;
            float sink[6];
            trib_states states = {got.s, got.v[0], 6 / heads * heads, D};
            random_fill(&r, sink, heads, 4);
            sink[bad / 2] = bad & 1 ? NAN : INFINITY;
            assert_int_equal(trib_state_sink(&states, sink, heads, NULL), TRIB_OK);
            for (size_t i = 0; i < COUNT; i++) {
                trib_states single = {one.s + i, one.v[i], 1, D};
                if (i < states.count)
                    assert_int_equal(trib_state_sink(&single, sink + i % heads, 1, NULL), TRIB_OK);
                if (i < states.count && i % heads == bad / 2) {
                    assert_true(isnan(got.s[i]) && isnan(got.v[i][0]) && isnan(got.v[i][D - 1]));
                    continue;
                }
                assert_int_equal(float_bits(got.s[i]), float_bits(one.s[i]));
                assert_memory_equal(got.v[i], one.v[i], sizeof one.v[i]);
            }
        }
}

/* The values with any stride; what lies between stays. */
static void finishing_copies_with_a_stride(void **state)
{
    (void)state;
    struct random r = random_start(11);
    struct many x = drawn_many(&r);
    trib_states states = view_many(&x);
    for (size_t stride = D; stride < D + 4; stride++) {
        float y[COUNT * (D + 4)];
        memset(y, 0x55, sizeof y);
        assert_int_equal(trib_state_finish(&states, y, stride, NULL), TRIB_OK);
        for (size_t at = 0; at < COUNT * (D + 4); at++) {
            bool inside = at / stride < COUNT && at % stride < D;
            uint32_t expected = inside ? float_bits(x.v[at / stride][at % stride]) : 0x55555555;
            assert_int_equal(float_bits(y[at]), expected);
        }
    }
}

static void refused(trib_status status, const trib_error *error, const struct many *out)
{
    static const struct many untouched;
    assert_int_equal(status, TRIB_INVALID);
    assert_int_equal(error->status, TRIB_INVALID);
    assert_true(strlen(error->message) > 10 && !strchr(error->message, '\n'));
    assert_memory_equal(out, &untouched, sizeof untouched);
}

/* Every pointer NULL in turn, every shape different in turn, in every place; nothing is written. */
static void bad_arguments_are_refused(void **state)
{
    (void)state;
    struct random r = random_start(8);
    struct many a = drawn_many(&r), b = drawn_many(&r), out;
    memset(&out, 0, sizeof out);
    for (size_t place = 0; place < 3; place++)
        for (size_t fault = 0; fault < 6; fault++) {
            trib_states t[3] = {view_many(&out), view_many(&a), view_many(&b)}, *given[3];
            trib_error error = {TRIB_OK, ""};
            for (size_t i = 0; i < 3; i++)
                given[i] = i == place && fault == 0 ? NULL : &t[i];
            if (fault == 1)
                t[place].s = NULL;
            if (fault == 2)
                t[place].v = NULL;
            if (fault == 3)
                t[place].count--;
            if (fault == 4)
                t[place].head_dim--;
            if (fault == 5)
                t[0].head_dim = t[1].head_dim = t[2].head_dim = 0;
            refused(trib_state_merge(given[0], given[1], given[2], &error), &error, &out);
            assert_int_equal(trib_state_merge(given[0], given[1], given[2], NULL), TRIB_INVALID);
            error = (trib_error){TRIB_OK, ""};
            const trib_states *parts = place && fault == 0 ? NULL : t + 1;
            refused(trib_state_merge_all(given[0], parts, 2, &error), &error, &out);
        }
    trib_error error = {TRIB_OK, ""};
    float y[COUNT * D] = {0}, sink[COUNT] = {0};
    trib_states whole = view_many(&out), no_s = {NULL, out.v[0], COUNT, D};
    trib_states no_v = {out.s, NULL, COUNT, D};
    const trib_states *wrong[] = {NULL, &no_s, &no_v};
    for (size_t i = 0; i < 3; i++) {
        refused(trib_state_sink(wrong[i], sink, 1, &error), &error, &out);
        refused(trib_state_finish(wrong[i], y, D, &error), &error, &out);
    }
    refused(trib_state_sink(&whole, NULL, 1, &error), &error, &out);
    refused(trib_state_sink(&whole, sink, 0, &error), &error, &out);
    refused(trib_state_sink(&whole, sink, 2, &error), &error, &out);
    refused(trib_state_finish(&whole, NULL, D, &error), &error, &out);
    refused(trib_state_finish(&whole, y, D - 1, &error), &error, &out);
    trib_states none = {out.s, out.v[0], COUNT, 0};
    refused(trib_state_merge_all(NULL, NULL, 0, &error), &error, &out);
    refused(trib_state_merge_all(&none, NULL, 0, &error), &error, &out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_is_the_identity),
        cmocka_unit_test(empty_with_empty_is_empty),
        cmocka_unit_test(merging_is_commutative_bit_for_bit),
        cmocka_unit_test(merging_is_associative_within_the_bound),
        cmocka_unit_test(any_tree_in_any_order),
        cmocka_unit_test(any_split_in_one_step),
        cmocka_unit_test(high_scores_cost_the_values_nothing),
        cmocka_unit_test(finite_stand_ins_are_numbers),
        cmocka_unit_test(plus_infinity_is_not_empty),
        cmocka_unit_test(nan_stays_in_its_own_state),
        cmocka_unit_test(output_may_be_an_operand),
        cmocka_unit_test(a_sink_is_a_state_without_value),
        cmocka_unit_test(sinks_go_by_head),
        cmocka_unit_test(finishing_copies_with_a_stride),
        cmocka_unit_test(bad_arguments_are_refused),
    };
    random_seed();
    return cmocka_run_group_tests_name("states", tests, NULL, NULL);
}
