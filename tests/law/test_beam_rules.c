/* Beam search under bias and constraint: against the definition, and against the sampler, which is
 * told the same. */
#include <math.h>

#include "must.h"
#include "plain_beams.h"

enum { V = TINY_VOCABULARY, MOST = PLAIN_BEAMS, LONGEST = PLAIN_TOKENS, PROMPT = PLAIN_PROMPT };

static trib_model *model;

static int setup(void **state)
{
    struct random random = random_start(1);
    (void)state;
    model = tiny_open("llama", &random);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    trib_model_close(model);
    return 0;
}

/* ---- The definition ---- */

/* Allows two tokens of three, which two the last token says; after some hypotheses none. */
static trib_status two_of_three(void *context, const int32_t *ids, size_t count, uint8_t *allowed)
{
    size_t last = count ? (size_t)ids[count - 1] : 0, sum = 0;
    (*(size_t *)context)++;
    for (size_t i = 0; i < count; i++)
        sum += (size_t)ids[i];
    for (size_t i = 0; i < V; i++)
        allowed[i] = (i + last) % 3 != 0 && (count == 0 || sum % 7 != 0);
    return TRIB_OK;
}

/* Bias alone, the constraint alone, and both; one token in four is forbidden by its bias. */
static void search_is_the_definition(void **state)
{
    struct random random = random_start(2);
    int32_t prompt[PROMPT], ends[4];
    trib_logit_bias bias[2 * V];
    size_t calls = 0;
    (void)state;
    for (size_t round = 0; round < 12; round++) {
        for (size_t i = 0; i < PROMPT; i++)
            prompt[i] = (int32_t)random_below(&random, V);
        for (size_t i = 0; i < 4; i++)
            ends[i] = (int32_t)random_below(&random, V);
        for (size_t i = 0; i < 2 * V; i++) {
            float value = random_between(&random, -4, 4);
            bias[i] = (trib_logit_bias){(int32_t)random_below(&random, V),
                                        random_below(&random, 8) ? value : -INFINITY};
        }
        trib_beam_options options = {.beams = 1 + random_below(&random, MOST),
                                     .tokens = 1 + random_below(&random, LONGEST),
                                     .length_penalty = (float)random_below(&random, 3) * 0.5f,
                                     .ends = ends,
                                     .end_count = random_below(&random, 5),
                                     .bias = bias,
                                     .bias_count = round % 3 ? 2 * V : 0};
        if (round % 3 != 1) {
            options.constrain = two_of_three;
            options.constrain_context = &calls;
        }
        plain_expect(model, prompt, &options);
    }
    assert_true(calls > 0);
}

/* ---- What is told ---- */

static const int32_t zeros[PROMPT];

/* What the model itself says of each token of a hypothesis. */
static void expect_models_logprobs(trib_engine *engine, trib_hypothesis h)
{
    trib_session *session = plain_session(engine, zeros, PROMPT);
    trib_error error = {0};
    for (size_t i = 0; i < h.count; i++) {
        trib_logprob all[V];
        size_t at = 0;
        must(trib_logprobs(trib_session_logits(session), V, V, all, &error), &error);
        while (all[at].id != h.ids[i])
            at++;
        assert_memory_equal(&h.logprobs[i], &all[at].logprob, sizeof *h.logprobs);
        must(trib_session_append(session, h.ids + i, 1, &error), &error);
    }
    trib_session_close(session);
}

/* The bias was copied, is never met where it is -inf, and wins where it is large: all other tokens
 * together have a probability below float32 then, so that the search has that text for certain,
 * while the model itself has not. */
static void bias_steers_and_logprobs_are_the_models(void **state)
{
    enum { WANTED = 10 };
    trib_logit_bias bias[V];
    trib_beam_options options = {.beams = MOST, .tokens = LONGEST, .length_penalty = 1};
    trib_error error = {0};
    trib_engine *engine = plain_engine(model, 2);
    trib_session *session = plain_session(engine, zeros, PROMPT);
    trib_beams *beams;
    (void)state;
    for (int32_t i = 0; i < V; i++)
        bias[i] = (trib_logit_bias){i, i == WANTED ? 1000 : i % 2 ? -INFINITY : 0};
    options.bias = bias;
    options.bias_count = V;
    must(trib_beams_open(&beams, session, &options, &error), &error);
    memset(bias, 0, sizeof bias);
    must(plain_run(beams, &error), &error);
    assert_int_equal(trib_beams_count(beams), MOST);
    for (size_t i = 0; i < MOST; i++) {
        trib_hypothesis h = trib_beams_at(beams, i);
        for (size_t t = 0; t < h.count; t++)
            assert_int_equal(h.ids[t] % 2, 0);
        expect_models_logprobs(engine, h);
    }
    trib_hypothesis best = trib_beams_at(beams, 0);
    for (size_t t = 0; t < best.count; t++) {
        assert_int_equal(best.ids[t], WANTED);
        assert_true(best.logprobs[t] < 0);
    }
    assert_true(best.logprob == 0 && best.score == 0);
    trib_beams_close(beams);
    trib_session_close(session);
    trib_engine_close(engine);
}

