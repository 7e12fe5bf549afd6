/* Files of trained predictors: what is saved runs, says what the predictor in training says, reads
 * text as the training did, and is not believed when it is damaged. */
#include <math.h>
#include <unistd.h>

#include "base/memory.h"
#include "gguf_build.h"
#include "random.h"
#include "test.h"
#include "train/trainer.h"
#include "tributary/speculate.h"

static const struct variant {
    const char *name, *model, *block, *cell, *attention, *vocabulary, *save_type;
    bool tied;
} variants[] = {
    {"direct", "direct", "modern", "gru", "none", "chars", "f32", false},
    {"rnn", "rnn", "modern", "lstm", "general", "bytes", "f32", false},
    {"lecture", "transformer", "lecture", "gru", "none", "chars", "f32", false},
    {"lecture tied", "transformer", "lecture", "gru", "none", "bytes", "f32", true},
    {"modern", "transformer", "modern", "gru", "none", "chars", "f32", false},
    {"modern tied", "transformer", "modern", "gru", "none", "bytes", "f32", true},
    {"modern in q8_0", "transformer", "modern", "gru", "none", "chars", "q8_0", false},
    {"rnn in bf16", "rnn", "modern", "gru", "none", "chars", "bf16", false},
};

enum { VARIANTS = sizeof variants / sizeof *variants, CONTEXT = 24 };

static const char passage[] =
    "Caf\xc3\xa9 \xe2\x82\xac 5, s'il vous pla\xc3\xaet \xf0\x9f\x98\x80 \xe2\x80\x94 "
    "it's  the   waiter's\n\n1234 caf\xc3\xa9s!\t";
static char text[64], saved[64];

static int setup(void **state)
{
    (void)state;
    strcpy(text, "/tmp/trib-text-XXXXXX");
    strcpy(saved, "/tmp/trib-saved-XXXXXX");
    int fd = mkstemp(text), other = mkstemp(saved);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file || other < 0)
        return 1;
    close(other);
    for (size_t i = 0; i < 40; i++)
        fputs(passage, file);
    return fclose(file);
}

static int teardown(void **state)
{
    char path[96];
    (void)state;
    snprintf(path, sizeof path, "%s.state", saved);
    unlink(path);
    unlink(saved);
    return unlink(text);
}

/* A few steps from random weights, saved; the trainer stays open. */
static trib_trainer *train(const struct variant *v)
{
    trib_train_options o = trib_train_options_default();
    trib_trainer *t;
    trib_train_step step;
    trib_error error = {0};
    const char *texts[] = {text};
    o.model = v->model;
    o.block = v->block;
    o.cell = v->cell;
    o.attention = v->attention;
    o.vocabulary = v->vocabulary;
    o.save_type = v->save_type;
    o.tied = v->tied;
    o.layers = 2;
    o.width = 32;
    o.heads = 4;
    o.kv_heads = 2;
    o.context = CONTEXT;
    o.batch = 2;
    o.steps = 3;
    o.warmup = 0;
    o.threads = 2;
    trib_status status = trib_trainer_open(&t, &o, texts, 1, &error);
    for (size_t i = 0; i < o.steps && status == TRIB_OK; i++)
        status = trib_trainer_step(t, &step, &error);
    if (status == TRIB_OK)
        status = trib_trainer_save(t, saved, &error);
    if (status != TRIB_OK)
        fail_msg("%s: %s", v->name, error.message);
    return t;
}

/* What a saved file is opened with. */
struct opened {
    trib_model *model;
    trib_engine *engine;
    trib_session *session;
    trib_model_shape shape;
};

static trib_status open_saved(struct opened *o, trib_error *error)
{
    trib_engine_options options = trib_engine_options_default();
    trib_status status;
    options.kv_type = "f32";
    *o = (struct opened){0};
    if ((status = trib_model_open(&o->model, saved, error)) ||
        (status = trib_model_describe(o->model, &o->shape, error)) ||
        (status = trib_engine_open(&o->engine, o->model, &options, error)) ||
        (status = trib_session_open(&o->session, o->engine, NULL, error)))
        return status;
    return TRIB_OK;
}

