/* Many sessions in a step, prefixes shared and cached: still the same bits, by memcmp.
 *
 * A matrix of {1, 2, 3 threads} x {prefill chunk 1, 7, 64, all} x {1 to 8 sessions in the step,
 * which share a prefix and which do not} x {cold, cached, restored from disk}, some cells of it,
 * each against sessions that were scored alone; then random steps, forks and rewinds, where memory
 * suffices, where it does not, and with a folder. No page may be lost on the way. */
#include <unistd.h>

#include "engine/engine.h"
#include "folder.h"
#include "model/architecture.h"
#include "must.h"
#include "tiny_model.h"

enum { V = TINY_VOCABULARY };

static trib_session *open_session(trib_engine *engine)
{
    trib_error error = {0};
    trib_session *session;
    must(trib_session_open(&session, engine, NULL, &error), &error);
    return session;
}

static trib_engine *open_engine(const trib_model *model, trib_engine_options options)
{
    trib_error error = {0};
    trib_engine *engine;
    must(trib_engine_open(&engine, model, &options, &error), &error);
    return engine;
}

/* With all sessions closed every page in use is in the tree, and nobody holds one. */
static void expect_no_leaks(const trib_engine *engine)
{
    struct prefix_cache_counts counts = prefix_cache_counts(engine->cache);
    assert_int_equal(counts.sequences, 0);
    assert_int_equal(counts.pages.in_use + counts.pages.wrapped, counts.cached);
    prefix_cache_clear(engine->cache);
    counts = prefix_cache_counts(engine->cache);
    assert_int_equal(counts.pages.in_use, 0);
    assert_int_equal(counts.pages.wrapped, 0);
}

/* ---- The matrix ---- */

/* The longest crosses a span of 512 keys. Half of the sequences begin as the first one does, for
 * whole pages or not; two of them part in the same page, and one is a beginning of the first. */
enum { MOST = 8, LENGTH = 530, DECODED = 4 };

static const struct {
    size_t shared, length;
} sequences[MOST] = {{LENGTH, LENGTH}, {128, 150}, {0, 70},    {133, 200},
                     {140, 180},       {0, 5},     {200, 200}, {64, 129}};

static struct {
    int32_t ids[MOST][LENGTH];
    float expected[MOST][LENGTH * V];
} fixture;

static void draw_sequences(struct random *random)
{
    for (size_t i = 0; i < MOST; i++)
        for (size_t t = 0; t < sequences[i].length; t++)
            fixture.ids[i][t] = t < sequences[i].shared && i > 0 ? fixture.ids[0][t]
                                                                 : (int32_t)random_below(random, V);
}

struct way {
    const char *table;
    int threads;
    size_t chunk, sessions;
    enum { COLD, CACHED, RESTORED } from;
    bool apart;
};

static const char *const places[] = {"cold", "cached", "restored"};
static char folder[FOLDER_NAME];

static trib_engine_options options_of(struct way way)
{
    return (trib_engine_options){.threads = way.threads,
                                 .prefill_chunk = way.chunk,
                                 .kernels = way.table,
                                 .cache_dir = way.from == RESTORED ? folder : NULL,
                                 .apart = way.apart};
}

/* Each sequence alone, all at once, in one thread, in an engine that has seen no other. */
static void score_alone(const trib_model *model, const char *table)
{
    trib_error error = {0};
    for (size_t i = 0; i < MOST; i++) {
        trib_engine *engine =
            open_engine(model, options_of((struct way){table, 1, LENGTH, 1, COLD, 0}));
        trib_session *session = open_session(engine);
        must(trib_session_score(session, fixture.ids[i], sequences[i].length, fixture.expected[i],
                                &error),
             &error);
        for (size_t j = 0; j < sequences[i].length * V; j++)
            assert_true(isfinite(fixture.expected[i][j])); /* equal NaN would prove nothing */
        trib_session_close(session);
        trib_engine_close(engine);
    }
}

