/* Beam search against the same search by definition: every hypothesis computed from scratch in a
 * session of its own, every continuation of each ranked. Equal ids, and scores equal by memcmp. */
#include <math.h>
#include <unistd.h>

#include "engine/engine.h"
#include "file/gguf.h"
#include "must.h"
#include "tiny_model.h"
#include "tributary/sampling.h"

enum { V = TINY_VOCABULARY, MOST = 8, LONGEST = 16, PROMPT = 130 };

/* Where the models lie, as they are and with pairs of tokens that are always equally likely. */
static trib_model *models[3];

/* Row 2i + 1 of the embedding and of the output become row 2i: tokens that are equally likely, and
 * after which everything is. */
static void make_pairs_equal(const char *path)
{
    enum { ROW = TINY_WIDTH * sizeof(float), LARGEST = 1 << 20 };
    static const char *const names[] = {"token_embd.weight", "output.weight"};
    static char bytes[LARGEST];
    struct gguf *parsed;
    trib_error error = {0};
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    size_t size = fread(bytes, 1, LARGEST, file);
    assert_in_range(size, 1, LARGEST - 1);
    must(gguf_parse(&parsed, bytes, size, path, &error), &error);
    for (size_t t = 0; t < 2; t++) {
        char *rows = bytes + ((const char *)gguf_find_tensor(parsed, names[t])->data - bytes);
        for (size_t i = 0; i < V; i += 2)
            memcpy(rows + (i + 1) * ROW, rows + i * ROW, ROW);
    }
    gguf_close(parsed);
    rewind(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    static const char *const names[] = {"llama", "gemma2", "llama"};
    struct random random = random_start(1);
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char path[64];
        tiny_architecture_write(path, names[i], DTYPE_F32, &random);
        if (i == 2)
            make_pairs_equal(path);
        trib_error error = {0};
        must(trib_model_open(&models[i], path, &error), &error);
        unlink(path);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++)
        trib_model_close(models[i]);
    return 0;
}

static trib_engine *open_engine(const trib_model *model, int threads)
{
    trib_engine_options options = {.threads = threads, .prefill_chunk = 512};
    trib_engine *engine;
    trib_error error = {0};
    must(trib_engine_open(&engine, model, &options, &error), &error);
    return engine;
}

/* A session that has taken ids [count]. */
static trib_session *session_of(trib_engine *engine, const int32_t *ids, size_t count)
{
    trib_session *session;
    trib_error error = {0};
    must(trib_session_open(&session, engine, NULL, &error), &error);
    must(trib_session_append(session, ids, count, &error), &error);
    return session;
}

/* ---- The definition ---- */

struct found {
    int32_t ids[LONGEST];
    size_t count;
    double logprob, score;
    bool complete;
};

struct continuation {
    struct found from;
    int32_t id;
    double logprob;
    size_t parent, rank;
};

static int likeliest_first(const void *left, const void *right)
{
    const struct continuation *a = left, *b = right;
    if (a->logprob != b->logprob)
        return a->logprob > b->logprob ? -1 : 1;
    if (a->parent != b->parent)
        return a->parent < b->parent ? -1 : 1;
    return a->rank < b->rank ? -1 : 1;
}

static bool is_complete(const trib_beam_options *o, const struct found *f)
{
    for (size_t i = 0; i < o->end_count; i++)
        if (o->ends[i] == f->ids[f->count - 1])
            return true;
    return o->complete && o->complete(o->complete_context, f->ids, f->count);
}

/* All continuations of the hypotheses under way. */
static size_t continue_all(trib_engine *engine, const int32_t *prompt, const struct found *live,
                           size_t count, struct continuation *out)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        int32_t ids[PROMPT + LONGEST];
        trib_logprob all[V];
        memcpy(ids, prompt, PROMPT * sizeof *ids);
        memcpy(ids + PROMPT, live[i].ids, live[i].count * sizeof *ids);
        trib_session *session = session_of(engine, ids, PROMPT + live[i].count);
        must(trib_logprobs(trib_session_logits(session), V, V, all, NULL), NULL);
        trib_session_close(session);
        for (size_t r = 0; r < V; r++)
            out[n++] = (struct continuation){live[i], all[r].id,
                                             live[i].logprob + (double)all[r].logprob, i, r};
    }
    return n;
}

