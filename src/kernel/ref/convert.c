/* Stored types to float32 and back. */
#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "kernel/ref/ref.h"

static void unpack_f16(float *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, in + 2 * i, sizeof h);
        out[i] = f16_to_float(h);
    }
}

static void unpack_bf16(float *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, in + 2 * i, sizeof h);
        out[i] = bf16_to_float(h);
    }
}

/* A block: an f16 scale, then 32 signed bytes. */
static void unpack_q8_0(float *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i += 32, in += 34) {
        uint16_t h;
        memcpy(&h, in, sizeof h);
        float scale = f16_to_float(h);
        for (size_t j = 0; j < 32; j++)
            out[i + j] = scale * (float)(int8_t)in[2 + j];
    }
}

void unpack_ref(enum dtype type, float *out, const void *in, size_t n)
{
    switch (type) {
    case DTYPE_F32:
        memcpy(out, in, n * sizeof *out);
        break;
    case DTYPE_F16:
        unpack_f16(out, in, n);
        break;
    case DTYPE_BF16:
        unpack_bf16(out, in, n);
        break;
    case DTYPE_Q8_0:
        unpack_q8_0(out, in, n);
        break;
    default:
        assert(!"no unpacking of this type");
    }
}

void pack_ref(enum dtype type, void *out, const float *in, size_t n)
{
    uint16_t *half = out;
    switch (type) {
    case DTYPE_F32:
        memcpy(out, in, n * sizeof *in);
        break;
    case DTYPE_F16:
        for (size_t i = 0; i < n; i++)
            half[i] = f16_from_float(in[i]);
        break;
    case DTYPE_BF16:
        for (size_t i = 0; i < n; i++)
            half[i] = bf16_from_float(in[i]);
        break;
    default:
        assert(!"no packing to this type");
    }
}
