/* Scheduling changes no text: requests that come, share prefixes, differ in priority and are
 * cancelled at random, in a cache that has room for all of them and in one that does not, each held
 * against plain decoding. No page may be lost on the way. */
#include <unistd.h>

#include "engine/engine.h"
#include "must.h"
#include "plain_decode.h"
#include "tiny_model.h"

enum { V = TINY_VOCABULARY, CONTEXT = 520, LONGEST_PROMPT = 300, REQUESTS = 160, FEW_PAGES = 7 };

struct world;

/* A request and what is known of it. */
struct one {
    struct world *world;
    trib_request request;
    int32_t ids[LONGEST_PROMPT], ends[2];
    trib_text stops[2];
    uint64_t id;
    bool cancelled;
    size_t told[4], at[4], handed; /* of each completion: tokens, and the step of the last one */
    int32_t seen[4][PLAIN_MOST];
    char text[4][PLAIN_TEXT];
    size_t length[4];
};

struct world {
    struct random r;
    const trib_model *model;
    trib_engine *tested, *plain;
    trib_scheduler *scheduler;
    struct one *ones; /* [REQUESTS] */
    size_t count;
    bool ample;
    size_t ends[TRIB_END_ERROR + 1];
    uint64_t steps, put_back, found;
};

static void expect_no_leaks(const trib_engine *engine)
{
    struct prefix_cache_counts counts = prefix_cache_counts(engine->cache);
    assert_int_equal(counts.sequences, 0);
    assert_int_equal(counts.pages.in_use, counts.cached);
}

/* ---- What is told ---- */

/* With room for all, a sequence that runs gets a token in every step. */
static void see_token(void *context, const trib_chosen *chosen)
{
    struct one *one = context;
    size_t i = chosen->completion;
    uint64_t step = trib_scheduler_counts(one->world->scheduler).steps;
    assert_int_equal(chosen->request, one->id);
    assert_true(i < 4 && one->told[i] < PLAIN_MOST);
    if (one->world->ample && one->told[i])
        assert_int_equal(step, one->at[i] + 1);
    one->at[i] = step;
    one->seen[i][one->told[i]++] = chosen->id;
    assert_true(one->length[i] + chosen->text.length <= PLAIN_TEXT);
    memcpy(one->text[i] + one->length[i], chosen->text.bytes, chosen->text.length);
    one->length[i] += chosen->text.length;
    if (one->request.logprobs)
        assert_true(chosen->logprob <= 0);
}

/* Pages of `count` tokens. */
static size_t pages(size_t count)
{
    return (count + 63) / 64;
}

static void see_end(void *context, const trib_completion *c)
{
    static struct plain plain;
    struct one *one = context;
    struct world *w = one->world;
    size_t i = c->index;
    w->ends[c->end]++;
    one->handed++;
    assert_int_equal(c->left, one->request.completions - one->handed);
    assert_int_equal(c->count, one->told[i]);
    if (c->count)
        assert_memory_equal(c->ids, one->seen[i], c->count * sizeof *c->ids);
    memcpy(one->text[i] + one->length[i], c->rest.bytes, c->rest.length);
    assert_int_equal(c->text.length, one->length[i] + c->rest.length);
    assert_memory_equal(c->text.bytes, one->text[i], c->text.length);
    plain_decode(&plain, w->plain, w->model, CONTEXT, &one->request, i);
    assert_true(c->count <= plain.count);
    if (c->count && memcmp(c->ids, plain.ids, c->count * sizeof *c->ids) != 0)
        fail_msg("request %d, completion %zu: other tokens than alone", (int)one->id, i);
    if (c->end == TRIB_END_CANCELLED) {
        assert_true(one->cancelled);
    } else if (c->end == TRIB_END_ERROR) { /* alone in the cache and too large for it */
        assert_int_equal(c->status, TRIB_FULL);
        assert_true(!w->ample && pages(one->request.count + c->count) > FEW_PAGES);
    } else {
        assert_int_equal(c->end, plain.end);
        assert_int_equal(c->count, plain.count);
        assert_int_equal(c->text.length, plain.length);
        assert_memory_equal(c->text.bytes, plain.text, plain.length);
    }
}

/* ---- What happens ---- */

