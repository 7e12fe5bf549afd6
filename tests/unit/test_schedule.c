/* The scheduler's rules, one by one: who goes first, what is computed once, who gives way, what is
 * refused, what is told. That no text changes is test_same_schedule.c's. */
#include <unistd.h>

#include "engine/engine.h"
#include "must.h"
#include "plain_decode.h"
#include "tiny_model.h"

enum { V = TINY_VOCABULARY, MOST = 16, PAGE = 64 };

static trib_model *model;
static trib_memory memory;

static int setup(void **state)
{
    struct random random = random_start(1);
    trib_error error = {0};
    char path[64];
    (void)state;
    tiny_model_write(path, DTYPE_F32, &random);
    must(trib_model_open(&model, path, &error), &error);
    must(trib_memory_needed(model, NULL, NULL, &memory, &error), &error);
    unlink(path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    trib_model_close(model);
    return 0;
}

/* A scheduler on an engine of its own, and what its requests told. */
struct world {
    trib_engine *engine;
    trib_scheduler *scheduler;
    uint64_t ended[MOST * MOST]; /* requests, in the order of their ends */
    trib_end ends[MOST * MOST];
    trib_status status[MOST * MOST];
    size_t index[MOST * MOST], chosen[MOST * MOST];
    size_t count, tokens;
    uint64_t cancel; /* whom to cancel when token number `cancel_at` is told of */
    size_t cancel_at;
    const trib_request *more; /* what to submit when told of an end; once */
};

static struct world open_world(size_t sequences, size_t tokens, size_t pages)
{
    struct world w = {0};
    trib_error error = {0};
    trib_engine_options options = {.threads = 1, .prefill_chunk = 128};
    trib_scheduler_options limits = trib_scheduler_options_default();
    options.cache_bytes = pages * PAGE * memory.kv_per_token;
    limits.model = model;
    limits.sequences = sequences;
    limits.tokens = tokens;
    limits.waiting = MOST;
    must(trib_engine_open(&w.engine, model, &options, &error), &error);
    must(trib_scheduler_open(&w.scheduler, w.engine, &limits, &error), &error);
    return w;
}

/* No page may be lost, whatever went on. */
static void close_world(struct world *w)
{
    trib_scheduler_close(w->scheduler);
    struct prefix_cache_counts counts = prefix_cache_counts(w->engine->cache);
    assert_int_equal(counts.sequences, 0);
    assert_int_equal(counts.pages.in_use, counts.cached);
    prefix_cache_clear(w->engine->cache);
    assert_int_equal(prefix_cache_counts(w->engine->cache).pages.in_use, 0);
    trib_engine_close(w->engine);
}

static void see_token(void *context, const trib_chosen *chosen)
{
    struct world *w = context;
    assert_true(chosen->id >= 0 && chosen->id < V && chosen->logits);
    if (++w->tokens == w->cancel_at)
        assert_true(trib_scheduler_cancel(w->scheduler, w->cancel));
}

static void see_end(void *context, const trib_completion *c)
{
    struct world *w = context;
    uint64_t id;
    const trib_request *more = w->more;
    w->ended[w->count] = c->request;
    w->index[w->count] = c->index;
    w->chosen[w->count] = c->count;
    w->status[w->count] = c->status;
    w->ends[w->count++] = c->end;
    w->more = NULL;
    if (more)
        must(trib_scheduler_submit(w->scheduler, more, &id, NULL), &(trib_error){0});
}

/* `count` ids, the same ones for the same seed. */
static const int32_t *ids_of(uint64_t seed, size_t count)
{
    static int32_t ids[MOST][2048];
    static size_t next;
    struct random r = {seed};
    int32_t *out = ids[next++ % MOST];
    for (size_t i = 0; i < count; i++)
        out[i] = (int32_t)random_below(&r, V);
    return out;
}

static trib_request request_of(struct world *w, uint64_t seed, size_t count, size_t tokens)
{
    trib_request r = trib_request_default();
    r.ids = ids_of(seed, count);
    r.count = count;
    r.max_tokens = tokens;
    r.go_on = true;
    r.on_token = see_token;
    r.on_end = see_end;
    r.context = w;
    return r;
}

static uint64_t submit(struct world *w, const trib_request *request)
{
    trib_error error = {0};
    uint64_t id;
    must(trib_scheduler_submit(w->scheduler, request, &id, &error), &error);
    return id;
}

static void run(struct world *w)
{
    size_t most = 5000;
    while (!trib_scheduler_idle(w->scheduler) && most-- > 0)
        trib_scheduler_step(w->scheduler);
    assert_true(trib_scheduler_idle(w->scheduler));
    assert_int_equal(trib_scheduler_counts(w->scheduler).waiting, 0);
    assert_int_equal(trib_scheduler_counts(w->scheduler).running, 0);
}

/* ---- Who goes first ---- */

static void priority_then_order_of_coming(void **state)
{
    static const int priorities[] = {0, 0, 1, -1, 1};
    static const uint64_t expected[] = {3, 5, 1, 2, 4};
    struct world w = open_world(1, 0, 40);
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        trib_request r = request_of(&w, i, 10, 3);
        r.priority = priorities[i];
        assert_int_equal(submit(&w, &r), i + 1);
    }
    assert_int_equal(trib_scheduler_counts(w.scheduler).waiting, 5);
    run(&w);
    assert_int_equal(w.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(w.ended[i], expected[i]);
    close_world(&w);
}

/* One of low priority among requests that keep coming, each as soon as the one before it can have
 * ended: it waits for TRIB_AGEING steps for each unit of priority, and for those that came within
 * them to end. */
static void nobody_starves(void **state)
{
    enum { LENGTH = 8, BEHIND = 2 };
    struct world w = open_world(1, 0, 40);
    size_t steps = 0;
    (void)state;
    trib_request low = request_of(&w, 1, 10, LENGTH), high = request_of(&w, 2, 10, LENGTH);
    low.priority = -BEHIND;
    submit(&w, &high);
    uint64_t id = submit(&w, &low);
    for (; w.count == 0 || w.ended[0] != id; steps++) {
        if (steps % LENGTH == 0)
            submit(&w, &high);
        w.count = 0;
        trib_scheduler_step(w.scheduler);
        assert_true(steps <= BEHIND * TRIB_AGEING + 4 * LENGTH);
    }
    assert_true(steps >= BEHIND * TRIB_AGEING);
    run(&w);
    close_world(&w);
}

/* A prompt of many slices beside one that runs, which gets a token in every step, while no step has
 * more tokens than it may. */
static void prompts_come_in_slices(void **state)
{
    enum { TOKENS = 50, LONG = 1000 };
    struct world w = open_world(2, TOKENS, 40);
    (void)state;
    trib_request first = request_of(&w, 1, 10, 60), second = request_of(&w, 2, LONG, 1);
    submit(&w, &first);
    trib_scheduler_step(w.scheduler);
    submit(&w, &second);
    for (size_t steps = 1; w.count == 0; steps++) {
        trib_schedule_counts before = trib_scheduler_counts(w.scheduler);
        assert_int_equal(w.tokens, steps);
        trib_scheduler_step(w.scheduler);
        trib_schedule_counts after = trib_scheduler_counts(w.scheduler);
        assert_true(after.computed - before.computed <= TOKENS - 1);
    }
    assert_int_equal(trib_scheduler_counts(w.scheduler).computed, 10 + LONG);
    assert_int_equal(trib_scheduler_counts(w.scheduler).steps,
                     1 + (LONG + TOKENS - 2) / (TOKENS - 1));
    run(&w);
    close_world(&w);
}

/* ---- What is computed once ---- */

static void a_prompt_is_read_once_for_all_completions(void **state)
{
    struct world w = open_world(4, 0, 40);
    (void)state;
    trib_request r = request_of(&w, 1, 100, 5);
    r.completions = 4;
    submit(&w, &r);
    run(&w);
    assert_int_equal(w.count, 4);
    assert_int_equal(trib_scheduler_counts(w.scheduler).computed, 100);
    assert_int_equal(trib_scheduler_counts(w.scheduler).found, 300);
    close_world(&w);
}

/* With one place the second completion comes when the first has ended, by the cache: of 100 tokens
 * one page. */
static void completions_wait_for_a_place(void **state)
{
    struct world w = open_world(1, 0, 40);
    (void)state;
    trib_request r = request_of(&w, 1, 100, 5);
    r.completions = 3;
    submit(&w, &r);
    run(&w);
    assert_int_equal(w.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(w.index[i], i);
    assert_int_equal(trib_scheduler_counts(w.scheduler).computed, 100 + 2 * (100 - PAGE));
    close_world(&w);
}

/* Requests that begin alike: the first computes what they share, the others find it, in the step
 * after it is there; a stranger does not wait. */
static void a_prefix_is_computed_by_the_first(void **state)
{
    enum { SHARED = 5 * PAGE, LENGTH = SHARED + 30 };
    int32_t ids[4][LENGTH];
    struct world w = open_world(8, 128, 60);
    trib_request stranger = request_of(&w, 9, 20, 1);
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        memcpy(ids[i], ids_of(1, LENGTH), sizeof ids[i]);
        for (size_t t = SHARED; t < LENGTH; t++)
            ids[i][t] = (int32_t)((t + i) % V);
        trib_request r = request_of(&w, 0, LENGTH, 4);
        r.ids = ids[i];
        submit(&w, &r);
    }
    uint64_t id = submit(&w, &stranger);
    for (size_t steps = 0; steps < 3;
         steps++) /* 350 tokens at 128 a step: 34 are left of the third */
        trib_scheduler_step(w.scheduler);
    assert_int_equal(w.count, 1);
    assert_int_equal(w.ended[0], id);
    assert_int_equal(trib_scheduler_counts(w.scheduler).computed, LENGTH + 20);
    trib_scheduler_step(w.scheduler);
    assert_int_equal(trib_scheduler_counts(w.scheduler).running, 4);
    run(&w);
    assert_int_equal(trib_scheduler_counts(w.scheduler).computed, LENGTH + 20 + 3 * 30);
    assert_int_equal(trib_scheduler_counts(w.scheduler).found, 3 * SHARED);
    close_world(&w);
}

/* ---- A full cache ---- */

/* Ten pages, and three requests that need five each in the end: the last one gives way, and all of
 * them end as they should. */
static void the_last_gives_way(void **state)
{
    struct world w = open_world(3, 256, 10);
    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        trib_request r = request_of(&w, i, 100, 200);
        submit(&w, &r);
    }
    run(&w);
    assert_int_equal(w.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(w.ended[i], i + 1);
        assert_int_equal(w.ends[i], TRIB_END_LENGTH);
        assert_int_equal(w.chosen[i], 200);
    }
    assert_int_equal(trib_scheduler_counts(w.scheduler).put_back, 1);
    close_world(&w);
}

