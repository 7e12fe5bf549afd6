/* WordPiece on small vocabularies: what a text becomes before it is cut, what the longest tokens
 * are, and what is added around them. */
#include <stdbool.h>

#include "test.h"
#include "text/tokenizer.h"
#include "vocab_build.h"

#define SP           "\xe2\x96\x81" /* U+2581, the beginning of a word */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { UNK = 0, CLS = 1, SEP = 2 };

static const struct vocab_entry entries[] = {
    VOCAB_ENTRY("[UNK]", TOKEN_NORMAL, 0),           /* 0 */
    VOCAB_ENTRY("[CLS]", TOKEN_CONTROL, 0),          /* 1 */
    VOCAB_ENTRY("[SEP]", TOKEN_CONTROL, 0),          /* 2 */
    VOCAB_ENTRY(SP "a", TOKEN_NORMAL, 0),            /* 3 */
    VOCAB_ENTRY(SP "ab", TOKEN_NORMAL, 0),           /* 4 */
    VOCAB_ENTRY("b", TOKEN_NORMAL, 0),               /* 5 */
    VOCAB_ENTRY("bc", TOKEN_NORMAL, 0),              /* 6 */
    VOCAB_ENTRY("c", TOKEN_NORMAL, 0),               /* 7 */
    VOCAB_ENTRY(SP "!", TOKEN_NORMAL, 0),            /* 8 */
    VOCAB_ENTRY(SP "\xe4\xb8\xad", TOKEN_NORMAL, 0), /* 9 */
    VOCAB_ENTRY(SP "e", TOKEN_NORMAL, 0),            /* 10 */
    VOCAB_ENTRY(SP "\xc3\xa9", TOKEN_NORMAL, 0),     /* 11 */
    VOCAB_ENTRY(SP "A", TOKEN_NORMAL, 0),            /* 12 */
    VOCAB_ENTRY(SP ">", TOKEN_NORMAL, 0),            /* 13 */
    VOCAB_ENTRY("a", TOKEN_NORMAL, 0),               /* 14 */
    VOCAB_ENTRY(SP "i\xcc\x87", TOKEN_NORMAL, 0),    /* 15 */
};

/* What the file says besides; -1: nothing. */
struct says {
    int unknown, cls, sep, lowercase, strip_accents, add_bos;
};

static const struct says usual = {UNK, CLS, SEP, -1, -1, -1};

static struct tokenizer *open_wordpiece(struct says says)
{
    struct tokenizer *tokenizer;
    struct gguf_build b;
    trib_error error;
    gguf_build_open(&b);
    if (says.unknown >= 0)
        gguf_build_u32(&b, "tokenizer.ggml.unknown_token_id", (uint32_t)says.unknown);
    if (says.cls >= 0)
        gguf_build_u32(&b, "tokenizer.ggml.cls_token_id", (uint32_t)says.cls);
    if (says.sep >= 0)
        gguf_build_u32(&b, "tokenizer.ggml.seperator_token_id", (uint32_t)says.sep);
    if (says.lowercase >= 0)
        gguf_build_bool(&b, "tokenizer.ggml.normalizer.lowercase", says.lowercase);
    if (says.strip_accents >= 0)
        gguf_build_bool(&b, "tokenizer.ggml.normalizer.strip_accents", says.strip_accents);
    if (says.add_bos >= 0)
        gguf_build_bool(&b, "tokenizer.ggml.add_bos_token", says.add_bos);
    vocab_put(&b, entries, COUNT(entries), (struct vocab_options){.model = "bert"});
    if (vocab_finish(&b, &tokenizer, &error))
        fail_msg("%s", error.message);
    return tokenizer;
}

/* The ids of a text, which end with -1; a special token of the text is one when `parse`. */
static void assert_ids(const struct tokenizer *tokenizer, const char *text, bool add, bool parse,
                       const int32_t *expected)
{
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0, n = 0;
    trib_error error;
    struct tokenize_options how = {.add_special = add, .parse_special = parse};
    if (tokenizer_encode(tokenizer, slice_of(text), how, &ids, &count, &capacity, &error))
        fail_msg("\"%s\": %s", text, error.message);
    for (; expected[n] >= 0; n++)
        if (n >= count || ids[n] != expected[n])
            fail_msg("\"%s\": id %zu is %d, expected %d", text, n, n < count ? ids[n] : -1,
                     expected[n]);
    if (count != n)
        fail_msg("\"%s\": %zu ids, expected %zu", text, count, n);
    free(ids);
}

