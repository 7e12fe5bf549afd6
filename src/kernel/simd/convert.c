/* Stored types to float32 and back, a vector at a time; tails and rare types as ref has them. */
#include "kernel/ref/ref.h"
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

static size_t unpack_f16(float *out, const uint16_t *in, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vf_store(out + i, vf_from_f16(in + i));
    return i;
}

static size_t unpack_bf16(float *out, const uint16_t *in, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vf_store(out + i, vf_from_bf16(in + i));
    return i;
}

static size_t unpack_q8_0(float *out, const uint8_t *in, size_t n)
{
    for (size_t i = 0; i < n; i += 32, in += 34) {
        uint16_t h;
        memcpy(&h, in, sizeof h);
        vf scale = vf_set(f16_to_float(h));
        for (size_t j = 0; j < 32; j += LANES)
            vf_store(out + i + j, vf_mul(scale, vf_from_i8((const int8_t *)in + 2 + j)));
    }
    return n;
}

void SIMD(unpack)(enum dtype type, float *out, const void *in, size_t n)
{
    size_t done = 0;
    switch (type) {
    case DTYPE_F32:
        break;
    case DTYPE_F16:
        done = unpack_f16(out, in, n);
        break;
    case DTYPE_BF16:
        done = unpack_bf16(out, in, n);
        break;
    case DTYPE_Q8_0:
        done = unpack_q8_0(out, in, n);
        break;
    default:
        break;
    }
    unpack_ref(type, out + done, (const char *)in + dtype_size(type, done), n - done);
}

void SIMD(pack)(enum dtype type, void *out, const float *in, size_t n)
{
    size_t i = 0;
    if (type == DTYPE_F16)
        for (; i + LANES <= n; i += LANES)
            vf_to_f16((uint16_t *)out + i, vf_load(in + i));
    pack_ref(type, (char *)out + dtype_size(type, i), in + i, n - i);
}
