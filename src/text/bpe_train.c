/* Byte-pair encoding, learned: the pair of adjacent tokens that occurs most often in all words
 * becomes a token, wherever it occurs; then the next, until there are enough.
 *
 *     count(a, b) = sum over words w of count(w) * occurrences of a b in w
 *     next merge  = argmax count(a, b), of equals the smallest a, then b
 *
 * (Gage 1994, "A New Algorithm for Data Compression"; Sennrich et al. 2016, arXiv:1508.07909.)
 *
 * Counts are kept up to date word by word: of a merge only the words that have the pair are looked
 * at, and only the pairs beside it change. A queue holds the pairs by their counts as they were; a
 * pair whose count has changed meanwhile goes back into it.
 *
 * A text becomes a token in one way only: what merges inside it does not depend on what stands
 * around it, as long as nothing merges across its ends. So a merge makes a token that was not
 * there, or the text of a special token, which it shall not make; and all places where a pair
 * stands arise together, in the merge that made the later of the two.
 *
 * The order of merges is that of Hugging Face's tokenizers (models/bpe/trainer.rs). Unlike there,
 * no merge makes a special token, as no text shall pass for one, or a token longer than
 * TOKEN_LONGEST.
 */
#include "text/bpe_train.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"
#include "text/alphabet.h"
#include "text/family.h"
#include "text/heap.h"
#include "text/word_count.h"

/* A word in tokens: symbols[start] to symbols[start + length]. */
struct word {
    size_t start;
    uint32_t length;
    int64_t count;
};

struct pair {
    int32_t left, right;
    int64_t count;
    uint32_t *sites; /* words in which the pair has stood, each once */
    size_t site_count, site_capacity;
};

struct trainer {
    struct bpe_learned *learned;
    size_t byte_capacity, token_capacity, merge_capacity;
    uint32_t *by_text; /* ids plus one by text, open-addressed */
    size_t text_mask;

    struct word *words;
    int32_t *symbols;

    struct pair *pairs;
    size_t pair_count, pair_capacity;
    uint32_t *by_pair; /* positions in pairs plus one, open-addressed, at most half full */
    struct heap queue; /* key: counts descending, a: left, b: right */
};

/* Room for one more item: the array, perhaps elsewhere, or NULL: no memory, and it stays. */
static void *reserve(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return items;
    size_t larger = *capacity ? 2 * *capacity : 4;
    void *moved = realloc(items, larger * size);
    if (moved)
        *capacity = larger;
    return moved;
}

/* ---- Tokens ---- */

/* The slot of a text: free (0), or holding its id plus one. */
static uint32_t *text_slot(const struct trainer *t, struct slice text)
{
    size_t i = (size_t)XXH3_64bits(text.bytes, text.length) & t->text_mask;
    while (t->by_text[i] && !slice_equal(bpe_learned_text(t->learned, t->by_text[i] - 1), text))
        i = (i + 1) & t->text_mask;
    return &t->by_text[i];
}

/* Adds a token; the table has room for all there can be. False: no memory. */
static bool add_token(struct trainer *t, struct slice text)
{
    struct bpe_learned *learned = t->learned;
    size_t *starts =
        reserve(learned->starts, learned->count + 1, &t->token_capacity, sizeof *starts);
    if (!starts)
        return false;
    learned->starts = starts;
    size_t start = learned->count ? starts[learned->count] : 0;
    if (t->byte_capacity - start < text.length) {
        size_t larger = 2 * t->byte_capacity + TOKEN_LONGEST;
        char *bytes = realloc(learned->bytes, larger);
        if (!bytes)
            return false;
        learned->bytes = bytes;
        t->byte_capacity = larger;
    }
    memcpy(learned->bytes + start, text.bytes, text.length);
    starts[learned->count] = start;
    starts[++learned->count] = start + text.length;
    *text_slot(t, text) = (uint32_t)learned->count;
    return true;
}