static void expect_row(struct way way, size_t i, size_t position, const float *logits)
{
    if (memcmp(logits, fixture.expected[i] + position * V, V * sizeof *logits) != 0)
        fail_msg("%s, %d threads, chunk %zu, %zu sessions, %s: sequence %zu differs at %zu",
                 way.table, way.threads, way.chunk, way.sessions, places[way.from], i, position);
}

/* Prompts in one step, then tokens in lockstep. */
static void step_sessions(trib_engine *engine, struct way way)
{
    trib_append appends[MOST];
    trib_error error = {0};
    for (size_t i = 0; i < way.sessions; i++)
        appends[i] = (trib_append){.session = open_session(engine),
                                   .ids = fixture.ids[i],
                                   .count = sequences[i].length - DECODED};
    for (size_t step = 0; step <= DECODED; step++) {
        must(trib_step(engine, appends, way.sessions, &error), &error);
        for (size_t i = 0; i < way.sessions; i++) {
            size_t length = sequences[i].length - DECODED + step;
            assert_int_equal(trib_session_length(appends[i].session), length);
            expect_row(way, i, length - 1, trib_session_logits(appends[i].session));
            appends[i].ids = fixture.ids[i] + length;
            appends[i].count = 1;
        }
    }
    for (size_t i = 0; i < way.sessions; i++)
        trib_session_close(appends[i].session);
}

/* All logits of all sequences in one step. */
static void score_sessions(trib_engine *engine, struct way way)
{
    static float found[MOST][LENGTH * V];
    trib_append appends[MOST];
    trib_error error = {0};
    for (size_t i = 0; i < way.sessions; i++)
        appends[i] =
            (trib_append){open_session(engine), fixture.ids[i], sequences[i].length, found[i], 0};
    must(trib_step(engine, appends, way.sessions, &error), &error);
    for (size_t i = 0; i < way.sessions; i++) {
        for (size_t t = 0; t < sequences[i].length; t++)
            expect_row(way, i, t, found[i] + t * V);
        trib_session_close(appends[i].session);
    }
}

static void run_way(const trib_model *model, struct way way)
{
    if (way.from == RESTORED)
        folder_make(folder);
    trib_engine *engine = open_engine(model, options_of(way));
    if (way.from != COLD) /* what is scored stays when its sessions are closed */
        score_sessions(engine, way);
    if (way.from == RESTORED) {
        trib_engine_close(engine);
        engine = open_engine(model, options_of(way));
    }
    step_sessions(engine, way);
    if (way.from == CACHED)
        assert_true(prefix_cache_counts(engine->cache).cached >= LENGTH / 64);
    if (way.from == RESTORED) /* the prompts' pages lie in files */
        assert_true(prefix_cache_counts(engine->cache).pages.wrapped >= LENGTH / 64);
    expect_no_leaks(engine);
    trib_engine_close(engine);
    if (way.from == RESTORED)
        assert_int_equal(folder_remove(folder), 0);
}

static void steps_change_no_bit(void **state)
{
    static const size_t chunks[] = {1, 7, 64, 2048};
    struct random random = random_start(1);
    trib_model *model = tiny_open("llama", &random);
    const trib_kernels *best;
    (void)state;
    must(trib_kernels_choose(&best, NULL, NULL), &(trib_error){0});
    draw_sequences(&random);
    score_alone(model, best->name);
    for (int threads = 1; threads <= 3; threads++)
        for (size_t c = 0; c < 4; c++)
            for (size_t sessions = 1; sessions <= MOST; sessions++)
                for (unsigned from = COLD; from <= RESTORED; from++)
                    if (((size_t)threads + c + sessions) % (c ? 2 : 8) ==
                        0) /* single rows are slow */
                        run_way(model, (struct way){best->name, threads, chunks[c], sessions, from,
                                                    false});
    trib_model_close(model);
}