/* Four pages: whoever needs a fifth fails, though not before it is alone; who needs fewer does not.
 */
static void alone_it_fails(void **state)
{
    struct world w = open_world(2, 256, 4);
    (void)state;
    trib_request large = request_of(&w, 1, 100, 400), small = request_of(&w, 2, 100, 120);
    uint64_t first = submit(&w, &large), second = submit(&w, &small);
    run(&w);
    assert_int_equal(w.count, 2);
    assert_int_equal(w.ended[0], first);
    assert_int_equal(w.ends[0], TRIB_END_ERROR);
    assert_int_equal(w.status[0], TRIB_FULL);
    assert_int_equal(w.chosen[0], 4 * PAGE - 100 + 1);
    assert_int_equal(w.ended[1], second);
    assert_int_equal(w.ends[1], TRIB_END_LENGTH);
    trib_request longer = request_of(&w, 3, 5 * PAGE, 1);
    submit(&w, &longer);
    run(&w);
    assert_int_equal(w.status[2], TRIB_FULL);
    close_world(&w);
}

/* ---- Cancelling ---- */

/* Before every step there is, of requests that wait, are read, run, fork. What is left goes on. */
static void cancel_at_every_step(void **state)
{
    (void)state;
    for (size_t at = 0; at < 40; at++)
        for (uint64_t whom = 1; whom <= 3; whom++) {
            struct world w = open_world(3, 64, 9);
            trib_request r[3] = {request_of(&w, 1, 200, 8), request_of(&w, 1, 220, 12),
                                 request_of(&w, 3, 150, 5)};
            r[1].completions = 2;
            size_t ended = 0;
            for (size_t i = 0; i < 3; i++)
                submit(&w, &r[i]);
            for (size_t i = 0; i < at; i++)
                trib_scheduler_step(w.scheduler);
            for (size_t i = 0; i < w.count; i++)
                ended += w.ended[i] == whom;
            bool over = ended == r[whom - 1].completions;
            assert_true(trib_scheduler_cancel(w.scheduler, whom) == !over);
            assert_false(trib_scheduler_cancel(w.scheduler, whom));
            run(&w);
            assert_int_equal(w.count, 4);
            for (size_t i = 0; i < w.count; i++)
                assert_true(w.ended[i] == whom || w.ends[i] == TRIB_END_LENGTH);
            close_world(&w);
        }
}

