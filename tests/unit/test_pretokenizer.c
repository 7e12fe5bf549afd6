/* Cutting texts into words: each kind on texts that tell it from the others, the words of any bytes
 * put together again, and texts that an expression with a quadratic step would not survive.
 *
 * The expected words are those of Hugging Face's pre-tokenizers with the models' own expressions.
 */
#include <stdbool.h>

#include "random.h"
#include "test.h"
#include "text/pretokenizer.h"
#include "text/utf8.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const char *const names[] = {"gpt-2",  "default",        "llama-bpe",    "dbrx",
                                    "qwen2",  "gpt-4o",         "tekken",       "starcoder",
                                    "falcon", "deepseek-coder", "deepseek-llm", "deepseek-v3"};

static struct pretokenizer *open_kind(const char *name)
{
    struct pretokenizer *pre;
    trib_error error;
    const struct pretokenizer_kind *kind = pretokenizer_find(slice_of(name));
    assert_non_null(kind);
    if (pretokenizer_open(&pre, kind, &error))
        fail_msg("%s", error.message);
    return pre;
}

/* Words, each followed by a bar. */
struct joined {
    char text[256];
    size_t length;
};

static trib_status join(void *context, struct slice word)
{
    struct joined *joined = context;
    memcpy(joined->text + joined->length, word.bytes, word.length);
    joined->length += word.length;
    joined->text[joined->length++] = '|';
    joined->text[joined->length] = 0;
    return TRIB_OK;
}

static void words_of_each_kind(void **state)
{
    static const char mixed[] = "I'LL say it's  12345 %$ok\n\n x", cased[] = "HelloWORLD's don't";
    static const struct {
        const char *kind, *text, *words;
    } cases[] = {
        {"gpt-2", mixed, "I|'|LL| say| it|'s| | 12345| %$|ok|\n\n| x|"},
        {"gpt-2", "  a\t\tb   ", " | a|\t|\t|b|   |"},
        {"default", mixed, "I|'|LL| say| it|'|s| | |123|45| |%$|ok|\n\n| x|"},
        {"llama-bpe", mixed, "I|'LL| say| it|'s| | |123|45| %$|ok|\n\n| x|"},
        {"llama-bpe", "(a) b\r\n\tc.\n\n", "(a|)| b|\r\n|\tc|.\n\n|"},
        {"dbrx", mixed, "I|'LL| say| it|'s| | |123|45| %$|ok|\n\n| x|"},
        {"qwen2", mixed, "I|'LL| say| it|'s| | |1|2|3|4|5| %$|ok|\n\n| x|"},
        {"gpt-4o", cased, "Hello|WORLD's| don't|"},
        {"tekken", cased, "Hello|WORLD|'s| don|'t|"},
        {"tekken", "a 12/\n/b", "a| |1|2|/\n/|b|"},
        {"starcoder", mixed, "I|'|LL| say| it|'s|  |1|2|3|4|5| %$|ok|\n\n| x|"},
        {"falcon", mixed, "I|'|LL| say| it|'|s| | |123|45| |%$|ok|\n\n| x|"},
        {"deepseek-coder", mixed, "I|'|LL| say| it|'|s|  |1|2|3|4|5| %|$|ok|\n|\n| x|"},
        {"deepseek-llm",
         "x \xe4\xb8\xad"
         "1.  ",
         "x| |\xe4\xb8\xad|1|.|  |"},
        {"deepseek-v3", "x=#define 12345 \xe4\xb8\xad.", "x|=#|define| |123|45| |\xe4\xb8\xad|.|"},
        {"gpt-2",
         "a\xff\xfe"
         "b",
         "a|\xff|\xfe|b|"},                              /* no UTF-8: each byte alone */
        {"gpt-2", "a \xe1\xa0\x8e", "a| \xe1\xa0\x8e|"}, /* U+180E is no white space */
        {"gpt-2",
         "a\xc2\xa0\xe3\x80\x80"
         "b",
         "a|\xc2\xa0|\xe3\x80\x80|b|"},           /* but these are */
        {"llama-bpe", "'\xc5\xbf", "'\xc5\xbf|"}, /* U+017F is an s, whatever its case */
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pretokenizer *pre = open_kind(cases[i].kind);
        struct joined joined = {0};
        assert_int_equal(pretokenizer_split(pre, slice_of(cases[i].text), join, &joined, NULL),
                         TRIB_OK);
        if (strcmp(joined.text, cases[i].words) != 0)
            fail_msg("%s: \"%s\" is cut \"%s\", expected \"%s\"", cases[i].kind, cases[i].text,
                     joined.text, cases[i].words);
        pretokenizer_close(pre);
    }
}

