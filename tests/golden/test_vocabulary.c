/* Tokenizers against ids that other people's programs made: llama.cpp's vocabulary tests, and the
 * prompt of the stories260K golden. A text of megabytes comes back as it was. */
#include <jansson.h>
#include <stdbool.h>

#include "file/gguf.h"
#include "test.h"
#include "text/tokenizer.h"

struct ids {
    int32_t *ids;
    size_t count, capacity;
};

static struct tokenizer *open_tokenizer(const char *name)
{
    struct gguf *file;
    struct tokenizer *tokenizer;
    trib_error error;
    if (gguf_open(&file, test_data(name), &error))
        fail_msg("%s", error.message);
    if (tokenizer_open(&tokenizer, file, &error))
        fail_msg("%s", error.message);
    gguf_close(file);
    return tokenizer;
}

static char *read_file(const char *name, size_t *length)
{
    FILE *file = fopen(test_data(name), "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *length = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*length + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, *length, file), *length);
    text[*length] = 0;
    fclose(file);
    return text;
}

static void encode(const struct tokenizer *tokenizer, struct slice text, bool add_special,
                   struct ids *out)
{
    trib_error error;
    out->count = 0;
    if (tokenizer_encode(tokenizer, text, (struct tokenize_options){.add_special = add_special},
                         &out->ids, &out->count, &out->capacity, &error))
        fail_msg("%s", error.message);
}

static void assert_decodes_to(const struct tokenizer *tokenizer, const struct ids *ids,
                              struct slice text)
{
    char *back = malloc(text.length + tokenizer_longest(tokenizer));
    size_t length = 0;
    bool first = true;
    assert_non_null(back);
    for (size_t i = 0; i < ids->count && length <= text.length; i++) {
        length += tokenizer_decode(tokenizer, ids->ids[i], first, false, back + length,
                                   tokenizer_longest(tokenizer));
        first = first && tokenizer_kind(tokenizer, ids->ids[i]) == TOKEN_CONTROL;
    }
    assert_int_equal(length, text.length);
    assert_memory_equal(back, text.bytes, length);
    free(back);
}

/* Each text of NAME.gguf.inp gives the ids of its line of NAME.gguf.out. */
static void llama_cpp_vectors(void **state)
{
    static const char marker[] = "\n__ggml_vocab_test__\n";
    const char *vocabulary = *state;
    char name[64];
    size_t length, cases = 0;
    struct ids ids = {0};
    snprintf(name, sizeof name, "tokenizers/%s.gguf", vocabulary);
    struct tokenizer *tokenizer = open_tokenizer(name);
    snprintf(name, sizeof name, "tokenizers/%s.gguf.inp", vocabulary);
    char *texts = read_file(name, &length);
    snprintf(name, sizeof name, "tokenizers/%s.gguf.out", vocabulary);
    char *expected = read_file(name, &length);
    char *end, *line = expected;
    for (char *text = texts; (end = strstr(text, marker)); text = end + strlen(marker)) {
        struct slice input = {text, (size_t)(end - text)};
        encode(tokenizer, input, false, &ids);
        char *line_end = strchr(line, '\n');
        assert_non_null(line_end);
        *line_end = 0;
        size_t count = 0;
        for (char *rest; *line; line = rest, count++) {
            long id = strtol(line, &rest, 10);
            rest += strspn(rest, " ");
            if (count >= ids.count || ids.ids[count] != id)
                fail_msg("text %zu, id %zu: expected %ld, got %d", cases, count, id,
                         count < ids.count ? ids.ids[count] : TOKEN_NONE);
        }
        assert_int_equal(ids.count, count);
        if (strcmp(tokenizer_model(tokenizer), "bert") != 0) /* which normalises */
            assert_decodes_to(tokenizer, &ids, input);
        line = line_end + 1;
        cases++;
    }
    assert_true(cases > 40);
    assert_int_equal(*line, 0);
    free(ids.ids);
    free(texts);
    free(expected);
    tokenizer_close(tokenizer);
}

static void stories_prompt(void **state)
{
    (void)state;
    struct ids ids = {0};
    struct tokenizer *tokenizer = open_tokenizer("stories260K/stories260K.gguf");
    json_t *golden = json_load_file(test_data("stories260K/golden.json"), 0, NULL);
    assert_non_null(golden);
    const json_t *expected = json_object_get(golden, "prompt_ids");
    struct slice prompt = slice_of(json_string_value(json_object_get(golden, "prompt")));
    encode(tokenizer, prompt, true, &ids);
    assert_int_equal(ids.count, json_array_size(expected));
    for (size_t i = 0; i < ids.count; i++)
        assert_int_equal(ids.ids[i], json_integer_value(json_array_get(expected, i)));
    assert_int_equal(ids.ids[0], tokenizer_bos(tokenizer));
    assert_decodes_to(tokenizer, &ids, prompt);
    free(ids.ids);
    json_decref(golden);
    tokenizer_close(tokenizer);
}

static void shakespeare_comes_back(void **state)
{
    (void)state;
    struct slice text;
    struct ids ids = {0};
    struct tokenizer *tokenizer = open_tokenizer("tokenizers/llama-spm.gguf");
    char *bytes = read_file("tinyshakespeare.txt", &text.length);
    text.bytes = bytes;
    encode(tokenizer, text, false, &ids);
    assert_in_range(ids.count, text.length / 6, text.length / 2);
    assert_decodes_to(tokenizer, &ids, text);
    free(ids.ids);
    free(bytes);
    tokenizer_close(tokenizer);
}

/* Phi-3's turn markers take the line break after them, and <|end|> ends a generation although EOS
 * is
 * <|endoftext|>. */
static void phi_3_chat(void **state)
{
    static const int32_t expected[] = {32010, 6324, 32007, 32001};
    (void)state;
    struct ids ids = {0};
    struct tokenizer *tokenizer = open_tokenizer("tokenizers/phi-3.gguf");
    assert_int_equal(tokenizer_encode(tokenizer, slice_of("<|user|>\nHi<|end|>\n<|assistant|>\n"),
                                      (struct tokenize_options){.parse_special = true}, &ids.ids,
                                      &ids.count, &ids.capacity, NULL),
                     TRIB_OK);
    assert_int_equal(ids.count, sizeof expected / sizeof expected[0]);
    assert_memory_equal(ids.ids, expected, sizeof expected);
    assert_true(tokenizer_is_end(tokenizer, 32007));
    assert_true(tokenizer_is_end(tokenizer, tokenizer_eos(tokenizer)));
    assert_false(tokenizer_is_end(tokenizer, 32001));
    free(ids.ids);
    tokenizer_close(tokenizer);
}

int main(void)
{
    static char llama_spm[] = "llama-spm", phi_3[] = "phi-3", gpt_2[] = "gpt-2",
                starcoder[] = "starcoder", bert_bge[] = "bert-bge";
    const struct CMUnitTest tests[] = {
        {"llama_cpp_vectors: llama-spm", llama_cpp_vectors, NULL, NULL, llama_spm},
        {"llama_cpp_vectors: phi-3", llama_cpp_vectors, NULL, NULL, phi_3},
        {"llama_cpp_vectors: gpt-2", llama_cpp_vectors, NULL, NULL, gpt_2},
        {"llama_cpp_vectors: bert-bge", llama_cpp_vectors, NULL, NULL, bert_bge},
        {"llama_cpp_vectors: starcoder", llama_cpp_vectors, NULL, NULL, starcoder},
        cmocka_unit_test(stories_prompt),
        cmocka_unit_test(shakespeare_comes_back),
        cmocka_unit_test(phi_3_chat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