/* Makes the token of a pair; TOKEN_NONE where it shall make none. False: no memory. */
static bool make_token(struct trainer *t, int32_t left, int32_t right, int32_t *id)
{
    char whole[TOKEN_LONGEST];
    struct slice a = bpe_learned_text(t->learned, (size_t)left);
    struct slice b = bpe_learned_text(t->learned, (size_t)right);
    *id = TOKEN_NONE;
    if (a.length + b.length > sizeof whole)
        return true;
    memcpy(whole, a.bytes, a.length);
    memcpy(whole + a.length, b.bytes, b.length);
    struct slice text = {whole, a.length + b.length};
    if (*text_slot(t, text))
        return true;
    *id = (int32_t)t->learned->count;
    return add_token(t, text);
}

static trib_status add_special(struct trainer *t, const struct bpe_train_options *options,
                               trib_error *error)
{
    for (size_t i = 0; i < options->special_count; i++) {
        struct slice text = options->special[i];
        if (text.length == 0 || text.length > TOKEN_LONGEST)
            return error_set(error, TRIB_INVALID,
                             "special token %zu: expected 1 to %d bytes, found %zu", i + 1,
                             TOKEN_LONGEST, text.length);
        if (*text_slot(t, text) == 0 && !add_token(t, text))
            return error_no_memory(error, "special tokens", text.length);
    }
    t->learned->special_count = t->learned->count;
    return TRIB_OK;
}

/* The alphabet by code point, and which token each byte is. */
static trib_status add_alphabet(struct trainer *t, int32_t *tokens, trib_error *error)
{
    for (uint32_t code = 0; code < 0x200; code++) {
        int byte = alphabet_byte(code);
        if (byte < 0)
            continue;
        char character[ALPHABET_ROOM(1)];
        struct slice text = {character, alphabet_write(&(char){(char)byte}, 1, character)};
        if (*text_slot(t, text))
            return error_set(error, TRIB_INVALID,
                             "special token \"%.*s\": it is the token of byte 0x%02x",
                             (int)text.length, text.bytes, (unsigned)byte);
        tokens[byte] = (int32_t)t->learned->count;
        if (!add_token(t, text))
            return error_no_memory(error, "the alphabet", text.length);
    }
    return TRIB_OK;
}

/* ---- Pairs ---- */

static uint32_t *pair_slot(const struct trainer *t, int32_t left, int32_t right)
{
    size_t mask = 2 * t->pair_capacity - 1;
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (size_t)XXH3_64bits(&key, sizeof key) & mask;
    while (t->by_pair[i] &&
           (t->pairs[t->by_pair[i] - 1].left != left || t->pairs[t->by_pair[i] - 1].right != right))
        i = (i + 1) & mask;
    return &t->by_pair[i];
}

/* Room for one more pair, in the list and in the table. */
static bool reserve_pair(struct trainer *t)
{
    if (t->pair_count < t->pair_capacity)
        return true;
    size_t capacity = t->pair_capacity ? 2 * t->pair_capacity : 1024;
    struct pair *pairs = realloc(t->pairs, capacity * sizeof *pairs);
    if (!pairs)
        return false;
    t->pairs = pairs;
    uint32_t *table = calloc(2 * capacity, sizeof *table);
    if (!table)
        return false;
    free(t->by_pair);
    t->by_pair = table;
    t->pair_capacity = capacity;
    for (size_t i = 0; i < t->pair_count; i++)
        *pair_slot(t, pairs[i].left, pairs[i].right) = (uint32_t)i + 1;
    return true;
}

/* Remembers that a pair stands in a word. Words are gone through one by one, so to look at the last
 * one remembered is enough. */
static bool add_site(struct pair *pair, uint32_t word)
{
    if (pair->site_count > 0 && pair->sites[pair->site_count - 1] == word)
        return true;
    uint32_t *sites = reserve(pair->sites, pair->site_count, &pair->site_capacity, sizeof *sites);
    if (!sites)
        return false;
    pair->sites = sites;
    sites[pair->site_count++] = word;
    return true;
}

