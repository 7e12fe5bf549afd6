/* Packed chunks: how the KV cache keeps the keys and values of 64 positions of one head.
 *
 *     keys    [Dv][CHUNK]: across, so that the scores of 64 keys need no sum across lanes
 *     values  [Dv / 64][CHUNK][64]: rows of 64 columns, and of the columns that are left over
 *
 * with Dv = value_stride(D), padding zero. Of Q8_0 the elements are the signed bytes, two of a sum
 * side by side, as dot products of pairs take them: keys [D / 2][CHUNK][2] with two dimensions
 * together, values [D / 32][CHUNK / 2][32][2] with two keys of a block together. Behind them stand
 * the f16 scales, [D / 32][CHUNK].
 *
 * The products read either from beginning to end: with gaps, which they come back for, memory gives
 * less (docs/decisions.md). One layout for every kernel table, so that it can go to disk.
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

/* Columns of values that lie together, and how many do with column i. */
static inline size_t chunk_columns(enum dtype type)
{
    return type == DTYPE_Q8_0 ? 32 : 64;
}

static inline size_t chunk_columns_at(enum dtype type, size_t D, size_t i)
{
    size_t most = chunk_columns(type), left = value_stride(D) - i / most * most;
    return left < most ? left : most;
}

static inline size_t chunk_value_at(enum dtype type, size_t D, size_t slot, size_t i)
{
    size_t most = chunk_columns(type), n = chunk_columns_at(type, D, i);
    size_t at = i / most * most * CHUNK;
    if (type == DTYPE_Q8_0)
        return at + (slot / 2 * n + i % most) * 2 + slot % 2;
    return at + slot * n + i % most;
}

/* The values of a packed chunk, or of a panel, of that form from a column on, as far as columns lie
 * together: rows, of Q8_0 with the bytes of two keys. */
struct panel_values {
    const char *at;
    size_t stride; /* bytes from row to row */
};

static inline struct panel_values chunk_values(enum dtype form, const char *v, size_t D,
                                               size_t column)
{
    size_t size = form == DTYPE_Q8_0 ? 1 : form_size(form), pair = form == DTYPE_Q8_0 ? 2 : 1;
    return (struct panel_values){v + chunk_value_at(form, D, 0, column) * size,
                                 chunk_columns_at(form, D, column) * pair * size};
}

static inline struct panel_values panel_values(enum dtype form, const struct panel *panel, size_t D,
                                               size_t column)
{
    if (!panel->v_stride)
        return chunk_values(form, panel->v, D, column);
    return (struct panel_values){(const char *)panel->v + column * form_size(form),
                                 panel->v_stride * form_size(form)};
}

/* Writes one key and value [D], rounded to the type, as number `slot` of the chunk. */
void chunk_store(enum dtype type, size_t D, void *k_chunk, void *v_chunk, size_t slot,
                 const float *k, const float *v);

/* Copies the keys and values in slots 0 to count - 1, and nothing else, into another chunk. */
void chunk_copy(enum dtype type, size_t D, void *k_to, void *v_to, const void *k_from,
                const void *v_from, size_t count);

#endif
