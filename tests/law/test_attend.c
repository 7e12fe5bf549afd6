/* trib_attend of every kernel table against the definition: types, layouts, scores, masks and
 * shapes in all pairs, the rest of each case drawn. The bound is derived in attend_case.h. */
#include "attend_case.h"

static const size_t heads[][2] = {{1, 1}, {4, 4}, {8, 2}, {6, 1}, {3, 3}, {10, 5}};
static const size_t dims[] = {1, 7, 16, 24, 64, 80, 128, 256};
static const size_t keys[] = {0, 1, 2, 63, 64, 65, 100, 200, 511, 512, 513, 1100};
static const size_t tokens[] = {0, 1, 2, 3, 7, 20, 64, 130};

/* Draws what of the shape is 0 so that T S H D is below `work`. */
static void draw_shape(struct attend_case *c, struct random *r, size_t work)
{
    do {
        size_t pair = random_below(r, 6);
        c->T = random_below(r, 2) ? tokens[random_below(r, 8)] : random_below(r, 40);
        c->S = random_below(r, 2) ? keys[random_below(r, 12)] : random_below(r, 700);
        c->H = heads[pair][0];
        c->G = heads[pair][1];
        c->D = dims[random_below(r, 8)];
        if (c->type == TRIB_KV_Q8_0)
            c->D = 32 * (1 + random_below(r, 8));
    } while (c->T * c->S * c->H * c->D > work || (c->T * c->S == 0 && random_below(r, 4)));
}

/* Where the keys begin, and where the queries are of them: behind, at the end, anywhere. */
static void draw_positions(struct attend_case *c, struct random *r, bool aligned)
{
    static const size_t firsts[] = {0, 64, 448, 1, 37, 500, 511, 513};
    c->key_first = firsts[random_below(r, aligned ? 3 : 8)];
    size_t end = c->key_first + c->S;
    size_t places[4] = {end, end > c->T ? end - c->T : 0, c->key_first, random_below(r, end + 20)};
    c->query_first = places[random_below(r, 4)];
}

static unsigned draw_mask_parts(struct random *r)
{
    static const unsigned parts[] = {
        0,          SEE_CAUSAL,    SEE_CAUSAL | SEE_PREFIX, SEE_CAUSAL | SEE_WINDOW,
        SEE_WINDOW, SEE_DOCUMENTS, SEE_CAUSAL | SEE_TREE,   SEE_BITS};
    return random_below(r, 3) ? parts[random_below(r, 8)] : (unsigned)random_below(r, 64);
}

/* One case, all tables, in one layout; a result of all rows is written, some rows are held. */
static void hold_case(struct attend_case *c, struct random *r, enum layout layout)
{
    enum { ROWS = 7 };
    static struct expected expected[ROWS];
    struct stored stored;
    case_draw(c, r);
    store(&stored, c, r, layout);
    size_t n = case_expect_some(c, r, expected, ROWS);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct result out = result_new(c);
        case_attend(c, k, &stored.segment, 0, c->T, 1 + (int)random_below(r, 3), &out);
        for (size_t i = 0; i < n; i++)
            case_hold(c, k, expected + i, &out, 0);
        result_free(&out);
    }
    store_free(&stored);
    case_free(c);
}

static void every_type_and_layout_with_every_score(void **state)
{
    (void)state;
    struct random r = random_start(1);
    static const unsigned scores[] = {0, SCORE_SOFTCAP, SCORE_ALIBI, SCORE_BIAS, SCORE_ADDITIVE};
    for (size_t i = 0; i < 4 * LAYOUTS * 5; i++) {
        enum layout layout = (enum layout)(i / 4 % LAYOUTS);
        struct attend_case c = {.type = case_types[i % 4], .score = scores[i / 4 / LAYOUTS]};
        c.mask = draw_mask_parts(&r);
        draw_shape(&c, &r, c.score & SCORE_ADDITIVE ? 60000 : 250000);
        draw_positions(&c, &r, layout >= ROWS_LAYOUTS);
        hold_case(&c, &r, layout);
    }
}

