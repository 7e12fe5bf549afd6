/* Speculative decoding gives what plain decoding gives: the same tokens, and after each of them the
 * same logits, by memcmp. Whatever guesses, and however often it is wrong.
 *
 * That guesses are made and taken is counted too: equality alone would hold of a speculator that
 * never guesses. */
#include <unistd.h>

#include "engine/draft.h"
#include "engine/session.h"
#include "model/architecture.h"
#include "must.h"
#include "tiny_model.h"
#include "tributary/sampling.h"
#include "tributary/speculate.h"

enum { V = TINY_VOCABULARY, PROMPT = 120, DECODED = 100, TOTAL = PROMPT + DECODED };

static trib_engine *open_engine(const trib_model *model, int threads, size_t chunk, uint64_t bytes)
{
    trib_error error = {0};
    trib_engine *engine;
    trib_engine_options options = {
        .threads = threads, .prefill_chunk = chunk, .cache_bytes = bytes};
    must(trib_engine_open(&engine, model, &options, &error), &error);
    return engine;
}

static uint64_t bytes_of_pages(const trib_model *model, size_t pages)
{
    trib_error error = {0};
    trib_memory memory;
    must(trib_memory_needed(model, NULL, NULL, &memory, &error), &error);
    return pages * 64 * memory.kv_per_token;
}

static trib_session *open_session(trib_engine *engine, size_t context)
{
    trib_error error = {0};
    trib_session *session;
    trib_session_options options = {context};
    must(trib_session_open(&session, engine, &options, &error), &error);
    return session;
}

static void expect_no_leaks(const trib_engine *engine)
{
    struct prefix_cache_counts counts = prefix_cache_counts(engine->cache);
    assert_int_equal(counts.sequences, 0);
    assert_int_equal(counts.pages.in_use, counts.cached);
}

/* ---- Both ways of decoding ---- */

/* A text under way: `ids` hold the prompt and what was chosen, `logits` a row for each choice. */
struct text {
    size_t prompt, vocabulary;
    int32_t *ids;
    float *logits;
    size_t count; /* chosen */
};

struct way {
    trib_sampler_options sampler;
    size_t context, tokens; /* tokens to choose */
};

static struct text text_new(const int32_t *prompt, size_t count, size_t most, size_t vocabulary)
{
    struct text text = {count, vocabulary, calloc(count + most, sizeof(int32_t)),
                        calloc(most * vocabulary, sizeof(float)), 0};
    assert_non_null(text.ids);
    assert_non_null(text.logits);
    memcpy(text.ids, prompt, count * sizeof *prompt);
    return text;
}

static void text_free(struct text *text)
{
    free(text->ids);
    free(text->logits);
}

static trib_sampler *open_sampler(const struct text *text, const struct way *way)
{
    trib_error error = {0};
    trib_sampler *sampler;
    must(trib_sampler_open(&sampler, text->vocabulary, &way->sampler, &error), &error);
    for (size_t i = 0; i < text->prompt; i++)
        trib_sampler_accept(sampler, text->ids[i]);
    return sampler;
}

static int32_t choose(struct text *text, trib_sampler *sampler, const float *logits)
{
    trib_error error = {0};
    int32_t id;
    assert_non_null(logits);
    memcpy(text->logits + text->count * text->vocabulary, logits,
           text->vocabulary * sizeof *logits);
    must(trib_sampler_next(sampler, logits, &id, &error), &error);
    text->ids[text->prompt + text->count++] = id;
    return id;
}

/* Decodes until the tokens are chosen; the last one is appended too. The status of the append that
 * failed, else TRIB_OK. */
static trib_status decode_plain(trib_session *session, struct text *text, const struct way *way)
{
    trib_error error = {0};
    trib_status status = TRIB_OK;
    trib_sampler *sampler = open_sampler(text, way);
    must(trib_session_append(session, text->ids, text->prompt, &error), &error);
    while (text->count < way->tokens && status == TRIB_OK) {
        int32_t id = choose(text, sampler, trib_session_logits(session));
        status = trib_session_append(session, &id, 1, &error);
    }
    trib_sampler_close(sampler);
    return status;
}