static void close_saved(struct opened *o)
{
    trib_session_close(o->session);
    trib_engine_close(o->engine);
    trib_model_close(o->model);
}

/* A file that is stored in float32 and run by the predictor's own code says the very same bits.
 * The modern block is run by the code for all llama models, whose sums have other orders: logits
 * differ by rounding, which for rows of 32 and two blocks is some hundred units of 2^-24 of the
 * largest activations; 1e-4 of the largest logit is ten times that and a tenth of what llama.cpp is
 * held to. Q8_0 has steps of 1/254 of the largest weight of a block: logits are means of many such
 * errors, here within a tenth. */
static void files_run_as_they_were_trained(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        const struct variant *v = &variants[i];
        bool exact = strcmp(v->block, "lecture") == 0 || strcmp(v->model, "transformer") != 0;
        double tolerance = strcmp(v->save_type, "f32") == 0 ? (exact ? 0 : 1e-4) : 0.1;
        trib_trainer *t = train(v);
        struct opened o;
        trib_error error = {0};
        if (open_saved(&o, &error) != TRIB_OK)
            fail_msg("%s: %s", v->name, error.message);
        const struct predictor *p = &t->predictor;
        size_t V = t->data.vocabulary;
        assert_int_equal(o.shape.vocabulary, V);
        assert_int_equal(o.shape.parameters, p->parameters.elements);
        void *memory = aligned_alloc(64, (predictor_state_bytes(p) + 63) / 64 * 64);
        float *expected = malloc(V * sizeof *expected),
              *found = malloc(CONTEXT * V * sizeof *found);
        int32_t ids[CONTEXT];
        for (size_t j = 0; j < CONTEXT; j++)
            ids[j] = t->data.narrow[j];
        predictor_state_reset(p, memory);
        assert_int_equal(trib_session_score(o.session, ids, CONTEXT, found, &error), TRIB_OK);
        assert_int_equal(trib_session_length(o.session), CONTEXT);
        for (size_t j = 0; j < CONTEXT; j++) {
            double largest = 0, off = 0;
            assert_int_equal(predictor_step(p, memory, ids[j], expected, &error), TRIB_OK);
            for (size_t n = 0; n < V; n++) {
                largest = fmax(largest, fabs((double)expected[n]));
                off = larger(off, fabs((double)expected[n] - (double)found[j * V + n]));
            }
            bool same = memcmp(expected, found + j * V, V * sizeof *expected) == 0;
            if (tolerance == 0 ? !same : !(off <= tolerance * largest))
                fail_msg("%s: token %zu: off by %g of %g", v->name, j, off, largest);
        }
        free(memory);
        free(expected);
        free(found);
        close_saved(&o);
        trib_trainer_close(t);
    }
}

/* The tokenizer of the file gives the ids that the training had, and their text back. */
static void files_read_text_as_the_training_did(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        trib_trainer *t = train(&variants[i]);
        trib_model *model;
        trib_error error = {0};
        int32_t *ids;
        size_t count;
        assert_int_equal(trib_model_open(&model, saved, &error), TRIB_OK);
        size_t length = sizeof passage - 1;
        if (trib_tokenize(model, passage, length, TRIB_TOKENIZE_SPECIAL, &ids, &count, &error) !=
            TRIB_OK)
            fail_msg("%s: %s", variants[i].name, error.message);
        assert_int_equal(count, t->data.count / 40);
        for (size_t j = 0; j < count; j++)
            assert_int_equal(ids[j], t->data.narrow[j]);
        trib_decoder *decoder;
        char back[sizeof passage + 8];
        size_t used = 0;
        assert_int_equal(trib_decoder_open(&decoder, model, false, false, &error), TRIB_OK);
        for (size_t j = 0; j < count; j++) {
            trib_text piece = trib_decoder_next(decoder, ids[j]);
            assert_true(used + piece.length < sizeof back);
            memcpy(back + used, piece.bytes, piece.length);
            used += piece.length;
        }
        assert_int_equal(used, length);
        assert_memory_equal(back, passage, length);
        trib_decoder_close(decoder);
        trib_free(ids);
        trib_model_close(model);
        trib_trainer_close(t);
    }
}

