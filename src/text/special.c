/* Finding special tokens in a text.
 *
 * The entries are sorted by text, so that the ones agreeing with a stretch of text are a range that
 * narrows byte by byte. One pass over the text proposes at each position the longest token there; a
 * queue then accepts the proposals, longest first. A proposal that runs into an accepted token
 * makes way for the next shorter token at its position. Since accepted stretches are never shorter
 * than the proposal at hand, one that overlaps it covers its first or its last byte: two bits
 * decide. */
#include "text/special.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/heap.h"

enum { NO_ENTRY = -1 };

struct special_entry {
    struct slice text;
    int32_t id;
    int32_t shorter; /* the longest entry whose text is a proper prefix of this one's */
};

static int compare_entries(const void *a, const void *b)
{
    const struct special_entry *x = a, *y = b;
    size_t common = x->text.length < y->text.length ? x->text.length : y->text.length;
    int order = memcmp(x->text.bytes, y->text.bytes, common);
    if (order)
        return order;
    if (x->text.length != y->text.length)
        return x->text.length < y->text.length ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool is_prefix(struct slice prefix, struct slice text)
{
    return prefix.length < text.length && memcmp(prefix.bytes, text.bytes, prefix.length) == 0;
}

trib_status special_set_make(struct special_set *set, const struct vocab *vocab, unsigned kinds,
                             trib_error *error)
{
    size_t count = 0;
    *set = (struct special_set){0};
    for (size_t i = 0; i < vocab->count; i++)
        count += kinds >> vocab->kinds[i] & 1u;
    if (count == 0)
        return TRIB_OK;
    set->entries = malloc(count * sizeof *set->entries);
    if (!set->entries)
        return error_no_memory(error, "special tokens", count * sizeof *set->entries);
    for (size_t i = 0; i < vocab->count; i++) {
        struct slice text = vocab_text(vocab, (int32_t)i);
        if ((kinds >> vocab->kinds[i] & 1u) && text.length > 0)
            set->entries[set->count++] = (struct special_entry){text, (int32_t)i, NO_ENTRY};
    }
    qsort(set->entries, set->count, sizeof *set->entries, compare_entries);
    size_t kept = 0;
    for (size_t i = 0; i < set->count; i++)
        if (kept == 0 || !slice_equal(set->entries[i].text, set->entries[kept - 1].text))
            set->entries[kept++] = set->entries[i];
    set->count = kept;
    for (size_t i = 0; i < set->count; i++) {
        struct special_entry *entry = &set->entries[i];
        entry->shorter = (int32_t)i - 1;
        while (entry->shorter != NO_ENTRY &&
               !is_prefix(set->entries[entry->shorter].text, entry->text))
            entry->shorter = set->entries[entry->shorter].shorter;
        set->first[(unsigned char)entry->text.bytes[0] + 1] = (uint32_t)i + 1;
    }
    for (size_t b = 1; b <= 256; b++)
        if (set->first[b] == 0)
            set->first[b] = set->first[b - 1];
    return TRIB_OK;
}

void special_set_free(struct special_set *set)
{
    free(set->entries);
    *set = (struct special_set){0};
}

/* The first entry of a range, all equal up to `depth`, whose byte there is at least `byte`. */
static size_t lower_bound(const struct special_set *set, size_t low, size_t high, size_t depth,
                          unsigned byte)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((unsigned char)set->entries[middle].text.bytes[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest entry that text begins with, or NO_ENTRY. */
static int32_t longest_at(const struct special_set *set, const char *text, size_t length)
{
    size_t low = set->first[(unsigned char)text[0]];
    size_t high = set->first[(unsigned char)text[0] + 1];
    int32_t best = NO_ENTRY;
    for (size_t depth = 1; low < high; depth++) {
        if (set->entries[low].text.length == depth) /* a prefix sorts before what it begins */
            best = (int32_t)low++;
        if (low == high || depth == length)
            break;
        unsigned char byte = (unsigned char)text[depth];
        if ((unsigned char)set->entries[low].text.bytes[depth] != byte ||
            (unsigned char)set->entries[high - 1].text.bytes[depth] != byte) {
            low = lower_bound(set, low, high, depth, byte);
            high = lower_bound(set, low, high, depth, byte + 1u);
        }
    }
    return best;
}

/* Bits of the bytes that accepted tokens have taken. */
static bool is_taken(const uint64_t *taken, size_t i)
{
    return taken[i / 64] >> (i % 64) & 1u;
}

/* Longer first, then leftmost. */
static bool propose(struct heap *queue, const struct special_set *set, int32_t entry,
                    uint32_t position, size_t match)
{
    uint64_t rank = TOKEN_LONGEST - set->entries[entry].text.length;
    return heap_push(queue,
                     (struct heap_item){rank << 32 | position, (uint32_t)entry, (uint32_t)match});
}

static trib_status propose_all(const struct special_set *set, struct slice text, struct heap *queue,
                               struct special_match **matches, size_t *count, trib_error *error)
{
    size_t capacity = 0;
    for (size_t i = 0; i < text.length; i++) {
        int32_t entry = longest_at(set, text.bytes + i, text.length - i);
        if (entry == NO_ENTRY)
            continue;
        if (*count == capacity) {
            capacity = capacity ? capacity * 2 : 64;
            struct special_match *grown = realloc(*matches, capacity * sizeof *grown);
            if (!grown)
                return error_no_memory(error, "special tokens", capacity * sizeof *grown);
            *matches = grown;
        }
        (*matches)[*count] = (struct special_match){(uint32_t)i, (uint32_t)i, TOKEN_NONE};
        if (!propose(queue, set, entry, (uint32_t)i, *count))
            return error_no_memory(error, "special tokens", queue->count * sizeof *queue->items);
        ++*count;
    }
    return TRIB_OK;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void accept(struct special_match *match, const struct special_entry *entry,
                   const struct vocab *vocab, struct slice text, uint64_t *taken)
{
    size_t end = match->start + entry->text.length;
    if (vocab->flags[entry->id] & TOKEN_STRIPS_RIGHT)
        while (end < text.length && !is_taken(taken, end) && is_space(text.bytes[end]))
            end++;
    for (size_t i = match->start; i < end; i++)
        taken[i / 64] |= (uint64_t)1 << (i % 64);
    match->end = (uint32_t)end;
    match->id = entry->id;
}

trib_status special_find(const struct special_set *set, const struct vocab *vocab,
                         struct slice text, struct special_match **matches, size_t *count,
                         trib_error *error)
{
    struct heap queue = {0};
    uint64_t *taken = NULL;
    size_t proposed = 0;
    *matches = NULL;
    *count = 0;
    if (set->count == 0)
        return TRIB_OK;
    trib_status status = propose_all(set, text, &queue, matches, &proposed, error);
    if (status || proposed == 0)
        goto done;
    taken = calloc(text.length / 64 + 1, sizeof *taken);
    if (!taken) {
        status = error_no_memory(error, "special tokens", text.length / 8);
        goto done;
    }
    while (queue.count > 0) {
        struct heap_item item = heap_pop(&queue);
        struct special_match *match = &(*matches)[item.b];
        int32_t entry = (int32_t)item.a;
        if (is_taken(taken, match->start))
            continue;
        if (!is_taken(taken, match->start + set->entries[entry].text.length - 1)) {
            accept(match, &set->entries[entry], vocab, text, taken);
            continue;
        }
        do
            entry = set->entries[entry].shorter;
        while (entry != NO_ENTRY &&
               is_taken(taken, match->start + set->entries[entry].text.length - 1));
        if (entry != NO_ENTRY)
            propose(&queue, set, entry, match->start, item.b); /* takes the place just vacated */
    }
    for (size_t i = 0; i < proposed; i++)
        if ((*matches)[i].id != TOKEN_NONE)
            (*matches)[(*count)++] = (*matches)[i];
done:
    if (status || *count == 0) {
        free(*matches);
        *matches = NULL;
        *count = 0;
    }
    free(taken);
    free(queue.items);
    return status;
}
