/* Random vocabularies and texts: the tokenizer gives the ids of the definition, written out
 * naively, and the ids give the text back where spm.c promises it.
 *
 * Since the naive encoder knows neither runs nor queues, this proves that cutting a text into runs
 * changes nothing and that the queue takes pairs in the order defined. */
#include <stdbool.h>

#include "random.h"
#include "test.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "vocab_build.h"

#define SP           "\xe2\x96\x81" /* U+2581, a space */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { HEAD_COUNT = 3, TRIAL_TOKENS = 60, TRIAL_BYTES = 256, TEXT_LIMIT = 64, TRIALS = 2000 };

/* A vocabulary; its byte tokens, where it has them, are the last 256. */
struct trial {
    struct vocab_entry entries[TRIAL_TOKENS + TRIAL_BYTES];
    char texts[TRIAL_TOKENS + TRIAL_BYTES][16];
    size_t plain, count; /* without and with the byte tokens */
    struct vocab_options options;
    bool user, parse; /* has user-defined tokens; parse_special */
};

/* What is expected of a text. */
struct expected {
    int32_t ids[4 * TEXT_LIMIT];
    size_t count;
    bool special, unknown; /* some of the ids are */
};

static const char *const letters[] = {"a", "b", "ab", SP, "\xc3\xa9", "\xe2", "\x96", "\x81", "\n"};

static void draw_entry(struct trial *trial, size_t i, const int32_t *kinds, size_t kind_count,
                       struct random *r)
{
    size_t length = 0, parts = random_below(r, 5);
    for (size_t part = 0; part < parts; part++) {
        const char *letter = letters[random_below(r, COUNT(letters))];
        memcpy(trial->texts[i] + length, letter, strlen(letter));
        length += strlen(letter);
    }
    trial->entries[i] = (struct vocab_entry){
        trial->texts[i], length, kinds[random_below(r, kind_count)], (float)random_below(r, 5) - 2};
}

static void draw_vocabulary(struct trial *trial, struct random *r)
{
    static const struct vocab_entry head[HEAD_COUNT] = {
        VOCAB_ENTRY("<unk>", TOKEN_UNKNOWN, 0),
        VOCAB_ENTRY("<s>", TOKEN_CONTROL, 0),
        VOCAB_ENTRY("</s>", TOKEN_CONTROL, 0),
    };
    static const int32_t kinds[] = {TOKEN_USER_DEFINED, TOKEN_CONTROL, TOKEN_UNUSED, TOKEN_NORMAL,
                                    TOKEN_NORMAL,       TOKEN_NORMAL,  TOKEN_NORMAL, TOKEN_NORMAL};
    *trial = (struct trial){.parse = random_below(r, 2), .user = random_below(r, 2)};
    memcpy(trial->entries, head, sizeof head);
    trial->plain = HEAD_COUNT + random_below(r, TRIAL_TOKENS - HEAD_COUNT);
    for (size_t i = HEAD_COUNT; i < trial->plain; i++)
        draw_entry(trial, i, kinds + !trial->user, COUNT(kinds) - !trial->user, r);
    trial->count = trial->plain;
    bool bytes = random_below(r, 2);
    for (unsigned byte = 0; bytes && byte < TRIAL_BYTES; byte++) {
        size_t i = trial->count++;
        snprintf(trial->texts[i], sizeof trial->texts[i], "<0x%02X>", byte);
        trial->entries[i] = (struct vocab_entry){trial->texts[i], 6, TOKEN_BYTE, 0};
    }
    trial->options = (struct vocab_options){.name = random_below(r, 2) ? "phi3" : NULL,
                                            .no_space_prefix = random_below(r, 2)};
}

static size_t draw_text(char *text, struct random *r)
{
    size_t length = 0, parts = random_below(r, TEXT_LIMIT / 3);
    for (size_t part = 0; part < parts; part++) {
        size_t letter = random_below(r, COUNT(letters) + 3);
        if (letter < COUNT(letters)) {
            memcpy(text + length, letters[letter], strlen(letters[letter]));
            length += strlen(letters[letter]);
        } else {
            text[length++] = letter == COUNT(letters) ? (char)random_below(r, 256) : ' ';
        }
    }
    return length;
}

