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

#include "attention/mask.h"
#include "attention/segment.h"

enum { SPAN_CHUNKS = 8, SPAN = SPAN_CHUNKS * CHUNK };

/* A block of queries at consecutive positions over one segment. */
struct fold {
    size_t tokens; /* T */
    size_t heads;  /* H, a multiple of segment->kv_heads */
    size_t first;  /* position of query 0 */
    float scale;   /* of the scores */
    enum mask_kind mask;
    const struct segment *segment;
    const float *q; /* [T][H][D] */
    float *v;       /* [T][H][D] out: the attention output */
    float *s;       /* [T][H] out: log-sum-exp; may be NULL */
};

/* Bytes of workspace that fold_run needs for up to `tokens` queries over up to `length` keys. */
size_t fold_workspace(const struct kernels *kernels, size_t tokens, size_t heads, size_t kv_heads,
                      size_t head_dim, size_t length, int threads);

/* Computes v (and s). `workspace` is aligned to 64 bytes. */
void fold_run(const struct kernels *kernels, const struct fold *fold, void *workspace, int threads);

#endif