static trib_status decode_ahead(trib_session *session, struct text *text, const struct way *way,
                                const trib_speculate_options *options, trib_speculation *counts)
{
    trib_error error = {0};
    trib_status status = TRIB_OK;
    trib_speculator *speculator;
    trib_sampler *sampler = open_sampler(text, way);
    must(trib_session_append(session, text->ids, text->prompt, &error), &error);
    must(trib_speculator_open(&speculator, session, options, &error), &error);
    while (text->count < way->tokens && status == TRIB_OK) {
        int32_t id = choose(text, sampler, trib_speculator_logits(speculator));
        status = trib_speculator_append(speculator, id, &error);
        assert_int_equal(trib_speculator_length(speculator),
                         text->prompt + text->count - (status != TRIB_OK));
    }
    *counts = trib_speculator_counts(speculator);
    assert_int_equal(counts->appended, text->count - (status != TRIB_OK));
    assert_int_equal(counts->appended, counts->steps + counts->accepted);
    assert_true(counts->accepted <= counts->drafted);
    trib_speculator_close(speculator);
    trib_sampler_close(sampler);
    return status;
}

static void expect_same(const struct text *found, const struct text *expected, const char *name)
{
    size_t row = expected->vocabulary;
    assert_int_equal(found->count, expected->count);
    for (size_t i = 0; i < expected->count; i++)
        if (memcmp(found->logits + i * row, expected->logits + i * row, row * sizeof(float)) != 0 ||
            found->ids[found->prompt + i] != expected->ids[expected->prompt + i])
            fail_msg("%s: choice %zu differs", name, i);
}

/* The sessions are as long, have the same logits, and go on alike. */
static void expect_same_session(trib_session *found, const trib_session *expected,
                                size_t vocabulary)
{
    const int32_t more[] = {3, 1, 4};
    size_t bytes = vocabulary * sizeof(float);
    trib_error error = {0};
    trib_session *fork;
    assert_int_equal(trib_session_length(found), trib_session_length(expected));
    assert_memory_equal(trib_session_logits(found), trib_session_logits(expected), bytes);
    must(trib_session_fork(&fork, expected, &error), &error);
    if (trib_session_append(fork, more, 3, &error) == TRIB_OK &&
        trib_session_append(found, more, 3, &error) == TRIB_OK)
        assert_memory_equal(trib_session_logits(found), trib_session_logits(fork), bytes);
    trib_session_close(fork);
}

/* A text by plain decoding in an engine of its own, against which others are held. */
struct plain {
    trib_engine *engine;
    trib_session *session;
    struct text text;
    struct way way;
    trib_status status;
};

static struct plain plain_open(const trib_model *model, const int32_t *prompt, size_t count,
                               struct way way, uint64_t bytes)
{
    struct plain p = {.engine = open_engine(model, 1, 512, bytes), .way = way};
    p.session = open_session(p.engine, way.context);
    p.text = text_new(prompt, count, way.tokens, p.engine->vocabulary);
    p.status = decode_plain(p.session, &p.text, &way);
    return p;
}

static void plain_close(struct plain *p)
{
    trib_session_close(p->session);
    trib_engine_close(p->engine);
    text_free(&p->text);
}

static trib_speculation expect_as_plain(const struct plain *p, trib_engine *engine,
                                        const trib_speculate_options *options, const char *name)
{
    trib_speculation counts;
    trib_session *session = open_session(engine, p->way.context);
    struct text text = text_new(p->text.ids, p->text.prompt, p->way.tokens, p->text.vocabulary);
    trib_status status = decode_ahead(session, &text, &p->way, options, &counts);
    assert_int_equal(status, p->status);
    expect_same(&text, &p->text, name);
    expect_same_session(session, p->session, p->text.vocabulary);
    trib_session_close(session);
    text_free(&text);
    return counts;
}

/* ---- Cases ---- */

