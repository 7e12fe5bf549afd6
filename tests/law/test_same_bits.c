/* The same tokens in give the same bits out: logits compared by memcmp, never by a tolerance.
 *
 * A random tiny model runs a sequence that crosses chunk and span borders in every way the engine
 * can cut it: threads x prefill chunk, scored at once or appended token by token; for every kernel
 * table, weight type and KV type. Many sessions in a step are test_same_step.c's. */
#include <unistd.h>

#include "kernel/kernel.h"
#include "model/architecture.h"
#include "must.h"
#include "tiny_model.h"
#include "tributary/engine.h"

/* One span of 512 keys and some; for the slow table three chunks of 64. */
enum { LENGTH = 560, SHORT = 140, V = TINY_VOCABULARY };

static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0};
enum { TYPES = sizeof types / sizeof types[0] };

static struct {
    char paths[TYPES][64];
    int32_t ids[LENGTH];
} fixture;

static int setup(void **state)
{
    (void)state;
    struct random random = random_start(1);
    for (size_t i = 0; i < TYPES; i++)
        tiny_model_write(fixture.paths[i], types[i], &random);
    for (size_t i = 0; i < LENGTH; i++)
        fixture.ids[i] = (int32_t)random_below(&random, V);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < TYPES; i++)
        unlink(fixture.paths[i]);
    return 0;
}

/* One way of running the sequence. */
struct way {
    const char *table, *kv_type;
    int threads;
    size_t chunk; /* of the engine; 0: all at once */
    bool step;    /* append one token at a time */
};

static size_t length_for(struct way way)
{
    return strcmp(way.table, "ref") == 0 ? SHORT : LENGTH;
}

/* logits [length][V] of the fixture's sequence. */
static void run(const char *path, struct way way, float *logits)
{
    trib_error error = {0};
    trib_model *model;
    trib_engine *engine;
    trib_session *session;
    trib_engine_options options = {.threads = way.threads,
                                   .prefill_chunk = way.chunk ? way.chunk : LENGTH,
                                   .kernels = way.table,
                                   .kv_type = way.kv_type};
    size_t length = length_for(way);
    must(trib_model_open(&model, path, &error), &error);
    must(trib_engine_open(&engine, model, &options, &error), &error);
    must(trib_session_open(&session, engine, NULL, &error), &error);
    if (!way.step)
        must(trib_session_score(session, fixture.ids, length, logits, &error), &error);
    for (size_t i = 0; i < length && way.step; i++) {
        must(trib_session_append(session, &fixture.ids[i], 1, &error), &error);
        memcpy(logits + i * V, trib_session_logits(session), V * sizeof *logits);
    }
    assert_int_equal(trib_session_length(session), length);
    trib_session_close(session);
    trib_engine_close(engine);
    trib_model_close(model);
}

/* Holds other ways of running the sequence against a first one. */
static void compare(const char *path, struct way first, const struct way *others, size_t count)
{
    static float expected[LENGTH * V], found[LENGTH * V];
    size_t floats = length_for(first) * V;
    run(path, first, expected);
    for (size_t i = 0; i < floats; i++)
        assert_true(isfinite(expected[i])); /* equal NaN would prove nothing */
    for (size_t i = 0; i < count; i++) {
        run(path, others[i], found);
        if (memcmp(expected, found, floats * sizeof *expected) != 0)
            fail_msg("%s, %s KV: %d threads, chunk %zu, step %d differ from the first way",
                     others[i].table, others[i].kv_type, others[i].threads, others[i].chunk,
                     others[i].step);
    }
}

/* Threads {1, 2, 3} x prefill chunk {1, 7, 64, all}, and token by token, for each table and KV
 * type. */
static void threads_and_chunks_change_no_bit(void **state)
{
    static const size_t chunks[] = {1, 7, 64, 0};
    static const char *const kv_types[] = {"f32", "f16"};
    (void)state;
    for (size_t table = 0; kernels_at(table); table++)
        for (size_t kv = 0; kv < 2; kv++) {
            struct way first = {kernels_at(table)->name, kv_types[kv], 1, 0, false};
            struct way others[13];
            size_t count = 0;
            for (int threads = 1; threads <= 3; threads++)
                for (size_t c = 0; c < 4; c++) {
                    others[count] = first;
                    others[count].threads = threads;
                    others[count++].chunk = chunks[c];
                }
            others[count] = first;
            others[count].threads = 2;
            others[count++].step = true;
            compare(fixture.paths[0], first, others, count);
        }
}

static void every_weight_type_keeps_its_bits(void **state)
{
    (void)state;
    for (size_t table = 0; kernels_at(table); table++)
        for (size_t i = 0; i < TYPES; i++) {
            struct way first = {kernels_at(table)->name, "f16", 1, 0, false};
            struct way way = {kernels_at(table)->name, "f16", 3, 7, false};
            compare(fixture.paths[i], first, &way, 1);
        }
}

/* vectors [TEXTS][TINY_WIDTH] of overlapping texts, in batches of `batch`. */
enum { TEXTS = 6 };

static void embed(const char *path, struct way way, size_t batch, float *vectors)
{
    static const size_t lengths[TEXTS] = {1, 65, 7, 130, 64, 30};
    trib_ids texts[TEXTS];
    trib_model *model;
    trib_engine *engine;
    trib_error error = {0};
    trib_engine_options options = {
        .threads = way.threads, .prefill_chunk = way.chunk, .kernels = way.table};
    for (size_t i = 0; i < TEXTS; i++)
        texts[i] = (trib_ids){fixture.ids + i, lengths[i]};
    must(trib_model_open(&model, path, &error), &error);
    must(trib_engine_open(&engine, model, &options, &error), &error);
    for (size_t i = 0; i < TEXTS; i += batch)
        must(trib_embed(engine, texts + i, batch, NULL, vectors + i * TINY_WIDTH, &error), &error);
    trib_engine_close(engine);
    trib_model_close(model);
}

/* Each architecture in three threads and chunks of 7 against one thread and all at once; and
 * vectors of texts alone against all of them in one call, cut where a chunk of 7 or 100 cuts. */
static void every_architecture_keeps_its_bits(void **state)
{
    static float expected[TEXTS * TINY_WIDTH], found[TEXTS * TINY_WIDTH];
    struct random random = random_start(3);
    (void)state;
    for (size_t i = 0; architecture_at(i); i++) {
        const struct architecture *a = architecture_at(i);
        char path[64];
        tiny_architecture_write(path, a->name, DTYPE_F32, &random);
        for (size_t table = 0; kernels_at(table); table++) {
            struct way first = {kernels_at(table)->name, "f16", 1, 0, false}, way = first;
            way.threads = 3;
            way.chunk = 7;
            if (!a->bidirectional)
                compare(path, first, &way, 1);
            first.chunk = 200;
            embed(path, first, 1, expected);
            for (way.chunk = 7; way.chunk <= 100; way.chunk += 93) {
                embed(path, way, TEXTS, found);
                if (memcmp(expected, found, sizeof expected) != 0)
                    fail_msg("%s, %s: vectors of texts beside others differ", a->name, way.table);
            }
        }
        unlink(path);
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_chunks_change_no_bit),
        cmocka_unit_test(every_weight_type_keeps_its_bits),
        cmocka_unit_test(every_architecture_keeps_its_bits),
    };
    return cmocka_run_group_tests_name("same bits", tests, setup, teardown);
}
