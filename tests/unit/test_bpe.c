/* Byte-level BPE on small vocabularies: what each rule does, and what malformed vocabularies get.
 * The ids of bytes are the bytes; other tokens begin at 256. */
#include <stdbool.h>

#include "bpe_build.h"
#include "test.h"
#include "text/tokenizer.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { PLAIN = 0, ADD = 1, PARSE = 2 };

/* A text and the ids it must give, ended by -1. */
struct encoding {
    const char *text;
    int mode;
    int32_t ids[16];
};

static struct tokenizer *open_bpe(const struct bpe_build *v)
{
    struct tokenizer *tokenizer;
    trib_error error;
    if (bpe_build_finish(v, &tokenizer, &error))
        fail_msg("%s", error.message);
    return tokenizer;
}

static void assert_encodings(const struct tokenizer *tokenizer, const struct encoding *cases,
                             size_t count)
{
    int32_t *ids = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < count; i++) {
        struct tokenize_options how = {.add_special = cases[i].mode & ADD,
                                       .parse_special = cases[i].mode & PARSE};
        size_t found = 0, n = 0;
        trib_error error;
        if (tokenizer_encode(tokenizer, slice_of(cases[i].text), how, &ids, &found, &capacity,
                             &error))
            fail_msg("\"%s\": %s", cases[i].text, error.message);
        for (; cases[i].ids[n] >= 0; n++)
            if (n >= found || ids[n] != cases[i].ids[n])
                fail_msg("\"%s\": id %zu is %d, expected %d", cases[i].text, n,
                         n < found ? ids[n] : TOKEN_NONE, cases[i].ids[n]);
        if (n != found)
            fail_msg("\"%s\": %zu ids, expected %zu", cases[i].text, found, n);
    }
    free(ids);
}

/* GPT-2's file has "!" as its first character, and writes a space as U+0120. */
static void the_alphabet(void **state)
{
    static const struct {
        unsigned char byte;
        uint32_t code;
    } known[] = {{'!', '!'},   {'~', '~'},    {0, 0x100},    {'\n', 0x10a},
                 {' ', 0x120}, {0x7f, 0x121}, {0xa0, 0x142}, {0xa1, 0xa1},
                 {0xac, 0xac}, {0xad, 0x143}, {0xae, 0xae},  {0xff, 0xff}};
    bool seen[0x200] = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(known); i++)
        assert_int_equal(alphabet_code(known[i].byte), known[i].code);
    for (uint32_t code = 0; code < 0x200; code++) {
        int byte = alphabet_byte(code);
        if (byte < 0)
            continue;
        assert_false(seen[byte]);
        seen[byte] = true;
        assert_int_equal(alphabet_code((unsigned char)byte), code);
    }
    for (int byte = 0; byte < 256; byte++)
        assert_true(seen[byte]);
    assert_int_equal(alphabet_byte(0x10ffff), -1);
}

static void lowest_rank_first_then_leftmost(void **state)
{
    static const struct encoding cases[] = {
        {"", PLAIN, {-1}},
        {"ab", PLAIN, {256, -1}},
        {"abc", PLAIN, {'a', 257, -1}}, /* the lower rank, though it is the right one */
        {"abab", PLAIN, {256, 256, -1}},
        {"aa", PLAIN, {258, -1}},
        {"aaa", PLAIN, {259, -1}}, /* a merge of a merge */
        {"aaaa", PLAIN, {258, 258, -1}},
        {"aaaaa", PLAIN, {258, 259, -1}}, /* the leftmost of equals */
        {"cab", PLAIN, {'c', 256, -1}},
        {"ab ab", PLAIN, {256, ' ', 256, -1}}, /* no merge reaches over words */
        {"a a", PLAIN, {'a', 261, -1}},
        {"\xc3\xa9", PLAIN, {262, -1}}, /* bytes of one character */
        {"abc\nabc", PLAIN, {'a', 257, '\n', 'a', 257, -1}},
    };
    struct bpe_build v;
    (void)state;
    bpe_build_open(&v, "gpt-2");
    static const char *const tokens[] = {
        "ab", "bc", "aa", "aaa", "a\xc4\xa0", "\xc4\xa0\x61", "\xc3\x83\xc2\xa9", "ab"};
    static const char *const merges[] = {
        "b c", "a b", "a \xc4\xa0", "\xc4\xa0 a", "a a", "aa a", "\xc3\x83 \xc2\xa9", "b c", "a b"};
    for (size_t i = 0; i < COUNT(tokens); i++)
        bpe_build_token(&v, tokens[i], TOKEN_NORMAL); /* of two equal tokens the first counts */
    for (size_t i = 0; i < COUNT(merges); i++)
        bpe_build_merge(&v, merges[i]); /* of two equal merges as well */
    struct tokenizer *tokenizer = open_bpe(&v);
    assert_string_equal(tokenizer_model(tokenizer), "gpt2");
    assert_encodings(tokenizer, cases, COUNT(cases));
    tokenizer_close(tokenizer);
}