static void longest_tokens_from_the_left(void **state)
{
    static const struct {
        const char *text;
        int32_t ids[12];
    } cases[] = {
        {"", {-1}},
        {" \n\t\xe3\x80\x80", {-1}},
        {"a", {3, -1}},
        {"abc", {4, 7, -1}}, /* not a + bc: the longest comes first */
        {"abbc", {4, 6, -1}},
        {"ab abx b", {4, UNK, UNK, -1}}, /* a word that does not come out, whole */
        {"AB  A\xcc\x81"
         "b",
         {4, 4, -1}}, /* lowercased, and without marks */
        {"\xc3\x81"
         "b",
         {4, -1}},                    /* also where they are one character */
        {"a!b!", {3, 8, UNK, 8, -1}}, /* signs are words */
        {"a\xe4\xb8\xad\xe4\xb8\xad"
         "a",
         {3, 9, 9, 3, -1}},         /* and so are ideographs */
        {"\xe2\x89\xaf", {13, -1}}, /* U+226F is > with a stroke, which is a mark */
        {"a\x01\xef\xbf\xbd\xff"
         "b\xe2\x80\x8b"
         "c",
         {4, 7, -1}}, /* what is left out */
        {"a\xc2\xa0"
         "a",
         {3, 3, -1}},
        {"[SEP]", {UNK, UNK, UNK, -1}},
        {"a" SP "a b", {UNK, UNK, -1}}, /* the sign for the beginning of a word is none in a text */
    };
    (void)state;
    struct tokenizer *tokenizer = open_wordpiece(usual);
    assert_string_equal(tokenizer_model(tokenizer), "bert");
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_ids(tokenizer, cases[i].text, false, false, cases[i].ids);
    tokenizer_close(tokenizer);
}

/* A word of 100 characters is cut, one of 101 is unknown; and words of a megabyte take no time. */
static void long_words(void **state)
{
    enum { LONGEST = 100, LENGTH = 1 << 20 };
    static char text[LENGTH + 1];
    int32_t expected[LONGEST + 1] = {3};
    (void)state;
    struct tokenizer *tokenizer = open_wordpiece(usual);
    for (int i = 1; i < LONGEST; i++)
        expected[i] = 14;
    expected[LONGEST] = -1;
    memset(text, 'a', LONGEST);
    assert_ids(tokenizer, text, false, false, expected);
    memset(text, 'a', LONGEST + 1);
    assert_ids(tokenizer, text, false, false, (int32_t[]){UNK, -1});
    memset(text, 'a', LENGTH);
    assert_ids(tokenizer, text, false, false, (int32_t[]){UNK, -1});
    tokenizer_close(tokenizer);
}

static void what_is_added(void **state)
{
    struct says says = usual;
    (void)state;
    struct tokenizer *tokenizer = open_wordpiece(says);
    assert_ids(tokenizer, "a[SEP]a", true, true, (int32_t[]){CLS, 3, SEP, 3, SEP, -1});
    tokenizer_close(tokenizer);
    says.add_bos = 0;
    tokenizer = open_wordpiece(says);
    assert_ids(tokenizer, "a", true, false, (int32_t[]){3, SEP, -1});
    tokenizer_close(tokenizer);
    /* The usual ids, 100 to 102, are beyond this vocabulary: nothing is added. */
    says = (struct says){-1, -1, -1, -1, -1, -1};
    tokenizer = open_wordpiece(says);
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0;
    trib_error error;
    assert_ids(tokenizer, "a", true, false, (int32_t[]){3, -1});
    assert_int_equal(tokenizer_encode(tokenizer, slice_of("a x"), (struct tokenize_options){0},
                                      &ids, &count, &capacity, &error),
                     TRIB_UNSUPPORTED);
    assert_non_null(strstr(error.message, "no token for unknown words"));
    free(ids);
    tokenizer_close(tokenizer);
}

static void normalising_by_the_file(void **state)
{
    struct says says = usual;
    (void)state;
    says.lowercase = 0;
    struct tokenizer *tokenizer = open_wordpiece(says);
    assert_ids(tokenizer, "A \xc3\xa9", false, false, (int32_t[]){12, 10, -1});
    tokenizer_close(tokenizer);
    says.lowercase = 1;
    says.strip_accents = 0;
    tokenizer = open_wordpiece(says);
    assert_ids(tokenizer, "A \xc3\x89 e", false, false, (int32_t[]){3, 11, 10, -1});
    assert_ids(tokenizer, "\xc4\xb0", false, false, (int32_t[]){15, -1}); /* I with a dot: two */
    tokenizer_close(tokenizer);
}

static void decodes(void **state)
{
    static const struct {
        int32_t id;
        bool first, special;
        const char *text;
    } cases[] = {{4, true, false, "ab"},  {4, false, false, " ab"}, {6, true, false, "bc"},
                 {6, false, false, "bc"}, {CLS, true, false, ""},   {CLS, true, true, "[CLS]"}};
    (void)state;
    struct tokenizer *tokenizer = open_wordpiece(usual);
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t capacity = 0, length = strlen(cases[i].text); capacity <= length + 1;
             capacity++) {
            char out[16];
            memset(out, '#', sizeof out);
            assert_int_equal(tokenizer_decode(tokenizer, cases[i].id, cases[i].first,
                                              cases[i].special, out, capacity),
                             length);
            size_t written = capacity < length ? capacity : length;
            assert_memory_equal(out, cases[i].text, written);
            assert_int_equal(out[written], '#');
        }
    tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_tokens_from_the_left),
        cmocka_unit_test(long_words),
        cmocka_unit_test(what_is_added),
        cmocka_unit_test(normalising_by_the_file),
        cmocka_unit_test(decodes),
    };
    return cmocka_run_group_tests_name("wordpiece", tests, NULL, NULL);
}