/* found [W]: complete ones in the order they became so, then the rest; then by falling score. */
static size_t search(trib_engine *engine, const int32_t *prompt, const trib_beam_options *o,
                     struct found found[MOST])
{
    static struct continuation all[MOST * V];
    struct found live[MOST] = {{.count = 0}};
    size_t complete = 0, count = 1;
    for (size_t step = 0; step < o->tokens && count > 0; step++) {
        size_t n = continue_all(engine, prompt, live, count, all), places = o->beams - complete;
        qsort(all, n, sizeof *all, likeliest_first);
        count = 0;
        for (size_t i = 0; i < n && i < places; i++) {
            struct found f = all[i].from;
            f.ids[f.count++] = all[i].id;
            f.logprob = all[i].logprob;
            f.score = f.logprob / pow((double)f.count, (double)o->length_penalty);
            f.complete = is_complete(o, &f);
            if (f.complete)
                found[complete++] = f;
            else
                live[count++] = f;
        }
    }
    memcpy(found + complete, live, count * sizeof *live);
    count += complete;
    for (size_t i = 1; i < count; i++)
        for (size_t j = i; j > 0 && found[j].score > found[j - 1].score; j--) {
            struct found other = found[j];
            found[j] = found[j - 1];
            found[j - 1] = other;
        }
    return count;
}

/* ---- Comparing ---- */

static void expect_equal(const trib_beams *beams, const struct found *expected, size_t count)
{
    assert_int_equal(trib_beams_count(beams), count);
    for (size_t i = 0; i < count; i++) {
        trib_hypothesis h = trib_beams_at(beams, i);
        assert_int_equal(h.count, expected[i].count);
        assert_memory_equal(h.ids, expected[i].ids, h.count * sizeof *h.ids);
        assert_memory_equal(&h.logprob, &expected[i].logprob, sizeof h.logprob);
        assert_memory_equal(&h.score, &expected[i].score, sizeof h.score);
        assert_int_equal(h.complete, expected[i].complete);
    }
}

static void run(trib_beams *beams)
{
    trib_error error = {0};
    bool going = true;
    while (going)
        must(trib_beams_step(beams, &going, &error), &error);
}

/* With all sessions closed nobody holds a page. */
static void expect_no_leaks(const trib_engine *engine)
{
    struct prefix_cache_counts counts = prefix_cache_counts(engine->cache);
    assert_int_equal(counts.sequences, 0);
    assert_int_equal(counts.pages.in_use, counts.cached);
}

static void expect_definition(const trib_model *model, const int32_t *prompt,
                              const trib_beam_options *options)
{
    struct found expected[MOST];
    trib_error error = {0};
    trib_engine *plain = open_engine(model, 1);
    size_t count = search(plain, prompt, options, expected);
    trib_engine_close(plain);
    for (int threads = 1; threads <= 3; threads++) {
        trib_engine *engine = open_engine(model, threads);
        trib_session *session = session_of(engine, prompt, PROMPT);
        trib_beams *beams;
        must(trib_beams_open(&beams, session, options, &error), &error);
        assert_int_equal(trib_beams_count(beams), 0);
        assert_int_equal(trib_session_length(session), PROMPT);
        trib_session_close(session);
        run(beams);
        expect_equal(beams, expected, count);
        trib_beams_close(beams);
        expect_no_leaks(engine);
        trib_engine_close(engine);
    }
}

/* Complete where the last two ids add up to a multiple of five. */
static bool adds_up(void *context, const int32_t *ids, size_t count)
{
    (*(size_t *)context)++;
    return count > 1 && (ids[count - 1] + ids[count - 2]) % 5 == 0;
}

