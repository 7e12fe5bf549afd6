/* Writing packed chunks and reading them back. */
#include "kernel/chunk.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

size_t chunk_bytes(enum dtype type, size_t D)
{
    size_t elements = value_stride(D) * CHUNK;
    if (type == DTYPE_Q8_0)
        return elements + D / 32 * CHUNK * sizeof(uint16_t);
    return dtype_size(type, elements);
}

/* Element i of a key, or value, in its place. */
static void put(enum dtype type, void *chunk, size_t at, float x)
{
    uint16_t h = type == DTYPE_F16 ? f16_from_float(x) : bf16_from_float(x);
    if (type == DTYPE_F32)
        memcpy((float *)chunk + at, &x, sizeof x);
    else
        memcpy((uint16_t *)chunk + at, &h, sizeof h);
}

/* One block of 32 in Q8_0: the scale is the largest magnitude / 127, in f16. */
static uint16_t round_block(int8_t block[32], const float *x)
{
    float largest = 0;
    for (size_t i = 0; i < 32; i++)
        largest = fabsf(x[i]) > largest || isnan(x[i]) ? fabsf(x[i]) : largest;
    float inverse = largest > 0 ? 127 / largest : 0;
    for (size_t i = 0; i < 32; i++) {
        float whole = rintf(x[i] * inverse);
        block[i] = isfinite(whole) ? (int8_t)whole : 0;
    }
    return f16_from_float(largest / 127);
}

static void store_blocks(size_t D, char *k_chunk, char *v_chunk, size_t slot, const float *k,
                         const float *v)
{
    uint16_t *k_scales = (uint16_t *)(void *)(k_chunk + chunk_scales(D));
    uint16_t *v_scales = (uint16_t *)(void *)(v_chunk + chunk_scales(D));
    int8_t block[32];
    for (size_t b = 0; b < D / 32; b++) {
        k_scales[b * CHUNK + slot] = round_block(block, k + 32 * b);
        for (size_t i = 0; i < 32; i++)
            k_chunk[chunk_key_at(DTYPE_Q8_0, slot, 32 * b + i)] = (char)block[i];
        v_scales[b * CHUNK + slot] = round_block(block, v + 32 * b);
        for (size_t i = 0; i < 32; i++)
            v_chunk[chunk_value_at(DTYPE_Q8_0, D, slot, 32 * b + i)] = (char)block[i];
    }
}

void chunk_store(enum dtype type, size_t D, void *k_chunk, void *v_chunk, size_t slot,
                 const float *k, const float *v)
{
    if (type == DTYPE_Q8_0) {
        store_blocks(D, k_chunk, v_chunk, slot, k, v);
        return;
    }
    for (size_t i = 0; i < D; i++) {
        put(type, k_chunk, chunk_key_at(type, slot, i), k[i]);
        put(type, v_chunk, chunk_value_at(type, D, slot, i), v[i]);
    }
}

/* `rows` pieces of `bytes` bytes that lie `stride` bytes apart. */
static void copy_rows(char *to, const char *from, size_t rows, size_t stride, size_t bytes)
{
    for (size_t i = 0; i < rows; i++)
        memcpy(to + i * stride, from + i * stride, bytes);
}

/* Of values, whose columns lie in several pieces: as many rows of each. */
static void copy_values(enum dtype type, size_t D, char *to, const char *from, size_t count)
{
    for (size_t i = 0; i < value_stride(D); i += chunk_columns(type)) {
        size_t at = dtype_size(type, chunk_value_at(type, D, 0, i));
        memcpy(to + at, from + at, dtype_size(type, count * chunk_columns_at(type, D, i)));
    }
}

static void copy_blocks(size_t D, char *k_to, char *v_to, const char *k_from, const char *v_from,
                        size_t count)
{
    size_t scales = chunk_scales(D), row = CHUNK * sizeof(uint16_t);
    copy_rows(k_to, k_from, D / 2, CHUNK * 2, count * 2);
    copy_rows(v_to, v_from, D / 32, CHUNK * 32, count / 2 * 64);
    for (size_t b = 0, last = count / 2 * 64; count % 2 && b < D / 32; b++, last += CHUNK * 32)
        copy_rows(v_to + last, v_from + last, 32, 2, 1);
    copy_rows(k_to + scales, k_from + scales, D / 32, row, count * sizeof(uint16_t));
    copy_rows(v_to + scales, v_from + scales, D / 32, row, count * sizeof(uint16_t));
}

void chunk_copy(enum dtype type, size_t D, void *k_to, void *v_to, const void *k_from,
                const void *v_from, size_t count)
{
    if (type == DTYPE_Q8_0) {
        copy_blocks(D, k_to, v_to, k_from, v_from, count);
        return;
    }
    size_t row = dtype_size(type, CHUNK);
    copy_rows(k_to, k_from, D, row, dtype_size(type, count));
    copy_values(type, D, v_to, v_from, count);
}