/* Each byte that is no UTF-8 stands alone, and cuts what is around it. */
static void bytes_outside_utf8(void **state)
{
    static const struct encoding cases[] = {
        {"\xff\xfe", PLAIN, {255, 254, -1}},
        {"\xc3\xbf\xc3\xbe", PLAIN, {0xc3, 0xbf, 0xc3, 0xbe, -1}},
        {"ab\xff"
         "ab",
         PLAIN,
         {257, 255, 257, -1}},
        {"\xe2\x82", PLAIN, {0xe2, 0x82, -1}},           /* the beginning of a character */
        {"\xed\xa0\x80", PLAIN, {0xed, 0xa0, 0x80, -1}}, /* a surrogate */
        {"\xe2\x82\xac", PLAIN, {258, 0xac, -1}},
    };
    struct bpe_build v;
    (void)state;
    bpe_build_open(&v, "gpt-2");
    bpe_build_token(&v, "\xc3\xbf\xc3\xbe", TOKEN_NORMAL); /* bytes ff fe */
    bpe_build_token(&v, "ab", TOKEN_NORMAL);
    bpe_build_token(&v, "\xc3\xa2\xc4\xa4", TOKEN_NORMAL); /* bytes e2 82 */
    bpe_build_merge(&v, "\xc3\xbf \xc3\xbe");
    bpe_build_merge(&v, "a b");
    bpe_build_merge(&v, "\xc3\xa2 \xc4\xa4");
    struct tokenizer *tokenizer = open_bpe(&v);
    assert_encodings(tokenizer, cases, COUNT(cases));
    tokenizer_close(tokenizer);
}

/* A word that is a token is that token where the way of cutting words says so, and otherwise what
 * the merges make of it. */
static void whole_words(void **state)
{
    static const struct encoding merged[] = {{"abc", PLAIN, {257, 'c', -1}},
                                             {" abc", PLAIN, {' ', 257, 'c', -1}},
                                             {"abc!abc", PLAIN, {257, 'c', '!', 257, 'c', -1}}};
    static const struct encoding whole[] = {
        {"abc", PLAIN, {256, -1}},
        {" abc", PLAIN, {' ', 257, 'c', -1}},          /* this word is none */
        {"abc!abc", PLAIN, {256, '!', 257, 'c', -1}}}; /* a sign goes with the word behind it */
    struct bpe_build v;
    (void)state;
    bpe_build_open(&v, "gpt-2");
    bpe_build_token(&v, "abc", TOKEN_NORMAL);
    bpe_build_token(&v, "ab", TOKEN_NORMAL);
    bpe_build_merge(&v, "a b");
    struct tokenizer *tokenizer = open_bpe(&v);
    assert_encodings(tokenizer, merged, COUNT(merged));
    tokenizer_close(tokenizer);
    v.options.pre = "llama-bpe";
    tokenizer = open_bpe(&v);
    assert_encodings(tokenizer, whole, COUNT(whole));
    tokenizer_close(tokenizer);
}

