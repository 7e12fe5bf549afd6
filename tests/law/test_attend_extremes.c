/* Attention where naive code breaks: rows that see nothing, NaN, infinities, extreme scores. */
#include <float.h>

#include "attend_case.h"

static void fill(float *x, size_t n, float value)
{
    for (size_t i = 0; i < n; i++)
        x[i] = value;
}

static void assert_empty(const struct result *out, size_t row)
{
    assert_true(out->s[row] == -INFINITY);
    for (size_t d = 0; d < out->D; d++)
        assert_int_equal(float_bits(out->v[row * out->D + d]), 0);
}

static bool row_sees_nothing(const struct attend_case *c, size_t row)
{
    for (size_t i = 0; i < c->S; i++)
        if (case_sees(c, row / c->H, i))
            return false;
    return true;
}

/* Masks that leave every row, or some rows, with nothing: s = -inf, v = +0, and garbage in the keys
 * and values is not looked at. */
static void rows_that_see_nothing_are_empty(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (size_t i = 0; i < 64; i++) {
        struct attend_case c = {.T = 1 + i % 30,
                                .S = i % 8 ? 40 + random_below(&r, 600) : 0,
                                .H = 4,
                                .G = 2,
                                .D = 32,
                                .type = case_types[i % 4],
                                .mask = (unsigned)i,
                                .key_first = 64 * random_below(&r, 9)};
        c.query_first = c.key_first / 2 + random_below(&r, c.S + 600);
        case_draw(&c, &r);
        trib_mask *m = &c.attention.mask;
        if (m->window && random_below(&r, 2))
            m->window = 1; /* itself, or nothing behind the last key */
        for (size_t j = 0; j < c.S; j++) {
            bool seen = false;
            for (size_t t = 0; t < c.T; t++)
                seen = seen || case_sees(&c, t, j);
            for (size_t d = 0; d < c.G * c.D && !seen; d++)
                c.k[j * c.G * c.D + d] = c.v[j * c.G * c.D + d] = NAN;
        }
        struct stored stored;
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1 + (int)i % 5, &out);
            for (size_t row = 0; row < out.count; row++) {
                if (row_sees_nothing(&c, row))
                    assert_empty(&out, row);
                else
                    assert_true(isfinite(out.s[row]));
            }
            result_free(&out);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* Any state at all, absorbing what it does not see: the bits stay. */
static void absorbing_nothing_changes_no_bit(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const float special[] = {0.0f, -0.0f, NAN, INFINITY, -1e30f, 1e4f, 0x1p-149f, 0.1f};
    for (size_t i = 0; i < 24; i++) {
        struct attend_case c = {.T = 1 + i % 7 * 5,
                                .S = i % 5 ? 1300 : 0,
                                .H = 4,
                                .G = 2,
                                .D = 32,
                                .type = case_types[i % 4],
                                .mask = i % 3 ? SEE_CAUSAL : SEE_BITS,
                                .key_first = 64};
        c.query_first = random_below(&r, 70); /* some see nothing, some a few keys */
        case_draw(&c, &r);
        struct stored stored;
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result before = result_new(&c), after = result_new(&c);
            for (size_t row = 0; row < before.count; row++) {
                float *s = before.s + row, *v = before.v + row * c.D;
                *s = random_below(&r, 3) ? random_between(&r, -9, 9) : special[random_below(&r, 8)];
                for (size_t d = 0; d < c.D; d++)
                    v[d] =
                        random_below(&r, 3) ? random_any_float(&r) : special[random_below(&r, 8)];
                if (random_below(&r, 4) == 0) {
                    *s = -INFINITY;
                    fill(v, c.D, 0);
                }
            }
            result_copy(&after, &before);
            case_absorb(&c, k, &stored.segment, 1 + (int)i % 3, &after);
            for (size_t row = 0; row < before.count; row++)
                if (row_sees_nothing(&c, row) &&
                    (memcmp(after.s + row, before.s + row, sizeof(float)) != 0 ||
                     memcmp(after.v + row * c.D, before.v + row * c.D, c.D * sizeof(float)) != 0))
                    fail_msg("%s: %s: row %zu: s %.9g became %.9g", k->name, case_name(&c), row,
                             (double)before.s[row], (double)after.s[row]);
            result_free(&before);
            result_free(&after);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* Holds all rows of all tables to the definition. */
static void hold_all(const struct attend_case *c, struct random *r)
{
    struct expected *expected = calloc(c->T * c->H, sizeof *expected);
    struct stored stored;
    assert_non_null(expected);
    for (size_t row = 0; row < c->T * c->H; row++)
        case_expect(c, row / c->H, row % c->H, expected + row);
    store(&stored, c, r, (enum layout)random_below(r, LAYOUTS));
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct result out = result_new(c);
        case_attend(c, k, &stored.segment, 0, c->T, 1 + (int)random_below(r, 3), &out);
        for (size_t row = 0; row < out.count; row++) {
            case_hold(c, k, expected + row, &out, 0);
            if (expected[row].s == -(double)INFINITY)
                assert_empty(&out, row);
        }
        result_free(&out);
    }
    store_free(&stored);
    free(expected);
}

/* Every score of the first `dead` keys is -inf, by the key or by the bias, which is as good as
 * masked: with all keys dead the rows are empty; else the rest counts, be it in a later chunk or in
 * a later span. */
static void scores_of_minus_infinity_are_not_in_the_set(void **state)
{
    (void)state;
    struct random r = random_start(3);
    static const size_t deads[] = {1, 63, 64, 65, 512, 599, 600};
    for (size_t i = 0; i < 6 * sizeof deads / sizeof *deads; i++) {
        size_t dead = deads[i / 6];
        bool by_bias = i % 6 > 2;
        struct attend_case c = {.T = 3, .S = 600, .H = 4, .G = 2, .D = 16, .mask = SEE_WINDOW};
        c.type = case_types[i % 3];
        c.query_first = 200;
        case_draw(&c, &r);
        c.attention.mask.window = i & 1 ? 0 : 150;
        c.attention.scale = 0.25f;
        float bias[600] = {0};
        for (size_t row = 0; row < c.T * c.H; row++)
            case_set_query(&c, row / c.H, row % c.H, 0, 1 + (float)(row % 3));
        for (size_t at = 0; at < dead * c.G && !by_bias; at++)
            case_set_key(&c, at / c.G, at % c.G, 0, -INFINITY);
        fill(bias, by_bias ? dead : 0, -INFINITY);
        if (by_bias) {
            c.attention.bias = bias;
            c.bias = malloc(c.H * c.T * c.S * sizeof *c.bias);
            assert_non_null(c.bias);
            for (size_t at = 0; at < c.H * c.T; at++)
                memcpy(c.bias + at * c.S, bias, sizeof bias);
        }
        hold_all(&c, &r);
        free(by_bias ? c.bias : NULL);
        case_free(&c);
    }
}

/* Which element is NaN, in what, and what it takes with it. */
enum where { IN_QUERY, IN_KEY, IN_VALUE };
struct hit {
    enum where where;
    size_t t, h;    /* of a query */
    size_t i, g, d; /* of a key or value */
};

static bool is_hit(const struct attend_case *c, const struct hit *hit, size_t row, size_t d)
{
    size_t t = row / c->H, h = row % c->H, block = c->type == TRIB_KV_Q8_0 ? 32 : 1;
    if (hit->where == IN_QUERY)
        return t == hit->t && h == hit->h;
    bool hidden = c->bias && c->bias[(h * c->T + t) * c->S + hit->i] == -INFINITY;
    bool sees = h / (c->H / c->G) == hit->g && case_sees(c, t, hit->i) && !hidden;
    return sees && (hit->where == IN_KEY || (d < c->D && d / block == hit->d / block));
}

/* A NaN in a query takes its row; in a key, the rows that see it; in a value, its column (of Q8_0:
 * its block's) of the rows that see it. Every other bit is as without it. d = D stands for s. */
static void nan_shows_exactly_where_it_is_seen(void **state)
{
    (void)state;
    struct random r = random_start(4);
    static const unsigned masks[] = {SEE_CAUSAL, SEE_CAUSAL | SEE_BITS, SEE_WINDOW | SEE_CAUSAL, 0};
    static const unsigned scores[] = {0, 0, SCORE_ALIBI, SCORE_SOFTCAP, SCORE_BIAS, SCORE_ADDITIVE};
    for (size_t trial = 0; trial < 72; trial++) {
        struct attend_case c = {.T = trial % 2 ? 2 : 15,
                                .S = 600,
                                .H = 4,
                                .G = 2,
                                .D = 32,
                                .type = case_types[trial / 3 % 4],
                                .mask = masks[random_below(&r, 4)],
                                .score = scores[random_below(&r, 6)]};
        c.query_first = c.S - c.T - 5;
        case_draw(&c, &r);
        struct hit hit = {(enum where)(trial % 3),
                          random_below(&r, c.T),
                          random_below(&r, c.H),
                          random_below(&r, 2) ? c.S - 1 - random_below(&r, 30)
                                              : random_below(&r, c.S),
                          random_below(&r, c.G),
                          random_below(&r, c.D)};
        struct stored clean, spoilt;
        enum layout layout = (enum layout)random_below(&r, LAYOUTS);
        struct result before[8];
        store(&clean, &c, &r, layout);
        size_t table = 0;
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            before[table] = result_new(&c);
            case_attend(&c, k, &clean.segment, 0, c.T, 1, &before[table++]);
        }
        if (hit.where == IN_QUERY)
            case_set_query(&c, hit.t, hit.h, hit.d, NAN);
        else if (hit.where == IN_KEY)
            case_set_key(&c, hit.i, hit.g, hit.d, NAN);
        else
            case_set_value(&c, hit.i, hit.g, hit.d, NAN);
        store(&spoilt, &c, &r, layout);
        table = 0;
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            const struct result *was = &before[table++];
            struct result out = result_new(&c);
            case_attend(&c, k, &spoilt.segment, 0, c.T, 1 + (int)trial % 4, &out);
            for (size_t at = 0; at < out.count * (c.D + 1); at++) {
                size_t row = at / (c.D + 1), d = at % (c.D + 1);
                float got = d < c.D ? out.v[row * c.D + d] : out.s[row];
                float old = d < c.D ? was->v[row * c.D + d] : was->s[row];
                if (is_hit(&c, &hit, row, d) ? !isnan(got) : float_bits(got) != float_bits(old))
                    fail_msg(
                        "%s: %s: NaN in %d t %zu h %zu i %zu g %zu d %zu: row %zu [%zu] is %g, "
                        "was %g",
                        k->name, case_name(&c), (int)hit.where, hit.t, hit.h, hit.i, hit.g, hit.d,
                        row, d, (double)got, (double)old);
            }
            result_free(was);
            result_free(&out);
        }
        store_free(&clean);
        store_free(&spoilt);
        case_free(&c);
    }
}