/* Few beginnings, so that requests share them for whole pages or not. */
static void draw_request(struct world *w, struct one *one)
{
    static const trib_text strings[] = {{"t1", 2}, {"7t", 2}, {"5t2", 3}, {"t90t", 4}};
    uint64_t variant = random_below(&w->r, 3);
    size_t shared = random_below(&w->r, LONGEST_PROMPT);
    trib_request *q = &one->request;
    *one = (struct one){.world = w, .request = trib_request_default()};
    q->count = 1 + random_below(&w->r, random_below(&w->r, 2) ? LONGEST_PROMPT : 90);
    for (size_t t = 0; t < q->count; t++) {
        struct random fixed = {t < 70 ? t : variant * 1000 + t};
        one->ids[t] = (int32_t)random_below(t < shared ? &fixed : &w->r, V);
    }
    q->ids = one->ids;
    q->max_tokens = 1 + random_below(&w->r, random_below(&w->r, 3) ? 30 : PLAIN_MOST);
    q->sampling.temperature = random_below(&w->r, 4) ? 1.5f : 0;
    q->sampling.repeat_penalty = random_below(&w->r, 3) ? 1 : 1.3f;
    q->sampling.seed = random_below(&w->r, 1000);
    q->completions = random_below(&w->r, 3) ? 1 : 1 + random_below(&w->r, 4);
    q->logprobs = random_below(&w->r, 2) == 0;
    q->priority = (int)random_below(&w->r, 3) - 1;
    q->stop_count = random_below(&w->r, 3);
    for (size_t i = 0; i < q->stop_count; i++)
        one->stops[i] = strings[random_below(&w->r, 4)];
    q->stops = one->stops;
    q->end_count = random_below(&w->r, 3);
    for (size_t i = 0; i < q->end_count; i++)
        one->ends[i] = (int32_t)random_below(&w->r, V);
    q->ends = one->ends;
    q->on_token = see_token;
    q->on_end = see_end;
    q->context = one;
}

static void random_operation(struct world *w)
{
    trib_error error = {0};
    size_t what = random_below(&w->r, 20);
    if (what == 0 && w->count < REQUESTS) {
        for (size_t n = 1 + random_below(&w->r, 4); n > 0 && w->count < REQUESTS; n--) {
            struct one *one = &w->ones[w->count++];
            draw_request(w, one);
            must(trib_scheduler_submit(w->scheduler, &one->request, &one->id, &error), &error);
        }
    } else if (what == 1 && w->count && random_below(&w->r, 2)) {
        struct one *one = &w->ones[random_below(&w->r, w->count)];
        bool over = one->handed == one->request.completions;
        one->cancelled = true;
        assert_true(trib_scheduler_cancel(w->scheduler, one->id) == !over);
        assert_int_equal(one->handed, one->request.completions);
    } else {
        trib_schedule_counts before = trib_scheduler_counts(w->scheduler), after;
        trib_scheduler_step(w->scheduler);
        after = trib_scheduler_counts(w->scheduler);
        assert_true(after.running <= 5);
        assert_true(after.computed - before.computed <= 80); /* a running one waits no longer */
    }
}

static void live(struct world *w, trib_engine_options options)
{
    const trib_scheduler_options limits = {w->model, 5, 80, REQUESTS, CONTEXT};
    trib_error error = {0};
    must(trib_engine_open(&w->tested, w->model, &options, &error), &error);
    must(trib_scheduler_open(&w->scheduler, w->tested, &limits, &error), &error);
    w->count = 0;
    while (w->count < REQUESTS || !trib_scheduler_idle(w->scheduler))
        random_operation(w);
    for (size_t i = 0; i < w->count; i++)
        assert_int_equal(w->ones[i].handed, w->ones[i].request.completions);
    trib_schedule_counts counts = trib_scheduler_counts(w->scheduler);
    w->steps += counts.steps;
    w->found += counts.found;
    w->put_back += counts.put_back;
    assert_int_equal(counts.waiting + counts.running, 0);
    trib_scheduler_close(w->scheduler);
    expect_no_leaks(w->tested);
    trib_engine_close(w->tested);
}

static void texts_are_those_of_plain_decoding(void **state)
{
    struct random random = random_start(1);
    trib_error error = {0};
    trib_memory memory;
    trib_model *model;
    char path[64];
    (void)state;
    tiny_model_write(path, DTYPE_F32, &random);
    must(trib_model_open(&model, path, &error), &error);
    unlink(path);
    const trib_session_options session = {CONTEXT};
    const trib_engine_options plain = {.threads = 1, .prefill_chunk = 512};
    trib_engine_options options = {.threads = 2, .prefill_chunk = 64};
    must(trib_memory_needed(model, &plain, &session, &memory, &error), &error);
    struct world w = {.r = random, .model = model, .ample = true};
    w.ones = calloc(REQUESTS, sizeof *w.ones);
    assert_non_null(w.ones);
    must(trib_engine_open(&w.plain, model, &plain, &error), &error);
    live(&w, options);
    assert_int_equal(w.put_back, 0);
    assert_int_equal(w.ends[TRIB_END_ERROR], 0);
    w.ample = false;
    options.cache_bytes = FEW_PAGES * 64 * memory.kv_per_token;
    live(&w, options);
    assert_true(w.put_back > 0 && w.found > 0);
    for (int end = TRIB_END_TOKEN; end <= TRIB_END_CANCELLED; end++)
        assert_true(w.ends[end] > 0); /* else this test is none */
    print_message("# %d steps, put back %d, found %d; ends %zu %zu %zu %zu %zu\n", (int)w.steps,
                  (int)w.put_back, (int)w.found, w.ends[0], w.ends[1], w.ends[2], w.ends[3],
                  w.ends[4]);
    trib_engine_close(w.plain);
    trib_model_close(model);
    free(w.ones);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_those_of_plain_decoding),
    };
    return cmocka_run_group_tests_name("same schedule", tests, NULL, NULL);
}