static void bytes_without_a_token(void **state)
{
    static const struct encoding cases[] = {{"ab", PLAIN, {256, -1}},
                                            {"aqb", PLAIN, {'a', 257, 'b', -1}},
                                            {"qq", PLAIN, {257, 257, -1}}};
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0;
    struct bpe_build v;
    struct tokenizer *tokenizer;
    trib_error error;
    (void)state;
    bpe_build_open(&v, "gpt-2");
    v.entries['q'].bytes = "qqqq";
    v.entries['q'].length = 4;
    bpe_build_token(&v, "ab", TOKEN_NORMAL);
    bpe_build_merge(&v, "a b");
    tokenizer = open_bpe(&v);
    assert_encodings(tokenizer, cases, 1);
    assert_int_equal(tokenizer_encode(tokenizer, slice_of("ab q"), (struct tokenize_options){0},
                                      &ids, &count, &capacity, &error),
                     TRIB_UNSUPPORTED);
    assert_non_null(strstr(error.message, "neither a token for byte 0x71 nor"));
    assert_int_equal(count, 0);
    tokenizer_close(tokenizer);
    free(ids);

    struct gguf_build b;
    bpe_build_token(&v, "<unk>", TOKEN_UNKNOWN);
    gguf_build_open(&b);
    gguf_build_u32(&b, "tokenizer.ggml.unknown_token_id", 257);
    vocab_put(&b, v.entries, v.count, v.options);
    assert_int_equal(vocab_finish(&b, &tokenizer, &error), TRIB_OK);
    assert_encodings(tokenizer, cases, COUNT(cases));
    tokenizer_close(tokenizer);
}

static void special_tokens(void **state)
{
    static const struct encoding cases[] = {
        {"x a b\xc4\xa0y", PLAIN, {'x', ' ', 256, 0xc4, 0xa0, 'y', -1}},
        {"<|end|>", PLAIN, {'<', '|', 'e', 'n', 'd', '|', '>', -1}},
        {"<|end|>x", PARSE, {257, 'x', -1}},
        {"x", ADD, {'x', -1}},         /* nothing is added where the file does not ask */
        {"xy", PLAIN, {'x', 'y', -1}}, /* control tokens never arise from merging */
    };
    static const struct {
        int32_t id;
        bool special;
        const char *text;
    } decodings[] = {{256, false, "a b"},
                     {257, false, ""},
                     {257, true, "<|end|>"},
                     {259, false, "\xe6\x97\xa5 x"},
                     {0xc3, false, "\xc3"}};
    struct bpe_build v;
    (void)state;
    bpe_build_open(&v, NULL);
    bpe_build_token(&v, "a b", TOKEN_USER_DEFINED);
    bpe_build_token(&v, "<|end|>", TOKEN_CONTROL);
    bpe_build_token(&v, "xy", TOKEN_CONTROL);
    bpe_build_token(&v, "\xe6\x97\xa5\xc4\xa0x",
                    TOKEN_NORMAL); /* not all of it is the alphabet's */
    struct tokenizer *tokenizer = open_bpe(&v);
    assert_encodings(tokenizer, cases, COUNT(cases));
    assert_true(tokenizer_is_end(tokenizer, 257)); /* known by its text */
    for (size_t i = 0; i < COUNT(decodings); i++) {
        char out[16] = {0};
        size_t length = strlen(decodings[i].text);
        assert_int_equal(tokenizer_decode(tokenizer, decodings[i].id, true, decodings[i].special,
                                          out, sizeof out),
                         length);
        assert_string_equal(out, decodings[i].text);
        for (size_t capacity = 0; capacity < length; capacity++) {
            memset(out, '#', sizeof out);
            assert_int_equal(tokenizer_decode(tokenizer, decodings[i].id, false,
                                              decodings[i].special, out, capacity),
                             length);
            assert_memory_equal(out, decodings[i].text, capacity);
            assert_int_equal(out[capacity], '#');
        }
    }
    tokenizer_close(tokenizer);
}

