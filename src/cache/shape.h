/* The shape of cached keys and values, and what of it lies where in a page.
 *
 * A page holds CHUNK positions of all layers as packed chunks (kernel/chunk.h), which attention
 * reads in place:
 *
 *     [L] x [G] x {keys, values}: a chunk each
 *
 * A head's keys and values lie together, in one piece as long as can be: with all keys before all
 * values decode read 1 to 6% less. Pages in memory and pages on disk are the same bytes. */
#ifndef CACHE_SHAPE_H
#define CACHE_SHAPE_H

#include "kernel/chunk.h"

struct kv_shape {
    enum dtype type;
    size_t layers;   /* L */
    size_t kv_heads; /* G */
    size_t head_dim; /* D */
};

/* One head's keys, or values, in a page, and where a layer's keys begin. */
static inline size_t kv_side_bytes(const struct kv_shape *shape)
{
    return chunk_bytes(shape->type, shape->head_dim);
}

static inline size_t kv_layer_at(const struct kv_shape *shape, size_t layer)
{
    return layer * shape->kv_heads * 2 * kv_side_bytes(shape);
}

/* Bytes of one page; a multiple of 64. */
static inline size_t kv_page_bytes(const struct kv_shape *shape)
{
    return kv_layer_at(shape, shape->layers);
}

#endif
