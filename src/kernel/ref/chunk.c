/* Packed chunks (kernel/chunk.h) to float32, exactly: keys [Dv][CHUNK], values [CHUNK][Dv]. */
#include "kernel/chunk.h"
#include "kernel/ref/ref.h"

/* The scales of block b, of all slots. */
static void unpack_scales(const void *chunk, size_t D, size_t b, float scale[CHUNK])
{
    const char *scales = (const char *)chunk + chunk_scales(D);
    unpack_ref(DTYPE_F16, scale, scales + b * CHUNK * sizeof(uint16_t), CHUNK);
}

static void unpack_key_blocks(size_t D, float *k, const int8_t *chunk)
{
    float scale[CHUNK];
    for (size_t i = 0; i < D; i++) {
        if (i % 32 == 0)
            unpack_scales(chunk, D, i / 32, scale);
        for (size_t j = 0; j < CHUNK; j++)
            k[i * CHUNK + j] = scale[j] * (float)chunk[chunk_key_at(DTYPE_Q8_0, j, i)];
    }
}

static void unpack_value_blocks(size_t D, float *v, const int8_t *chunk)
{
    float scale[CHUNK];
    for (size_t b = 0; b < D / 32; b++) {
        unpack_scales(chunk, D, b, scale);
        for (size_t j = 0; j < CHUNK; j++)
            for (size_t i = 32 * b; i < 32 * b + 32; i++)
                v[j * D + i] = scale[j] * (float)chunk[chunk_value_at(DTYPE_Q8_0, D, j, i)];
    }
}

static void unpack_values(enum dtype type, size_t D, float *v, const char *chunk)
{
    size_t Dv = value_stride(D);
    for (size_t j = 0; j < CHUNK; j++)
        for (size_t i = 0; i < Dv; i += chunk_columns(type))
            unpack_ref(type, v + j * Dv + i,
                       chunk + dtype_size(type, chunk_value_at(type, D, j, i)),
                       chunk_columns_at(type, D, i));
}

void unpack_chunk_ref(enum dtype type, size_t D, float *k, float *v, const void *k_chunk,
                      const void *v_chunk)
{
    if (type == DTYPE_Q8_0) {
        unpack_key_blocks(D, k, k_chunk);
        unpack_value_blocks(D, v, v_chunk);
    } else {
        unpack_ref(type, k, k_chunk, value_stride(D) * CHUNK);
        unpack_values(type, D, v, v_chunk);
    }
}