/* Llama 3 adds BOS where the file is silent, if there is one; GPT-2 does not. */
static void bos_by_the_way_of_cutting(void **state)
{
    static const struct {
        const char *pre;
        int asked; /* add_bos_token: -1 silent, 0, 1 */
        bool has_bos, added;
    } cases[] = {{"llama-bpe", -1, true, true},   {"llama-bpe", 0, true, false},
                 {"llama-bpe", -1, false, false}, {"tekken", -1, true, true},
                 {"gpt-2", -1, true, false},      {"gpt-2", 1, true, true}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct encoding expected = {"x", ADD, {'x', -1}};
        struct tokenizer *tokenizer;
        struct gguf_build b;
        struct bpe_build v;
        trib_error error;
        bpe_build_open(&v, cases[i].pre);
        bpe_build_token(&v, "<s>", TOKEN_CONTROL);
        gguf_build_open(&b);
        if (cases[i].has_bos)
            gguf_build_u32(&b, "tokenizer.ggml.bos_token_id", 256);
        if (cases[i].asked >= 0)
            gguf_build_bool(&b, "tokenizer.ggml.add_bos_token", cases[i].asked);
        vocab_put(&b, v.entries, v.count, v.options);
        if (vocab_finish(&b, &tokenizer, &error))
            fail_msg("%s", error.message);
        if (cases[i].added)
            expected = (struct encoding){"x", ADD, {256, 'x', -1}};
        assert_encodings(tokenizer, &expected, 1);
        tokenizer_close(tokenizer);
    }
}

static void broken_merges(void **state)
{
    static const struct {
        struct slice merge;
        const char *message;
    } cases[] = {
        {{"ab", 2}, "merge 1: expected two tokens with a space between, found \"ab\""},
        {{"", 0}, "merge 1: expected two tokens with a space between, found \"\""},
        {{" ", 1}, "expected two tokens with a space between"},
        {{" a", 2}, "expected two tokens with a space between"},
        {{"a ", 2}, "expected two tokens with a space between"},
        {{"a  b", 4}, "expected two tokens that make a third, found \"a  b\""},
        {{"a b c", 5}, "expected two tokens that make a third"},
        {{"a c", 3}, "merge 1: expected two tokens that make a third, found \"a c\""},
        {{"zz a", 4}, "expected two tokens that make a third"},
        {{"a zz", 4}, "expected two tokens that make a third"},
        {{"x y", 3}, "expected two tokens that make a third"}, /* a control token */
        {{"a\0 b", 4}, "expected two tokens that make a third"},
        {{"a\n b\x1b[1m", 8}, "found \"a? b?[1m\""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct tokenizer *tokenizer;
        struct bpe_build v;
        trib_error error = {0};
        bpe_build_open(&v, "gpt-2");
        bpe_build_token(&v, "ab", TOKEN_NORMAL);
        bpe_build_token(&v, "xy", TOKEN_CONTROL);
        bpe_build_merge(&v, "a b");
        v.merges[v.options.merge_count++] = cases[i].merge;
        assert_int_equal(bpe_build_finish(&v, &tokenizer, &error), TRIB_FORMAT);
        assert_null(tokenizer);
        assert_non_null(strstr(error.message, "test.gguf: tokenizer.ggml.merges: merge 1"));
        if (!strstr(error.message, cases[i].message))
            fail_msg("case %zu: %s", i, error.message);
    }
}

/* A sound file but for one key. */
static void put_damaged(struct gguf_build *b, int which)
{
    struct bpe_build v;
    bpe_build_open(&v, which == 0 ? "no such\nway" : NULL);
    v.options.merges = NULL;
    switch (which) {
    case 0:
    case 1:
        break;
    case 2:
        gguf_build_u32(b, "tokenizer.ggml.merges", 1);
        break;
    case 3:
        gguf_build_array(b, "tokenizer.ggml.merges", GGUF_U32, 1);
        put_u32(&b->values, 1);
        break;
    case 4:
        gguf_build_u32(b, "tokenizer.ggml.pre", 7);
        break;
    }
    if (which == 0 || which == 4)
        gguf_build_array(b, "tokenizer.ggml.merges", GGUF_STRING, 0);
    gguf_build_string(b, "tokenizer.ggml.model", "gpt2");
    if (v.options.pre)
        gguf_build_string(b, "tokenizer.ggml.pre", v.options.pre);
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, v.count);
    for (size_t i = 0; i < v.count; i++)
        put_slice(&b->values, v.entries[i].bytes, v.entries[i].length);
}

