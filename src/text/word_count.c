/* Counting words: an open-addressed table of positions in the list of words, at most half full. */
#include "text/word_count.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"

/* The slot of a word: free (0), or holding its position plus one. */
static uint32_t *slot_of(const struct word_set *set, struct slice word)
{
    size_t mask = set->slot_count - 1;
    size_t i = (size_t)XXH3_64bits(word.bytes, word.length) & mask;
    while (set->slots[i]) {
        const struct counted_word *other = &set->words[set->slots[i] - 1];
        if (other->length == word.length && memcmp(other->bytes, word.bytes, word.length) == 0)
            break;
        i = (i + 1) & mask;
    }
    return &set->slots[i];
}

/* Room for one more word, in the list and in the table. */
static bool reserve(struct word_set *set)
{
    if (set->count < set->capacity)
        return true;
    size_t capacity = set->capacity ? 2 * set->capacity : 1024, slots = 2 * capacity;
    struct counted_word *words = realloc(set->words, capacity * sizeof *words);
    if (!words)
        return false;
    set->words = words;
    uint32_t *table = calloc(slots, sizeof *table);
    if (!table)
        return false;
    free(set->slots);
    set->capacity = capacity;
    set->slots = table;
    set->slot_count = slots;
    for (size_t i = 0; i < set->count; i++)
        *slot_of(set, (struct slice){words[i].bytes, words[i].length}) = (uint32_t)i + 1;
    return true;
}

struct counting {
    struct word_set *set;
    trib_error *error;
};

static trib_status count_word(void *context, struct slice word)
{
    struct counting *c = context;
    if (c->set->count == UINT32_MAX - 1 || !reserve(c->set))
        return error_no_memory(c->error, "the words of the texts",
                               2 * c->set->capacity * sizeof *c->set->words);
    uint32_t *slot = slot_of(c->set, word);
    if (*slot == 0) {
        c->set->words[c->set->count++] =
            (struct counted_word){word.bytes, (uint32_t)word.length, 0};
        *slot = (uint32_t)c->set->count;
    }
    c->set->words[*slot - 1].count++;
    c->set->total++;
    return TRIB_OK;
}

trib_status word_set_add(struct word_set *set, const struct pretokenizer *pre, struct slice text,
                         trib_error *error)
{
    return pretokenizer_split(pre, text, count_word, &(struct counting){set, error}, error);
}

void word_set_free(struct word_set *set)
{
    free(set->words);
    free(set->slots);
    *set = (struct word_set){0};
}