/* Looks at how many tokens there are. */
static trib_status every_fifth(void *context, const int32_t *ids, size_t count, uint8_t *allowed)
{
    (void)context;
    (void)ids;
    for (size_t i = 0; i < V; i++)
        allowed[i] = (i + count) % 5 == 0;
    return TRIB_OK;
}

/* One beam chooses what the sampler with the same bias and constraint does at temperature 0. */
static void one_beam_is_greedy(void **state)
{
    const trib_logit_bias bias[] = {{3, 2}, {14, -INFINITY}, {3, 1.5f}, {50, -3}};
    trib_sampler_options greedy = trib_sampler_options_default();
    trib_beam_options options = {
        .beams = 1, .tokens = LONGEST, .bias = bias, .bias_count = 4, .constrain = every_fifth};
    trib_error error = {0};
    trib_engine *engine = plain_engine(model, 2);
    trib_session *session = plain_session(engine, zeros, PROMPT);
    trib_sampler *sampler;
    trib_beams *beams;
    (void)state;
    greedy.temperature = 0;
    greedy.bias = bias;
    greedy.bias_count = 4;
    greedy.constrain = every_fifth;
    must(trib_sampler_open(&sampler, V, &greedy, &error), &error);
    must(trib_beams_open(&beams, session, &options, &error), &error);
    must(plain_run(beams, &error), &error);
    trib_hypothesis h = trib_beams_at(beams, 0);
    assert_int_equal(h.count, LONGEST);
    for (size_t i = 0; i < h.count; i++) {
        int32_t id;
        must(trib_sampler_next(sampler, trib_session_logits(session), &id, &error), &error);
        float logprob = trib_sampler_logprob(sampler);
        assert_int_equal(h.ids[i], id);
        assert_int_equal(((size_t)id + i) % 5, 0);
        assert_memory_equal(&h.logprobs[i], &logprob, sizeof logprob);
        must(trib_session_append(session, &id, 1, &error), &error);
    }
    trib_beams_close(beams);
    trib_sampler_close(sampler);
    trib_session_close(session);
    trib_engine_close(engine);
}

/* ---- Where no token is left ---- */

/* Two tokens may come first, and none in the end. */
struct fates {
    int32_t tokens[2];
    bool ends[2];       /* nothing comes after this one */
    bool nothing;       /* not even a first one comes */
    trib_status status; /* of the constraint behind the first */
};

static trib_status decide(void *context, const int32_t *ids, size_t count, uint8_t *allowed)
{
    const struct fates *fates = context;
    for (int32_t i = 0; i < V && count == 0; i++)
        allowed[i] = i == fates->tokens[0] || i == fates->tokens[1];
    for (size_t i = 0; i < 2 && count > 0; i++)
        if (ids[0] == fates->tokens[i] && fates->ends[i])
            memset(allowed, 0, V);
    if (fates->nothing)
        memset(allowed, 0, V);
    return count ? fates->status : TRIB_OK;
}

struct search {
    trib_engine *engine;
    trib_beams *beams;
    trib_error error;
    trib_status status;
};

/* Runs four beams of three tokens, which `end` completes. */
static struct search search(struct fates *fates, int32_t end)
{
    trib_beam_options options = {.beams = 4,
                                 .tokens = 3,
                                 .ends = &end,
                                 .end_count = 1,
                                 .constrain = decide,
                                 .constrain_context = fates};
    struct search s = {.engine = plain_engine(model, 1)};
    trib_session *session = plain_session(s.engine, zeros, PROMPT);
    must(trib_beams_open(&s.beams, session, &options, &s.error), &s.error);
    trib_session_close(session);
    s.status = plain_run(s.beams, &s.error);
    return s;
}