static int32_t naive_find(const struct trial *trial, const char *bytes, size_t length)
{
    for (size_t i = 0; i < trial->plain; i++) {
        const struct vocab_entry *entry = &trial->entries[i];
        bool spelled = entry->kind == TOKEN_NORMAL || entry->kind == TOKEN_UNUSED ||
                       entry->kind == TOKEN_USER_DEFINED;
        if (spelled && entry->length == length && memcmp(entry->bytes, bytes, length) == 0)
            return (int32_t)i;
    }
    return TOKEN_NONE;
}

static void expect(struct expected *expected, int32_t id)
{
    expected->ids[expected->count++] = id;
}

/* One piece that nothing more merges with, of a text whose ids begin at `first`. */
static void naive_piece(const struct trial *trial, const char *bytes, size_t length, size_t first,
                        struct expected *expected)
{
    int32_t id = naive_find(trial, bytes, length);
    bool all = true;
    if (id != TOKEN_NONE) {
        expect(expected, id);
        return;
    }
    for (size_t i = 0; i < length; i++)
        all = all && (trial->count > trial->plain || naive_find(trial, bytes + i, 1) != TOKEN_NONE);
    if (!all && (expected->count == first || expected->ids[expected->count - 1] != 0))
        expect(expected, 0);
    expected->unknown = expected->unknown || !all;
    for (size_t i = 0; all && i < length; i++)
        expect(expected, trial->count > trial->plain
                             ? (int32_t)(trial->plain + (unsigned char)bytes[i])
                             : naive_find(trial, bytes + i, 1));
}

/* Plain text: merges the best pair of all, again and again. */
static void naive_plain(const struct trial *trial, const char *text, size_t length,
                        struct expected *expected)
{
    char bytes[3 * (TEXT_LIMIT + 1)];
    size_t ends[TEXT_LIMIT + 2] = {0}, count = 0, size = 0; /* piece i: ends[i] to ends[i + 1] */
    size_t first = expected->count;
    if (!trial->options.no_space_prefix)
        memcpy(bytes, SP, size = 3);
    for (size_t i = 0; i < length; i++) {
        size_t step = text[i] == ' ' ? 3 : 1;
        memcpy(bytes + size, step == 3 ? SP : text + i, step);
        size += step;
    }
    while (ends[count] < size) {
        uint32_t code;
        size_t step = utf8_decode(bytes + ends[count], size - ends[count], &code);
        ends[count + 1] = ends[count] + (step ? step : 1);
        count++;
    }
    for (size_t best = 0; best < count;) {
        float best_score = 0;
        best = count;
        for (size_t i = 0; i + 1 < count; i++) {
            int32_t id = naive_find(trial, bytes + ends[i], ends[i + 2] - ends[i]);
            if (id != TOKEN_NONE && (best == count || trial->entries[id].score > best_score)) {
                best_score = trial->entries[id].score;
                best = i;
            }
        }
        if (best < count) {
            memmove(ends + best + 1, ends + best + 2, (count - best - 1) * sizeof *ends);
            count--;
        }
    }
    for (size_t i = 0; i < count; i++)
        naive_piece(trial, bytes + ends[i], ends[i + 1] - ends[i], first, expected);
}

static bool is_special(const struct trial *trial, const struct vocab_entry *entry)
{
    return entry->kind == TOKEN_USER_DEFINED ||
           (trial->parse && (entry->kind == TOKEN_CONTROL || entry->kind == TOKEN_UNKNOWN));
}

/* Marks in owner[] the bytes of special tokens with 1 + id, longest tokens first. */
static void naive_special(const struct trial *trial, const char *text, size_t length,
                          int32_t *owner, bool *starts)
{
    for (size_t size = length; size > 0; size--)
        for (size_t p = 0; p + size <= length; p++)
            for (size_t i = 0; i < trial->plain; i++) {
                const struct vocab_entry *entry = &trial->entries[i];
                size_t free_bytes = 0;
                while (free_bytes < size && owner[p + free_bytes] == 0)
                    free_bytes++;
                if (!is_special(trial, entry) || entry->length != size || free_bytes < size ||
                    memcmp(entry->bytes, text + p, size) != 0)
                    continue;
                bool strips = trial->options.name && i != 0 && i != 1;
                size_t end = p + size;
                while (strips && end < length && owner[end] == 0 &&
                       strchr(" \t\n\v\f\r", text[end]) && text[end])
                    end++;
                starts[p] = true;
                for (size_t q = p; q < end; q++)
                    owner[q] = (int32_t)i + 1;
            }
}

