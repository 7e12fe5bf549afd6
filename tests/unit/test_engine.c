/* Engine and session: what they refuse, and that a refusal loses nothing. */
#include <unistd.h>

#include "test.h"
#include "tiny_model.h"
#include "tributary/engine.h"

static char path[64];
static trib_model *model;

static int setup(void **state)
{
    trib_error error = {0};
    struct random random = random_start(2);
    (void)state;
    tiny_model_write(path, DTYPE_F32, &random);
    return trib_model_open(&model, path, &error) != TRIB_OK;
}

static int teardown(void **state)
{
    (void)state;
    trib_model_close(model);
    unlink(path);
    return 0;
}

static void options_are_checked(void **state)
{
    const struct {
        trib_engine_options options;
        trib_status status;
        const char *word;
    } bad[] = {
        {{.threads = -1, .prefill_chunk = 8, .kernels = NULL}, TRIB_INVALID, "threads"},
        {{.threads = TRIB_THREADS_MAX + 1, .prefill_chunk = 8, .kernels = NULL},
         TRIB_INVALID,
         "threads"},
        {{.threads = 1, .prefill_chunk = 0, .kernels = NULL}, TRIB_INVALID, "prefill chunk"},
        {{.threads = 1, .prefill_chunk = 8, .kernels = "mmx"}, TRIB_INVALID, "'mmx'"},
        {{.threads = 1, .prefill_chunk = 8, .kv_type = "f8"}, TRIB_INVALID, "KV type"},
        {{.threads = 1, .prefill_chunk = 8, .cache_bytes = 100}, TRIB_INVALID, "KV budget"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        trib_engine *engine;
        trib_error error = {0};
        assert_int_equal(trib_engine_open(&engine, model, &bad[i].options, &error), bad[i].status);
        assert_non_null(strstr(error.message, bad[i].word));
        assert_null(engine);
    }
}

/* The table that TRIB_CPU names serves where the options name none. */
static void environment_chooses_the_table(void **state)
{
    trib_engine *engine;
    trib_error error = {0};
    (void)state;
    setenv("TRIB_CPU", "ref", 1);
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_OK);
    assert_string_equal(trib_engine_kernels(engine), "ref");
    trib_engine_close(engine);
    setenv("TRIB_CPU", "abacus", 1);
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_INVALID);
    unsetenv("TRIB_CPU");
}

static void session_refuses_and_goes_on(void **state)
{
    enum { CONTEXT = 10 };
    const int32_t ids[CONTEXT + 1] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    const int32_t outside = TINY_VOCABULARY, negative = -1;
    trib_session_options options = {CONTEXT};
    trib_engine *engine;
    trib_session *session;
    trib_error error = {0};
    (void)state;
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_open(&session, engine, &options, &error), TRIB_OK);
    assert_null(trib_session_logits(session));
    assert_int_equal(trib_session_append(session, ids, 0, &error), TRIB_INVALID);
    assert_int_equal(trib_session_append(session, &outside, 1, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "below 96, found 96"));
    assert_int_equal(trib_session_append(session, &negative, 1, &error), TRIB_INVALID);
    assert_int_equal(trib_session_append(session, ids, CONTEXT + 1, &error), TRIB_FULL);
    assert_int_equal(trib_session_length(session), 0);
    assert_int_equal(trib_session_append(session, ids, CONTEXT - 1, &error), TRIB_OK);
    assert_int_equal(trib_session_append(session, ids, 2, &error), TRIB_FULL);
    assert_int_equal(trib_session_length(session), CONTEXT - 1);
    assert_int_equal(trib_session_append(session, ids, 1, &error), TRIB_OK);
    assert_int_equal(trib_session_length(session), CONTEXT);
    assert_int_equal(trib_session_append(session, ids, 1, &error), TRIB_FULL);
    trib_session_close(session);
    trib_engine_close(engine);
}

static void session_options_are_checked(void **state)
{
    const trib_session_options bad = {TINY_CONTEXT + 1};
    trib_session *session;
    trib_engine *engine;
    trib_error error = {0};
    (void)state;
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_open(&session, engine, &bad, &error), TRIB_INVALID);
    assert_null(session);
    trib_engine_close(engine);
}

/* What is said beforehand: KV of 2 layers x 2 heads x 24 x (keys and values), in whole pages. */
static void memory_is_said_beforehand(void **state)
{
    trib_memory memory;
    trib_error error = {0};
    trib_session_options options = {100};
    (void)state;
    assert_int_equal(trib_memory_needed(model, NULL, &options, &memory, &error), TRIB_OK);
    assert_true(memory.kv_per_token >= 2 * 2 * 24 * 2 * 2);
    assert_int_equal(memory.kv, memory.kv_per_token * 128);
    assert_true(memory.activations > 0);
    assert_true(memory.weights > 2 * 4 * 64 * 96 &&
                memory.weights < 2 * trib_model_file_size(model));
}

struct seen {
    uint64_t done, total;
    size_t calls;
};

static void see(void *context, uint64_t done, uint64_t total)
{
    struct seen *seen = context;
    assert_true(done > seen->done && done <= total);
    *seen = (struct seen){done, total, seen->calls + 1};
}

/* Loading tells of each matrix (7 a block, and the head), forwards, to the end. */
static void loading_says_how_far_it_is(void **state)
{
    struct seen seen = {0};
    trib_engine_options options = trib_engine_options_default();
    trib_engine *engine;
    trib_error error = {0};
    (void)state;
    options.progress = see;
    options.progress_context = &seen;
    assert_int_equal(trib_engine_open(&engine, model, &options, &error), TRIB_OK);
    assert_int_equal(seen.calls, 7 * TINY_LAYERS + 1);
    assert_true(seen.done == seen.total && seen.total > 0);
    trib_engine_close(engine);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(environment_chooses_the_table),
        cmocka_unit_test(session_refuses_and_goes_on),
        cmocka_unit_test(session_options_are_checked),
        cmocka_unit_test(memory_is_said_beforehand),
        cmocka_unit_test(loading_says_how_far_it_is),
    };
    return cmocka_run_group_tests_name("engine", tests, setup, teardown);
}