static void finish(struct search *s)
{
    bool going = true;
    size_t count = trib_beams_count(s->beams);
    assert_int_equal(trib_beams_step(s->beams, &going, NULL), TRIB_OK); /* it is over */
    assert_false(going);
    assert_int_equal(trib_beams_count(s->beams), count);
    trib_beams_close(s->beams);
    plain_no_leaks(s->engine);
    trib_engine_close(s->engine);
}

static void a_dead_end_is_dropped(void **state)
{
    struct fates fates = {.tokens = {5, 6}, .ends = {false, true}};
    (void)state;
    struct search s = search(&fates, V - 1);
    must(s.status, &s.error);
    assert_int_equal(trib_beams_count(s.beams), 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(trib_beams_at(s.beams, i).ids[0], 5);
    finish(&s);
}

/* Complete ones end a search that has no others. */
static void dead_ends_leave_what_is_complete(void **state)
{
    struct fates fates = {.tokens = {5, 6}, .ends = {false, true}};
    (void)state;
    struct search s = search(&fates, 5);
    must(s.status, &s.error);
    assert_int_equal(trib_beams_count(s.beams), 1);
    trib_hypothesis h = trib_beams_at(s.beams, 0);
    assert_true(h.complete && h.count == 1 && h.ids[0] == 5);
    finish(&s);
}

static void dead_ends_alone_are_told(void **state)
{
    struct fates fates = {.tokens = {5, 6}, .ends = {true, true}}, none = {.nothing = true};
    (void)state;
    struct search s = search(&fates, V - 1);
    assert_int_equal(s.status, TRIB_INVALID);
    assert_string_equal(s.error.message,
                        "bias and constraint leave no hypothesis a token after 1 tokens");
    assert_int_equal(trib_beams_count(s.beams), 2); /* as they were */
    for (size_t i = 0; i < 2; i++) {
        trib_hypothesis h = trib_beams_at(s.beams, i);
        assert_true(!h.complete && h.count == 1);
        assert_in_range(h.ids[0], 5, 6);
    }
    finish(&s);
    s = search(&none, V - 1);
    assert_int_equal(s.status, TRIB_INVALID);
    assert_string_equal(s.error.message,
                        "bias and constraint leave no hypothesis a token after 0 tokens");
    assert_int_equal(trib_beams_count(s.beams), 0);
    finish(&s);
}

static void a_constraint_may_end_the_search(void **state)
{
    struct fates fates = {.tokens = {5, 6}, .status = TRIB_STOPPED};
    (void)state;
    struct search s = search(&fates, V - 1);
    assert_int_equal(s.status, TRIB_STOPPED);
    assert_string_equal(
        s.error.message,
        "the constraint on tokens failed after 1 of them: the caller asked to stop");
    assert_int_equal(trib_beams_count(s.beams), 2);
    finish(&s);
}

static void bias_is_checked_as_the_samplers(void **state)
{
    static const trib_logit_bias bad[] = {{V, 1}, {-1, 1}, {2, NAN}, {2, INFINITY}, {2, -2e6f}};
    trib_engine *engine = plain_engine(model, 1);
    trib_session *session = plain_session(engine, zeros, PROMPT);
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        trib_sampler_options sampling = trib_sampler_options_default();
        trib_beam_options options = trib_beam_options_default();
        trib_sampler *sampler;
        trib_beams *beams;
        trib_error error = {0}, expected = {0};
        sampling.bias = options.bias = &bad[i];
        sampling.bias_count = options.bias_count = 1;
        assert_int_equal(trib_sampler_open(&sampler, V, &sampling, &expected), TRIB_INVALID);
        assert_int_equal(trib_beams_open(&beams, session, &options, &error), TRIB_INVALID);
        assert_string_equal(error.message, expected.message);
        assert_null(beams);
    }
    trib_session_close(session);
    plain_no_leaks(engine);
    trib_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_is_the_definition),
        cmocka_unit_test(bias_steers_and_logprobs_are_the_models),
        cmocka_unit_test(one_beam_is_greedy),
        cmocka_unit_test(a_dead_end_is_dropped),
        cmocka_unit_test(dead_ends_leave_what_is_complete),
        cmocka_unit_test(dead_ends_alone_are_told),
        cmocka_unit_test(a_constraint_may_end_the_search),
        cmocka_unit_test(bias_is_checked_as_the_samplers),
    };
    random_seed();
    return cmocka_run_group_tests_name("beam_rules", tests, setup, teardown);
}
