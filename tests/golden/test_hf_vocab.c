/* Tokenizers of Hugging Face folders against ids that tokenizers made (tools/hf_golden.py make):
 * one folder for each kind, the same texts for all. Special tokens are added, and none is found in
 * a text. */
#include <jansson.h>

#include "file/hf.h"
#include "file/map.h"
#include "test.h"
#include "text/tokenizer.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static json_t *expected;

static const char *in_golden(const char *kind, const char *name)
{
    static char path[4096];
    const char *folder = getenv("TRIB_GOLDEN");
    snprintf(path, sizeof path, "%s/hf/%s/%s", folder ? folder : "tests/golden/data", kind, name);
    return path;
}

static int setup(void **state)
{
    json_error_t why;
    (void)state;
    expected = json_load_file(in_golden(".", "expected.json"), 0, &why);
    return expected ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(expected);
    return 0;
}

/* The tokenizer of a folder; `rows` more than it has tokens, as embeddings are rounded up. */
static struct tokenizer *open_kind(const char *kind)
{
    struct json_file tokenizer, config, none = {0};
    struct file_map pieces = {0};
    struct gguf_writer *writer = gguf_writer_open();
    struct tokenizer *made = NULL;
    struct gguf *file = NULL;
    trib_error error;
    uint8_t *bytes = NULL;
    size_t size;
    if (strcmp(kind, "llama-model") == 0 &&
        file_map_open(&pieces, in_golden(kind, "tokenizer.model"), &error))
        fail_msg("%s", error.message);
    if (json_file_open(&tokenizer, in_golden(kind, "tokenizer.json"), JSON_OBJECT, 1 << 20, true,
                       &error) ||
        json_file_open(&config, in_golden(kind, "tokenizer_config.json"), JSON_OBJECT, 1 << 20,
                       true, &error))
        fail_msg("%s", error.message);
    struct hf_vocab_source source = {.folder = kind,
                                     .tokenizer = &tokenizer,
                                     .tokenizer_config = &config,
                                     .config = &none,
                                     .generation_config = &none,
                                     .pieces = {(const char *)pieces.bytes, pieces.size},
                                     .rows = 640,
                                     .name = kind};
    if (hf_vocab_put(writer, &source, &error) || gguf_writer_bytes(writer, &bytes, &size, &error) ||
        gguf_parse(&file, bytes, size, kind, &error) || tokenizer_open(&made, file, &error))
        fail_msg("%s: %s", kind, error.message);
    gguf_close(file);
    free(bytes);
    gguf_writer_close(writer);
    json_file_close(&tokenizer);
    json_file_close(&config);
    file_map_close(&pieces);
    return made;
}

static void assert_ids(const char *kind, const struct tokenizer *tokenizer, const json_t *text,
                       const json_t *ids)
{
    int32_t *ours = NULL;
    size_t count = 0, capacity = 0;
    trib_error error;
    struct slice bytes = {json_string_value(text), json_string_length(text)};
    if (tokenizer_encode(tokenizer, bytes, (struct tokenize_options){.add_special = true}, &ours,
                         &count, &capacity, &error))
        fail_msg("%s: %s", kind, error.message);
    for (size_t i = 0; i < count && i < json_array_size(ids); i++)
        if (ours[i] != json_integer_value(json_array_get(ids, i)))
            fail_msg("%s: \"%.40s\": id %zu is %d, expected %lld", kind, bytes.bytes, i, ours[i],
                     (long long)json_integer_value(json_array_get(ids, i)));
    if (count != json_array_size(ids))
        fail_msg("%s: \"%.40s\": %zu ids, expected %zu", kind, bytes.bytes, count,
                 json_array_size(ids));
    free(ours);
}

static void same_ids(const char *kind)
{
    const json_t *texts = json_object_get(expected, "texts");
    const json_t *ids = json_object_get(json_object_get(expected, "ids"), kind);
    assert_true(json_array_size(texts) > 10);
    assert_int_equal(json_array_size(ids), json_array_size(texts));
    struct tokenizer *tokenizer = open_kind(kind);
    assert_int_equal(tokenizer_count(tokenizer), 640);
    assert_int_equal(tokenizer_kind(tokenizer, 639), TOKEN_UNUSED);
    for (size_t i = 0; i < json_array_size(texts); i++)
        assert_ids(kind, tokenizer, json_array_get(texts, i), json_array_get(ids, i));
    tokenizer_close(tokenizer);
}

static void gpt_2(void **state)
{
    (void)state;
    same_ids("gpt-2");
}

static void llama_3(void **state)
{
    (void)state;
    same_ids("llama-bpe");
}

static void falcon(void **state)
{
    (void)state;
    same_ids("falcon");
}

static void deepseek_llm(void **state)
{
    (void)state;
    same_ids("deepseek-llm");
}

static void sentencepiece_by_merges(void **state)
{
    (void)state;
    same_ids("llama");
}

static void sentencepiece_by_scores(void **state)
{
    (void)state;
    same_ids("llama-model");
}

static void gemma(void **state)
{
    (void)state;
    same_ids("gemma");
}

static void bert(void **state)
{
    (void)state;
    same_ids("bert");
}

