/* Which keys a query sees, a chunk at a time: one 64-bit word, bit j for the key at start + j.
 *
 * What a mask is stands in tributary/attention.h. Every kind of mask, and a bias of -inf, becomes
 * such words here and nowhere else; the fold and the kernels know only words. Rows are those of a
 * KV head, as attention/span.h counts them. */
#ifndef ATTENTION_MASK_H
#define ATTENTION_MASK_H

#include <stdint.h>

#include "tributary/attention.h"

/* What a mask is about. */
struct mask_view {
    const trib_attention *attention; /* heads, mask and bias */
    size_t query_first;              /* position of token 0 */
    const size_t *positions; /* [T] of tokens that do not stand side by side; NULL: they do */
    size_t key_first;        /* position of key 0 */
    size_t length;           /* keys */
};

/* The keys that exist of the chunk whose first position is `start`. */
uint64_t mask_existing(const struct mask_view *view, size_t start);

enum mask_cover { MASK_NOTHING, MASK_SOME, MASK_EVERYTHING };

/* What tokens t0 to t1 (included) see of positions [start, end): certain where it says NOTHING or
 * EVERYTHING; SOME may turn out to be either. In constant time where tokens stand side by side. */
enum mask_cover mask_cover(const struct mask_view *view, size_t t0, size_t t1, size_t start,
                           size_t end);

/* What rows [row, row + rows) of KV head g see of the chunk at `start`, exactly. Where that is
 * SOME, words [rows] say what each sees, and else they hold anything. Keys that do not exist are
 * not seen.
 */
enum mask_cover mask_rows(const struct mask_view *view, size_t g, size_t row, size_t rows,
                          size_t start, uint64_t *words);

/* Whether any of these rows sees any of that chunk. */
bool mask_sees(const struct mask_view *view, size_t g, size_t row, size_t rows, size_t start);

#endif
