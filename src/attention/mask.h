/* Which keys a query sees, a chunk at a time: one 64-bit word, bit j for key start + j.
 *
 * Keys and queries have absolute positions in their sequence. Whatever a mask rules out of a whole
 * chunk is skipped, not computed. */
#ifndef ATTENTION_MASK_H
#define ATTENTION_MASK_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/kernel.h"

enum mask_kind {
    MASK_NONE,   /* every key */
    MASK_CAUSAL, /* the keys at and before the query's own position */
};

/* The first n keys of a chunk, n of any size. */
static inline uint64_t mask_first(size_t n)
{
    return n >= CHUNK ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

/* What the query at `position` sees of the chunk of keys from `start` on. */
static inline uint64_t mask_chunk(enum mask_kind kind, size_t position, size_t start)
{
    if (kind == MASK_NONE)
        return UINT64_MAX;
    return position < start ? 0 : mask_first(position - start + 1);
}

/* How many of `length` keys can be visible to queries at positions up to `last`. */
static inline size_t mask_reach(enum mask_kind kind, size_t last, size_t length)
{
    return kind == MASK_CAUSAL && last < length ? last + 1 : length;
}

#endif
