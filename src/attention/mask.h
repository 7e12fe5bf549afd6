/* Which keys a query sees, a chunk at a time: one 64-bit word, bit j for the key at start + j.
 *
 * What a mask is stands in tributary/attention.h. Every kind of mask becomes such words here and
 * nowhere else; the fold and the kernels know only words. */
#ifndef ATTENTION_MASK_H
#define ATTENTION_MASK_H

#include <stdint.h>

#include "tributary/attention.h"

/* What a mask is about. */
struct mask_view {
    const trib_mask *mask;
    size_t query_first;      /* position of token 0 */
    const size_t *positions; /* [T] of tokens that do not stand side by side; NULL: they do */
    size_t key_first;        /* position of key 0 */
    size_t length;           /* keys */
};

/* The keys that exist of the chunk whose first position is `start`. */
uint64_t mask_existing(const struct mask_view *view, size_t start);

/* What token t sees of the chunk whose first position is `start`. Keys that do not exist are not
 * seen. */
uint64_t mask_chunk(const struct mask_view *view, size_t t, size_t start);

enum mask_cover { MASK_NOTHING, MASK_SOME, MASK_EVERYTHING };

/* What tokens t0 to t1 (included) see of positions [start, end): certain where it says NOTHING or
 * EVERYTHING; SOME may turn out to be either. In constant time where tokens stand side by side. */
enum mask_cover mask_cover(const struct mask_view *view, size_t t0, size_t t1, size_t start,
                           size_t end);

#endif
