/* trib_attend_backward of every kernel table: its gradients are those of the definition, and those
 * of the definition are what a small change of an input changes. Bounds: backward_oracle.h. */
#include "backward_case.h"
#include "backward_oracle.h"

static void hold_array(const struct attend_case *c, const char *who, const char *which,
                       const float *got, const double *exact, const double *error, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - exact[i]) <= 1.001 * error[i]))
            fail_msg("%s: %s: %s[%zu] = %.9g, expected %.17g within %.3g", who, case_name(c), which,
                     i, (double)got[i], exact[i], error[i]);
}

static void hold(const struct problem *in, const struct exact *exact, const struct kernels *k,
                 const struct gradients *got, double more)
{
    exact_bound(exact, in, k, more);
    hold_array(in->c, k->name, "dq", got->dq, exact->dq, exact->dq_error, got->rows);
    hold_array(in->c, k->name, "dk", got->dk, exact->dk, exact->dk_error, got->keys);
    hold_array(in->c, k->name, "dv", got->dv, exact->dv, exact->dv_error, got->keys);
}

/* One case, all tables, in one layout. */
static void hold_case(struct attend_case *c, struct random *r, enum layout layout)
{
    struct stored stored;
    case_draw(c, r);
    store(&stored, c, r, layout);
    float *dy = draw_output_gradient(c, r);
    struct problem problem = problem_new(c, dy);
    struct exact exact = exact_new(&problem);
    struct result states = result_new(c);
    struct gradients got = gradients_new(c);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        case_attend(c, k, &stored.segment, 0, c->T, 1, &states);
        case_backward(c, k, &stored.segment, 1 + (int)random_below(r, 3), &states, dy, &got);
        hold(&problem, &exact, k, &got, 0);
    }
    gradients_free(&got);
    result_free(&states);
    exact_free(&exact);
    problem_free(&problem);
    guard_free_floats(dy, c->T * c->H * c->D);
    store_free(&stored);
    case_free(c);
}

/* All 64 combinations of masks, all 8 of scores, every type and layout. */
static void gradients_are_those_of_the_definition(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (size_t i = 0; i < 192; i++) {
        enum layout layout = (enum layout)(i / 4 % LAYOUTS);
        struct attend_case c = {.type = case_types[i % 4],
                                .mask = (unsigned)(i / 3 % 64),
                                .score = (unsigned)random_below(&r, i % 3 ? 8 : 1),
                                .size = i % 7 == 6 ? 20 : 1};
        draw_shape(&c, &r, 400000);
        draw_positions(&c, &r, layout >= ROWS_LAYOUTS);
        hold_case(&c, &r, layout);
    }
}

/* Every number of keys around chunks with every number of queries around tiles and blocks, from
 * none of either on. */
static void every_length_with_every_number_of_queries(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const size_t tokens[] = {0, 1, 5, 6, 7, 63, 64, 65, 130, 600};
    static const size_t keys[] = {0, 1, 63, 64, 65, 129, 600};
    for (size_t i = 0; i < 10 * 7; i++) {
        struct attend_case c = {.T = tokens[i / 7], .S = keys[i % 7], .H = 2, .G = 2, .D = 20};
        enum layout layout = (enum layout)random_below(&r, LAYOUTS);
        c.G = random_below(&r, 2) ? 1 : 2;
        c.D = c.T * c.S > 20000 ? 4 : c.D;
        c.mask = random_below(&r, 3) ? SEE_CAUSAL : (unsigned)random_below(&r, 64);
        draw_positions(&c, &r, layout >= ROWS_LAYOUTS);
        hold_case(&c, &r, layout);
    }
}

/* Queries before all keys, and rows whose every score is -inf: the states are empty, dq is 0. */
static void what_sees_nothing_gets_zeros(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (size_t i = 0; i < 2; i++) {
        struct attend_case c = {.T = 90, .S = 80, .H = 2, .G = 1, .D = 24, .key_first = 40};
        struct stored stored;
        c.mask = i ? 0 : SEE_CAUSAL;
        c.score = i ? SCORE_BIAS : 0;
        case_draw(&c, &r);
        float bias[80];
        for (size_t j = 0; j < 80; j++)
            bias[j] = -INFINITY;
        if (i) { /* one for all heads and tokens */
            c.attention.bias = bias;
            c.attention.bias_head_stride = c.attention.bias_token_stride = 0;
        }
        store(&stored, &c, &r, ROWS_DENSE);
        float *dy = draw_output_gradient(&c, &r);
        struct result states = result_new(&c);
        struct gradients got = gradients_new(&c);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            case_attend(&c, k, &stored.segment, 0, c.T, 1, &states);
            case_backward(&c, k, &stored.segment, 2, &states, dy, &got);
            for (size_t at = 0; at < (i ? c.T : c.key_first) * c.H * c.D; at++)
                assert_true(float_bits(got.dq[at]) == 0);
            for (size_t at = 0; at < got.keys && i; at++)
                assert_true(float_bits(got.dk[at]) == 0 && float_bits(got.dv[at]) == 0);
        }
        gradients_free(&got);
        result_free(&states);
        guard_free_floats(dy, c.T * c.H * c.D);
        store_free(&stored);
        case_free(&c);
    }
}

/* d loss / d x by two central differences, of which the errors of order h^2 cancel. With every
 * coefficient of a score at most 2, the fifth derivative is below 10^5: h^4 of it is 10^-8, and the
 * rounding of losses below 100 is 10^-10 after the division. */
