/* The sampler: what each option keeps, in which order, and that a seed fixes every draw. */
#include <math.h>

#include "test.h"
#include "tributary/sampling.h"

enum { V = 6 };

static trib_sampler *sampler(trib_sampler_options options)
{
    trib_sampler *s;
    trib_error error = {0};
    if (trib_sampler_open(&s, V, &options, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return s;
}

/* Options that change nothing: temperature 1 and every filter off. */
static trib_sampler_options plain(void)
{
    return (trib_sampler_options){.temperature = 1, .top_p = 1, .repeat_penalty = 1};
}

/* Draws `draws` tokens and counts them; the logits are those of the probabilities given. */
static void count(trib_sampler_options options, const double *probabilities, size_t draws,
                  size_t counts[V])
{
    float logits[V];
    trib_sampler *s = sampler(options);
    trib_error error = {0};
    memset(counts, 0, V * sizeof *counts);
    for (size_t i = 0; i < V; i++)
        logits[i] = (float)log(probabilities[i]);
    for (size_t i = 0; i < draws; i++) {
        int32_t id = -1;
        assert_int_equal(trib_sampler_next(s, logits, &id, &error), TRIB_OK);
        assert_in_range(id, 0, V - 1);
        counts[id]++;
    }
    trib_sampler_close(s);
}

static const double example[V] = {0.4, 0.3, 0.15, 0.1, 0.04, 0.01};

/* 20,000 draws: a frequency is within 4 standard deviations, sqrt(p (1 - p) / n), of its p. The
 * draws are fixed by the seed, so this passes always or never. */
static void draws_follow_the_probabilities(void **state)
{
    enum { DRAWS = 20000 };
    size_t counts[V];
    (void)state;
    count(plain(), example, DRAWS, counts);
    for (size_t i = 0; i < V; i++) {
        double p = example[i], off = fabs((double)counts[i] / DRAWS - p);
        assert_true(off < 4 * sqrt(p * (1 - p) / DRAWS));
    }
}

static void temperature_sharpens(void **state)
{
    enum { DRAWS = 20000 };
    size_t counts[V];
    trib_sampler_options options = plain();
    (void)state;
    options.temperature = 0.5f; /* squares the probabilities: 0.16 of 0.2842 */
    count(options, example, DRAWS, counts);
    double p = 0.16 / 0.2842, off = fabs((double)counts[0] / DRAWS - p);
    assert_true(off < 4 * sqrt(p * (1 - p) / DRAWS));
}

/* Which tokens a filter leaves, as bits. */
static unsigned kept(trib_sampler_options options)
{
    size_t counts[V];
    unsigned bits = 0;
    count(options, example, 5000, counts);
    for (size_t i = 0; i < V; i++)
        bits |= (unsigned)(counts[i] > 0) << i;
    return bits;
}

static void filters_keep_what_they_say(void **state)
{
    trib_sampler_options options = plain();
    (void)state;
    assert_int_equal(kept(options), 0x3f);
    options.top_k = 2;
    assert_int_equal(kept(options), 0x03);
    options = plain();
    options.top_p = 0.69f; /* 0.4 + 0.3 reaches it */
    assert_int_equal(kept(options), 0x03);
    options.top_p = 0.71f;
    assert_int_equal(kept(options), 0x07);
    options = plain();
    options.min_p = 0.2f; /* of 0.4: 0.08 */
    assert_int_equal(kept(options), 0x0f);
    options.top_k = 3;
    assert_int_equal(kept(options), 0x07);
    options = plain();
    options.top_p = 1e-6f; /* one token always stays */
    assert_int_equal(kept(options), 0x01);
}

static void greedy_takes_the_largest_and_the_lowest_of_equals(void **state)
{
    const float logits[V] = {1, 3, -INFINITY, 3, 2, 0};
    trib_sampler_options options = plain();
    trib_error error = {0};
    int32_t id;
    (void)state;
    options.temperature = 0;
    trib_sampler *s = sampler(options);
    assert_int_equal(trib_sampler_next(s, logits, &id, &error), TRIB_OK);
    assert_int_equal(id, 1);
    trib_sampler_close(s);
}

/* Logits 3, 2.5, 2, -1: penalty 2 halves the positive and doubles the negative ones of recent
 * tokens. */
static void penalty_counts_recent_tokens_once(void **state)
{
    const float logits[V] = {3, 2.5f, 2, -1, -9, -9};
    trib_sampler_options options = plain();
    trib_error error = {0};
    int32_t id;
    (void)state;
    options.temperature = 0;
    options.repeat_penalty = 2;
    options.repeat_last = 2;
    trib_sampler *s = sampler(options);
    const int32_t expected[] = {0, 1, 2, 0, 1}; /* two are always recent */
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(trib_sampler_next(s, logits, &id, &error), TRIB_OK);
        assert_int_equal(id, expected[i]);
    }
    trib_sampler_close(s);
    s = sampler(options);
    trib_sampler_accept(s, 0);
    trib_sampler_accept(s, 0); /* twice is no more than once: 1.5 stays above 1.25 */
    trib_sampler_accept(s, 1);
    assert_int_equal(trib_sampler_next(s, logits, &id, &error), TRIB_OK);
    assert_int_equal(id, 2);
    trib_sampler_close(s);
}

/* A penalty below 1 makes a logit larger, at most as large as a number is: such a token then takes
 * all, whatever filters there are. */
static void a_penalty_makes_no_infinity(void **state)
{
    const float logits[V] = {3, 2.5f, 2, -1, -9, -9};
    (void)state;
    for (int filter = 0; filter < 4; filter++) {
        trib_sampler_options options = plain();
        trib_error error = {0};
        int32_t id = -1;
        options.repeat_penalty = 1e-39f;
        options.repeat_last = 4;
        options.top_p = filter & 1 ? 0.9f : 1;
        options.min_p = filter & 2 ? 0.1f : 0;
        trib_sampler *s = sampler(options);
        trib_sampler_accept(s, 2);
        assert_int_equal(trib_sampler_next(s, logits, &id, &error), TRIB_OK);
        assert_int_equal(id, 2);
        trib_sampler_close(s);
    }
}

static void seed_fixes_the_draws(void **state)
{
    size_t a[V], b[V], c[V];
    trib_sampler_options options = plain();
    (void)state;
    options.seed = 7;
    count(options, example, 100, a);
    count(options, example, 100, b);
    options.seed = 8;
    count(options, example, 100, c);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
}

static void broken_logits_are_told(void **state)
{
    const float nan[V] = {1, NAN, 0, 0, 0, 0}, infinite[V] = {1, 2, INFINITY, 0, 0, 0};
    float nothing[V];
    trib_sampler *s = sampler(plain());
    trib_error error = {0};
    int32_t id;
    (void)state;
    for (size_t i = 0; i < V; i++)
        nothing[i] = -INFINITY;
    assert_int_equal(trib_sampler_next(s, nan, &id, &error), TRIB_INVALID);
    assert_string_equal(error.message, "the logit of token 1 is not a number");
    assert_int_equal(trib_sampler_next(s, infinite, &id, &error), TRIB_INVALID);
    assert_string_equal(error.message, "the logit of token 2 is infinite");
    assert_int_equal(trib_sampler_next(s, NULL, &id, &error), TRIB_INVALID);
    assert_string_equal(error.message, "expected the logits of 6 tokens, found none");
    assert_int_equal(trib_sampler_next(s, nothing, &id, &error), TRIB_INVALID);
    trib_sampler_close(s);
}

static void options_outside_their_range_are_named(void **state)
{
    const struct {
        trib_sampler_options options;
        const char *word;
    } bad[] = {
        {{.temperature = -1, .top_p = 1, .repeat_penalty = 1}, "temperature"},
        {{.temperature = NAN, .top_p = 1, .repeat_penalty = 1}, "temperature"},
        {{.top_p = 0, .repeat_penalty = 1}, "top-p"},
        {{.top_p = 1.5f, .repeat_penalty = 1}, "top-p"},
        {{.top_p = 1, .min_p = 2, .repeat_penalty = 1}, "min-p"},
        {{.top_p = 1, .repeat_penalty = 0}, "repeat penalty"},
        {{.top_p = 1, .repeat_penalty = 1, .repeat_last = 70000}, "repeat-last"},
    };
    (void)state;
    trib_error vast = {0};
    trib_sampler *none;
    assert_int_equal(trib_sampler_open(&none, SIZE_MAX, NULL, &vast), TRIB_INVALID);
    assert_non_null(strstr(vast.message, "vocabulary"));
    assert_null(none);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        trib_sampler *s;
        trib_error error = {0};
        assert_int_equal(trib_sampler_open(&s, V, &bad[i].options, &error), TRIB_INVALID);
        assert_non_null(strstr(error.message, bad[i].word));
        assert_null(s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(temperature_sharpens),
        cmocka_unit_test(filters_keep_what_they_say),
        cmocka_unit_test(greedy_takes_the_largest_and_the_lowest_of_equals),
        cmocka_unit_test(penalty_counts_recent_tokens_once),
        cmocka_unit_test(a_penalty_makes_no_infinity),
        cmocka_unit_test(seed_fixes_the_draws),
        cmocka_unit_test(broken_logits_are_told),
        cmocka_unit_test(options_outside_their_range_are_named),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