/* A page has 64 keys: some searches cross its border, which forks share until they write. */
static void search_is_the_definition(void **state)
{
    struct random random = random_start(2);
    int32_t prompt[PROMPT], ends[12];
    size_t calls = 0;
    (void)state;
    for (size_t round = 0; round < 12; round++) {
        for (size_t i = 0; i < PROMPT; i++)
            prompt[i] = (int32_t)random_below(&random, V);
        for (size_t i = 0; i < 12; i++)
            ends[i] = (int32_t)random_below(&random, V);
        trib_beam_options options = {.beams = round ? 1 + random_below(&random, MOST) : 1,
                                     .tokens = 1 + random_below(&random, LONGEST),
                                     .length_penalty = (float)random_below(&random, 4) * 0.5f,
                                     .ends = ends,
                                     .end_count = random_below(&random, 13)};
        if (round % 4 == 1) {
            options.complete = adds_up;
            options.complete_context = &calls;
        }
        expect_definition(models[round % 3], prompt, &options);
    }
    assert_true(calls > 0);
}

/* Where tokens 2i and 2i + 1 are equally likely, the lower parent and then the lower id is first.
 */
static void ties_have_an_order(void **state)
{
    int32_t prompt[PROMPT] = {1, 2, 3};
    trib_beam_options options = {.beams = MOST, .tokens = 2};
    trib_error error = {0};
    (void)state;
    expect_definition(models[2], prompt, &options);
    trib_engine *engine = open_engine(models[2], 2);
    trib_session *session = session_of(engine, prompt, PROMPT);
    trib_beams *beams;
    must(trib_beams_open(&beams, session, &options, &error), &error);
    run(beams);
    for (size_t i = 0; i < MOST; i++) {
        trib_hypothesis first = trib_beams_at(beams, i - i % 4), h = trib_beams_at(beams, i);
        assert_memory_equal(&h.score, &first.score, sizeof h.score);
        assert_int_equal(first.ids[0] % 2 + first.ids[1] % 2, 0);
        assert_int_equal(h.ids[0], first.ids[0] + (int32_t)(i % 4 / 2));
        assert_int_equal(h.ids[1], first.ids[1] + (int32_t)(i % 2));
    }
    trib_beams_close(beams);
    trib_session_close(session);
    trib_engine_close(engine);
}

/* One beam takes the likeliest token each time, as a sampler at temperature 0. */
static void one_beam_is_greedy(void **state)
{
    int32_t prompt[PROMPT] = {5, 4, 3}, id;
    trib_sampler_options greedy = trib_sampler_options_default();
    trib_beam_options options = {.beams = 1, .tokens = LONGEST, .length_penalty = 1};
    trib_error error = {0};
    trib_engine *engine = open_engine(models[0], 2);
    trib_session *session = session_of(engine, prompt, PROMPT);
    trib_sampler *sampler;
    trib_beams *beams;
    double logprob = 0;
    (void)state;
    greedy.temperature = 0;
    must(trib_sampler_open(&sampler, V, &greedy, &error), &error);
    must(trib_beams_open(&beams, session, &options, &error), &error);
    run(beams);
    trib_hypothesis h = trib_beams_at(beams, 0);
    assert_int_equal(h.count, LONGEST);
    for (size_t i = 0; i < h.count; i++) {
        must(trib_sampler_next(sampler, trib_session_logits(session), &id, &error), &error);
        assert_int_equal(h.ids[i], id);
        logprob += (double)trib_sampler_logprob(sampler);
        must(trib_session_append(session, &id, 1, &error), &error);
    }
    assert_memory_equal(&h.logprob, &logprob, sizeof logprob);
    trib_beams_close(beams);
    trib_sampler_close(sampler);
    trib_session_close(session);
    trib_engine_close(engine);
}

/* ---- Limits ---- */

