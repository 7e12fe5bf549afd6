/* Vocabularies learned against Hugging Face's BpeTrainer (tools/bpe_golden.py): the same tokens and
 * merges from the same text, and the same ids for it. What is refused, and that a file is whole. */
#include <jansson.h>
#include <unistd.h>

#include "file/gguf.h"
#include "test.h"
#include "text/tokenizer.h"
#include "tributary/tokenizer.h"

static const char output[] = "test_bpe_train.gguf";

/* A file of this project's goldens, which are always there. */
static char *read_golden(const char *name, size_t *length)
{
    char path[4096];
    const char *folder = getenv("TRIB_GOLDEN");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "tests/golden/data", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s cannot be opened", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *length = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*length + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *length, file), *length);
    fclose(file);
    return text;
}

static void assert_strings(const struct gguf *file, const char *key, const json_t *expected)
{
    const struct gguf_value *value;
    assert_int_equal(gguf_get_array(file, key, GGUF_STRING, &value, NULL, NULL), TRIB_OK);
    assert_int_equal(value->count, json_array_size(expected));
    const uint8_t *cursor = value->data;
    for (size_t i = 0; i < value->count; i++) {
        struct slice text = gguf_next_string(&cursor);
        const char *wanted = json_string_value(json_array_get(expected, i));
        if (!slice_is(text, wanted))
            fail_msg("%s: %zu is \"%.*s\", expected \"%s\"", key, i, (int)text.length, text.bytes,
                     wanted);
    }
}

static void assert_ids(const struct gguf *file, struct slice text, const json_t *expected)
{
    struct tokenizer *tokenizer;
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0;
    trib_error error;
    if (tokenizer_open(&tokenizer, file, &error))
        fail_msg("%s", error.message);
    assert_int_equal(tokenizer_encode(tokenizer, text, (struct tokenize_options){0}, &ids, &count,
                                      &capacity, NULL),
                     TRIB_OK);
    assert_int_equal(count, json_array_size(expected));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(expected, i)));
    free(ids);
    tokenizer_close(tokenizer);
}

static void learns_the_same(void **state)
{
    size_t length, golden_length;
    char name[64];
    snprintf(name, sizeof name, "bpe_%s.json", (const char *)*state);
    char *text = read_golden("bpe_text.txt", &length), *json = read_golden(name, &golden_length);
    json_t *golden = json_loadb(json, golden_length, 0, NULL);
    assert_non_null(golden);
    const json_t *list = json_object_get(golden, "special");
    trib_text special[8], whole = {text, length};
    trib_tokenizer_options options = trib_tokenizer_options_default();
    options.vocabulary = (size_t)json_integer_value(json_object_get(golden, "vocabulary"));
    options.min_frequency = (uint64_t)json_integer_value(json_object_get(golden, "min_frequency"));
    options.special = special;
    options.special_count = json_array_size(list);
    for (size_t i = 0; i < options.special_count; i++) {
        const char *token = json_string_value(json_array_get(list, i));
        special[i] = (trib_text){token, strlen(token)};
    }
    trib_tokenizer_report report;
    trib_error error;
    struct gguf *file;
    if (trib_tokenizer_train(output, &whole, 1, &options, &report, &error))
        fail_msg("%s", error.message);
    assert_int_equal(gguf_open(&file, output, NULL), TRIB_OK);
    assert_strings(file, "tokenizer.ggml.tokens", json_object_get(golden, "tokens"));
    assert_strings(file, "tokenizer.ggml.merges", json_object_get(golden, "merges"));
    assert_ids(file, (struct slice){text, length}, json_object_get(golden, "ids"));
    assert_int_equal(report.vocabulary, json_array_size(json_object_get(golden, "tokens")));
    assert_int_equal(report.merges, json_array_size(json_object_get(golden, "merges")));
    gguf_close(file);
    unlink(output);
    json_decref(golden);
    free(json);
    free(text);
}

/* Special tokens: controls from id 0 on, the first of them EOS; none arises from merging. */
static void special_tokens(void **state)
{
    static const trib_text special[] = {{"<eos>", 5}, {"ab", 2}, {"<eos>", 5}};
    static const trib_text texts[] = {{"ab abc abc", 10}, {"", 0}, {"xy\xff\0 xy", 7}};
    trib_tokenizer_options options = {300, 1, "gpt-2", special, 3};
    trib_tokenizer_report report;
    struct gguf *file;
    struct tokenizer *tokenizer;
    (void)state;
    assert_int_equal(trib_tokenizer_train(output, texts, 3, &options, &report, NULL), TRIB_OK);
    assert_int_equal(report.words, 3 + 4);
    assert_int_equal(report.distinct_words, 2 + 4);
    assert_int_equal(gguf_open(&file, output, NULL), TRIB_OK);
    assert_int_equal(tokenizer_open(&tokenizer, file, NULL), TRIB_OK);
    assert_int_equal(tokenizer_count(tokenizer), report.vocabulary);
    assert_int_equal(report.vocabulary, 2 + 256 + report.merges);
    assert_int_equal(tokenizer_eos(tokenizer), 0);
    assert_int_equal(tokenizer_bos(tokenizer), TOKEN_NONE);
    assert_true(tokenizer_is_end(tokenizer, 0));
    for (int32_t id = 0; (size_t)id < report.vocabulary; id++) {
        assert_int_equal(tokenizer_kind(tokenizer, id), id < 2 ? TOKEN_CONTROL : TOKEN_NORMAL);
        assert_int_equal(slice_is(tokenizer_text(tokenizer, id), "ab"), id == 1);
    }
    tokenizer_close(tokenizer);
    gguf_close(file);
    unlink(output);
}