/* A predictor without end goes on beyond its context; a transformer is full, and stays as it was.
 */
static void contexts_end_where_they_do(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        bool ends = strcmp(variants[i].model, "transformer") == 0;
        struct opened o;
        trib_error error = {0};
        int32_t ids[2 * CONTEXT] = {0};
        trib_trainer_close(train(&variants[i]));
        assert_int_equal(open_saved(&o, &error), TRIB_OK);
        assert_int_equal(trib_session_append(o.session, ids, CONTEXT, &error), TRIB_OK);
        assert_int_equal(trib_session_append(o.session, ids, CONTEXT, &error),
                         ends ? TRIB_FULL : TRIB_OK);
        assert_int_equal(trib_session_length(o.session), ends ? CONTEXT : 2 * CONTEXT);
        trib_session *other;
        const trib_session_options beyond = {CONTEXT + 1};
        assert_int_equal(trib_session_open(&other, o.engine, &beyond, &error),
                         ends ? TRIB_INVALID : TRIB_OK);
        trib_session_close(other);
        close_saved(&o);
    }
}

/* A fork goes on as the session does, and both by themselves; there is no past to rewind to but of
 * what is a llama model to the engine. */
static void predictors_fork(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        struct opened o;
        trib_session *fork;
        trib_error error = {0};
        const int32_t ids[3] = {1, 0, 2};
        bool is_llama = strcmp(variants[i].model, "transformer") == 0 &&
                        strcmp(variants[i].block, "modern") == 0;
        trib_trainer_close(train(&variants[i]));
        assert_int_equal(open_saved(&o, &error), TRIB_OK);
        size_t bytes = o.shape.vocabulary * sizeof(float);
        assert_int_equal(trib_session_append(o.session, ids, 2, &error), TRIB_OK);
        assert_int_equal(trib_session_fork(&fork, o.session, &error), TRIB_OK);
        assert_memory_equal(trib_session_logits(fork), trib_session_logits(o.session), bytes);
        assert_int_equal(trib_session_append(fork, ids, 1, &error), TRIB_OK);
        trib_append both[] = {{o.session, ids + 2, 1, NULL, TRIB_IO},
                              {fork, ids + 2, 1, NULL, TRIB_IO}};
        assert_int_equal(trib_step(o.engine, both, 2, &error), TRIB_OK);
        float *expected = malloc(bytes);
        memcpy(expected, trib_session_logits(o.session), bytes);
        assert_int_equal(trib_session_rewind(o.session, 1, &error),
                         is_llama ? TRIB_OK : TRIB_UNSUPPORTED);
        assert_int_equal(trib_session_rewind(o.session, 0, &error), TRIB_OK);
        assert_null(trib_session_logits(o.session));
        assert_int_equal(trib_session_append(o.session, ids, 3, &error), TRIB_OK);
        assert_memory_equal(trib_session_logits(o.session), expected, bytes);
        free(expected);
        trib_session_close(fork);
        close_saved(&o);
    }
}

/* The fingerprint of the saved file, asked for where threads are named; empty: there is none. */
static void take_fingerprint(char out[33], int threads)
{
    trib_engine_options options = trib_engine_options_default();
    trib_model *model;
    trib_engine *engine = NULL;
    trib_error error = {0};
    options.threads = threads;
    options.fingerprint = threads > 0;
    if (trib_model_open(&model, saved, &error) ||
        trib_engine_open(&engine, model, &options, &error))
        fail_msg("%s", error.message);
    const char *fingerprint = trib_engine_fingerprint(engine);
    snprintf(out, 33, "%s", fingerprint ? fingerprint : "");
    trib_engine_close(engine);
    trib_model_close(model);
}