/* The last token of a hypothesis needs no place in the context. */
static void the_context_ends_a_search(void **state)
{
    int32_t prompt[PROMPT] = {0};
    trib_session_options short_one = {PROMPT + 3};
    trib_beam_options options = trib_beam_options_default();
    trib_error error = {0};
    trib_engine *engine = open_engine(models[0], 1);
    trib_session *session;
    trib_beams *beams;
    (void)state;
    must(trib_session_open(&session, engine, &short_one, &error), &error);
    assert_int_equal(trib_beams_open(&beams, session, &options, &error), TRIB_INVALID);
    assert_string_equal(error.message, "a beam search of a session without logits");
    must(trib_session_append(session, prompt, PROMPT, &error), &error);
    must(trib_beams_open(&beams, session, &options, &error), &error);
    run(beams);
    assert_int_equal(trib_beams_count(beams), 4);
    assert_int_equal(trib_beams_at(beams, 0).count, 4);
    assert_false(trib_beams_at(beams, 0).complete);
    trib_beams_close(beams);
    trib_session_close(session);
    expect_no_leaks(engine);
    trib_engine_close(engine);
}

/* Room for the prompt and some pages more: the beams part at the border of a page, and there are
 * not enough. */
static void a_full_cache_is_told(void **state)
{
    int32_t prompt[PROMPT] = {0};
    trib_memory memory;
    trib_error error = {0};
    trib_engine_options small = {.threads = 1, .prefill_chunk = 512};
    trib_beam_options options = {.beams = MOST, .tokens = 200, .length_penalty = 1};
    trib_engine *engine;
    trib_beams *beams;
    bool going = true;
    trib_status status = TRIB_OK;
    (void)state;
    must(trib_memory_needed(models[0], &small, NULL, &memory, &error), &error);
    small.cache_bytes = memory.kv_per_token * 64 * 6;
    must(trib_engine_open(&engine, models[0], &small, &error), &error);
    trib_session *session = session_of(engine, prompt, PROMPT);
    must(trib_beams_open(&beams, session, &options, &error), &error);
    while (going && status == TRIB_OK)
        status = trib_beams_step(beams, &going, &error);
    assert_int_equal(status, TRIB_FULL);
    assert_false(going);
    assert_int_equal(trib_beams_count(beams), MOST);
    size_t found = trib_beams_at(beams, 0).count;
    assert_int_equal(trib_beams_step(beams, &going, &error), TRIB_OK);
    assert_false(going);
    assert_int_equal(trib_beams_at(beams, 0).count, found);
    trib_beams_close(beams);
    trib_session_close(session);
    expect_no_leaks(engine);
    trib_engine_close(engine);
}

static void options_are_checked(void **state)
{
    static const struct {
        trib_beam_options options;
        const char *message;
    } bad[] = {
        {{.beams = 0, .tokens = 1}, "beams: expected 1 to 1024, found 0"},
        {{.beams = 2000, .tokens = 1}, "beams: expected 1 to 1024, found 2000"},
        {{.beams = 1, .tokens = 0}, "tokens of a beam: expected at least 1, found 0"},
        {{.beams = 1, .tokens = 1, .length_penalty = NAN},
         "length penalty: expected a number, found nan"},
    };
    int32_t prompt[PROMPT] = {0};
    trib_engine *engine = open_engine(models[0], 1);
    trib_session *session = session_of(engine, prompt, PROMPT);
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        trib_beams *beams;
        trib_error error = {0};
        assert_int_equal(trib_beams_open(&beams, session, &bad[i].options, &error), TRIB_INVALID);
        assert_string_equal(error.message, bad[i].message);
        assert_null(beams);
    }
    trib_session_close(session);
    trib_engine_close(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_is_the_definition), cmocka_unit_test(ties_have_an_order),
        cmocka_unit_test(one_beam_is_greedy),       cmocka_unit_test(the_context_ends_a_search),
        cmocka_unit_test(a_full_cache_is_told),     cmocka_unit_test(options_are_checked),
    };
    random_seed();
    return cmocka_run_group_tests_name("beams", tests, setup, teardown);
}