static void what_cannot_be_learned(void **state)
{
    static char longest[4097];
    static const trib_text text = {"some text", 9}, empty = {"", 0}, byte = {"a", 1},
                           two[] = {{"<a>", 3}, {"<b>", 3}}, much = {longest, sizeof longest},
                           huge = {"", (size_t)1 << 31};
    static const struct {
        const trib_text *text;
        trib_tokenizer_options options;
        trib_status status;
        const char *message;
    } cases[] = {
        {&text,
         {255, 2, "gpt-2", NULL, 0},
         TRIB_INVALID,
         "a vocabulary of 255 tokens: expected at least 256"},
        {&text,
         {257, 2, "gpt-2", two, 2},
         TRIB_INVALID,
         "a vocabulary of 257 tokens: expected at least 258"},
        {&text, {1 << 30, 2, "gpt-2", NULL, 0}, TRIB_INVALID, "expected at most 16777216"},
        {&text,
         {300, 2, "gpt-9", NULL, 0},
         TRIB_UNSUPPORTED,
         "\"gpt-9\" is no way of cutting words"},
        {&text,
         {300, 2, "gpt-2", &empty, 1},
         TRIB_INVALID,
         "special token 1: expected 1 to 4096 bytes, found 0"},
        {&text, {300, 2, "gpt-2", &much, 1}, TRIB_INVALID, "expected 1 to 4096 bytes, found 4097"},
        {&text,
         {300, 2, "gpt-2", &byte, 1},
         TRIB_INVALID,
         "special token \"a\": it is the token of byte 0x61"},
        {&huge, {300, 2, "gpt-2", NULL, 0}, TRIB_INVALID, "text 1 has 2147483648 bytes"},
    };
    (void)state;
    memset(longest, 'x', sizeof longest);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        trib_error error = {0};
        assert_int_equal(
            trib_tokenizer_train(output, cases[i].text, 1, &cases[i].options, NULL, &error),
            cases[i].status);
        if (!strstr(error.message, cases[i].message))
            fail_msg("case %zu: %s", i, error.message);
        assert_int_equal(access(output, F_OK), -1);
    }
    trib_error error;
    assert_int_equal(trib_tokenizer_train("none/file", &text, 1, NULL, NULL, &error), TRIB_IO);
    assert_non_null(strstr(error.message, "none/file: cannot be written: No such file"));
}

/* A word of 300,000 equal letters: no token grows beyond what a vocabulary may hold. */
static void a_long_word(void **state)
{
    enum { LENGTH = 300000 };
    char *text = malloc(LENGTH);
    trib_tokenizer_options options = {400, 1, "gpt-2", NULL, 0};
    trib_tokenizer_report report;
    trib_model *model = NULL;
    int32_t *ids = NULL;
    size_t count = 0;
    trib_error error;
    (void)state;
    assert_non_null(text);
    memset(text, 'a', LENGTH);
    assert_int_equal(
        trib_tokenizer_train(output, &(trib_text){text, LENGTH}, 1, &options, &report, NULL),
        TRIB_OK);
    if (trib_model_open(&model, output, &error) ||
        trib_tokenize(model, text, LENGTH, 0, &ids, &count, &error))
        fail_msg("%s", error.message);
    assert_in_range(count, LENGTH / 4096, LENGTH / 4096 + 16);
    trib_free(ids);
    trib_model_close(model);
    unlink(output);
    free(text);
}

/* All of Shakespeare, learned and encoded, comes back. */
static void shakespeare(void **state)
{
    trib_tokenizer_options options = trib_tokenizer_options_default();
    trib_error error;
    trib_model *model = NULL;
    int32_t *ids = NULL;
    size_t count = 0, length = 0;
    (void)state;
    FILE *file = fopen(test_data("tinyshakespeare.txt"), "rb");
    char *text = malloc(1 << 21);
    assert_non_null(text);
    length = fread(text, 1, 1 << 21, file);
    fclose(file);
    options.vocabulary = 4096;
    if (trib_tokenizer_train(output, &(trib_text){text, length}, 1, &options, NULL, &error) ||
        trib_model_open(&model, output, &error) ||
        trib_tokenize(model, text, length, TRIB_TOKENIZE_SPECIAL, &ids, &count, &error))
        fail_msg("%s", error.message);
    assert_int_equal(trib_vocabulary_size(model), 4096);
    assert_int_equal(count, 344092); /* as many as Hugging Face's */
    trib_decoder *decoder;
    assert_int_equal(trib_decoder_open(&decoder, model, false, false, NULL), TRIB_OK);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        trib_text piece = trib_decoder_next(decoder, ids[i]);
        assert_true(piece.length <= length - at);
        assert_memory_equal(piece.bytes, text + at, piece.length);
        at += piece.length;
    }
    assert_int_equal(at, length);
    trib_decoder_close(decoder);
    trib_free(ids);
    trib_model_close(model);
    unlink(output);
    free(text);
}

int main(void)
{
    static char plain[] = "plain", special[] = "special", exhausted[] = "exhausted";
    const struct CMUnitTest tests[] = {
        {"learns_the_same: plain", learns_the_same, NULL, NULL, plain},
        {"learns_the_same: special", learns_the_same, NULL, NULL, special},
        {"learns_the_same: exhausted", learns_the_same, NULL, NULL, exhausted},
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(what_cannot_be_learned),
        cmocka_unit_test(a_long_word),
        cmocka_unit_test(shakespeare),
    };
    return cmocka_run_group_tests_name("bpe_train", tests, NULL, NULL);
}