/* Pieces that come again and again, and a few tokens that are none of theirs. */
static void draw_prompt(struct random *random, int32_t *ids, size_t count)
{
    enum { PIECES = 3, LONGEST = 16 };
    int32_t pieces[PIECES][LONGEST];
    for (size_t i = 0; i < PIECES * LONGEST; i++)
        pieces[i / LONGEST][i % LONGEST] = (int32_t)random_below(random, V);
    for (size_t at = 0; at < count;) {
        size_t length = 4 + random_below(random, LONGEST - 4), piece = random_below(random, PIECES);
        for (size_t i = 0; i < length && at < count; i++)
            ids[at++] =
                random_below(random, 12) ? pieces[piece][i] : (int32_t)random_below(random, V);
    }
}

static trib_sampler_options greedy(void)
{
    return (trib_sampler_options){.top_p = 1, .repeat_penalty = 1};
}

/* No token is chosen again as the third one after itself. */
static trib_status constrain(void *context, const int32_t *ids, size_t count, uint8_t *allowed)
{
    (void)context;
    if (count >= 3)
        allowed[ids[count - 3]] = 0;
    return TRIB_OK;
}

/* Cold enough that a text repeats itself now and then, with everything that looks at the tokens
 * before. */
static trib_sampler_options sampled(uint64_t seed)
{
    static const trib_logit_bias bias[] = {{5, 0.5f}, {9, -INFINITY}};
    return (trib_sampler_options){.temperature = 0.4f,
                                  .top_k = 20,
                                  .top_p = 0.9f,
                                  .min_p = 0.01f,
                                  .repeat_penalty = 1.05f,
                                  .repeat_last = 40,
                                  .seed = seed,
                                  .bias = bias,
                                  .bias_count = 2,
                                  .constrain = seed % 2 ? constrain : NULL};
}

/* Look-up, the model itself and another one, with all numbers of branches, lengths and threads. */
static void speculation_changes_no_bit(void **state)
{
    static const size_t lengths[] = {1, 2, 5, 16};
    struct random random = random_start(1);
    trib_model *model = tiny_open("llama", &random), *other = tiny_open("qwen2", &random);
    int32_t prompt[PROMPT];
    size_t right[3] = {0}, guessed[3] = {0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        draw_prompt(&random, prompt, PROMPT);
        struct way way = {i == 0 ? greedy() : sampled(i), 0, DECODED};
        struct plain plain = plain_open(model, prompt, PROMPT, way, 0);
        for (size_t branches = 1; branches <= 4; branches++) {
            int threads = 1 + (int)(branches + i) % 3;
            trib_engine *engine = open_engine(model, threads, branches == 2 ? 7 : 512, 0);
            trib_engine *second = open_engine(other, threads, 512, 0);
            trib_engine *const drafts[] = {NULL, engine, second};
            for (size_t c = 0; c < 12; c++) {
                trib_speculate_options options = {lengths[c / 3], branches, drafts[c % 3]};
                char name[64];
                snprintf(name, sizeof name, "sampler %zu, draft %zu, %zu branches of %zu", i, c % 3,
                         branches, lengths[c / 3]);
                trib_speculation counts = expect_as_plain(&plain, engine, &options, name);
                right[c % 3] += counts.accepted;
                guessed[c % 3] += counts.drafted;
            }
            expect_no_leaks(engine);
            expect_no_leaks(second);
            trib_engine_close(engine);
            trib_engine_close(second);
        }
        plain_close(&plain);
    }
    assert_true(right[0] > 0 && right[0] < guessed[0]);
    assert_true(right[1] > 0 && right[1] < guessed[1]);
    assert_true(right[2] < guessed[2] / 2); /* it knows nothing of the first model */
    trib_model_close(model);
    trib_model_close(other);
}

/* A model that guesses for itself is always right about the likeliest token: each step takes all of
 * its draft but for the last. */