/* Trained on, a file is another model of the same shape and size. */
static void training_makes_other_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        char first[33], again[33], later[33], none[33];
        trib_train_step step;
        trib_error error = {0};
        trib_trainer *t = train(&variants[i]);
        take_fingerprint(first, 1);
        take_fingerprint(again, 3);
        take_fingerprint(none, 0);
        assert_int_equal(strlen(first), 32);
        assert_string_equal(first, again);
        assert_string_equal(none, "");
        if (trib_trainer_step(t, &step, &error) || trib_trainer_save(t, saved, &error))
            fail_msg("%s: %s", variants[i].name, error.message);
        take_fingerprint(later, 1);
        assert_string_not_equal(first, later);
        trib_trainer_close(t);
    }
}

/* A predictor has no past to go back to from a guess. But it can guess, for a transformer of its
 * vocabulary. */
static void predictors_guess_for_others(void **state)
{
    struct opened o, draft;
    trib_speculator *speculator;
    trib_session *plain;
    trib_error error = {0};
    int32_t id = 1;
    (void)state;
    trib_trainer_close(train(&variants[7]));
    assert_int_equal(open_saved(&draft, &error), TRIB_OK);
    assert_int_equal(trib_speculator_open(&speculator, draft.session, NULL, &error),
                     TRIB_UNSUPPORTED);
    trib_trainer_close(train(&variants[4]));
    assert_int_equal(open_saved(&o, &error), TRIB_OK);
    trib_speculate_options options = {3, 2, draft.engine};
    assert_int_equal(trib_session_open(&plain, o.engine, NULL, &error), TRIB_OK);
    assert_int_equal(trib_speculator_open(&speculator, o.session, &options, &error), TRIB_OK);
    for (size_t i = 0; i < CONTEXT; i++) {
        assert_int_equal(trib_session_append(plain, &id, 1, &error), TRIB_OK);
        assert_int_equal(trib_speculator_append(speculator, id, &error), TRIB_OK);
        const float *logits = trib_session_logits(plain);
        assert_memory_equal(trib_speculator_logits(speculator), logits,
                            o.shape.vocabulary * sizeof *logits);
        id = (int32_t)((size_t)(id + 3) % o.shape.vocabulary);
    }
    assert_int_equal(trib_speculator_append(speculator, id, &error), TRIB_FULL);
    assert_true(trib_speculator_counts(speculator).drafted > 0);
    trib_speculator_close(speculator);
    trib_session_close(plain);
    close_saved(&o);
    close_saved(&draft);
}

/* Cut anywhere a file is refused; with a bit changed it is refused with a message or runs. */
static void damage_ends_in_messages(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (size_t i = 0; i < 3; i++) {
        trib_trainer_close(train(&variants[i]));
        static char bytes[1 << 20];
        FILE *file = fopen(saved, "rb");
        size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        assert_true(size > 1000 && size < sizeof bytes);
        for (size_t n = 0; n < 400; n++) {
            struct opened o;
            trib_error error = {0};
            int32_t id = 0;
            bool cut = n % 2 == 0;
            size_t at = random_below(&r, n % 4 == 1 ? 2000 : size);
            char before = bytes[at];
            if (!cut)
                bytes[at] = (char)(before ^ 1 << random_below(&r, 8));
            file = fopen(saved, "wb");
            fwrite(bytes, 1, cut ? at : size, file);
            fclose(file);
            bytes[at] = before;
            trib_status status = open_saved(&o, &error);
            if (status == TRIB_OK)
                status = trib_session_append(o.session, &id, 1, &error);
            assert_true(status == TRIB_OK ? !cut : error.message[0] != 0);
            close_saved(&o);
        }
    }
}

