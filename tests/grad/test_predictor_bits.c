/* What must not change a bit of a predictor: threads, the other rows of a batch, later tokens, and
 * whether tokens come as a batch or step by step. And what must change it: the history it sees. */
#include <math.h>

#include "predictor_case.h"
#include "tables.h"

/* A predictor with everything to run it. */
struct running {
    const struct predictor_case *c;
    struct predictor p;
    struct pass pass;
};

static struct running running_new(const struct predictor_case *c, const struct kernels *kernels,
                                  int threads)
{
    struct running run = {.c = c, .p = case_predictor(c, kernels, threads)};
    return run;
}

/* A pass points to its predictor, which has to stand still from here on. */
static void running_start(struct running *run)
{
    assert_int_equal(pass_open(&run->pass, &run->p, run->c->B, run->c->T, true, NULL), TRIB_OK);
}

static void running_free(struct running *run)
{
    pass_close(&run->pass);
    predictor_close(&run->p);
}

static bool same_logits(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

static void steps_are_forward(const struct predictor_case *c, const struct kernels *k)
{
    struct running run = running_new(c, k, 2);
    struct random r = random_start(1);
    size_t V = c->config.vocabulary, bytes = predictor_state_bytes(&run.p);
    float *logits = malloc(V * sizeof *logits);
    char *states = aligned_alloc(64, c->B * bytes);
    assert_true(logits && states && bytes % 64 == 0);
    memset(states, 0xff, c->B * bytes);
    running_start(&run);
    for (int i = 0; i < 3; i++) { /* three batches: past states and windows are full by then */
        struct case_batch b = case_batch_new(c, &r);
        b.batch.continues = i > 0;
        pass_forward(&run.pass, &b.batch);
        for (size_t row = 0; row < c->B; row++) {
            char *state = states + row * bytes;
            if (i == 0 || c->config.model == MODEL_TRANSFORMER)
                predictor_state_reset(&run.p, state);
            for (size_t t = 0; t < c->T; t++) {
                assert_int_equal(
                    predictor_step(&run.p, state, b.tokens[row * c->T + t], logits, NULL), TRIB_OK);
                if (!same_logits(logits, pass_logits(&run.pass, row, t), V))
                    fail_msg("%s: %s: batch %d, row %zu, token %zu: step %.9g, forward %.9g",
                             k->name, c->name, i, row, t, (double)logits[0],
                             (double)pass_logits(&run.pass, row, t)[0]);
            }
            size_t seen = c->config.model == MODEL_TRANSFORMER ? c->T : (size_t)(i + 1) * c->T;
            assert_int_equal(predictor_state_position(&run.p, state), seen);
        }
        case_batch_free(&b);
    }
    free(logits);
    free(states);
    running_free(&run);
}

static void stepping_gives_the_bits_of_forward(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; predictor_case_at(i); i++)
            steps_are_forward(predictor_case_at(i), k);
}

/* Losses [2][B][T] and gradients of two batches, with dropout. */
static void train(const struct predictor_case *c, const struct kernels *k, int threads,
                  float *losses, float *gradients)
{
    struct predictor_case dropping = *c;
    dropping.config.dropout = 0.25f;
    struct running run = running_new(&dropping, k, threads);
    struct random r = random_start(2);
    size_t n = c->B * c->T;
    running_start(&run);
    for (size_t i = 0; i < 2; i++) {
        struct case_batch b = case_batch_new(c, &r);
        b.batch.continues = i > 0;
        b.batch.training = true;
        b.batch.seed = 5;
        b.batch.draw = i;
        pass_forward(&run.pass, &b.batch);
        memcpy(losses + i * n, run.pass.losses, n * sizeof *losses);
        pass_backward(&run.pass, &b.batch, 0.5f);
        case_batch_free(&b);
    }
    memcpy(gradients, run.p.parameters.gradients, run.p.parameters.floats * sizeof *gradients);
    running_free(&run);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; predictor_case_at(i); i++) {
            const struct predictor_case *c = predictor_case_at(i);
            struct predictor p = case_predictor(c, k, 1);
            size_t n = 2 * c->B * c->T, floats = p.parameters.floats;
            float *losses[3], *gradients[3];
            predictor_close(&p);
            for (int t = 0; t < 3; t++) {
                losses[t] = malloc(n * sizeof(float));
                gradients[t] = malloc(floats * sizeof(float));
                assert_true(losses[t] && gradients[t]);
                train(c, k, t + 1, losses[t], gradients[t]);
                if (!same_logits(losses[t], losses[0], n))
                    fail_msg("%s: %s: other losses with %d threads", k->name, c->name, t + 1);
                if (!same_logits(gradients[t], gradients[0], floats))
                    fail_msg("%s: %s: other gradients with %d threads", k->name, c->name, t + 1);
            }
            for (int t = 0; t < 3; t++) {
                free(losses[t]);
                free(gradients[t]);
            }
        }
}

