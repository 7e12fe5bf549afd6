/* Block-quantised types to float32, one function per type, its block's layout above it.
 *
 * The layouts are those of GGUF (github.com/ggml-org/ggml, src/ggml-common.h); scales are f16, the
 * least significant bits come first. Each element is the product and sum that stand in the layout,
 * rounded one by one in that order, so every table has these bits.
 */
#include <assert.h>
#include <string.h>

#include "base/half.h"
#include "kernel/ref/ref.h"
#include "kernel/ref/scales.h"

static float half_at(const uint8_t *in)
{
    uint16_t h;
    memcpy(&h, in, sizeof h);
    return f16_to_float(h);
}

static uint32_t word_at(const uint8_t *in)
{
    uint32_t word;
    memcpy(&word, in, sizeof word);
    return word;
}

/* d:2 q:16. Byte j of q holds element j in its low half, element j + 16 in its high half, here and
 * in the three types below.
 *     x = d (q - 8) */
static void unpack_q4_0(float *out, const uint8_t *in)
{
    float d = half_at(in);
    for (size_t j = 0; j < 16; j++) {
        out[j] = d * (float)((in[2 + j] & 15) - 8);
        out[j + 16] = d * (float)((in[2 + j] >> 4) - 8);
    }
}

/* d:2 m:2 q:16.
 *     x = d q + m */
static void unpack_q4_1(float *out, const uint8_t *in)
{
    float d = half_at(in), m = half_at(in + 2);
    for (size_t j = 0; j < 16; j++) {
        out[j] = d * (float)(in[4 + j] & 15) + m;
        out[j + 16] = d * (float)(in[4 + j] >> 4) + m;
    }
}

/* d:2 h:4 q:16. Bit j of h is bit 4 of element j.
 *     x = d (q - 16) */
static void unpack_q5_0(float *out, const uint8_t *in)
{
    float d = half_at(in);
    uint32_t h = word_at(in + 2);
    for (size_t j = 0; j < 16; j++) {
        uint32_t low = (in[6 + j] & 15u) | (h >> j & 1) << 4;
        uint32_t high = (uint32_t)in[6 + j] >> 4 | (h >> (j + 16) & 1) << 4;
        out[j] = d * (float)((int)low - 16);
        out[j + 16] = d * (float)((int)high - 16);
    }
}

/* d:2 m:2 h:4 q:16.
 *     x = d q + m */
static void unpack_q5_1(float *out, const uint8_t *in)
{
    float d = half_at(in), m = half_at(in + 2);
    uint32_t h = word_at(in + 4);
    for (size_t j = 0; j < 16; j++) {
        uint32_t low = (in[8 + j] & 15u) | (h >> j & 1) << 4;
        uint32_t high = (uint32_t)in[8 + j] >> 4 | (h >> (j + 16) & 1) << 4;
        out[j] = d * (float)(int)low + m;
        out[j + 16] = d * (float)(int)high + m;
    }
}

/* d:2 q:32, signed bytes.
 *     x = d q */
static void unpack_q8_0(float *out, const uint8_t *in)
{
    float d = half_at(in);
    for (size_t j = 0; j < 32; j++)
        out[j] = d * (float)(int8_t)in[2 + j];
}

/* s:16 q:64 d:2 m:2, 16 groups of 16 elements. Byte g of s holds the scale of group g in its low
 * half, the minimum in its high one. Of q each 32 bytes hold 128 elements, 32 in each pair of bits.
 *     x = (d s) q - m min */
static void unpack_q2_k(float *out, const uint8_t *in)
{
    const uint8_t *q = in + 16;
    float d = half_at(in + 80), m = half_at(in + 82);
    for (size_t i = 0; i < 256; i++) {
        unsigned scale = in[i / 16];
        int quant = q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
        out[i] = d * (float)(scale & 15) * (float)quant - m * (float)(scale >> 4);
    }
}

/* h:32 q:64 s:12 d:2, 16 groups of 16. Two bits of an element lie in q as in Q2_K; bit i / 32 of
 * byte i % 32 of h, where clear, takes 4 off. s holds 16 scales of 6 bits: scales.h.
 *     x = (d (s - 32)) q */