static void naive_encode(const struct trial *trial, const char *text, size_t length,
                         struct expected *expected)
{
    int32_t owner[TEXT_LIMIT] = {0};
    bool starts[TEXT_LIMIT] = {false};
    naive_special(trial, text, length, owner, starts);
    *expected = (struct expected){.count = 0};
    for (size_t i = 0; i < length;) {
        size_t start = i;
        while (i < length && owner[i] == 0)
            i++;
        if (i > start) {
            naive_plain(trial, text + start, i - start, expected);
            continue;
        }
        if (starts[i]) {
            expect(expected, owner[i] - 1);
            expected->special = true;
        }
        i++;
    }
}

static void assert_round_trip(const struct tokenizer *tokenizer, const int32_t *ids, size_t count,
                              const char *text, size_t length)
{
    char back[16 * TEXT_LIMIT];
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += tokenizer_decode(tokenizer, ids[i], i == 0, false, back + size, sizeof back - size);
    assert_int_equal(size, length);
    assert_memory_equal(back, text, length);
}

/* True when the text has U+2581, which decodes to a space. */
static bool has_escape(const char *text, size_t length)
{
    for (size_t i = 0; i + 3 <= length; i++)
        if (memcmp(text + i, SP, 3) == 0)
            return true;
    return false;
}

static void agrees_with_the_definition(void **state)
{
    (void)state;
    struct random r = random_start(1);
    struct trial trial;
    struct expected expected;
    size_t round_trips = 0, specials = 0, count, capacity = 0;
    int32_t *ids = NULL;
    for (size_t n = 0; n < TRIALS; n++) {
        struct tokenizer *tokenizer;
        trib_error error;
        draw_vocabulary(&trial, &r);
        if (vocab_open(&tokenizer, trial.entries, trial.count, trial.options, &error))
            fail_msg("%s", error.message);
        for (size_t i = 0; i < 8; i++) {
            char text[TEXT_LIMIT];
            size_t length = draw_text(text, &r);
            struct tokenize_options options = {.parse_special = trial.parse};
            naive_encode(&trial, text, length, &expected);
            count = 0;
            assert_int_equal(tokenizer_encode(tokenizer, (struct slice){text, length}, options,
                                              &ids, &count, &capacity, NULL),
                             TRIB_OK);
            assert_int_equal(count, expected.count);
            if (count > 0)
                assert_memory_equal(ids, expected.ids, count * sizeof *ids);
            specials += expected.special;
            if (expected.special || expected.unknown || has_escape(text, length) ||
                naive_find(&trial, SP, 3) == TOKEN_NONE)
                continue;
            assert_round_trip(tokenizer, ids, count, text, length);
            round_trips++;
        }
        tokenizer_close(tokenizer);
    }
    assert_true(round_trips > TRIALS / 4);
    assert_true(specials > TRIALS / 4);
    free(ids);
}

/* Every byte string comes back under a vocabulary of the 256 byte tokens and the space. */
static void any_bytes_come_back(void **state)
{
    (void)state;
    struct random r = random_start(2);
    struct trial trial;
    struct tokenizer *tokenizer;
    int32_t *ids = NULL;
    size_t count, capacity = 0;
    do
        draw_vocabulary(&trial, &r);
    while (trial.user || trial.count == trial.plain || naive_find(&trial, SP, 3) == TOKEN_NONE);
    assert_int_equal(vocab_open(&tokenizer, trial.entries, trial.count, trial.options, NULL),
                     TRIB_OK);
    for (size_t n = 0; n < TRIALS; n++) {
        char text[TEXT_LIMIT];
        size_t length = random_below(&r, TEXT_LIMIT);
        for (size_t i = 0; i < length; i++)
            text[i] =
                (char)(random_below(&r, 2) ? random_below(&r, 256) : random_below(&r, 3) * 32);
        if (has_escape(text, length))
            continue;
        count = 0;
        assert_int_equal(tokenizer_encode(tokenizer, (struct slice){text, length},
                                          (struct tokenize_options){0}, &ids, &count, &capacity,
                                          NULL),
                         TRIB_OK);
        assert_round_trip(tokenizer, ids, count, text, length);
    }
    free(ids);
    tokenizer_close(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_definition),
        cmocka_unit_test(any_bytes_come_back),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