/* No number of layers is believed that the file has no tensors for. */
static void layers_are_backed_by_tensors(void **state)
{
    (void)state;
    struct gguf_build b;
    struct opened o;
    trib_error error = {0};
    gguf_build_open(&b);
    gguf_build_string(&b, "general.architecture", "tributary-rnn");
    gguf_build_u32(&b, "tributary-rnn.vocab_size", 2);
    gguf_build_u32(&b, "tributary-rnn.context_length", 1);
    gguf_build_u32(&b, "tributary-rnn.embedding_length", 1);
    gguf_build_u32(&b, "tributary-rnn.block_count", 2);
    gguf_build_string(&b, "tributary-rnn.cell", "gru");
    gguf_build_string(&b, "tributary-rnn.attention.score", "none");
    gguf_build_tensor(&b, "token_embd.weight", DTYPE_F32, 2, (uint64_t[]){1, 2}, NULL);
    gguf_build_finish(&b);
    assert_true(gguf_build_write(&b, saved));
    gguf_build_close(&b);
    assert_int_equal(open_saved(&o, &error), TRIB_FORMAT);
    assert_non_null(strstr(error.message, "block_count"));
    close_saved(&o);
}

/* The likeliest text behind a token, told by the predictor itself; `out` holds it. */
static size_t follow(trib_trainer *t, int32_t token, size_t tokens, char *out)
{
    size_t V = t->data.vocabulary, length = 0;
    float *logits = malloc(V * sizeof *logits);
    void *state = memory_zeroed(predictor_state_bytes(&t->predictor));
    predictor_state_reset(&t->predictor, state);
    for (size_t n = 0; n < tokens; n++) {
        assert_int_equal(predictor_step(&t->predictor, state, token, logits, NULL), TRIB_OK);
        token = 0;
        for (size_t i = 1; i < V; i++)
            token = logits[i] > logits[token] ? (int32_t)i : token;
        length += vocabulary_decode(&t->vocabulary, token, false, out + length, 64);
    }
    free(state);
    free(logits);
    return length;
}

/* BOS and EOS are in no text of a training, so a sample begins with neither, and whoever runs the
 * model adds neither to a prompt, even where the vocabulary's file is silent and its family would.
 * A newline is two tokens of llama-spm and none of bert-bge. */
static void nothing_is_added_to_texts(void **state)
{
    (void)state;
    static const char *const names[] = {"tokenizers/llama-spm.gguf", "tokenizers/bert-bge.gguf"};
    for (size_t i = 0; i < 2; i++) {
        char file[4096], expected[10 * 64], *sample;
        int32_t *ids;
        size_t length, count, plain;
        trib_error error = {0};
        trib_model *model;
        snprintf(file, sizeof file, "%s", test_data(names[i]));
        struct variant v = {names[i], "direct", "modern", "gru", "none", file, "f32", false};
        trib_trainer *t = train(&v);
        size_t known = follow(t, i == 0 ? 13 : t->data.narrow[0], 10, expected);
        assert_int_equal(trib_trainer_sample(t, 0, 1, 10, &sample, &length, &error), TRIB_OK);
        assert_int_equal(length, known);
        assert_memory_equal(sample, expected, known);
        trib_free(sample);
        trib_trainer_close(t);
        assert_int_equal(trib_model_open(&model, saved, &error), TRIB_OK);
        for (unsigned special = 0; special < 2; special++) {
            assert_int_equal(trib_tokenize(model, passage, strlen(passage),
                                           special ? TRIB_TOKENIZE_SPECIAL : 0, &ids, &count,
                                           &error),
                             TRIB_OK);
            trib_free(ids);
            if (special)
                assert_int_equal(count, plain);
            plain = count;
        }
        trib_model_close(model);
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predictors_fork),
        cmocka_unit_test(training_makes_other_models),
        cmocka_unit_test(predictors_guess_for_others),
        cmocka_unit_test(files_run_as_they_were_trained),
        cmocka_unit_test(files_read_text_as_the_training_did),
        cmocka_unit_test(nothing_is_added_to_texts),
        cmocka_unit_test(contexts_end_where_they_do),
        cmocka_unit_test(damage_ends_in_messages),
        cmocka_unit_test(layers_are_backed_by_tensors),
    };
    return cmocka_run_group_tests_name("trained", tests, setup, teardown);
}