/* One occurrence more (or less, sign -1) of a pair in a word. */
static bool count_pair(struct trainer *t, int32_t left, int32_t right, int sign, uint32_t word)
{
    if (!reserve_pair(t))
        return false;
    uint32_t *slot = pair_slot(t, left, right);
    if (*slot == 0) {
        t->pairs[t->pair_count++] = (struct pair){.left = left, .right = right};
        *slot = (uint32_t)t->pair_count;
    }
    struct pair *pair = &t->pairs[*slot - 1];
    pair->count += sign * t->words[word].count;
    return sign < 0 || add_site(pair, word);
}

/* Queues a pair: the largest counts first, then the smallest tokens. */
static bool queue_pair(struct trainer *t, const struct pair *pair)
{
    return heap_push(&t->queue, (struct heap_item){UINT64_MAX - (uint64_t)pair->count,
                                                   (uint32_t)pair->left, (uint32_t)pair->right});
}

/* Queues all pairs from the one at `first` on that still stand somewhere. */
static bool queue_new(struct trainer *t, size_t first)
{
    bool fits = true;
    for (size_t i = first; i < t->pair_count && fits; i++)
        fits = t->pairs[i].count == 0 || queue_pair(t, &t->pairs[i]);
    return fits;
}

/* ---- Merging ---- */

/* Splits the words into the tokens of their bytes and counts the pairs. */
static trib_status take_words(struct trainer *t, const struct word_set *set, const int32_t *bytes,
                              trib_error *error)
{
    size_t symbols = 0;
    for (size_t i = 0; i < set->count; i++)
        symbols += set->words[i].length;
    t->words = malloc((set->count + 1) * sizeof *t->words);
    t->symbols = malloc((symbols + 1) * sizeof *t->symbols);
    if (!t->words || !t->symbols)
        return error_no_memory(error, "the words of the texts", symbols * sizeof *t->symbols);
    symbols = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct counted_word *word = &set->words[i];
        t->words[i] = (struct word){symbols, word->length, (int64_t)word->count};
        for (size_t j = 0; j < word->length; j++) {
            t->symbols[symbols++] = bytes[(unsigned char)word->bytes[j]];
            if (j > 0 &&
                !count_pair(t, t->symbols[symbols - 2], t->symbols[symbols - 1], 1, (uint32_t)i))
                return error_no_memory(error, "pairs of tokens", t->pair_count * sizeof *t->pairs);
        }
    }
    return TRIB_OK;
}

/* Merges a pair throughout a word, and counts what that changes beside it. */
static bool merge_in_word(struct trainer *t, uint32_t index, int32_t left, int32_t right,
                          int32_t merged)
{
    struct word *word = &t->words[index];
    int32_t *symbols = t->symbols + word->start;
    uint32_t read = 0, write = 0;
    bool fits = true;
    while (read < word->length && fits) {
        if (read + 1 == word->length || symbols[read] != left || symbols[read + 1] != right) {
            symbols[write++] = symbols[read++];
            continue;
        }
        if (write > 0)
            fits = count_pair(t, symbols[write - 1], left, -1, index) &&
                   count_pair(t, symbols[write - 1], merged, 1, index);
        symbols[write++] = merged;
        read += 2;
        if (read < word->length && fits)
            fits = count_pair(t, right, symbols[read], -1, index) &&
                   count_pair(t, merged, symbols[read], 1, index);
    }
    word->length = write;
    return fits;
}

/* Merges a pair in all its words. */
static bool merge_pair(struct trainer *t, struct pair *pair)
{
    int32_t left = pair->left, right = pair->right, merged;
    uint32_t *sites = pair->sites; /* the pair itself may move */
    size_t count = pair->site_count, first = t->pair_count;
    pair->sites = NULL;
    bool fits = make_token(t, left, right, &merged);
    if (fits && merged != TOKEN_NONE) {
        struct bpe_pair *merges = reserve(t->learned->merges, t->learned->merge_count,
                                          &t->merge_capacity, sizeof *merges);
        fits = merges != NULL;
        if (fits) {
            t->learned->merges = merges;
            merges[t->learned->merge_count++] = (struct bpe_pair){left, right};
        }
        for (size_t i = 0; i < count && fits; i++)
            fits = merge_in_word(t, sites[i], left, right, merged);
    }
    free(sites);
    return fits && queue_new(t, first);
}

