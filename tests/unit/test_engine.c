/* Engine and session: what they refuse, and that a refusal loses nothing. */
#include <unistd.h>

#include "engine/session.h"
#include "test.h"
#include "tiny_model.h"

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

/* An engine, and a session with `count` tokens. */
static void open_session(trib_engine **engine, trib_session **session, const int32_t *ids,
                         size_t count)
{
    trib_error error = {0};
    assert_int_equal(trib_engine_open(engine, model, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_open(session, *engine, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_append(*session, ids, count, &error), TRIB_OK);
}

/* Forks and rewinds: what they leave behind, and what they refuse. That the bits stay is
 * test_same_step.c's. */
static void sessions_fork_and_rewind(void **state)
{
    const int32_t ids[4] = {1, 2, 3, 4};
    trib_engine *engine;
    trib_session *session, *fork;
    trib_error error = {0};
    (void)state;
    open_session(&engine, &session, ids, 4);
    assert_int_equal(trib_session_fork(&fork, session, &error), TRIB_OK);
    assert_int_equal(trib_session_length(fork), 4);
    assert_int_equal(trib_session_context(fork), trib_session_context(session));
    assert_memory_equal(trib_session_logits(fork), trib_session_logits(session),
                        TINY_VOCABULARY * sizeof(float));
    assert_int_equal(trib_session_rewind(session, 5, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "at most 4 tokens, found 5"));
    assert_int_equal(trib_session_rewind(session, 4, &error), TRIB_OK);
    assert_non_null(trib_session_logits(session));
    assert_int_equal(trib_session_rewind(session, 2, &error), TRIB_OK);
    assert_int_equal(trib_session_length(session), 2);
    assert_null(trib_session_logits(session));
    assert_non_null(trib_session_logits(fork));
    trib_session_close(session);
    assert_int_equal(trib_session_append(fork, ids, 1, &error), TRIB_OK);
    assert_int_equal(trib_session_length(fork), 5);
    trib_session_close(fork);
    trib_engine_close(engine);
}

/* Sessions that parted at a token share its logits until they go on, refusals or not. */
static void forks_keep_their_logits(void **state)
{
    const int32_t ids[4] = {1, 2, 3, 4}, outside = TINY_VOCABULARY;
    float at_fork[TINY_VOCABULARY];
    trib_engine *engine;
    trib_session *session, *fork;
    trib_error error = {0};
    (void)state;
    open_session(&engine, &session, ids, 4);
    memcpy(at_fork, trib_session_logits(session), sizeof at_fork);
    assert_int_equal(trib_session_fork(&fork, session, &error), TRIB_OK);
    assert_int_equal(trib_session_append(fork, &outside, 1, &error), TRIB_INVALID);
    assert_memory_equal(trib_session_logits(fork), at_fork, sizeof at_fork);
    assert_int_equal(trib_session_append(session, ids, 1, &error), TRIB_OK);
    assert_memory_not_equal(trib_session_logits(session), at_fork, sizeof at_fork);
    assert_memory_equal(trib_session_logits(fork), at_fork, sizeof at_fork);
    assert_int_equal(trib_session_append(fork, ids, 1, &error), TRIB_OK);
    assert_memory_equal(trib_session_logits(fork), trib_session_logits(session), sizeof at_fork);
    trib_session_close(session);
    trib_session_close(fork);
    trib_engine_close(engine);
}

/* The prefix once, and what each session has of its own rounded up to a page. */
static void usage_counts_what_is_shared_once(void **state)
{
    enum { FORKS = 5, PREFIX = 130 };
    int32_t ids[PREFIX];
    trib_engine *engine;
    trib_session *sessions[FORKS];
    trib_error error = {0};
    (void)state;
    for (int32_t i = 0; i < PREFIX; i++)
        ids[i] = i % TINY_VOCABULARY;
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_OK);
    trib_cache_usage usage = trib_engine_cache_usage(engine);
    assert_true(usage.page > 0 && usage.budget >= usage.page);
    assert_int_equal(usage.memory, 0);
    assert_int_equal(trib_session_open(&sessions[0], engine, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_append(sessions[0], ids, PREFIX, &error), TRIB_OK);
    for (size_t i = 1; i < FORKS; i++)
        assert_int_equal(trib_session_fork(&sessions[i], sessions[0], &error), TRIB_OK);
    assert_int_equal(trib_engine_cache_usage(engine).held, 3 * usage.page);
    for (int32_t i = 0; i < FORKS; i++)
        assert_int_equal(trib_session_append(sessions[i], &i, 1, &error), TRIB_OK);
    assert_int_equal(trib_engine_cache_usage(engine).held, (2 + FORKS) * usage.page);
    for (size_t i = 1; i < FORKS; i++)
        trib_session_close(sessions[i]);
    assert_int_equal(trib_engine_cache_usage(engine).held, 3 * usage.page);
    trib_session_close(sessions[0]);
    usage = trib_engine_cache_usage(engine);
    assert_int_equal(usage.held, 0);
    assert_int_equal(usage.memory, 2 * usage.page); /* the full pages stay cached */
    assert_int_equal(usage.mapped, 0);
    trib_engine_close(engine);
}

/* One refusal is one session's; the others go on. */
static void step_refuses_one_by_one(void **state)
{
    enum { CONTEXT = 3 };
    const int32_t ids[4] = {1, 2, 3, 4}, outside = TINY_VOCABULARY;
    const trib_session_options options = {CONTEXT};
    trib_engine *engine, *other;
    trib_session *sessions[4], *stranger;
    trib_error error = {0};
    (void)state;
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_OK);
    assert_int_equal(trib_engine_open(&other, model, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_open(&stranger, other, NULL, &error), TRIB_OK);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(trib_session_open(&sessions[i], engine, &options, &error), TRIB_OK);
    trib_append appends[] = {
        {sessions[0], ids, 3, NULL, TRIB_IO},      {sessions[1], ids, 4, NULL, TRIB_IO},
        {sessions[2], &outside, 1, NULL, TRIB_IO}, {sessions[0], ids, 1, NULL, TRIB_IO},
        {stranger, ids, 1, NULL, TRIB_IO},         {sessions[3], ids, 2, NULL, TRIB_IO},
    };
    static const trib_status expected[] = {TRIB_OK,      TRIB_FULL,    TRIB_INVALID,
                                           TRIB_INVALID, TRIB_INVALID, TRIB_OK};
    assert_int_equal(trib_step(engine, appends, 6, &error), TRIB_FULL);
    assert_non_null(strstr(error.message, "context of 3"));
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(appends[i].status, expected[i]);
    assert_int_equal(trib_session_length(sessions[0]), 3);
    assert_int_equal(trib_session_length(sessions[3]), 2);
    assert_int_equal(trib_session_length(sessions[1]), 0);
    assert_int_equal(trib_step(engine, NULL, 0, &error), TRIB_OK);
    for (size_t i = 0; i < 4; i++)
        trib_session_close(sessions[i]);
    trib_session_close(stranger);
    trib_engine_close(other);
    trib_engine_close(engine);
}

/* Poison in a cached page shows that an append takes it instead of computing, and that one which
 * wants all logits does not. */
static void append_takes_what_is_cached(void **state)
{
    enum { COUNT = 200 };
    static float all[COUNT * TINY_VOCABULARY];
    float clean[TINY_VOCABULARY];
    int32_t ids[COUNT];
    trib_engine *engine;
    trib_session *session;
    trib_error error = {0};
    struct page *page;
    (void)state;
    for (int32_t i = 0; i < COUNT; i++)
        ids[i] = i % TINY_VOCABULARY;
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_open(&session, engine, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_append(session, ids, COUNT, &error), TRIB_OK);
    memcpy(clean, trib_session_logits(session), sizeof clean);
    sequence_pages(session->sequence, 1, 2, &page);
    memset(page->memory, 0x11, kv_page_bytes(prefix_cache_shape(engine->cache)));
    trib_session_close(session);
    for (int scored = 0; scored < 2; scored++) {
        assert_int_equal(trib_session_open(&session, engine, NULL, &error), TRIB_OK);
        if (scored)
            assert_int_equal(trib_session_score(session, ids, COUNT, all, &error), TRIB_OK);
        else /* in two pieces, cut where a page ends: the second is looked for as well */
            assert_true(trib_session_append(session, ids, 64, &error) == TRIB_OK &&
                        trib_session_append(session, ids + 64, COUNT - 64, &error) == TRIB_OK);
        assert_int_equal(trib_session_length(session), COUNT);
        bool same = memcmp(clean, trib_session_logits(session), sizeof clean) == 0;
        assert_true(same == (scored == 1));
        trib_session_close(session);
    }
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
        cmocka_unit_test(sessions_fork_and_rewind),
        cmocka_unit_test(forks_keep_their_logits),
        cmocka_unit_test(usage_counts_what_is_shared_once),
        cmocka_unit_test(step_refuses_one_by_one),
        cmocka_unit_test(append_takes_what_is_cached),
        cmocka_unit_test(memory_is_said_beforehand),
        cmocka_unit_test(loading_says_how_far_it_is),
    };
    return cmocka_run_group_tests_name("engine", tests, setup, teardown);
}