/* Reads tokenizer.model bytes that are broken in one place each. */
static void broken_pieces(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        trib_status status;
        const char *says;
    } cases[] = {
        {"", 0, TRIB_UNSUPPORTED, "unigram"},
        {"\x12\x02\x18\x02", 4, TRIB_OK, ""},
        {"\x12\x02\x18\x01", 4, TRIB_UNSUPPORTED, "found 1, unigram"},
        {"\x12\x03\x18\x02", 4, TRIB_FORMAT, "malformed field at offset 0"},
        {"\x12\x01\x18", 3, TRIB_FORMAT, "malformed field at offset 0"},
        {"\x12\x02\x18\x02\x0a\x05\x0a\x03xyz", 11, TRIB_OK, ""},
        {"\x12\x02\x18\x02\x0a\x05\x0a\x04xyz", 11, TRIB_FORMAT, "offset 4"},
        {"\x12\x02\x18\x02\x0a\x02\x18\x07", 8, TRIB_FORMAT, "offset 4"}, /* a kind that is none */
        {"\x12\x02\x18\x02\x0a\x02\x15\x00", 8, TRIB_FORMAT, "offset 4"}, /* half a score */
        {"\x12\x02\x18\x02\x0b", 5, TRIB_FORMAT, "offset 4"},             /* a group */
        {"\x12\x02\x18\x02\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 15, TRIB_FORMAT, "offset"},
        {"\x12\x02\x18\x02\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 16, TRIB_FORMAT,
         "offset"},
        {"\x12\x02\x18\x02\x0a\x00\x0a\x00\x0a\x00", 10, TRIB_FORMAT, "expected at most 2 pieces"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct slice texts[2];
        float scores[2];
        int32_t kinds[2];
        struct hf_tokens tokens = {2, texts, scores, kinds};
        struct hf_pieces pieces;
        trib_error error = {0};
        char *copy = malloc(cases[i].length + 1); /* so that reading beyond is found */
        memcpy(copy, cases[i].bytes, cases[i].length);
        copy = realloc(copy, cases[i].length ? cases[i].length : 1);
        trib_status status = hf_pieces_read(&pieces, &tokens, (struct slice){copy, cases[i].length},
                                            "model", &error);
        if (status != cases[i].status || !strstr(error.message, cases[i].says))
            fail_msg("case %zu: %s \"%s\"", i, trib_status_name(status), error.message);
        free(copy);
    }
}

/* What a SentencePiece model does to texts that is not done here is refused where no tokenizer.json
 * says otherwise. */
static void pieces_that_rewrite(void **state)
{
#define PIECES "\x0a\x05\x0a\x03xyz\x12\x02\x18\x02"
    static const struct {
        const char *bytes;
        size_t length;
        const char *says; /* NULL: it is read */
    } cases[] = {
        {PIECES "\x1a\x02\x20\x00", 15, NULL},
        {PIECES "\x1a\x04\x20\x00\x12\x00", 17, NULL},
        {PIECES, 11, "remove_extra_whitespaces: expected false"},
        {PIECES "\x1a\x02\x20\x01", 15, "remove_extra_whitespaces: expected false"},
        {PIECES "\x1a\x05\x20\x00\x12\x01z", 18, "precompiled_charsmap: expected none"},
        {PIECES "\x1a\x04\x20\x00\x28\x00", 17, "escape_whitespaces: expected true"},
        {PIECES "\x1a\x02\x20\x00\x12\x03\xc0\x01\x01", 20, "as_suffix: expected false"},
    };
    struct json_file none = {0}, tokenizer = {0};
    struct slice text =
        slice_of("{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\":"
                 "\" \"}, \"content\": \"\xe2\x96\x81\"}, \"model\": {\"type\":"
                 "\"BPE\", \"vocab\": {\"xyz\": 0}, \"merges\": []}}");
    trib_error error = {0};
    (void)state;
    if (json_file_parse(&tokenizer, text.bytes, text.length, "tokenizer.json", true, &error))
        fail_msg("%s", error.message);
    for (size_t i = 0; i < 2 * COUNT(cases); i++) {
        bool beside = i >= COUNT(cases);
        const char *says = beside ? NULL : cases[i].says;
        struct hf_vocab_source source = {
            .folder = "pieces",
            .tokenizer = beside ? &tokenizer : &none,
            .tokenizer_config = &none,
            .config = &none,
            .generation_config = &none,
            .pieces = {cases[i % COUNT(cases)].bytes, cases[i % COUNT(cases)].length},
            .rows = 1,
            .name = "pieces"};
        struct gguf_writer *writer = gguf_writer_open();
        error = (trib_error){0};
        trib_status status = hf_vocab_put(writer, &source, &error);
        if (status != (says ? TRIB_UNSUPPORTED : TRIB_OK) || (says && !strstr(error.message, says)))
            fail_msg("case %zu: %s \"%s\"", i, trib_status_name(status), error.message);
        gguf_writer_close(writer);
    }
    json_file_close(&tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpt_2),
        cmocka_unit_test(llama_3),
        cmocka_unit_test(falcon),
        cmocka_unit_test(deepseek_llm),
        cmocka_unit_test(sentencepiece_by_merges),
        cmocka_unit_test(sentencepiece_by_scores),
        cmocka_unit_test(gemma),
        cmocka_unit_test(bert),
        cmocka_unit_test(broken_pieces),
        cmocka_unit_test(pieces_that_rewrite),
    };
    return cmocka_run_group_tests_name("hf_vocab", tests, setup, teardown);
}
