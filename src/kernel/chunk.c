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
static void put_block(int8_t *chunk, size_t at, size_t step, uint16_t *scale, const float *x)
{
    float largest = 0;
    for (size_t i = 0; i < 32; i++)
        largest = fabsf(x[i]) > largest || isnan(x[i]) ? fabsf(x[i]) : largest;
    *scale = f16_from_float(largest / 127);
    float inverse = largest > 0 ? 127 / largest : 0;
    for (size_t i = 0; i < 32; i++) {
        float whole = rintf(x[i] * inverse);
        chunk[at + i * step] = isfinite(whole) ? (int8_t)whole : 0;
    }
}

void chunk_store(enum dtype type, size_t D, void *k_chunk, void *v_chunk, size_t slot,
                 const float *k, const float *v)
{
    size_t Dv = value_stride(D);
    if (type != DTYPE_Q8_0) {
        for (size_t i = 0; i < D; i++) {
            put(type, k_chunk, i * CHUNK + slot, k[i]);
            put(type, v_chunk, slot * Dv + i, v[i]);
        }
        return;
    }
    uint16_t *k_scales = (uint16_t *)(void *)((char *)k_chunk + chunk_scales(D));
    uint16_t *v_scales = (uint16_t *)(void *)((char *)v_chunk + chunk_scales(D));
    for (size_t b = 0; b < D / 32; b++) {
        put_block(k_chunk, b * 32 * CHUNK + slot, CHUNK, k_scales + b * CHUNK + slot, k + 32 * b);
        put_block(v_chunk, slot * Dv + b * 32, 1, v_scales + slot * (D / 32) + b, v + 32 * b);
    }
}

void chunk_unpack_keys(unpack_function *unpack, enum dtype type, size_t D, float *out,
                       const void *k_chunk)
{
    if (type != DTYPE_Q8_0) {
        unpack(type, out, k_chunk, value_stride(D) * CHUNK);
        return;
    }
    const int8_t *bytes = k_chunk;
    const uint16_t *scales = (const uint16_t *)(const void *)(bytes + chunk_scales(D));
    for (size_t b = 0; b < D / 32; b++) {
        float scale[CHUNK];
        unpack(DTYPE_F16, scale, scales + b * CHUNK, CHUNK);
        for (size_t i = b * 32 * CHUNK; i < (b + 1) * 32 * CHUNK; i++)
            out[i] = scale[i % CHUNK] * (float)bytes[i];
    }
}

void chunk_unpack_values(unpack_function *unpack, enum dtype type, size_t D, float *out,
                         const void *v_chunk)
{
    if (type != DTYPE_Q8_0) {
        unpack(type, out, v_chunk, value_stride(D) * CHUNK);
        return;
    }
    const int8_t *bytes = v_chunk;
    const uint16_t *scales = (const uint16_t *)(const void *)(bytes + chunk_scales(D));
    for (size_t b = 0; b < D / 32 * CHUNK; b++) {
        float scale = f16_to_float(scales[b]);
        for (size_t i = 32 * b; i < 32 * b + 32; i++)
            out[i] = scale * (float)bytes[i];
    }
}