/* Infinities in queries, keys and values give what the definition gives: infinite values where
 * weights are positive, NaN for a score of +inf and for both signs in one column. */
static void infinities_do_as_the_definition_does(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (size_t trial = 0; trial < 24; trial++) {
        struct attend_case c = {.T = 12, .S = 530, .H = 4, .G = 2, .D = 16, .mask = SEE_CAUSAL};
        c.type = case_types[trial % 3];
        c.query_first = 518;
        case_draw(&c, &r);
        for (size_t n = random_below(&r, 4); n > 0; n--)
            case_set_value(&c, random_below(&r, c.S), n % c.G, random_below(&r, c.D),
                           n & 1 ? INFINITY : -INFINITY);
        if (trial & 1)
            case_set_query(&c, random_below(&r, c.T), random_below(&r, c.H), 3, INFINITY);
        if (trial & 2) /* among the last: some rows see it, some do not */
            case_set_key(&c, c.S - 1 - random_below(&r, 20), trial / 4 % 2, 5, INFINITY);
        hold_all(&c, &r);
        case_free(&c);
    }
}

/* Equal scores of any height give the mean of the values with full precision, and s their height
 * and log S. q_0 is 1 and the scores are k_0; log2(e) k_0 must be a number too. */
static void equal_scores_give_the_mean_at_any_height(void **state)
{
    (void)state;
    struct random r = random_start(6);
    static const float heights[] = {0, 1e4f, -1e4f, 1e6f, -1e6f, 1e30f, -1e30f, 2e38f, -2e38f};
    for (size_t i = 0; i < sizeof heights / sizeof *heights; i++) {
        struct attend_case c = {.T = 3, .S = 700, .H = 2, .G = 1, .D = 16, .query_first = 700};
        struct stored stored;
        case_draw(&c, &r);
        c.attention.scale = 1;
        fill(c.k, c.S * c.D, 0);
        for (size_t at = 0; at < c.T * c.H * c.D; at++)
            case_set_query(&c, at / c.D / c.H, at / c.D % c.H, at % c.D, at % c.D == 0);
        for (size_t j = 0; j < c.S; j++)
            case_set_key(&c, j, 0, 0, heights[i]);
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1 + (int)i % 3, &out);
            for (size_t at = 0; at < out.count * c.D; at++) {
                double sum = 0, size = 0, u = 0x1p-24;
                for (size_t j = 0; j < c.S; j++) {
                    sum += (double)c.v[j * c.D + at % c.D];
                    size += fabs((double)c.v[j * c.D + at % c.D]);
                }
                double s = (double)heights[i] + log((double)c.S);
                assert_true(fabs(out.v[at] - sum / 700) <= 2 * (512 + 5) * u * size / 700);
                assert_true(fabs(out.s[at / c.D] - s) <= (6 * fabs(s) + 530) * u);
            }
            result_free(&out);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* One key far above all others, at every place that is special: v is its value. */
static void one_key_far_above_takes_all(void **state)
{
    (void)state;
    struct random r = random_start(7);
    static const size_t places[] = {0, 1, 63, 64, 511, 512, 600, 699};
    static const float heights[] = {1e4f, 1e30f, 2e38f};
    for (size_t i = 0; i < 3 * sizeof places / sizeof *places; i++) {
        struct attend_case c = {.T = 2, .S = 700, .H = 1, .G = 1, .D = 8, .query_first = 699};
        size_t place = places[i / 3];
        struct stored stored;
        case_draw(&c, &r);
        c.attention.scale = 1;
        fill(c.k, c.S * c.D, 0);
        for (size_t at = 0; at < c.T * c.D; at++)
            case_set_query(&c, at / c.D, 0, at % c.D, at % c.D == 0);
        for (size_t j = 0; j < c.S; j++)
            case_set_key(&c, j, 0, 0, j == place ? heights[i % 3] : -heights[i % 3]);
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1 + (int)i % 3, &out);
            for (size_t t = 0; t < c.T; t++) {
                assert_true(fabsf(out.s[t] / heights[i % 3] - 1) <= 5 * 0x1p-24f);
                assert_memory_equal(out.v + t * c.D, c.v + place * c.D, c.D * sizeof(float));
            }
            result_free(&out);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* A weight that underflows is still a weight: a NaN or an infinity in the value of a key far below
 * the others shows, in both forms of the definition and in every table. */
static void values_of_no_weight_stay_visible(void **state)
{
    (void)state;
    struct random r = random_start(8);
    for (size_t i = 0; i < 16; i++) {
        struct attend_case c = {.T = 1, .S = 130, .H = 1, .G = 1, .D = 8, .query_first = 129};
        size_t low = i & 1 ? 129 : 3;
        double y[8], s, scores[130];
        c.type = case_types[i / 4 % 3];
        c.mask = i & 8 ? SEE_CAUSAL : 0;
        case_draw(&c, &r);
        c.attention.scale = 1;
        for (size_t d = 0; d < c.D; d++) {
            case_set_query(&c, 0, 0, d, 1);
            case_set_key(&c, low, 0, d, -9984);
        }
        case_set_value(&c, low, 0, 5, i & 2 ? NAN : INFINITY);
        struct definition definition = case_definition(&c);
        definition_timestep(&definition, 0, 0, y);
        assert_true(isnan(y[5]) && !isnan(y[4]));
        definition_matrix(&definition, scores, y, &s);
        assert_true(isnan(y[5]) && !isnan(y[4]));
        hold_all(&c, &r);
        case_free(&c);
    }
}

/* The same of Q8_0, whose scale alone can be infinite or NaN: it takes its block along. */
static void scales_of_no_weight_stay_visible(void **state)
{
    (void)state;
    enum { S = 70, D = 32, ROW = 34, LOW = 3 };
    static unsigned char k[S * ROW], v[S * ROW];
    for (size_t i = 0; i < S; i++)
        for (size_t d = 0; d < ROW; d++) { /* scales are 1, which is 0x3c00 */
            k[i * ROW + d] = d == 0 ? 0 : d == 1 ? 0x3c : i == LOW ? 0x81 : 1;
            v[i * ROW + d] = d == 0 ? 0 : d == 1 ? 0x3c : (unsigned char)d;
        }
    float q[D], s, y[D];
    fill(q, D, 100);
    trib_attention a = {.heads = 1, .kv_heads = 1, .head_dim = D, .scale = 1, .threads = 1};
    trib_queries queries = {q, 1, D, S};
    trib_segment segment = {
        .type = TRIB_KV_Q8_0, .length = S, .k = k, .v = v, .key_stride = ROW, .head_stride = ROW};
    for (const struct kernels *t = tables_first(); t; t = tables_after(t))
        for (size_t i = 0; i < 4; i++) {
            static const unsigned char highs[] = {0x3c, 0x7c, 0x7e, 0xfc}; /* 1, inf, NaN, -inf */
            trib_states states = {&s, y, 1, D};
            size_t bytes = trib_attend_workspace(t, &a, 1, S);
            void *workspace = guard_new((bytes + 63) / 64 * 64);
            v[LOW * ROW + 1] = highs[i];
            assert_int_equal(
                trib_attend(t, &a, &queries, &segment, &states, workspace, bytes, NULL), TRIB_OK);
            guard_free(workspace, (bytes + 63) / 64 * 64);
            for (size_t d = 0; d < D; d++)
                if (isnan(y[d]) != (i > 0))
                    fail_msg("%s: scale %zu: v[%zu] = %g", t->name, i, d, (double)y[d]);
        }
}

/* An output whose every term underflows from below is a zero; whether a neighbour's chunk was
 * computed for the row or skipped must not show in its sign. Query 0 sees chunk 0, query 1 a key of
 * chunk 1. */
static void zeros_have_no_sign(void **state)
{
    (void)state;
    struct random r = random_start(9);
    struct attend_case c = {.T = 2, .S = 65, .H = 1, .G = 1, .D = 8, .mask = SEE_CAUSAL};
    struct stored stored;
    c.query_first = 63;
    case_draw(&c, &r);
    c.attention.scale = 1;
    for (size_t d = 0; d < c.D; d++) {
        case_set_query(&c, 0, 0, d, 1);
        case_set_query(&c, 1, 0, d, 1);
        for (size_t i = 0; i < c.S; i++) {
            case_set_key(&c, i, 0, d, i == 0 ? 0 : -10);
            case_set_value(&c, i, 0, d, i == 0 ? 0 : i == 64 ? 1 : -1e-38f);
        }
    }
    store(&stored, &c, &r, ROWS_DENSE);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct result both = result_new(&c), alone = result_new(&c);
        case_attend(&c, k, &stored.segment, 0, 2, 1, &both);
        case_attend(&c, k, &stored.segment, 0, 1, 1, &alone);
        case_attend(&c, k, &stored.segment, 1, 2, 1, &alone);
        assert_same(&c, k, &both, &alone, "a zero");
        for (size_t d = 0; d < c.D; d++)
            assert_int_equal(float_bits(both.v[d]), 0);
        result_free(&both);
        result_free(&alone);
    }
    store_free(&stored);
    case_free(&c);
}

/* Real scores of a great height: the general bound, which grows with them; no NaN, no infinity. */
static void large_random_scores_stay_within_the_bound(void **state)
{
    (void)state;
    struct random r = random_start(10);
    static const float sizes[] = {10, 100, 1000, 1e9f};
    for (size_t i = 0; i < 4 * sizeof sizes / sizeof *sizes; i++) {
        struct attend_case c = {.T = 5, .S = 650, .H = 2, .G = 1, .D = 16, .mask = SEE_CAUSAL};
        c.type = i / 4 ? TRIB_KV_F32 : case_types[i % 4 & 1];
        c.size = sizes[i / 4];
        c.score = i & 2 ? SCORE_ALIBI : 0;
        c.query_first = 640;
        case_draw(&c, &r);
        c.attention.scale = 0.25f;
        hold_all(&c, &r);
        struct stored stored;
        store(&stored, &c, &r, PAGES_48);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1, &out);
            for (size_t at = 0; at < out.count * c.D; at++) /* a mean of values of up to 2 */
                assert_true(fabsf(out.v[at]) <= 2.001f && isfinite(out.s[at / c.D]));
            result_free(&out);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* One weight of 1 and one far smaller than float32 can add to it still count apart where the values
 * are: ten orders of magnitude between the weights, twenty between the values. */
static void small_weights_of_large_values_count(void **state)
{
    (void)state;
    struct random r = random_start(11);
    for (size_t i = 0; i < 8; i++) {
        struct attend_case c = {.T = 1, .S = 600, .H = 1, .G = 1, .D = 1, .query_first = 599};
        size_t great = i * 85;
        case_draw(&c, &r);
        case_set_query(&c, 0, 0, 0, 1);
        c.attention.scale = 1;
        for (size_t j = 0; j < c.S; j++) {
            case_set_key(&c, j, 0, 0, j == great ? -23 : 0);
            case_set_value(&c, j, 0, 0, j == great ? 1e20f : 1);
        }
        hold_all(&c, &r);
        case_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_that_see_nothing_are_empty),
        cmocka_unit_test(absorbing_nothing_changes_no_bit),
        cmocka_unit_test(scores_of_minus_infinity_are_not_in_the_set),
        cmocka_unit_test(nan_shows_exactly_where_it_is_seen),
        cmocka_unit_test(infinities_do_as_the_definition_does),
        cmocka_unit_test(equal_scores_give_the_mean_at_any_height),
        cmocka_unit_test(one_key_far_above_takes_all),
        cmocka_unit_test(values_of_no_weight_stay_visible),
        cmocka_unit_test(scales_of_no_weight_stay_visible),
        cmocka_unit_test(zeros_have_no_sign),
        cmocka_unit_test(large_random_scores_stay_within_the_bound),
        cmocka_unit_test(small_weights_of_large_values_count),
    };
    random_seed();
    return cmocka_run_group_tests_name("attend extremes", tests, NULL, NULL);
}