/* All 64 combinations of parts, and of the parts of a score. */
static void every_mask_with_every_combination_of_scores(void **state)
{
    (void)state;
    struct random r = random_start(2);
    for (size_t i = 0; i < 128; i++) {
        enum layout layout = (enum layout)random_below(&r, LAYOUTS);
        struct attend_case c = {.type = case_types[random_below(&r, 4)],
                                .mask = (unsigned)(i % 64),
                                .score = i < 64 ? 0 : (unsigned)random_below(&r, 16)};
        draw_shape(&c, &r, c.score & SCORE_ADDITIVE ? 60000 : 250000);
        draw_positions(&c, &r, layout >= ROWS_LAYOUTS);
        hold_case(&c, &r, layout);
    }
}

/* Every number of keys around chunks and spans with every number of queries around tiles and
 * blocks: the ways that work is cut. */
static void every_length_with_every_number_of_queries(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (size_t i = 0; i < 12 * 8; i++) {
        struct attend_case c = {.T = tokens[i / 12], .S = keys[i % 12]};
        enum layout layout = (enum layout)random_below(&r, LAYOUTS);
        do {
            size_t pair = random_below(&r, 4);
            c.H = heads[pair][0];
            c.G = heads[pair][1];
            c.D = dims[random_below(&r, 6)];
            c.type = case_types[random_below(&r, 4)];
        } while (c.T * c.S * c.H * c.D > 2500000 || !case_possible(&c));
        c.mask = random_below(&r, 3) ? SEE_CAUSAL : draw_mask_parts(&r);
        draw_positions(&c, &r, layout >= ROWS_LAYOUTS);
        hold_case(&c, &r, layout);
    }
}

/* Every head dimension with every type, in rows and packed. */
static void every_head_dimension(void **state)
{
    (void)state;
    struct random r = random_start(4);
    for (size_t i = 0; i < 8 * 4 * 2; i++) {
        struct attend_case c = {.T = 1 + random_below(&r, 9),
                                .S = 70 + random_below(&r, 90),
                                .H = 4,
                                .G = 2,
                                .D = dims[i / 2 % 8],
                                .type = case_types[i / 16],
                                .mask = SEE_CAUSAL};
        if (!case_possible(&c))
            continue;
        draw_positions(&c, &r, true);
        hold_case(&c, &r, i & 1 ? CHUNKS_DENSE : ROWS_STRIDED);
    }
}

/* With one running state for all keys, which measuring compares with the fold, results are held to
 * the same bound: of up to 512 keys a sum has no more additions, of up to 9 chunks one exponential
 * more than E has for a span, and there are no merges, for which E has 7 of each span. */
