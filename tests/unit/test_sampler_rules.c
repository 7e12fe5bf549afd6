/* What stands before every filter of the sampler, bias and constraint, and the log probabilities
 * that neither of them touches. */
#include <math.h>

#include "engine/logits.h"
#include "kernel/kernel.h"
#include "random.h"
#include "test.h"
#include "tributary/sampling.h"

enum { V = 6, MANY = 5000 };

static const float example[V] = {1, 3, 2, 0, -1, 2.5f};

static trib_sampler_options plain(void)
{
    return (trib_sampler_options){.temperature = 1, .top_p = 1, .repeat_penalty = 1};
}

static trib_sampler *sampler(trib_sampler_options options)
{
    trib_sampler *s;
    trib_error error = {0};
    if (trib_sampler_open(&s, V, &options, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return s;
}

static int32_t next(trib_sampler *s, const float *logits)
{
    int32_t id = -1;
    trib_error error = {0};
    if (trib_sampler_next(s, logits, &id, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return id;
}

/* ---- Bias ---- */

static void bias_moves_logits(void **state)
{
    /* 3 rises to 3.5 in two parts and wins over 1, which is forbidden, and 5 */
    trib_logit_bias bias[] = {{3, 2}, {1, -INFINITY}, {3, 1.5f}};
    trib_sampler_options options = plain();
    (void)state;
    options.temperature = 0;
    options.bias = bias;
    options.bias_count = 3;
    trib_sampler *s = sampler(options);
    bias[0].bias = bias[2].bias = 0; /* they were copied */
    assert_int_equal(next(s, example), 3);
    trib_sampler_close(s);
}

/* Top-k keeps two of what the bias leaves, not two of the model's. */
static void bias_comes_before_the_filters(void **state)
{
    const trib_logit_bias bias[] = {{1, -INFINITY}, {5, -INFINITY}, {0, 0.5f}};
    trib_sampler_options options = plain();
    unsigned seen = 0;
    (void)state;
    options.top_k = 2;
    options.bias = bias;
    options.bias_count = 3;
    trib_sampler *s = sampler(options);
    for (size_t i = 0; i < 200; i++)
        seen |= 1u << next(s, example);
    assert_int_equal(seen, 1u << 2 | 1u << 0);
    trib_sampler_close(s);
}

static void bias_outside_its_range_is_named(void **state)
{
    static const struct {
        trib_logit_bias bias;
        const char *words;
    } bad[] = {
        {{V, 1}, "expected an id below 6, found 6"},
        {{-1, 1}, "found -1"},
        {{2, NAN}, "logit bias of token 2"},
        {{2, INFINITY}, "found inf"},
        {{2, 2e6f}, "found 2e+06"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        trib_sampler_options options = plain();
        trib_sampler *s;
        trib_error error = {0};
        options.bias = &bad[i].bias;
        options.bias_count = 1;
        assert_int_equal(trib_sampler_open(&s, V, &options, &error), TRIB_INVALID);
        assert_non_null(strstr(error.message, bad[i].words));
        assert_null(s);
    }
}

/* ---- Constraint ---- */

/* What a constraint was called with, and what it does. */
struct rule {
    int32_t ids[MANY];
    size_t count, calls;
    trib_status status;
    unsigned allowed; /* bits */
};

static trib_status apply(void *context, const int32_t *ids, size_t count, uint8_t *allowed)
{
    struct rule *rule = context;
    rule->calls++;
    rule->count = count;
    if (count)
        memcpy(rule->ids, ids, count * sizeof *ids);
    for (size_t i = 0; i < V; i++) {
        assert_int_equal(allowed[i], 1);
        allowed[i] = rule->allowed >> i & 1;
    }
    return rule->status;
}

static trib_sampler_options constrained(struct rule *rule)
{
    trib_sampler_options options = plain();
    options.constrain = apply;
    options.constrain_context = rule;
    return options;
}

static void constraint_leaves_what_it_allows(void **state)
{
    static struct rule rule;
    trib_sampler_options options = constrained(&rule);
    unsigned seen = 0;
    (void)state;
    rule.allowed = 1u << 3 | 1u << 4;
    options.top_k = 2; /* of what is allowed */
    trib_sampler *s = sampler(options);
    for (size_t i = 0; i < 200; i++)
        seen |= 1u << next(s, example);
    assert_int_equal(seen, rule.allowed);
    trib_sampler_close(s);
}

/* With all of the filters off a token that is forbidden has no part in the draw. */
static void constraint_holds_without_filters(void **state)
{
    static struct rule rule;
    unsigned seen = 0;
    (void)state;
    rule.allowed = 1u << 0 | 1u << 4;
    trib_sampler *s = sampler(constrained(&rule));
    for (size_t i = 0; i < 500; i++)
        seen |= 1u << next(s, example);
    assert_int_equal(seen, rule.allowed);
    trib_sampler_close(s);
}

/* All tokens, those of the prompt too, however many there are. */
static void constraint_is_given_all_tokens(void **state)
{
    static struct rule rule;
    static int32_t expected[MANY];
    trib_sampler_options options = constrained(&rule);
    struct random r = random_start(1);
    (void)state;
    options.temperature = 0;
    trib_sampler *s = sampler(options);
    for (size_t i = 0; i + 1 < MANY; i++) {
        if (i % 3 == 0) {
            trib_sampler_accept(s, expected[i] = (int32_t)random_below(&r, V));
        } else {
            expected[i] = (int32_t)random_below(&r, V);
            rule.allowed = 1u << expected[i];
            assert_int_equal(next(s, example), expected[i]);
            assert_int_equal(rule.count, i);
        }
    }
    assert_memory_equal(rule.ids, expected, rule.count * sizeof *expected);
    trib_sampler_close(s);
}

/* Nothing is drawn by a choice that fails: the next one goes on as if it had not been. */
static void constraint_that_leaves_nothing_is_told(void **state)
{
    static struct rule rule;
    const float holes[V] = {1, -INFINITY, 2, 0, -1, 2.5f};
    trib_sampler *s = sampler(constrained(&rule)), *other;
    trib_error error = {0};
    int32_t id;
    (void)state;
    assert_int_equal(trib_sampler_next(s, example, &id, &error), TRIB_INVALID);
    assert_string_equal(error.message,
                        "the constraint on tokens allows none of the 6 after 0 tokens");
    rule.allowed = 1u << 1;
    assert_int_equal(trib_sampler_next(s, holes, &id, &error), TRIB_INVALID);
    assert_string_equal(error.message,
                        "bias and constraint leave no token with a logit above minus infinity");
    rule.status = TRIB_STOPPED;
    assert_int_equal(trib_sampler_next(s, example, &id, &error), TRIB_STOPPED);
    assert_non_null(strstr(error.message, "the constraint on tokens failed"));
    assert_int_equal(rule.calls, 3);
    rule = (struct rule){.allowed = ~0u};
    other = sampler(plain());
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(next(s, example), next(other, example));
    trib_sampler_close(s);
    trib_sampler_close(other);
}

/* ---- Log probabilities ---- */

/* In float64, by the definition. */
static double logprob_of(const float *x, size_t n, size_t id)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[id]);
    return -log(sum);
}

/* The differences that exp is taken of are exact here. Each exp is within 1.01 ulp, 1.21e-7 of
 * itself, as their sum is then, and so its logarithm is within 1.21e-7; the result is rounded to
 * float32, which is off by 6e-8 of itself. */
static void expect_logprob(float found, double expected)
{
    assert_true(fabs((double)found - expected) < 1.21e-7 + 6e-8 * fabs(expected));
}

static void logprobs_are_the_models(void **state)
{
    static float x[MANY];
    static trib_logprob all[MANY], few[20];
    struct random r = random_start(2);
    (void)state;
    for (size_t round = 0; round < 8; round++) {
        size_t n = round < 7 ? 20 + random_below(&r, MANY - 20) : 20;
        for (size_t i = 0; i < n; i++) /* equal ones among them */
            x[i] = (float)random_below(&r, 64) * 0.5f - 16;
        assert_int_equal(trib_logprobs(x, n, n, all, NULL), TRIB_OK);
        assert_int_equal(trib_logprobs(x, n, 20, few, NULL), TRIB_OK);
        assert_memory_equal(all, few, sizeof few);
        assert_int_equal(trib_logprobs(x, n, 1, few, NULL), TRIB_OK);
        assert_memory_equal(all, few, sizeof few);
        assert_int_equal(trib_logprobs(x, n, 0, NULL, NULL), TRIB_OK);
        for (size_t i = 0; i < n; i++) {
            assert_in_range(all[i].id, 0, n - 1);
            expect_logprob(all[i].logprob, logprob_of(x, n, (size_t)all[i].id));
            if (i > 0)
                assert_true(x[all[i - 1].id] > x[all[i].id] ||
                            (x[all[i - 1].id] == x[all[i].id] && all[i - 1].id < all[i].id));
        }
    }
}

/* Kernel tables differ in other sums, not in these. */
static void every_table_gives_the_same_logprobs(void **state)
{
    static float x[MANY];
    struct random r = random_start(3);
    (void)state;
    random_fill(&r, x, MANY, 20);
    double expected = logits_log_sum_exp(kernels_at(0), x, MANY, 20);
    for (size_t table = 1; kernels_at(table); table++) {
        double found = logits_log_sum_exp(kernels_at(table), x, MANY, 20);
        assert_memory_equal(&found, &expected, sizeof found);
    }
}

static void the_sampler_has_the_models_logprob(void **state)
{
    const trib_logit_bias bias[] = {{1, -INFINITY}, {4, 3}};
    trib_sampler_options options = plain();
    trib_logprob all[V];
    (void)state;
    options.temperature = 0.3f;
    options.top_k = 4;
    options.repeat_penalty = 1.5f;
    options.repeat_last = 4;
    options.bias = bias;
    options.bias_count = 2;
    trib_sampler *s = sampler(options);
    assert_true(isnan(trib_sampler_logprob(s)));
    assert_int_equal(trib_logprobs(example, V, V, all, NULL), TRIB_OK);
    for (size_t i = 0; i < 50; i++) {
        int32_t id = next(s, example);
        float found = trib_sampler_logprob(s);
        size_t at = 0;
        while (all[at].id != id)
            at++;
        assert_memory_equal(&found, &all[at].logprob, sizeof found);
    }
    trib_sampler_close(s);
}

static void tokens_that_cannot_come_are_last(void **state)
{
    const float x[V] = {-INFINITY, 0, -INFINITY, 0, -INFINITY, -INFINITY};
    const int32_t order[V] = {1, 3, 0, 2, 4, 5};
    trib_logprob all[V];
    (void)state;
    assert_int_equal(trib_logprobs(x, V, V, all, NULL), TRIB_OK);
    for (size_t i = 0; i < V; i++) {
        assert_int_equal(all[i].id, order[i]);
        assert_true(i < 2 ? all[i].logprob == (float)-log(2) : all[i].logprob == -INFINITY);
    }
}

static void broken_logits_have_no_logprobs(void **state)
{
    const float nan[V] = {0, 1, NAN};
    trib_logprob out[V + 1];
    trib_error error = {0};
    (void)state;
    assert_int_equal(trib_logprobs(nan, V, 2, out, &error), TRIB_INVALID);
    assert_string_equal(error.message, "the logit of token 2 is not a number");
    assert_int_equal(trib_logprobs(example, V, V + 1, out, &error), TRIB_INVALID);
    assert_string_equal(error.message, "log probabilities: expected at most 6, found 7");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bias_moves_logits),
        cmocka_unit_test(bias_comes_before_the_filters),
        cmocka_unit_test(bias_outside_its_range_is_named),
        cmocka_unit_test(constraint_leaves_what_it_allows),
        cmocka_unit_test(constraint_holds_without_filters),
        cmocka_unit_test(constraint_is_given_all_tokens),
        cmocka_unit_test(constraint_that_leaves_nothing_is_told),
        cmocka_unit_test(logprobs_are_the_models),
        cmocka_unit_test(every_table_gives_the_same_logprobs),
        cmocka_unit_test(the_sampler_has_the_models_logprob),
        cmocka_unit_test(tokens_that_cannot_come_are_last),
        cmocka_unit_test(broken_logits_have_no_logprobs),
    };
    random_seed();
    return cmocka_run_group_tests_name("sampler_rules", tests, NULL, NULL);
}