/* From within a call: the request that is told of, or another one of the same step. */
static void calls_may_cancel_and_submit(void **state)
{
    (void)state;
    for (uint64_t whom = 1; whom <= 2; whom++)
        for (size_t at = 1; at < 12; at++) {
            struct world w = open_world(4, 0, 20);
            trib_request r = request_of(&w, 1, 50, 10), more = request_of(&w, 5, 30, 2);
            r.completions = 2;
            w.cancel = whom;
            w.cancel_at = at;
            w.more = &more;
            submit(&w, &r);
            submit(&w, &r);
            run(&w);
            assert_int_equal(w.count, 5);
            assert_int_equal(w.ends[4], TRIB_END_LENGTH);
            close_world(&w);
        }
}

/* Closing with requests in every stage loses nothing either. */
static void closing_drops_what_is_left(void **state)
{
    (void)state;
    for (size_t steps = 0; steps < 20; steps++) {
        struct world w = open_world(3, 64, 9);
        trib_request r = request_of(&w, 1, 200, 8), other = request_of(&w, 2, 150, 5);
        r.completions = 3;
        submit(&w, &r);
        submit(&w, &other);
        for (size_t i = 0; i < steps; i++)
            trib_scheduler_step(w.scheduler);
        size_t told = w.count;
        trib_scheduler_close(w.scheduler);
        w.scheduler = NULL;
        assert_int_equal(w.count, told);
        close_world(&w);
    }
}