static void any_order_keeps_the_bound(void **state)
{
    (void)state;
    struct random r = random_start(7);
    for (size_t trial = 0; trial < 64; trial++) {
        struct attend_case c = {.T = 1 + random_below(&r, 20),
                                .S = 65 + random_below(&r, 448),
                                .H = 4,
                                .G = trial & 1 ? 1 : 4,
                                .D = 64,
                                .type = case_types[trial / 2 % 4],
                                .mask = draw_mask_parts(&r)};
        struct expected expected[4];
        struct stored stored;
        draw_positions(&c, &r, true);
        case_draw(&c, &r);
        c.attention.any_order = true;
        store(&stored, &c, &r, trial & 8 ? CHUNKS_PAGED : ROWS_DENSE);
        size_t n = case_expect_some(&c, &r, expected, 4);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1 + (int)random_below(&r, 3), &out);
            for (size_t i = 0; i < n; i++)
                case_hold(&c, k, expected + i, &out, 0);
            result_free(&out);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* Nobody quantises to -128, but a file may hold it: the one byte that has no negative. */
static void q8_0_takes_every_byte(void **state)
{
    (void)state;
    struct random r = random_start(6);
    for (size_t trial = 0; trial < 4; trial++) {
        struct attend_case c = {.T = 5, .S = 200, .H = 4, .G = 2, .D = 64, .type = TRIB_KV_Q8_0};
        struct expected expected;
        struct stored stored;
        case_draw(&c, &r);
        store(&stored, &c, &r, ROWS_STRIDED);
        for (size_t n = 0; n < 2000; n++) {
            size_t i = random_below(&r, c.S), g = random_below(&r, c.G), d = random_below(&r, c.D);
            bool key = random_below(&r, 2);
            char *row = (char *)stored.pages[!key][0] + i * stored.segment.key_stride +
                        g * stored.segment.head_stride;
            uint16_t scale;
            memcpy(&scale, row + d / 32 * 34, sizeof scale);
            row[d / 32 * 34 + 2 + d % 32] = -128;
            (key ? case_set_key : case_set_value)(&c, i, g, d, -128 * f16_to_float(scale));
        }
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, trial & 1 ? c.T : 1, 1, &out);
            for (size_t h = 0; h < c.H; h++) {
                case_expect(&c, 0, h, &expected);
                case_hold(&c, k, &expected, &out, 0);
            }
            result_free(&out);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* The two forms of the definition agree; what they differ by is rounding in float64. */
static void forms_of_the_definition_agree(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (size_t trial = 0; trial < 60; trial++) {
        struct attend_case c = {.score = (unsigned)(trial % 16), .mask = draw_mask_parts(&r)};
        draw_shape(&c, &r, 40000);
        draw_positions(&c, &r, false);
        case_draw(&c, &r);
        struct definition definition = case_definition(&c);
        double *y = calloc(c.T * c.H * c.D + 1, sizeof *y), *s = calloc(c.T * c.H + 1, sizeof *s);
        double *scores = calloc(c.T * c.S + 1, sizeof *scores);
        assert_true(y && s && scores);
        definition_matrix(&definition, scores, y, s);
        for (size_t i = 0; i < 6 && c.T; i++) {
            static struct expected x;
            size_t row = random_below(&r, c.T * c.H);
            case_expect(&c, row / c.H, row % c.H, &x);
            double E = x.E[0] * 0x1p-29;
            assert_true(x.s == s[row] || fabs(x.s - s[row]) <= E + fabs(x.s) * 0x1p-50);
            for (size_t d = 0; d < c.D; d++)
                assert_true(fabs(x.y[d] - y[row * c.D + d]) <= 4 * E * x.reach[d]);
        }
        free(y);
        free(s);
        free(scores);
        case_free(&c);
    }
}

/* The oracle is no oracle if it cannot tell: small cases worked out by hand. */
static void the_definition_is_right_where_it_can_be_seen(void **state)
{
    (void)state;
    const float q[] = {2}, k[] = {1, 3, -1}, v[] = {1, 10, 100}, w[] = {3}, slope[] = {0.5f};
    const float bias[] = {(float)-1, 0, 7};
    struct definition d = {.T = 1, .S = 3, .H = 1, .G = 1, .D = 1, .q = q, .k = k, .v = v};
    double y, e = exp(1), sum;
    d.scale = 0.5; /* scores 1, 3, -1 */
    sum = e + e * e * e + 1 / e;
    assert_true(fabs(definition_timestep(&d, 0, 0, &y) - log(sum)) < 1e-14);
    assert_true(fabs(y - (e + 10 * e * e * e + 100 / e) / sum) < 1e-12);
    d.softcap = 2;
    sum = exp(2 * tanh(0.5)) + exp(2 * tanh(1.5)) + exp(2 * tanh(-0.5));
    assert_true(fabs(definition_timestep(&d, 0, 0, &y) - log(sum)) < 1e-14);
    d.softcap = 0;
    d.alibi = slope; /* the query stands at 7, the keys at 5, 6, 7: -1, -0.5, 0 */
    d.distance = -2;
    sum = exp(0) + exp(2.5) + exp(-1);
    assert_true(fabs(definition_timestep(&d, 0, 0, &y) - log(sum)) < 1e-14);
    d.bias = bias;
    sum = exp(-1) + exp(2.5) + exp(6);
    assert_true(fabs(definition_timestep(&d, 0, 0, &y) - log(sum)) < 1e-14);
    d.alibi = NULL;
    d.bias = NULL;
    d.additive = w;
    sum = exp(1.5 * tanh(3)) + exp(1.5 * tanh(5)) + exp(1.5 * tanh(1));
    assert_true(fabs(definition_timestep(&d, 0, 0, &y) - log(sum)) < 1e-14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_definition_is_right_where_it_can_be_seen),
        cmocka_unit_test(forms_of_the_definition_agree),
        cmocka_unit_test(every_type_and_layout_with_every_score),
        cmocka_unit_test(every_mask_with_every_combination_of_scores),
        cmocka_unit_test(every_length_with_every_number_of_queries),
        cmocka_unit_test(every_head_dimension),
        cmocka_unit_test(any_order_keeps_the_bound),
        cmocka_unit_test(q8_0_takes_every_byte),
    };
    random_seed();
    return cmocka_run_group_tests_name("attend", tests, NULL, NULL);
}
