/* Random vocabularies and texts. The encoder gives the ids of the definition, written out naively,
 * and they give the text back; the trainer gives the merges of its definition, counted anew for
 * each merge.
 *
 * Since the naive forms know no queues, no memory of words and no counts kept up to date, this
 * proves that those change nothing but the time. */
#include <stdbool.h>

#include "bpe_build.h"
#include "random.h"
#include "test.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { TRIALS = 300, TEXT_LIMIT = 1500, MERGES = 60, WORDS = 400 };

static const char *const letters[] = {"a", "b",  "c",        "ab",   " ",
                                      " ", "\n", "\xc3\xa9", "\xff", "'s"};

static size_t draw_text(char *text, size_t limit, struct random *r)
{
    size_t length = 0, parts = random_below(r, limit / 2),
           used = 1 + random_below(r, COUNT(letters));
    for (size_t i = 0; i < parts; i++) {
        const char *letter = letters[random_below(r, used)];
        memcpy(text + length, letter, strlen(letter));
        length += strlen(letter);
    }
    return length;
}

/* A vocabulary of random merges, each of two tokens that there are. */
struct trial {
    struct bpe_build build;
    char texts[MERGES][64], merges[MERGES][80];
    int32_t left[MERGES], right[MERGES], made[MERGES];
};

static void draw_merges(struct trial *trial, struct random *r)
{
    static const unsigned char starts[] = {'a', 'b', 'c', ' ', '\n', 0xc3, 0xa9, 0xff, '\'', 's'};
    struct bpe_build *v = &trial->build;
    bpe_build_open(v, random_below(r, 2) ? "gpt-2" : "deepseek-coder");
    for (size_t i = 0; i < MERGES; i++) {
        int32_t pair[2];
        for (int side = 0; side < 2; side++) {
            size_t pick = random_below(r, COUNT(starts) + v->count - BPE_BYTES);
            pair[side] =
                pick < COUNT(starts) ? starts[pick] : (int32_t)(pick - COUNT(starts) + BPE_BYTES);
        }
        const struct vocab_entry *a = &v->entries[pair[0]], *b = &v->entries[pair[1]];
        if (a->length + b->length >= sizeof trial->texts[0])
            b = a = &v->entries[pair[0] = pair[1] = 'a'];
        snprintf(trial->texts[i], sizeof trial->texts[i], "%.*s%.*s", (int)a->length, a->bytes,
                 (int)b->length, b->bytes);
        snprintf(trial->merges[i], sizeof trial->merges[i], "%.*s %.*s", (int)a->length, a->bytes,
                 (int)b->length, b->bytes);
        trial->left[i] = pair[0];
        trial->right[i] = pair[1];
        trial->made[i] = TOKEN_NONE;
        for (size_t id = 0; id < v->count && trial->made[i] == TOKEN_NONE; id++)
            if (v->entries[id].length == strlen(trial->texts[i]) &&
                memcmp(v->entries[id].bytes, trial->texts[i], v->entries[id].length) == 0)
                trial->made[i] = (int32_t)id;
        if (trial->made[i] == TOKEN_NONE)
            trial->made[i] = bpe_build_token(v, trial->texts[i], TOKEN_NORMAL);
        bpe_build_merge(v, trial->merges[i]);
    }
}

/* Ids of words, one word after the other. */
struct ids {
    int32_t ids[2 * TEXT_LIMIT];
    size_t count;
    const struct trial *trial;
};

/* Merges the first pair of the lowest rank, again and again. */
static trib_status naive_word(void *context, struct slice word)
{
    struct ids *out = context;
    int32_t *ids = out->ids + out->count;
    size_t count = word.length;
    for (size_t i = 0; i < count; i++)
        ids[i] = (unsigned char)word.bytes[i];
    for (size_t rank = 0; rank < MERGES;) {
        size_t at = 0;
        while (at + 1 < count &&
               (ids[at] != out->trial->left[rank] || ids[at + 1] != out->trial->right[rank]))
            at++;
        if (at + 1 >= count) {
            rank++;
            continue;
        }
        ids[at] = out->trial->made[rank];
        memmove(ids + at + 1, ids + at + 2, (count - at - 2) * sizeof *ids);
        count--;
        rank = 0;
    }
    out->count += count;
    return TRIB_OK;
}

static void ids_are_those_of_the_definition(void **state)
{
    struct random r = random_start(1);
    static struct trial trial;
    static struct ids expected;
    static char text[3 * TEXT_LIMIT], back[3 * TEXT_LIMIT];
    int32_t *ids = NULL;
    size_t capacity = 0, long_texts = 0;
    (void)state;
    for (int n = 0; n < TRIALS; n++) {
        struct tokenizer *tokenizer;
        struct pretokenizer *pre;
        trib_error error;
        draw_merges(&trial, &r);
        if (bpe_build_finish(&trial.build, &tokenizer, &error))
            fail_msg("trial %d: %s", n, error.message);
        assert_int_equal(
            pretokenizer_open(&pre, pretokenizer_find(slice_of(trial.build.options.pre)), NULL),
            TRIB_OK);
        struct slice whole = {text, draw_text(text, TEXT_LIMIT, &r)};
        size_t count = 0, length = 0;
        expected.count = 0;
        expected.trial = &trial;
        pretokenizer_split(pre, whole, naive_word, &expected, NULL);
        assert_int_equal(tokenizer_encode(tokenizer, whole, (struct tokenize_options){0}, &ids,
                                          &count, &capacity, NULL),
                         TRIB_OK);
        for (size_t i = 0; i < count || i < expected.count; i++)
            if (i >= count || i >= expected.count || ids[i] != expected.ids[i])
                fail_msg("trial %d: id %zu of %zu is %d, expected %d of %zu", n, i, count,
                         i < count ? ids[i] : -1, i < expected.count ? expected.ids[i] : -1,
                         expected.count);
        for (size_t i = 0; i < count; i++)
            length += tokenizer_decode(tokenizer, ids[i], i == 0, false, back + length,
                                       sizeof back - length);
        assert_int_equal(length, whole.length);
        assert_memory_equal(back, text, length);
        long_texts += whole.length > 512; /* in which words are remembered */
        pretokenizer_close(pre);
        tokenizer_close(tokenizer);
    }
    assert_true(long_texts > TRIALS / 8);
    free(ids);
}

