/* Float32 to the plain block types, with the bytes of GGUF's reference quantiser: one scale, or a
 * scale and a least value, from the extremes of 32 elements. Layouts: unpack_blocks.c. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "kernel/ref/quantise.h"
#include "kernel/ref/ref.h"

enum { BLOCK = 32 };

/* 1 / d, and 0 where d is so small that its f16 is 0 anyway. */
static float inverse(float d)
{
    return fabsf(d) < 0x1p-100f ? 0 : 1 / d;
}

/* x rounded down, within 0 to most. x is above -1. */
static uint8_t floor_to(float x, int most)
{
    int q = (int)x;
    return (uint8_t)(q < 0 ? 0 : q > most ? most : q);
}

/* The element of the largest magnitude, the first of several. */
static float extreme(const float *x)
{
    float most = x[0];
    for (size_t i = 1; i < BLOCK; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    return most;
}

/* Elements j and j + 16 share a byte. */
static void put_halves(uint8_t *out, const uint8_t *q)
{
    for (size_t j = 0; j < BLOCK / 2; j++)
        out[j] = (uint8_t)((q[j] & 15) | q[j + BLOCK / 2] << 4);
}

static void put_fifth_bits(uint8_t *out, const uint8_t *q)
{
    memset(out, 0, BLOCK / 8);
    for (size_t j = 0; j < BLOCK; j++)
        out[j / 8] |= (uint8_t)((q[j] >> 4) << j % 8);
}

/* q = floor(x / d + half + 1/2): the extreme becomes 0, which lies farther from the middle than the
 * other end does. */
static float centred(uint8_t *q, const float *x, int half)
{
    float d = extreme(x) / (float)-half, id = inverse(d);
    for (size_t j = 0; j < BLOCK; j++)
        q[j] = floor_to(x[j] * id + ((float)half + 0.5f), 2 * half - 1);
    return d;
}

/* q = floor((x - least) / d + 1/2), d = (largest - least) / most */
static float spread(uint8_t *q, const float *x, int most, float *least)
{
    float low = x[0], high = x[0];
    for (size_t j = 1; j < BLOCK; j++) {
        low = x[j] < low ? x[j] : low;
        high = x[j] > high ? x[j] : high;
    }
    float d = (high - low) / (float)most, id = inverse(d);
    for (size_t j = 0; j < BLOCK; j++)
        q[j] = floor_to((x[j] - low) * id + 0.5f, most);
    *least = low;
    return d;
}

static void quantise_q4_0(uint8_t *out, const float *x)
{
    uint8_t q[BLOCK];
    half_put(out, centred(q, x, 8));
    put_halves(out + 2, q);
}

static void quantise_q4_1(uint8_t *out, const float *x)
{
    uint8_t q[BLOCK];
    float least;
    half_put(out, spread(q, x, 15, &least));
    half_put(out + 2, least);
    put_halves(out + 4, q);
}

static void quantise_q5_0(uint8_t *out, const float *x)
{
    uint8_t q[BLOCK];
    half_put(out, centred(q, x, 16));
    put_fifth_bits(out + 2, q);
    put_halves(out + 6, q);
}

static void quantise_q5_1(uint8_t *out, const float *x)
{
    uint8_t q[BLOCK];
    float least;
    half_put(out, spread(q, x, 31, &least));
    half_put(out + 2, least);
    put_fifth_bits(out + 4, q);
    put_halves(out + 8, q);
}

/* q = x / d to the nearest, ties away from zero; d = largest magnitude / 127. */
static void quantise_q8_0(uint8_t *out, const float *x)
{
    float d = fabsf(extreme(x)) / 127, id = inverse(d);
    half_put(out, d);
    for (size_t j = 0; j < BLOCK; j++)
        out[2 + j] = (uint8_t)(int8_t)roundf(x[j] * id);
}

static void (*const quantisers[])(uint8_t *out, const float *x) = {
    [DTYPE_Q4_0] = quantise_q4_0,     [DTYPE_Q4_1] = quantise_q4_1,
    [DTYPE_Q5_0] = quantise_q5_0,     [DTYPE_Q5_1] = quantise_q5_1,
    [DTYPE_Q8_0] = quantise_q8_0,     [DTYPE_Q2_K] = quantise_q2_k,
    [DTYPE_Q3_K] = quantise_q3_k,     [DTYPE_Q4_K] = quantise_q4_k,
    [DTYPE_Q5_K] = quantise_q5_k,     [DTYPE_Q6_K] = quantise_q6_k,
    [DTYPE_IQ4_NL] = quantise_iq4_nl, [DTYPE_IQ4_XS] = quantise_iq4_xs,
};

void quantise_blocks_ref(enum dtype type, void *out, const float *x, size_t n)
{
    assert((size_t)type < sizeof quantisers / sizeof quantisers[0] && quantisers[type]);
    const struct dtype_info *info = dtype_info(type);
    uint8_t *block = out;
    for (size_t i = 0; i < n; i += info->block, block += info->bytes)
        quantisers[type](block, x + i);
}