/* ---- What is handed over ---- */

static void the_best_are_handed_over(void **state)
{
    enum { MADE = 7, BEST = 3 };
    static struct plain plain[MADE];
    trib_engine *engine;
    struct world w = open_world(3, 0, 40);
    trib_request r = request_of(&w, 1, 70, 9);
    (void)state;
    r.completions = BEST;
    r.best_of = MADE;
    r.sampling.temperature = 2;
    r.sampling.seed = 5;
    submit(&w, &r);
    run(&w);
    must(trib_engine_open(&engine, model, NULL, NULL), &(trib_error){0});
    for (size_t i = 0; i < MADE; i++)
        plain_decode(&plain[i], engine, model, 0, &r, i);
    trib_engine_close(engine);
    assert_int_equal(w.count, BEST);
    for (size_t n = 0; n < BEST; n++) {
        size_t better = 0;
        for (size_t i = 0; i < MADE; i++)
            better += plain[i].mean > plain[w.index[n]].mean;
        assert_int_equal(better, n);
    }
    close_world(&w);
}

/* ---- Refusals ---- */

static void options_are_checked(void **state)
{
    const trib_scheduler_options bad[] = {{.sequences = 0, .waiting = 1},
                                          {.sequences = TRIB_SEQUENCES_MAX + 1, .waiting = 1},
                                          {.sequences = 1, .waiting = 0},
                                          {.sequences = 1, .waiting = 1, .context = 1 << 30}};
    struct world w = open_world(1, 0, 4);
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        trib_scheduler *s;
        trib_error error = {0};
        assert_int_equal(trib_scheduler_open(&s, w.engine, &bad[i], &error), TRIB_INVALID);
        assert_null(s);
    }
    close_world(&w);
}