static void what_guesses_for_itself_is_right(void **state)
{
    static const size_t lengths[] = {1, 4, 16};
    struct random random = random_start(2);
    trib_model *model = tiny_open("llama", &random);
    int32_t prompt[PROMPT];
    (void)state;
    draw_prompt(&random, prompt, PROMPT);
    struct plain plain = plain_open(model, prompt, PROMPT, (struct way){greedy(), 0, DECODED}, 0);
    for (size_t i = 0; i < 3; i++)
        for (size_t branches = 1; branches <= 4; branches += 3) {
            trib_engine *engine = open_engine(model, 2, 512, 0);
            trib_engine *draft = open_engine(model, 1, 512, 0);
            trib_speculate_options options = {lengths[i], branches, draft};
            trib_speculation counts = expect_as_plain(&plain, engine, &options, "itself");
            size_t steps = (DECODED + lengths[i]) / (lengths[i] + 1);
            assert_int_equal(counts.steps, steps);
            assert_int_equal(counts.accepted, DECODED - steps);
            assert_int_equal(counts.drafted, steps * lengths[i] * branches);
            expect_no_leaks(engine);
            expect_no_leaks(draft);
            trib_engine_close(engine);
            trib_engine_close(draft);
        }
    plain_close(&plain);
    trib_model_close(model);
}

/* A token that is refused costs the guesses made so far and no more. */
static void a_refused_token_ends_no_guessing(void **state)
{
    struct random random = random_start(12);
    trib_model *model = tiny_open("llama", &random);
    trib_engine *engine = open_engine(model, 1, 512, 0);
    int32_t prompt[PROMPT];
    size_t steps[2];
    (void)state;
    draw_prompt(&random, prompt, PROMPT);
    for (int refused = 0; refused < 2; refused++) {
        trib_session *session = open_session(engine, 0);
        trib_speculate_options options = {4, 1, engine};
        trib_speculator *speculator;
        trib_error error = {0};
        must(trib_session_append(session, prompt, PROMPT, &error), &error);
        must(trib_speculator_open(&speculator, session, &options, &error), &error);
        for (size_t n = 0; n < DECODED; n++) {
            const float *logits = trib_speculator_logits(speculator);
            int32_t id = 0;
            for (int32_t i = 1; i < V; i++)
                id = logits[i] > logits[id] ? i : id;
            if (refused && n == 5)
                assert_int_equal(trib_speculator_append(speculator, V, &error), TRIB_INVALID);
            must(trib_speculator_append(speculator, id, &error), &error);
        }
        steps[refused] = trib_speculator_counts(speculator).steps;
        trib_speculator_close(speculator);
        trib_session_close(session);
    }
    assert_int_equal(steps[0], DECODED / 5);
    assert_true(steps[1] <= steps[0] + 1);
    trib_engine_close(engine);
    trib_model_close(model);
}

/* Windows, soft-caps, other norms. */
static void every_architecture_speculates(void **state)
{
    struct random random = random_start(3);
    int32_t prompt[PROMPT];
    (void)state;
    for (size_t i = 0; architecture_at(i); i++) {
        const char *name = architecture_at(i)->name;
        if (architecture_at(i)->bidirectional)
            continue;
        trib_model *model = tiny_open(name, &random);
        draw_prompt(&random, prompt, PROMPT);
        struct plain plain =
            plain_open(model, prompt, PROMPT, (struct way){sampled(i), 0, DECODED}, 0);
        trib_engine *engine = open_engine(model, 3, 512, 0);
        expect_as_plain(&plain, engine, &(trib_speculate_options){5, 3, NULL}, name);
        expect_as_plain(&plain, engine, &(trib_speculate_options){5, 2, engine}, name);
        trib_engine_close(engine);
        plain_close(&plain);
        trib_model_close(model);
    }
}

/* ---- Branches ---- */

/* What came before: A and its continuation X, A and its continuation Y, both of which are guessed
 * when A comes again. They agree in their first `common` tokens. */
enum { RUN = 3, FOLLOWS = 8, FILLER = 70, LONGEST = FILLER + 3 * RUN + 2 * FOLLOWS + FOLLOWS };