/* Windows, soft-caps, other norms; every table. */
static void every_architecture_steps(void **state)
{
    struct random random = random_start(2);
    (void)state;
    draw_sequences(&random);
    for (size_t i = 0; architecture_at(i); i++) {
        if (architecture_at(i)->bidirectional)
            continue;
        trib_model *model = tiny_open(architecture_at(i)->name, &random);
        for (size_t table = 0; kernels_at(table); table++) {
            const char *name = kernels_at(table)->name;
            if (strcmp(name, "ref") == 0 && i % 4 != 0) /* slow */
                continue;
            score_alone(model, name);
            run_way(model, (struct way){name, 3, 50, MOST, COLD, false});
            run_way(model, (struct way){name, 2, 300, MOST, CACHED, i % 2});
            run_way(model, (struct way){name, 2, 300, MOST, RESTORED, i % 2 == 0});
        }
        trib_model_close(model);
    }
}

/* ---- Random steps ---- */

enum { SESSIONS = 8, LONGEST = 240, OPERATIONS = 120, FEW_PAGES = 9 };

struct one {
    trib_session *session;
    int32_t ids[LONGEST];
    size_t count;
    uint64_t variant; /* which continuation it follows */
};

struct world {
    struct random r;
    trib_engine *tested, *plain;
    struct one ones[SESSIONS];
    size_t count, full;
    const char *name;
};

/* Few continuations, so that sessions meet again what others had. */
static int32_t id_at(uint64_t variant, size_t position)
{
    struct random r = {position < 70 ? position : variant * 1000 + position};
    return (int32_t)random_below(&r, V);
}

/* The logits of a session, and of the tokens just appended where `all` has them, are those of the
 * same tokens scored alone. */
static void expect_alone(struct world *w, const struct one *one, const float *all, size_t appended)
{
    static float alone[LONGEST * V];
    trib_error error = {0};
    const float *last = trib_session_logits(one->session);
    assert_int_equal(trib_session_length(one->session), one->count);
    if (!last)
        return;
    trib_session *session = open_session(w->plain);
    must(trib_session_score(session, one->ids, one->count, alone, &error), &error);
    trib_session_close(session);
    if (memcmp(last, alone + (one->count - 1) * V, V * sizeof *last) != 0)
        fail_msg("%s: the logits after %zu tokens differ", w->name, one->count);
    if (all)
        assert_memory_equal(all, alone + (one->count - appended) * V, appended * V * sizeof *all);
}

static void close_one(struct world *w, size_t i)
{
    trib_session_close(w->ones[i].session);
    w->ones[i] = w->ones[--w->count];
}

static void random_step(struct world *w)
{
    static float all[SESSIONS][LONGEST * V];
    trib_append appends[SESSIONS];
    size_t numbers[SESSIONS], count = 0, full = 0;
    trib_error error = {0};
    for (size_t i = 0; i < w->count; i++) {
        struct one *one = &w->ones[i];
        size_t room = LONGEST - one->count, most = random_below(&w->r, 3) ? 4 : 100;
        if (room == 0 || random_below(&w->r, 4) == 0)
            continue;
        size_t n = 1 + random_below(&w->r, most < room ? most : room);
        for (size_t t = 0; t < n; t++)
            one->ids[one->count + t] = id_at(one->variant, one->count + t);
        bool every = random_below(&w->r, 4) == 0;
        numbers[count] = i;
        appends[count++] =
            (trib_append){one->session, one->ids + one->count, n, every ? all[i] : NULL, 0};
    }
    trib_status status = trib_step(w->tested, appends, count, &error);
    for (size_t i = 0; i < count; i++) {
        struct one *one = &w->ones[numbers[i]];
        bool done = appends[i].status == TRIB_OK;
        assert_true(done || appends[i].status == TRIB_FULL);
        full += !done;
        one->count += done ? appends[i].count : 0;
        expect_alone(w, one, done ? appends[i].logits : NULL, appends[i].count);
    }
    assert_int_equal(status, full ? TRIB_FULL : TRIB_OK);
    w->full += full;
    while (full-- > 0 && w->count > 1)
        close_one(w, random_below(&w->r, w->count));
}