static void damage_is_named(void **state)
{
    static const struct {
        trib_status status;
        const char *message;
    } expected[] = {
        {TRIB_UNSUPPORTED, "test.gguf: tokenizer.ggml.pre is \"no such?way\", a way of cutting"},
        {TRIB_FORMAT, "test.gguf: metadata key tokenizer.ggml.merges is missing"},
        {TRIB_FORMAT, "tokenizer.ggml.merges: expected an array of string, found a value of"},
        {TRIB_FORMAT, "tokenizer.ggml.merges: expected an array of string, found an array of u32"},
        {TRIB_FORMAT, "tokenizer.ggml.pre: expected a string, found a value of type u32"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(expected); i++) {
        struct tokenizer *tokenizer;
        struct gguf_build b;
        trib_error error = {0};
        gguf_build_open(&b);
        put_damaged(&b, (int)i);
        assert_int_equal(vocab_finish(&b, &tokenizer, &error), expected[i].status);
        assert_null(tokenizer);
        if (!strstr(error.message, expected[i].message))
            fail_msg("case %zu: %s", i, error.message);
    }
}

/* Words of a megabyte, and as many words, come back; a quadratic step would take hours. */
static void long_texts(void **state)
{
    static const char *const patterns[] = {"a",   "ab",   "abc",      " ",     "a ", "\n",
                                           " \n", "\xff", "\xc3\xa9", "a\xff", "aab"};
    enum { LENGTH = 1 << 20 };
    struct bpe_build v;
    int32_t *ids = NULL;
    size_t capacity = 0;
    char *text = malloc(LENGTH);
    (void)state;
    assert_non_null(text);
    bpe_build_open(&v, "gpt-2");
    static const char *const tokens[] = {"aa", "ab", "aaaa", "abab", "aaaaaaaa", "ba"};
    static const char *const merges[] = {"a a", "a b", "aa aa", "ab ab", "aaaa aaaa", "b a"};
    for (size_t i = 0; i < COUNT(tokens); i++)
        bpe_build_token(&v, tokens[i], TOKEN_NORMAL);
    for (size_t i = 0; i < COUNT(merges); i++)
        bpe_build_merge(&v, merges[i]);
    struct tokenizer *tokenizer = open_bpe(&v);
    for (size_t p = 0; p < COUNT(patterns); p++) {
        size_t length = strlen(patterns[p]), at = 0, count = 0;
        for (size_t i = 0; i < LENGTH; i++)
            text[i] = patterns[p][i % length];
        assert_int_equal(tokenizer_encode(tokenizer, (struct slice){text, LENGTH},
                                          (struct tokenize_options){0}, &ids, &count, &capacity,
                                          NULL),
                         TRIB_OK);
        for (size_t i = 0; i < count; i++) {
            char out[8];
            size_t n = tokenizer_decode(tokenizer, ids[i], false, false, out, sizeof out);
            assert_true(n <= LENGTH - at && memcmp(text + at, out, n) == 0);
            at += n;
        }
        assert_int_equal(at, LENGTH);
        if (p == 0)
            assert_int_equal(count, LENGTH / 8);
    }
    free(ids);
    free(text);
    tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_alphabet),
        cmocka_unit_test(lowest_rank_first_then_leftmost),
        cmocka_unit_test(bytes_outside_utf8),
        cmocka_unit_test(whole_words),
        cmocka_unit_test(bytes_without_a_token),
        cmocka_unit_test(special_tokens),
        cmocka_unit_test(bos_by_the_way_of_cutting),
        cmocka_unit_test(broken_merges),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests_name("bpe", tests, NULL, NULL);
}