static void unpack_q3_k(float *out, const uint8_t *in)
{
    const uint8_t *q = in + 32;
    float d = half_at(in + 108);
    for (size_t i = 0; i < 256; i++) {
        float scale = d * (float)((int)q3_k_scale(in + 96, i / 16) - 32);
        int quant = q[i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
        out[i] = scale * (float)(quant - (in[i % 32] >> i / 32 & 1 ? 0 : 4));
    }
}

/* d:2 m:2 s:12 q:128, 8 groups of 32. s holds 8 scales and 8 minima of 6 bits: scales.h. Of q each
 * 32 bytes hold two groups, the first in the low halves.
 *     x = (d s) q - m min */
static void unpack_q4_k(float *out, const uint8_t *in)
{
    float d = half_at(in), m = half_at(in + 2);
    for (size_t g = 0; g < 8; g++) {
        struct scale_min s = k_scale(in + 4, g);
        float scale = d * (float)s.scale, least = m * (float)s.min;
        const uint8_t *q = in + 16 + g / 2 * 32;
        for (size_t j = 0; j < 32; j++)
            out[32 * g + j] = scale * (float)(q[j] >> g % 2 * 4 & 15) - least;
    }
}

/* d:2 m:2 s:12 h:32 q:128, as Q4_K; bit g of byte j of h is bit 4 of element j of group g. */
static void unpack_q5_k(float *out, const uint8_t *in)
{
    float d = half_at(in), m = half_at(in + 2);
    const uint8_t *h = in + 16;
    for (size_t g = 0; g < 8; g++) {
        struct scale_min s = k_scale(in + 4, g);
        float scale = d * (float)s.scale, least = m * (float)s.min;
        const uint8_t *q = in + 48 + g / 2 * 32;
        for (size_t j = 0; j < 32; j++) {
            int quant = (q[j] >> g % 2 * 4 & 15) | (h[j] >> g & 1) << 4;
            out[32 * g + j] = scale * (float)quant - least;
        }
    }
}

/* l:128 h:64 s:16 d:2, 16 groups of 16 with a signed byte of scale each. Each 128 elements have 64
 * bytes of l (elements 0 to 63 in the low halves, 64 to 127 in the high ones) and 32 of h (32
 * elements in each pair of bits).
 *     x = (d s) (q - 32) */
static void unpack_q6_k(float *out, const uint8_t *in)
{
    float d = half_at(in + 208);
    for (size_t i = 0; i < 256; i++) {
        size_t part = i / 128, j = i % 128;
        int low = in[part * 64 + j % 64] >> j / 64 * 4 & 15;
        int high = in[128 + part * 32 + j % 32] >> j / 32 * 2 & 3;
        float scale = d * (float)(int8_t)in[192 + i / 16];
        out[i] = scale * (float)((low | high << 4) - 32);
    }
}

/* The values that four bits stand for in the IQ4 types: denser around zero, where weights are. */
const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                               1,    13,   25,  38,  53,  69,  89,  113};

/* d:2 q:16, halves of bytes as in Q4_0.
 *     x = d value[q] */
static void unpack_iq4_nl(float *out, const uint8_t *in)
{
    float d = half_at(in);
    for (size_t j = 0; j < 16; j++) {
        out[j] = d * (float)iq4_values[in[2 + j] & 15];
        out[j + 16] = d * (float)iq4_values[in[2 + j] >> 4];
    }
}

/* d:2 h:2 l:4 q:128, 8 groups of 32 with 16 bytes of q each, halves as in Q4_0. The scale of group
 * g has its low 4 bits in half g of l, its high 2 in pair g of h.
 *     x = (d (s - 32)) value[q] */
static void unpack_iq4_xs(float *out, const uint8_t *in)
{
    float d = half_at(in);
    unsigned h = in[2] | (unsigned)in[3] << 8;
    for (size_t g = 0; g < 8; g++, out += 32) {
        unsigned s = (in[4 + g / 2] >> g % 2 * 4 & 15u) | (h >> 2 * g & 3) << 4;
        float scale = d * (float)((int)s - 32);
        const uint8_t *q = in + 8 + 16 * g;
        for (size_t j = 0; j < 16; j++) {
            out[j] = scale * (float)iq4_values[q[j] & 15];
            out[j + 16] = scale * (float)iq4_values[q[j] >> 4];
        }
    }
}

static void (*const unpackers[])(float *out, const uint8_t *in) = {
    [DTYPE_Q4_0] = unpack_q4_0, [DTYPE_Q4_1] = unpack_q4_1,     [DTYPE_Q5_0] = unpack_q5_0,
    [DTYPE_Q5_1] = unpack_q5_1, [DTYPE_Q8_0] = unpack_q8_0,     [DTYPE_Q2_K] = unpack_q2_k,
    [DTYPE_Q3_K] = unpack_q3_k, [DTYPE_Q4_K] = unpack_q4_k,     [DTYPE_Q5_K] = unpack_q5_k,
    [DTYPE_Q6_K] = unpack_q6_k, [DTYPE_IQ4_NL] = unpack_iq4_nl, [DTYPE_IQ4_XS] = unpack_iq4_xs,
};

void unpack_blocks_ref(enum dtype type, float *out, const void *in, size_t n)
{
    assert((size_t)type < sizeof unpackers / sizeof unpackers[0] && unpackers[type]);
    const struct dtype_info *info = dtype_info(type);
    const uint8_t *block = in;
    for (size_t i = 0; i < n; i += info->block, block += info->bytes)
        unpackers[type](out + i, block);
}