static size_t draw_branches(struct random *random, size_t filler, size_t common, int32_t *ids)
{
    int32_t a[RUN], x[FOLLOWS], y[FOLLOWS];
    size_t n = 0;
    for (size_t i = 0; i < filler; i++) /* even ids, the others are odd: no other run is found */
        ids[n++] = 2 * (int32_t)random_below(random, V / 2);
    for (int32_t i = 0; i < RUN; i++)
        a[i] = 2 * i + 1;
    for (int32_t i = 0; i < FOLLOWS; i++) {
        x[i] = 2 * (RUN + i) + 1;
        y[i] = (size_t)i < common ? x[i] : 2 * (RUN + FOLLOWS + i) + 1;
    }
    for (size_t i = 0; i < 3; i++) {
        memcpy(ids + n, a, sizeof a);
        n += RUN;
        if (i < 2)
            memcpy(ids + n, i == 0 ? x : y, sizeof x);
        n += i < 2 ? FOLLOWS : 0;
    }
    memcpy(ids + n, x, sizeof x); /* and it is the older one that comes */
    return n;
}

/* The branch that comes is the second, from its begin or after some tokens of the first, wherever a
 * page ends: one step computes them all, and the logits are those of the tokens scored plainly. */
static void the_branch_that_comes_is_taken(void **state)
{
    struct random random = random_start(4);
    trib_model *model = tiny_open("llama", &random);
    trib_engine *engine = open_engine(model, 2, 512, 0), *other = open_engine(model, 1, 512, 0);
    static float expected[LONGEST * V];
    int32_t ids[LONGEST];
    (void)state;
    for (size_t filler = 1; filler <= FILLER; filler++) {
        trib_speculate_options options = {FOLLOWS, 2, NULL};
        trib_speculator *speculator;
        trib_error error = {0};
        trib_session *session = open_session(engine, 0), *plain = open_session(other, 0);
        size_t n = draw_branches(&random, filler, filler % FOLLOWS, ids);
        must(trib_session_score(plain, ids, n + FOLLOWS, expected, &error), &error);
        must(trib_session_append(session, ids, n - 1, &error), &error);
        must(trib_speculator_open(&speculator, session, &options, &error), &error);
        for (size_t i = n - 1; i < n + FOLLOWS; i++) {
            must(trib_speculator_append(speculator, ids[i], &error), &error);
            assert_memory_equal(trib_speculator_logits(speculator), expected + i * V,
                                V * sizeof *expected);
        }
        trib_speculation counts = trib_speculator_counts(speculator);
        assert_int_equal(counts.steps, 1);
        assert_int_equal(counts.drafted, 2 * FOLLOWS);
        assert_int_equal(counts.accepted, FOLLOWS);
        trib_speculator_close(speculator);
        expect_same_session(session, plain, V);
        trib_session_close(session);
        trib_session_close(plain);
    }
    expect_no_leaks(engine);
    trib_engine_close(engine);
    trib_engine_close(other);
    trib_model_close(model);
}

static void expect_branch(const struct draft *draft, size_t branch, const int32_t *ids)
{
    assert_true(branch < draft->branches);
    assert_memory_equal(draft_branch(draft, branch), ids, draft->length * sizeof *ids);
}

/* The longest run first, then the latest; none twice; a loop goes on as a loop. */
static void look_up_finds_what_followed(void **state)
{
    static const int32_t ids[] = {1, 2, 9, 8, 7, 2, 5, 5, 5, 1, 2, 9, 6, 7, 2, 4, 0, 1, 2};
    static const int32_t loop[] = {7, 3, 4, 3, 4, 3, 4, 3};
    int32_t room[8 * 10];
    struct draft draft = {.room = 10, .ids = room};
    (void)state;
    draft_look_up(&draft, ids, 19, 8, 3);
    assert_int_equal(draft.branches, 4);
    expect_branch(&draft, 0, (const int32_t[]){9, 6, 7});
    expect_branch(&draft, 1, (const int32_t[]){9, 8, 7});
    expect_branch(&draft, 2, (const int32_t[]){4, 0, 1});
    expect_branch(&draft, 3, (const int32_t[]){5, 5, 5});
    draft_look_up(&draft, ids, 19, 3, 1); /* one 9 is as good as the other */
    assert_int_equal(draft.branches, 3);
    expect_branch(&draft, 0, (const int32_t[]){9});
    expect_branch(&draft, 1, (const int32_t[]){4});
    draft_look_up(&draft, ids, 19, 2, 3);
    assert_int_equal(draft.branches, 2);
    expect_branch(&draft, 1, (const int32_t[]){9, 8, 7});
    draft_look_up(&draft, loop, 8, 1, 10);
    expect_branch(&draft, 0, (const int32_t[]){4, 3, 4, 3, 4, 3, 4, 3, 4, 3});
    draft_look_up(&draft, ids, 3, 8, 3);
    assert_int_equal(draft.branches, 0);
    draft_look_up(&draft, ids, 0, 8, 3);
    assert_int_equal(draft.branches, 0);
}

