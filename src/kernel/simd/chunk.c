/* Packed chunks (kernel/chunk.h) to float32, exactly: keys [Dv][CHUNK], values [CHUNK][Dv]. */
#include "kernel/chunk.h"
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

/* How far ahead memory is asked for: values follow their keys, as a rule. Three quarters of the
 * time went into waiting. */
enum { AHEAD = 2048 };

/* Of Q8_0 two bytes of a sum lie side by side: byte n of each pair, times its scale. */
static void unpack_key_blocks(float *k, const char *chunk, size_t D)
{
    const uint16_t *scales = (const uint16_t *)(const void *)(chunk + chunk_scales(D));
    for (size_t i = 0; i < D; i += 2)
        for (size_t j = 0; j < CHUNK; j += LANES) {
            vf scale = vf_from_f16(scales + i / 32 * CHUNK + j);
            const char *pairs = chunk + chunk_key_at(DTYPE_Q8_0, j, i);
            __builtin_prefetch(pairs + AHEAD, 0, 2);
            for (size_t n = 0; n < 2; n++)
                vf_store(k + (i + n) * CHUNK + j, vf_mul(scale, vf_from_byte(pairs, n)));
        }
}

static void unpack_value_blocks(float *v, const char *chunk, size_t D)
{
    const uint16_t *scales = (const uint16_t *)(const void *)(chunk + chunk_scales(D));
    for (size_t b = 0; b < D / 32; b++) {
        _Alignas(64) float scale[CHUNK];
        SIMD(unpack)(DTYPE_F16, scale, scales + b * CHUNK, CHUNK);
        for (size_t j = 0; j < CHUNK; j += 2)
            for (size_t i = 32 * b; i < 32 * (b + 1); i += LANES) {
                const char *pairs = chunk + chunk_value_at(DTYPE_Q8_0, D, j, i);
                __builtin_prefetch(pairs + AHEAD, 0, 2);
                for (size_t n = 0; n < 2; n++) {
                    size_t row = j + n;
                    vf_store(v + row * D + i, vf_mul(vf_set(scale[row]), vf_from_byte(pairs, n)));
                }
            }
    }
}

/* Rows of values whose columns lie in several pieces. */
static void unpack_values(enum dtype type, float *v, const char *chunk, size_t D)
{
    size_t Dv = value_stride(D);
    for (size_t i = 0; i < Dv; i += chunk_columns(type)) {
        const char *piece = chunk + dtype_size(type, chunk_value_at(type, D, 0, i));
        size_t n = chunk_columns_at(type, D, i), rows = n == Dv ? CHUNK : 1;
        for (size_t j = 0; j < CHUNK; j += rows)
            SIMD(unpack)(type, v + j * Dv + i, piece + dtype_size(type, j * n), rows * n);
    }
}

void SIMD(unpack_chunk)(enum dtype type, size_t D, float *k, float *v, const void *k_chunk,
                        const void *v_chunk)
{
    if (type == DTYPE_Q8_0) {
        unpack_key_blocks(k, k_chunk, D);
        unpack_value_blocks(v, v_chunk, D);
    } else {
        SIMD(unpack)(type, k, k_chunk, value_stride(D) * CHUNK);
        unpack_values(type, v, v_chunk, D);
    }
}