/* Changes one token and looks where logits changed: in its own row, from its place on. */
static void only_what_follows_changes(void **state)
{
    (void)state;
    for (size_t i = 0; predictor_case_at(i); i++) {
        const struct predictor_case *c = predictor_case_at(i);
        struct running run = running_new(c, tables_first(), 2);
        struct random r = random_start(3);
        size_t V = c->config.vocabulary, row = c->B - 1, t = c->T / 2, n = c->B * c->T * V;
        float *before = malloc(n * sizeof *before);
        struct case_batch b = case_batch_new(c, &r);
        assert_non_null(before);
        running_start(&run);
        pass_forward(&run.pass, &b.batch);
        for (size_t at = 0; at < c->B * c->T; at++)
            memcpy(before + at * V, pass_logits(&run.pass, at / c->T, at % c->T),
                   V * sizeof *before);
        int32_t *token = &b.tokens[row * c->T + t];
        *token = (*token + 1) % (int32_t)V;
        pass_forward(&run.pass, &b.batch);
        for (size_t at = 0; at < c->B * c->T; at++) {
            bool same =
                same_logits(before + at * V, pass_logits(&run.pass, at / c->T, at % c->T), V);
            bool follows = at / c->T == row && at % c->T >= t;
            if (!follows && !same)
                fail_msg("%s: token %zu of row %zu changed the logits at %zu of row %zu", c->name,
                         t, row, at % c->T, at / c->T);
            if (at == row * c->T + t && same)
                fail_msg("%s: token %zu changed nothing", c->name, t);
        }
        free(before);
        case_batch_free(&b);
        running_free(&run);
    }
}

/* A row alone, in a smaller batch, gives the bits it gives among others. */
static void rows_do_not_see_each_other(void **state)
{
    (void)state;
    for (size_t i = 0; predictor_case_at(i); i++) {
        const struct predictor_case *c = predictor_case_at(i);
        struct running run = running_new(c, tables_first(), 1);
        struct random r = random_start(4);
        struct case_batch b = case_batch_new(c, &r);
        size_t T = c->T, last = (c->B - 1) * T;
        float *losses = malloc(T * sizeof *losses);
        assert_non_null(losses);
        running_start(&run);
        pass_forward(&run.pass, &b.batch);
        memcpy(losses, run.pass.losses + last, T * sizeof *losses);
        struct batch alone = {
            .B = 1, .T = T, .tokens = b.tokens + last, .targets = b.targets + last};
        pass_forward(&run.pass, &alone);
        assert_memory_equal(losses, run.pass.losses, T * sizeof *losses);
        free(losses);
        case_batch_free(&b);
        running_free(&run);
    }
}

/* The logits of direct after `count` tokens. */
static void direct_after(const struct predictor *p, void *state, const int32_t *tokens,
                         size_t count, float *logits)
{
    predictor_state_reset(p, state);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(predictor_step(p, state, tokens[i], logits, NULL), TRIB_OK);
}

static void direct_sees_its_window_and_where_the_text_begins(void **state)
{
    (void)state;
    const struct predictor_case *c = predictor_case_at(0);
    struct predictor p = case_predictor(c, tables_first(), 1);
    size_t n = c->config.context, V = c->config.vocabulary;
    void *memory = aligned_alloc(64, predictor_state_bytes(&p));
    float one[16], two[16];
    int32_t tokens[16] = {3, 1, 4, 1, 5, 2, 6, 5, 3, 5}, other[16];
    assert_true(memory && V <= 16 && n + 4 <= 16);

    /* Longer than n: what lies before the last n tokens does not matter; the first of them does. */
    memcpy(other, tokens, sizeof other);
    for (size_t i = 0; i < 4; i++)
        other[i] = 6 - tokens[i];
    direct_after(&p, memory, tokens, n + 4, one);
    direct_after(&p, memory, other, n + 4, two);
    assert_memory_equal(one, two, V * sizeof *one);
    other[4] = 6 - tokens[4];
    direct_after(&p, memory, other, n + 4, two);
    assert_memory_not_equal(one, two, V * sizeof *one);

    /* Shorter than n: no token of the vocabulary is the padding. */
    direct_after(&p, memory, tokens, 2, one);
    for (int32_t token = 0; token < (int32_t)V; token++) {
        for (size_t i = 0; i < n; i++)
            other[i] = i < n - 2 ? token : tokens[i - (n - 2)];
        direct_after(&p, memory, other, n, two);
        assert_memory_not_equal(one, two, V * sizeof *one);
    }
    free(memory);
    predictor_close(&p);
}

static void a_full_context_is_said_and_changes_nothing(void **state)
{
    (void)state;
    struct predictor_case c = *predictor_case_at(0);
    for (size_t i = 0; predictor_case_at(i); i++)
        if (predictor_case_at(i)->config.model == MODEL_TRANSFORMER)
            c = *predictor_case_at(i);
    struct predictor p = case_predictor(&c, tables_first(), 1);
    void *memory = aligned_alloc(64, predictor_state_bytes(&p));
    trib_error error = {TRIB_OK, ""};
    assert_non_null(memory);
    predictor_state_reset(&p, memory);
    for (size_t t = 0; t < c.config.context; t++)
        assert_int_equal(predictor_step(&p, memory, 1, NULL, &error), TRIB_OK);
    assert_int_equal(predictor_step(&p, memory, 1, NULL, &error), TRIB_FULL);
    assert_int_equal(predictor_state_position(&p, memory), c.config.context);
    assert_int_equal(predictor_step(&p, memory, -1, NULL, &error), TRIB_INVALID);
    free(memory);
    predictor_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stepping_gives_the_bits_of_forward),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(only_what_follows_changes),
        cmocka_unit_test(rows_do_not_see_each_other),
        cmocka_unit_test(direct_sees_its_window_and_where_the_text_begins),
        cmocka_unit_test(a_full_context_is_said_and_changes_nothing),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