/* ---- Limits ---- */

/* However few pages there are: what plain decoding has room for has room, and what it has not is
 * refused at the same token. */
static void a_full_cache_is_met_where_plain_decoding_meets_it(void **state)
{
    struct random random = random_start(5);
    trib_model *model = tiny_open("llama", &random);
    int32_t prompt[PROMPT];
    size_t full = 0, accepted = 0;
    (void)state;
    draw_prompt(&random, prompt, PROMPT);
    for (size_t pages = 2; pages <= 7; pages++) {
        uint64_t bytes = bytes_of_pages(model, pages);
        struct way way = {pages % 2 ? greedy() : sampled(pages), 0, DECODED};
        struct plain plain = plain_open(model, prompt, PROMPT, way, bytes);
        full += plain.status == TRIB_FULL;
        for (size_t branches = 1; branches <= 4; branches++) {
            trib_engine *engine = open_engine(model, 2, 512, bytes);
            trib_speculate_options look_up = {16, branches, NULL}, itself = {6, branches, engine};
            accepted += expect_as_plain(&plain, engine, &look_up, "few pages").accepted;
            accepted += expect_as_plain(&plain, engine, &itself, "few pages, itself").accepted;
            expect_no_leaks(engine);
            trib_engine_close(engine);
        }
        plain_close(&plain);
    }
    assert_in_range(full, 1, 4);
    assert_true(accepted > 0);
    trib_model_close(model);
}

/* The session's and the draft's. */
static void a_context_is_full_where_it_ends(void **state)
{
    struct random random = random_start(6);
    trib_model *model = tiny_open("llama", &random);
    int32_t prompt[PROMPT];
    (void)state;
    draw_prompt(&random, prompt, PROMPT);
    for (size_t room = 0; room < 20; room++) {
        struct way way = {greedy(), PROMPT + room, DECODED};
        struct plain plain = plain_open(model, prompt, PROMPT, way, 0);
        trib_engine *engine = open_engine(model, 2, 512, 0);
        assert_int_equal(plain.status, TRIB_FULL);
        assert_int_equal(plain.text.count, room + 1);
        expect_as_plain(&plain, engine, &(trib_speculate_options){8, 2, NULL}, "context");
        trib_speculation counts =
            expect_as_plain(&plain, engine, &(trib_speculate_options){8, 2, engine}, "context");
        assert_int_equal(counts.accepted, room - (room + 8) / 9);
        trib_engine_close(engine);
        plain_close(&plain);
    }
    trib_model_close(model);
}

/* ---- Refusals ---- */

static void expect_refused(trib_session *session, trib_speculate_options options,
                           const char *message)
{
    trib_speculator *speculator;
    trib_error error = {0};
    assert_int_equal(trib_speculator_open(&speculator, session, &options, &error), TRIB_INVALID);
    assert_null(speculator);
    if (!strstr(error.message, message))
        fail_msg("expected '%s' in '%s'", message, error.message);
}

/* A tiny model with a token of another name. */
static trib_model *open_renamed(struct random *random)
{
    trib_error error = {0};
    trib_model *model;
    struct gguf_build b;
    char path[] = "/tmp/trib-tiny-XXXXXX";
    int fd = mkstemp(path);
    gguf_build_open(&b);
    tiny_model_build(&b, "llama", DTYPE_F32, random, NULL);
    gguf_build_finish(&b);
    uint8_t *at = b.file.bytes;
    while (memcmp(at, "t77", 3) != 0)
        at++;
    *at = 'u';
    assert_true(fd >= 0 && gguf_build_write(&b, path));
    close(fd);
    gguf_build_close(&b);
    must(trib_model_open(&model, path, &error), &error);
    unlink(path);
    return model;
}

