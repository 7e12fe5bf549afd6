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
    default:
        unpack_blocks_ref(type, out, in, n);
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
