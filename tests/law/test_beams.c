/* Beam search against the same search by definition, the order of equals, and its limits. */
#include <math.h>
#include <unistd.h>

#include "file/gguf.h"
#include "must.h"
#include "plain_beams.h"

enum { V = TINY_VOCABULARY, MOST = PLAIN_BEAMS, LONGEST = PLAIN_TOKENS, PROMPT = PLAIN_PROMPT };

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
        assert_int_equal(plain_expect(models[round % 3], prompt, &options), TRIB_OK);
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
    assert_int_equal(plain_expect(models[2], prompt, &options), TRIB_OK);
    trib_engine *engine = plain_engine(models[2], 2);
    trib_session *session = plain_session(engine, prompt, PROMPT);
    trib_beams *beams;
    must(trib_beams_open(&beams, session, &options, &error), &error);
    must(plain_run(beams, &error), &error);
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
    trib_engine *engine = plain_engine(models[0], 2);
    trib_session *session = plain_session(engine, prompt, PROMPT);
    trib_sampler *sampler;
    trib_beams *beams;
    double logprob = 0;
    (void)state;
    greedy.temperature = 0;
    must(trib_sampler_open(&sampler, V, &greedy, &error), &error);
    must(trib_beams_open(&beams, session, &options, &error), &error);
    must(plain_run(beams, &error), &error);
    trib_hypothesis h = trib_beams_at(beams, 0);
    assert_int_equal(h.count, LONGEST);
    for (size_t i = 0; i < h.count; i++) {
        must(trib_sampler_next(sampler, trib_session_logits(session), &id, &error), &error);
        assert_int_equal(h.ids[i], id);
        float own = trib_sampler_logprob(sampler);
        assert_memory_equal(&h.logprobs[i], &own, sizeof own);
        logprob += (double)own;
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
    trib_engine *engine = plain_engine(models[0], 1);
    trib_session *session;
    trib_beams *beams;
    (void)state;
    must(trib_session_open(&session, engine, &short_one, &error), &error);
    assert_int_equal(trib_beams_open(&beams, session, &options, &error), TRIB_INVALID);
    assert_string_equal(error.message, "a beam search of a session without logits");
    must(trib_session_append(session, prompt, PROMPT, &error), &error);
    must(trib_beams_open(&beams, session, &options, &error), &error);
    must(plain_run(beams, &error), &error);
    assert_int_equal(trib_beams_count(beams), 4);
    assert_int_equal(trib_beams_at(beams, 0).count, 4);
    assert_false(trib_beams_at(beams, 0).complete);
    trib_beams_close(beams);
    trib_session_close(session);
    plain_no_leaks(engine);
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
    (void)state;
    must(trib_memory_needed(models[0], &small, NULL, &memory, &error), &error);
    small.cache_bytes = memory.kv_per_token * 64 * 6;
    must(trib_engine_open(&engine, models[0], &small, &error), &error);
    trib_session *session = plain_session(engine, prompt, PROMPT);
    must(trib_beams_open(&beams, session, &options, &error), &error);
    assert_int_equal(plain_run(beams, &error), TRIB_FULL);
    assert_int_equal(trib_beams_count(beams), MOST);
    size_t found = trib_beams_at(beams, 0).count;
    assert_int_equal(trib_beams_step(beams, &going, &error), TRIB_OK);
    assert_false(going);
    assert_int_equal(trib_beams_at(beams, 0).count, found);
    trib_beams_close(beams);
    trib_session_close(session);
    plain_no_leaks(engine);
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
         "length penalty: expected -10 to 10, found nan"},
        {{.beams = 1, .tokens = 1, .length_penalty = -10.5f},
         "length penalty: expected -10 to 10, found -10.5"},
        {{.beams = 1, .tokens = 1, .length_penalty = 1e30f},
         "length penalty: expected -10 to 10, found 1e+30"},
    };
    int32_t prompt[PROMPT] = {0};
    trib_engine *engine = plain_engine(models[0], 1);
    trib_session *session = plain_session(engine, prompt, PROMPT);
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