static void what_cannot_be_is_refused(void **state)
{
    struct random random = random_start(7);
    trib_model *model = tiny_open("llama", &random), *renamed = open_renamed(&random);
    trib_engine *engine = open_engine(model, 1, 512, 0), *draft = open_engine(renamed, 1, 512, 0);
    trib_session *session = open_session(engine, 0);
    trib_speculator *speculator;
    trib_error error = {0};
    const int32_t ids[] = {1, 2, 3, 1, 2};
    (void)state;
    expect_refused(session, (trib_speculate_options){0, 1, NULL},
                   "draft tokens: expected 1 to 64, found 0");
    expect_refused(session, (trib_speculate_options){65, 1, NULL},
                   "draft tokens: expected 1 to 64, found 65");
    expect_refused(session, (trib_speculate_options){1, 0, NULL},
                   "draft branches: expected 1 to 16, found 0");
    expect_refused(session, (trib_speculate_options){1, 17, NULL},
                   "draft branches: expected 1 to 16, found 17");
    expect_refused(session, (trib_speculate_options){1, 1, draft},
                   "token 77: expected that of the model, t77, found u77");
    must(trib_session_append(session, ids, 5, &error), &error);
    must(trib_speculator_open(&speculator, session, NULL, &error), &error);
    must(trib_speculator_append(speculator, 3, &error), &error);
    for (int32_t id = -1; id <= V; id += V + 1) { /* with guesses under way, and without */
        float before[V];
        memcpy(before, trib_speculator_logits(speculator), sizeof before);
        assert_int_equal(trib_speculator_append(speculator, id, &error), TRIB_INVALID);
        assert_memory_equal(trib_speculator_logits(speculator), before, sizeof before);
        assert_int_equal(trib_speculator_length(speculator), 6);
    }
    trib_speculator_close(speculator);
    assert_int_equal(trib_session_length(session), 6);
    trib_session_close(session);
    trib_engine_close(engine);
    trib_engine_close(draft);
    trib_model_close(model);
    trib_model_close(renamed);
}

/* ---- A trained model ---- */

static void a_story_is_told_faster(void **state)
{
    trib_error error = {0};
    trib_model *model;
    int32_t *prompt;
    size_t count;
    static const char beginning[] = "Once upon a time, there was a little girl named Lily.";
    (void)state;
    must(trib_model_open(&model, test_data("stories260K/stories260K.gguf"), &error), &error);
    must(trib_tokenize(model, beginning, strlen(beginning), TRIB_TOKENIZE_SPECIAL, &prompt, &count,
                       &error),
         &error);
    trib_engine *engine = open_engine(model, 2, 512, 0);
    for (size_t i = 0; i < 3; i++) {
        struct way way = {i == 0 ? greedy() : sampled(i), 0, 200};
        struct plain plain = plain_open(model, prompt, count, way, 0);
        trib_speculation found =
            expect_as_plain(&plain, engine, &(trib_speculate_options){8, 3, NULL}, "look-up");
        trib_speculation own =
            expect_as_plain(&plain, engine, &(trib_speculate_options){3, 1, engine}, "itself");
        assert_true(found.accepted > 0);
        assert_true(i > 0 ? own.accepted > 0 : own.steps == 50 && own.accepted == 150);
        plain_close(&plain);
    }
    expect_no_leaks(engine);
    trib_engine_close(engine);
    trib_free(prompt);
    trib_model_close(model);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(speculation_changes_no_bit),
        cmocka_unit_test(what_guesses_for_itself_is_right),
        cmocka_unit_test(a_refused_token_ends_no_guessing),
        cmocka_unit_test(every_architecture_speculates),
        cmocka_unit_test(the_branch_that_comes_is_taken),
        cmocka_unit_test(look_up_finds_what_followed),
        cmocka_unit_test(a_full_cache_is_met_where_plain_decoding_meets_it),
        cmocka_unit_test(a_context_is_full_where_it_ends),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_story_is_told_faster),
    };
    return cmocka_run_group_tests_name("speculate", tests, NULL, NULL);
}
