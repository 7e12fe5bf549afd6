/* Packed chunks: how the KV cache keeps the keys and values of 64 positions of one head.
 *
 *     keys    [Dv][CHUNK]: across, so that the scores of 64 keys need no sum across lanes
 *     values  [CHUNK][Dv]: in rows
 *
 * with Dv = value_stride(D), padding zero. Of Q8_0 the elements are the signed bytes, two of a sum
 * side by side, as dot products of pairs take them: keys [D / 2][CHUNK][2] with two dimensions
 * together, values [D / 32][CHUNK / 2][32][2] with two keys of a block together. Behind them stand
 * the f16 scales, [D / 32][CHUNK]. The products read either from beginning to end: with gaps, which
 * they come back for, memory gave a tenth to a third less. One layout for every kernel table, so
 * that it can go to disk.
 */
#ifndef KERNEL_CHUNK_H
#define KERNEL_CHUNK_H

#include "kernel/kernel.h"

/* Bytes of the keys, or of the values; a multiple of 64. */
size_t chunk_bytes(enum dtype type, size_t D);

/* Where the scales of a Q8_0 chunk begin. */
static inline size_t chunk_scales(size_t D)
{
    return value_stride(D) * CHUNK;
}

/* Where element i of the key, or value, in a slot stands; in elements. */
static inline size_t chunk_key_at(enum dtype type, size_t slot, size_t i)
{
    return type == DTYPE_Q8_0 ? (i / 2 * CHUNK + slot) * 2 + i % 2 : i * CHUNK + slot;
}

static inline size_t chunk_value_at(enum dtype type, size_t D, size_t slot, size_t i)
{
    if (type == DTYPE_Q8_0)
        return i / 32 * CHUNK * 32 + (slot / 2 * 32 + i % 32) * 2 + slot % 2;
    return slot * value_stride(D) + i;
}

/* Writes one key and value [D], rounded to the type, as number `slot` of the chunk. */
void chunk_store(enum dtype type, size_t D, void *k_chunk, void *v_chunk, size_t slot,
                 const float *k, const float *v);

/* Copies the keys and values in slots 0 to count - 1, and nothing else, into another chunk. */
void chunk_copy(enum dtype type, size_t D, void *k_to, void *v_to, const void *k_from,
                const void *v_from, size_t count);

#endif