/* All words of a text, equal ones as often as they occur, as ids that grow. */
struct naive {
    int32_t symbols[WORDS][64];
    size_t lengths[WORDS], count;
};

static trib_status keep_word(void *context, struct slice word)
{
    struct naive *naive = context;
    if (naive->count == WORDS || word.length > 64)
        return TRIB_FULL;
    for (size_t i = 0; i < word.length; i++) {
        /* The alphabet by code point, after which the learned tokens come: rank of this byte. */
        uint32_t code = alphabet_code((unsigned char)word.bytes[i]);
        int32_t id = 0;
        for (int byte = 0; byte < 256; byte++)
            id += alphabet_code((unsigned char)byte) < code;
        naive->symbols[naive->count][i] = id;
    }
    naive->lengths[naive->count++] = word.length;
    return TRIB_OK;
}

/* The most frequent pair, of equals the smallest; its count. */
static size_t naive_best(const struct naive *naive, size_t tokens, struct bpe_pair *best)
{
    static size_t counts[BPE_ENTRIES][BPE_ENTRIES];
    size_t most = 0;
    memset(counts, 0, sizeof counts);
    for (size_t w = 0; w < naive->count; w++)
        for (size_t i = 0; i + 1 < naive->lengths[w]; i++)
            counts[naive->symbols[w][i]][naive->symbols[w][i + 1]]++;
    for (size_t left = 0; left < tokens; left++)
        for (size_t right = 0; right < tokens; right++)
            if (counts[left][right] > most) {
                most = counts[left][right];
                *best = (struct bpe_pair){(int32_t)left, (int32_t)right};
            }
    return most;
}

static void naive_merge(struct naive *naive, struct bpe_pair pair, int32_t made)
{
    for (size_t w = 0; w < naive->count; w++)
        for (size_t i = 0; i + 1 < naive->lengths[w]; i++)
            if (naive->symbols[w][i] == pair.left && naive->symbols[w][i + 1] == pair.right) {
                naive->symbols[w][i] = made;
                memmove(naive->symbols[w] + i + 1, naive->symbols[w] + i + 2,
                        (naive->lengths[w] - i - 2) * sizeof(int32_t));
                naive->lengths[w]--;
            }
}

static void merges_are_those_of_the_definition(void **state)
{
    struct random r = random_start(2);
    static struct naive naive;
    static char text[3 * TEXT_LIMIT];
    int compared = 0;
    (void)state;
    for (int n = 0; n < 100; n++) {
        struct slice whole = {text, draw_text(text, TEXT_LIMIT / 2, &r)};
        struct bpe_train_options options = {
            .kind = pretokenizer_find(slice_of("gpt-2")),
            .vocabulary = 256 + random_below(&r, 40),
            .min_frequency = random_below(&r, 4),
        };
        struct bpe_learned learned;
        struct pretokenizer *pre;
        assert_int_equal(bpe_train(&learned, &whole, 1, &options, NULL), TRIB_OK);
        assert_int_equal(pretokenizer_open(&pre, options.kind, NULL), TRIB_OK);
        naive.count = 0;
        bool kept = pretokenizer_split(pre, whole, keep_word, &naive, NULL) == TRIB_OK;
        pretokenizer_close(pre);
        for (size_t rank = 0; kept; rank++, compared++) {
            struct bpe_pair best = {0};
            size_t count = naive_best(&naive, 256 + rank, &best);
            bool more =
                count > 0 && count >= options.min_frequency && 256 + rank < options.vocabulary;
            if (more != (rank < learned.merge_count))
                fail_msg("trial %d: %zu merges, expected %s", n, learned.merge_count,
                         more ? "more" : "fewer");
            if (!more)
                break;
            if (learned.merges[rank].left != best.left || learned.merges[rank].right != best.right)
                fail_msg("trial %d: merge %zu is %d %d, expected %d %d", n, rank,
                         learned.merges[rank].left, learned.merges[rank].right, best.left,
                         best.right);
            naive_merge(&naive, best, (int32_t)(256 + rank));
        }
        bpe_learned_free(&learned);
    }
    assert_true(compared > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_the_definition),
        cmocka_unit_test(merges_are_those_of_the_definition),
    };
    random_seed();
    return cmocka_run_group_tests_name("bpe_random", tests, NULL, NULL);
}
