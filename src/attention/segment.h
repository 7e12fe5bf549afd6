/* Keys and values as the fold reads them: chunks of CHUNK positions aligned to absolute position.
 *
 * In a chunk, each KV head has its keys transposed, K [D][CHUNK], then its values, V [CHUNK][Dv]
 * with Dv = value_stride(D), both of one element type. Keys lie across lanes, so the scores of 64
 * keys need no sum across lanes. The layout is the same for every kernel table.
 */
#ifndef ATTENTION_SEGMENT_H
#define ATTENTION_SEGMENT_H

#include "kernel/kernel.h"

struct segment {
    enum dtype type; /* F32 or F16 */
    size_t kv_heads; /* G */
    size_t head_dim; /* D */
    size_t length;   /* keys, from position 0 on */

    /* chunks[c] + offset is where the heads of chunk c begin, head after head. What lies in a chunk
     * past `length` must be readable; its content does not matter. */
    void *const *chunks;
    size_t offset; /* bytes */
};

/* Bytes of one head's keys, and of its keys and values, in a chunk. */
static inline size_t segment_key_bytes(enum dtype type, size_t D)
{
    return dtype_size(type, D * CHUNK);
}

static inline size_t segment_head_bytes(enum dtype type, size_t D)
{
    return segment_key_bytes(type, D) + dtype_size(type, CHUNK * value_stride(D));
}

#endif
