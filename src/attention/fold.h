/* The canonical fold: attention over any number of keys in an order fixed by position alone.
 *
 *     keys    |  chunk 0 |  chunk 1 | ... chunk 7 |  chunk 8 ...
 *     spans   |------------ span 0 ---------------|---- span 1 ...
 *
 * Within a span chunks are absorbed left to right into one running state, starting from empty; span
 * states are merged left to right. So the bits of a query's result depend on the query, its
 * position and the keys it sees, and not on the queries beside it, on the threads, or on how the
 * work is cut.
 */
#ifndef ATTENTION_FOLD_H
#define ATTENTION_FOLD_H

#include "kernel/kernel.h"
#include "tributary/attention.h"

/* Bytes of workspace that fold_run needs for up to `tokens` queries over up to `keys` positions; 0
 * where no number of bytes is enough. */
size_t fold_workspace(const struct kernels *kernels, const trib_attention *attention, size_t tokens,
                      size_t keys);

/* What trib_attend and trib_absorb promise, for arguments that keep their contract. v [T][H][D]; s
 * [T][H] may be NULL unless `onto`: then s and v hold states that the segment's are merged onto. */
void fold_run(const struct kernels *kernels, const trib_attention *attention,
              const trib_queries *queries, const trib_segment *segment, float *s, float *v,
              bool onto, void *workspace);

#endif