static void hold_difference(const struct problem *in, double *x, double exact, const char *which)
{
    const double h = 0x1p-11, at = *x;
    double difference[2];
    for (int i = 0; i < 2; i++) {
        *x = at + (i + 1) * h;
        double more = problem_loss(in);
        *x = at - (i + 1) * h;
        difference[i] = (more - problem_loss(in)) / (2 * (i + 1) * h);
    }
    *x = at;
    double got = (4 * difference[0] - difference[1]) / 3;
    if (!(fabs(got - exact) <= 2e-8))
        fail_msg("%s: %s: %.17g by formula, %.17g by differences", case_name(in->c), which, exact,
                 got);
}

static void the_definition_is_what_small_changes_change(void **state)
{
    (void)state;
    struct random r = random_start(4);
    static const size_t heads[][2] = {{4, 2}, {3, 1}, {2, 2}};
    for (size_t i = 0; i < 64; i++) {
        struct attend_case c = {.T = 1 + random_below(&r, 4),
                                .S = 1 + random_below(&r, 6),
                                .H = heads[i % 3][0],
                                .G = heads[i % 3][1],
                                .D = 3,
                                .mask = (unsigned)i,
                                .score = (unsigned)random_below(&r, 8)};
        draw_positions(&c, &r, false);
        case_draw(&c, &r);
        float *dy = draw_output_gradient(&c, &r);
        struct problem in = problem_new(&c, dy);
        struct exact exact = exact_new(&in);
        for (size_t at = 0; at < c.T * c.H * c.D; at++)
            hold_difference(&in, in.q + at, exact.dq[at], "dq");
        for (size_t at = 0; at < c.S * c.G * c.D; at++) {
            hold_difference(&in, in.k + at, exact.dk[at], "dk");
            hold_difference(&in, in.v + at, exact.dv[at], "dv");
        }
        exact_free(&exact);
        problem_free(&in);
        guard_free_floats(dy, c.T * c.H * c.D);
        case_free(&c);
    }
}

/* ---- Segments ---- */

/* Keys in two segments, states merged: each segment's backward from the merged states gives its
 * keys' gradients and its part of dq. What merging adds to the states: two exponentials (1), their
 * arguments, sum, quotients, products and logf, which is below (4 (M + |s|) + 16) u. */
static void gradients_go_through_a_merge(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (size_t i = 0; i < 48; i++) {
        struct attend_case c = {.type = case_types[i % 4],
                                .mask = (unsigned)random_below(&r, 64),
                                .score = (unsigned)random_below(&r, 8)};
        do
            draw_shape(&c, &r, 300000);
        while (c.T == 0 || c.S < 2);
        draw_positions(&c, &r, true);
        case_draw(&c, &r);
        size_t cut = random_below(&r, c.S / 64 + 1) * 64;
        struct attend_case parts[2] = {case_keys(&c, 0, cut), case_keys(&c, cut, c.S)};
        struct stored stored[2];
        float *dy = draw_output_gradient(&c, &r);
        struct problem in = problem_new(&c, dy);
        struct exact exact = exact_new(&in);
        struct result states[2] = {result_new(&c), result_new(&c)};
        struct gradients whole = gradients_new(&c), part[2];
        double more = 0;
        for (size_t row = 0; row < c.T * c.H; row++) {
            double s = isinf(exact.rows[row].s) ? 0 : fabs(exact.rows[row].s);
            more = fmax(more, (4 * (exact.rows[row].M + s) + 16) * 0x1p-24);
        }
        for (size_t n = 0; n < 2; n++) {
            store_part(&stored[n], &c, &r, (enum layout)random_below(&r, LAYOUTS), n ? cut : 0,
                       n ? c.S : cut);
            part[n] = gradients_new(&parts[n]);
        }
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            for (size_t n = 0; n < 2; n++)
                case_attend(&parts[n], k, &stored[n].segment, 0, c.T, 1, &states[n]);
            trib_states a = result_states(&states[0]), b = result_states(&states[1]);
            assert_int_equal(trib_state_merge(&a, &a, &b, NULL), TRIB_OK);
            for (size_t n = 0, key = 0; n < 2; key += part[n++].keys) {
                case_backward(&parts[n], k, &stored[n].segment, 2, &states[0], dy, &part[n]);
                for (size_t at = 0; at < part[n].keys; at++) {
                    whole.dk[key + at] = part[n].dk[at];
                    whole.dv[key + at] = part[n].dv[at];
                }
            }
            for (size_t at = 0; at < whole.rows; at++)
                whole.dq[at] = part[0].dq[at] + part[1].dq[at];
            hold(&in, &exact, k, &whole, more);
        }
        for (size_t n = 0; n < 2; n++) {
            gradients_free(&part[n]);
            result_free(&states[n]);
            store_free(&stored[n]);
        }
        gradients_free(&whole);
        exact_free(&exact);
        problem_free(&in);
        guard_free_floats(dy, c.T * c.H * c.D);
        case_free(&c);
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_the_definition),
        cmocka_unit_test(every_length_with_every_number_of_queries),
        cmocka_unit_test(what_sees_nothing_gets_zeros),
        cmocka_unit_test(the_definition_is_what_small_changes_change),
        cmocka_unit_test(gradients_go_through_a_merge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
