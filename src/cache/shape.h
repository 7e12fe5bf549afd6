/* The shape of cached keys and values, and what of it lies where in a page.
 *
 * A page holds CHUNK positions of all layers as packed chunks (kernel/chunk.h), which attention
 * reads in place:
 *
 *     [L] x {keys [G] chunks, values [G] chunks}
 *
 * Pages in memory and pages on disk are the same bytes. */
#ifndef CACHE_SHAPE_H
#define CACHE_SHAPE_H

#include "kernel/chunk.h"

struct kv_shape {
    enum dtype type;
    size_t layers;   /* L */
    size_t kv_heads; /* G */
    size_t head_dim; /* D */
};

/* One layer's keys, or values, in a page. */
static inline size_t kv_side_bytes(const struct kv_shape *shape)
{
    return shape->kv_heads * chunk_bytes(shape->type, shape->head_dim);
}

/* Bytes of one page; a multiple of 64. */
static inline size_t kv_page_bytes(const struct kv_shape *shape)
{
    return 2 * shape->layers * kv_side_bytes(shape);
}

#endif