static void requests_are_checked(void **state)
{
    const int32_t outside = V;
    const trib_text empty = {"", 0};
    struct world w = open_world(1, 0, 4);
    trib_request good = request_of(&w, 1, 10, 3), bad[11];
    trib_error error = {0};
    uint64_t id;
    (void)state;
    for (size_t i = 0; i < 11; i++)
        bad[i] = good;
    bad[0].count = 0;
    bad[1].max_tokens = 0;
    bad[2].completions = 0;
    bad[3].completions = TRIB_SEQUENCES_MAX + 1;
    bad[4].completions = 2, bad[4].best_of = 1;
    bad[5].ids = &outside, bad[5].count = 1;
    bad[6].ends = &outside, bad[6].end_count = 1;
    bad[7].stops = &empty, bad[7].stop_count = 1;
    bad[8].priority = 1000001;
    bad[9].sampling.top_p = 2;
    bad[10].priority = -1000001;
    for (size_t i = 0; i < 11; i++) {
        assert_int_equal(trib_scheduler_submit(w.scheduler, &bad[i], &id, &error), TRIB_INVALID);
        assert_int_equal(id, 0);
    }
    good.ids = ids_of(1, TINY_CONTEXT);
    good.count = TINY_CONTEXT + 1;
    assert_int_equal(trib_scheduler_submit(w.scheduler, &good, &id, &error), TRIB_FULL);
    good.count = 10;
    for (size_t i = 0; i < MOST; i++)
        submit(&w, &good);
    assert_int_equal(trib_scheduler_submit(w.scheduler, &good, &id, &error), TRIB_FULL);
    assert_non_null(strstr(error.message, "wait"));
    assert_false(trib_scheduler_cancel(w.scheduler, MOST + 1));
    close_world(&w);
}

/* A scheduler that does not spell gives ids, and refuses stop strings. */
static void without_a_model_there_are_ids_alone(void **state)
{
    const trib_text stop = {"t1", 2};
    struct world w = open_world(1, 0, 4);
    trib_request r = request_of(&w, 1, 10, 3);
    trib_error error = {0};
    uint64_t id;
    (void)state;
    trib_scheduler_close(w.scheduler);
    must(trib_scheduler_open(&w.scheduler, w.engine, NULL, &error), &error);
    submit(&w, &r);
    run(&w);
    assert_int_equal(w.chosen[0], 3);
    r.stops = &stop;
    r.stop_count = 1;
    assert_int_equal(trib_scheduler_submit(w.scheduler, &r, &id, &error), TRIB_INVALID);
    close_world(&w);
}

static trib_status refuse(void *context, const int32_t *ids, size_t count, uint8_t *allowed)
{
    (void)ids;
    memset(allowed, 0, V);
    return count < 13 ? (allowed[*(const size_t *)context] = 1, TRIB_OK) : TRIB_UNSUPPORTED;
}

/* What goes wrong with one is that one's. A constraint sees the prompt and what was chosen. */
static void an_error_is_one_completions(void **state)
{
    const size_t only = 7;
    struct world w = open_world(2, 0, 8);
    trib_request bad = request_of(&w, 1, 10, 9), good = request_of(&w, 2, 10, 9);
    (void)state;
    bad.sampling.constrain = refuse;
    bad.sampling.constrain_context = (void *)(uintptr_t)&only;
    submit(&w, &bad);
    submit(&w, &good);
    run(&w);
    assert_int_equal(w.ends[0], TRIB_END_ERROR);
    assert_int_equal(w.status[0], TRIB_UNSUPPORTED);
    assert_int_equal(w.chosen[0], 3);
    assert_int_equal(w.ends[1], TRIB_END_LENGTH);
    close_world(&w);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(priority_then_order_of_coming),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(prompts_come_in_slices),
        cmocka_unit_test(a_prompt_is_read_once_for_all_completions),
        cmocka_unit_test(completions_wait_for_a_place),
        cmocka_unit_test(a_prefix_is_computed_by_the_first),
        cmocka_unit_test(the_last_gives_way),
        cmocka_unit_test(alone_it_fails),
        cmocka_unit_test(cancel_at_every_step),
        cmocka_unit_test(calls_may_cancel_and_submit),
        cmocka_unit_test(closing_drops_what_is_left),
        cmocka_unit_test(the_best_are_handed_over),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(without_a_model_there_are_ids_alone),
        cmocka_unit_test(an_error_is_one_completions),
    };
    return cmocka_run_group_tests_name("schedule", tests, setup, teardown);
}