static void random_operation(struct world *w)
{
    trib_error error = {0};
    size_t i = w->count ? random_below(&w->r, w->count) : 0;
    size_t what = random_below(&w->r, 10);
    if (w->count == 0 || (what == 0 && w->count < SESSIONS)) {
        w->ones[w->count++] =
            (struct one){.session = open_session(w->tested), .variant = random_below(&w->r, 3)};
    } else if (what == 1 && w->count < SESSIONS) {
        struct one *fork = &w->ones[w->count++];
        *fork = w->ones[i];
        must(trib_session_fork(&fork->session, w->ones[i].session, &error), &error);
        fork->variant = random_below(&w->r, 3);
        expect_alone(w, fork, NULL, 0);
    } else if (what == 2) {
        struct one *one = &w->ones[i];
        one->count = random_below(&w->r, one->count + 1);
        must(trib_session_rewind(one->session, one->count, &error), &error);
        one->variant = random_below(&w->r, 3);
        expect_alone(w, one, NULL, 0);
    } else if (what == 3) {
        close_one(w, i);
    } else {
        random_step(w);
    }
}

/* Three sessions with little in common do not fit in few pages, none of which lies in a file. */
static void overfill(struct world *w)
{
    size_t before = w->full;
    while (w->count)
        close_one(w, 0);
    for (uint64_t variant = 0; variant < 3; variant++)
        w->ones[w->count++] = (struct one){.session = open_session(w->tested), .variant = variant};
    for (int i = 0; i < 10000 && w->full == before; i++)
        random_step(w);
    assert_true(w->full > before);
}

static void live(struct world *w, bool fills)
{
    for (size_t i = 0; i < OPERATIONS; i++)
        random_operation(w);
    if (fills)
        overfill(w);
    while (w->count)
        close_one(w, 0);
    expect_no_leaks(w->tested);
    trib_engine_close(w->tested);
}

/* Memory is short, what was given up comes back from files, and the second engine begins with what
 * the first one left. */
static void live_twice_on_disk(struct world *w, const trib_model *model, trib_engine_options tight)
{
    folder_make(folder);
    tight.cache_dir = folder;
    for (int i = 0; i < 2; i++) {
        w->tested = open_engine(model, tight);
        live(w, false);
    }
    assert_true(folder_each(folder, ".kv", NULL) > 0);
    assert_int_equal(folder_remove(folder), 0);
}

static void forks_and_rewinds_change_no_bit(void **state)
{
    static const char *const names[] = {"llama", "gemma2", "gemma3", "qwen3"};
    static const char *const types[] = {"f16", "bf16", "f32", "f16"};
    struct random random = random_start(3);
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        trib_error error = {0};
        trib_memory memory;
        trib_model *model = tiny_open(names[i], &random);
        trib_engine_options plain = {.threads = 1, .prefill_chunk = LONGEST, .kv_type = types[i]};
        trib_engine_options ample = {.threads = 2, .prefill_chunk = 90, .kv_type = types[i]};
        trib_engine_options tight = ample;
        must(trib_memory_needed(model, &plain, NULL, &memory, &error), &error);
        tight.cache_bytes = FEW_PAGES * 64 * memory.kv_per_token;
        struct world w = {.r = random, .name = names[i], .plain = open_engine(model, plain)};
        w.tested = open_engine(model, ample);
        live(&w, false);
        assert_int_equal(w.full, 0);
        w.tested = open_engine(model, tight);
        live(&w, true);
        live_twice_on_disk(&w, model, tight);
        random = w.r;
        trib_engine_close(w.plain);
        trib_model_close(model);
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_change_no_bit),
        cmocka_unit_test(every_architecture_steps),
        cmocka_unit_test(forks_and_rewinds_change_no_bit),
    };
    return cmocka_run_group_tests_name("same step", tests, NULL, NULL);
}