static void names_are_known(void **state)
{
    static const struct {
        const char *name;
        bool whole_words, add_bos;
    } cases[] = {{"llama3", true, true},
                 {"gpt-2", false, false},
                 {"tekken", true, true},
                 {"smollm", false, false}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct pretokenizer_kind *kind = pretokenizer_find(slice_of(cases[i].name));
        assert_non_null(kind);
        assert_int_equal(kind->whole_words, cases[i].whole_words);
        assert_int_equal(kind->add_bos, cases[i].add_bos);
    }
    assert_null(pretokenizer_find(slice_of("")));
    assert_null(pretokenizer_find(slice_of("gpt-2 ")));
    assert_null(pretokenizer_find((struct slice){"gpt-2\0", 6}));
}

/* Words that must lie one behind the other. */
struct row {
    const char *next;
    size_t words, fail_at;
};

static trib_status expect_next(void *context, struct slice word)
{
    struct row *row = context;
    uint32_t code;
    assert_ptr_equal(word.bytes, row->next);
    assert_true(word.length > 0);
    if (word.length > 1) /* no word ends inside a character */
        for (size_t i = 0; i < word.length;) {
            size_t bytes = utf8_decode(word.bytes + i, word.length - i, &code);
            assert_true(bytes > 0);
            i += bytes;
        }
    row->next += word.length;
    return ++row->words == row->fail_at ? TRIB_FULL : TRIB_OK;
}

static void words_are_the_text(void **state)
{
    static const char *const parts[] = {"a",
                                        "Z",
                                        "'s",
                                        " ",
                                        "\n",
                                        "\r",
                                        "7",
                                        ".",
                                        "$",
                                        "\xc3\xa9",
                                        "\xe4\xb8\xad",
                                        "\xcc\x81",
                                        "\xf0\x9f\xa6\x99",
                                        "\xe3\x80\x80"};
    struct random r = random_start(1);
    char text[400];
    (void)state;
    for (size_t k = 0; k < COUNT(names); k++) {
        struct pretokenizer *pre = open_kind(names[k]);
        for (int trial = 0; trial < 500; trial++) {
            size_t length = 0, count = random_below(&r, 60);
            for (size_t i = 0; i < count; i++) {
                const char *part = parts[random_below(&r, COUNT(parts))];
                if (random_below(&r, 20) == 0)
                    text[length++] = (char)random_below(&r, 256);
                memcpy(text + length, part, strlen(part));
                length += strlen(part);
            }
            struct row row = {.next = text};
            assert_int_equal(
                pretokenizer_split(pre, (struct slice){text, length}, expect_next, &row, NULL),
                TRIB_OK);
            assert_ptr_equal(row.next, text + length);
            if (row.words == 0)
                continue;
            row = (struct row){.next = text, .fail_at = 1 + random_below(&r, row.words)};
            assert_int_equal(
                pretokenizer_split(pre, (struct slice){text, length}, expect_next, &row, NULL),
                TRIB_FULL);
            assert_int_equal(row.words, row.fail_at); /* a failure ends the cutting */
        }
        pretokenizer_close(pre);
    }
}

static trib_status count_word(void *context, struct slice word)
{
    (void)word;
    ++*(size_t *)context;
    return TRIB_OK;
}

/* Half a megabyte of what makes expressions try again and again. */
static void no_text_is_slow(void **state)
{
    static const char *const patterns[] = {
        " ",  "a",         "A",  "\n",       " \n",          "\t",           "1",
        ".",  "'",         "aA", "\xcc\x81", "\xe3\x80\x80", "\xe4\xb8\xad", "\xc3\xa9",
        "'l", "A\xcc\x81", " a", "\xff",     "\xe2"};
    enum { LENGTH = 1 << 19 };
    char *text = malloc(LENGTH);
    (void)state;
    assert_non_null(text);
    for (size_t k = 0; k < COUNT(names); k++) {
        struct pretokenizer *pre = open_kind(names[k]);
        for (size_t p = 0; p < COUNT(patterns); p++)
            for (int end = 0; end < 3; end++) { /* as it is, before a letter, before a digit */
                size_t length = strlen(patterns[p]), words = 0;
                for (size_t i = 0; i < LENGTH; i++)
                    text[i] = patterns[p][i % length];
                if (end > 0)
                    text[LENGTH - 1] = "x7"[end - 1];
                assert_int_equal(
                    pretokenizer_split(pre, (struct slice){text, LENGTH}, count_word, &words, NULL),
                    TRIB_OK);
                assert_in_range(words, 1, LENGTH);
            }
        pretokenizer_close(pre);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_of_each_kind),
        cmocka_unit_test(names_are_known),
        cmocka_unit_test(words_are_the_text),
        cmocka_unit_test(no_text_is_slow),
    };
    random_seed();
    return cmocka_run_group_tests_name("pretokenizer", tests, NULL, NULL);
}