/* Merges until there are enough tokens, or no pair left that is frequent enough. */
static bool merge_all(struct trainer *t, size_t vocabulary, uint64_t min_frequency)
{
    bool fits = queue_new(t, 0);
    while (fits && t->queue.count > 0 && t->learned->count < vocabulary) {
        struct heap_item item = heap_pop(&t->queue);
        struct pair *pair = &t->pairs[*pair_slot(t, (int32_t)item.a, (int32_t)item.b) - 1];
        uint64_t count = (uint64_t)pair->count;
        if (count != UINT64_MAX - item.key)
            fits = count == 0 || queue_pair(t, pair);
        else if (count < min_frequency)
            break;
        else
            fits = merge_pair(t, pair);
    }
    return fits;
}

static trib_status learn(struct trainer *t, const struct bpe_train_options *options,
                         const struct word_set *set, trib_error *error)
{
    int32_t bytes[256];
    trib_status status = add_special(t, options, error);
    if (!status)
        status = add_alphabet(t, bytes, error);
    if (!status && t->learned->count > options->vocabulary)
        status =
            error_set(error, TRIB_INVALID,
                      "a vocabulary of %zu tokens: expected at least %zu, the alphabet and the "
                      "special tokens",
                      options->vocabulary, t->learned->count);
    if (!status)
        status = take_words(t, set, bytes, error);
    if (status)
        return status;
    if (!merge_all(t, options->vocabulary, options->min_frequency))
        return error_no_memory(error, "pairs of tokens", t->pair_count * sizeof *t->pairs);
    return TRIB_OK;
}

static void trainer_free(struct trainer *t)
{
    for (size_t i = 0; i < t->pair_count; i++)
        free(t->pairs[i].sites);
    free(t->by_text);
    free(t->words);
    free(t->symbols);
    free(t->pairs);
    free(t->by_pair);
    free(t->queue.items);
}

static trib_status count_words(struct word_set *set, const struct slice *texts, size_t text_count,
                               const struct pretokenizer_kind *kind, trib_error *error)
{
    struct pretokenizer *pre;
    trib_status status = pretokenizer_open(&pre, kind, error);
    for (size_t i = 0; i < text_count && !status; i++) {
        if (texts[i].length > ENCODE_LIMIT)
            status = error_set(error, TRIB_INVALID, "text %zu has %zu bytes, expected at most %zu",
                               i + 1, texts[i].length, ENCODE_LIMIT);
        else
            status = word_set_add(set, pre, texts[i], error);
    }
    pretokenizer_close(pre);
    return status;
}

trib_status bpe_train(struct bpe_learned *out, const struct slice *texts, size_t text_count,
                      const struct bpe_train_options *options, trib_error *error)
{
    struct trainer t = {.learned = out};
    struct word_set set = {0};
    size_t most = options->vocabulary + options->special_count + 256, slots = 16;
    *out = (struct bpe_learned){0};
    if (options->vocabulary > BPE_VOCABULARY_MOST || options->special_count > BPE_VOCABULARY_MOST)
        return error_set(error, TRIB_INVALID, "a vocabulary of %zu tokens: expected at most %d",
                         options->vocabulary, BPE_VOCABULARY_MOST);
    while (slots < 2 * most)
        slots *= 2;
    t.text_mask = slots - 1;
    t.by_text = calloc(slots, sizeof *t.by_text);
    trib_status status =
        t.by_text ? TRIB_OK : error_no_memory(error, "a vocabulary", slots * sizeof *t.by_text);
    if (!status)
        status = count_words(&set, texts, text_count, options->kind, error);
    if (!status)
        status = learn(&t, options, &set, error);
    out->words = set.total;
    out->distinct_words = set.count;
    word_set_free(&set);
    trainer_free(&t);
    return status;
}

void bpe_learned_free(struct bpe_learned *learned)
{
    free(learned->bytes);
    free(learned->starts);
    free(learned->merges);
    *learned = (struct bpe_learned){0};
}
