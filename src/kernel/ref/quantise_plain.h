/* Float32 to the plain block types, with the bytes of GGUF's reference quantiser: one scale, or a
 * scale and a least value, from the extremes of 32 elements. Layouts: unpack_blocks.c. */
#ifndef KERNEL_REF_QUANTISE_PLAIN_H
#define KERNEL_REF_QUANTISE_PLAIN_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernel/ref/fit.h"

enum { PLAIN = 32 }; /* elements of a block */

/* 1 / d, and 0 where d is so small that its f16 is 0 anyway. */
static inline float plain_inverse(float d)
{
    return fabsf(d) < 0x1p-100f ? 0 : 1 / d;
}

/* x rounded down, within 0 to most. x is above -1. */
static inline uint8_t plain_floor(float x, int most)
{
    int q = (int)x;
    return (uint8_t)(q < 0 ? 0 : q > most ? most : q);
}

/* The element of the largest magnitude, the first of several. */
static inline float plain_extreme(const float *x)
{
    float most = x[0];
    for (size_t i = 1; i < PLAIN; i++)
        if (fabsf(x[i]) > fabsf(most))
            most = x[i];
    return most;
}

/* Elements j and j + 16 share a byte. */
static inline void plain_put_halves(uint8_t *out, const uint8_t *q)
{
    for (size_t j = 0; j < PLAIN / 2; j++)
        out[j] = (uint8_t)((q[j] & 15) | q[j + PLAIN / 2] << 4);
}

static inline void plain_put_fifth_bits(uint8_t *out, const uint8_t *q)
{
    memset(out, 0, PLAIN / 8);
    for (size_t j = 0; j < PLAIN; j++)
        out[j / 8] |= (uint8_t)((q[j] >> 4) << j % 8);
}

/* q = floor(x / d + half + 1/2): the extreme becomes 0, which lies farther from the middle than the
 * other end does. */
static inline float plain_centred(uint8_t *q, const float *x, int half)
{
    float d = plain_extreme(x) / (float)-half, id = plain_inverse(d);
    for (size_t j = 0; j < PLAIN; j++)
        q[j] = plain_floor(x[j] * id + ((float)half + 0.5f), 2 * half - 1);
    return d;
}

/* q = floor((x - least) / d + 1/2), d = (largest - least) / most */
static inline float plain_spread(uint8_t *q, const float *x, int most, float *least)
{
    float low = x[0], high = x[0];
    for (size_t j = 1; j < PLAIN; j++) {
        low = x[j] < low ? x[j] : low;
        high = x[j] > high ? x[j] : high;
    }
    float d = (high - low) / (float)most, id = plain_inverse(d);
    for (size_t j = 0; j < PLAIN; j++)
        q[j] = plain_floor((x[j] - low) * id + 0.5f, most);
    *least = low;
    return d;
}

static inline void quantise_q4_0(uint8_t *out, const float *x)
{
    uint8_t q[PLAIN];
    half_put(out, plain_centred(q, x, 8));
    plain_put_halves(out + 2, q);
}

static inline void quantise_q4_1(uint8_t *out, const float *x)
{
    uint8_t q[PLAIN];
    float least;
    half_put(out, plain_spread(q, x, 15, &least));
    half_put(out + 2, least);
    plain_put_halves(out + 4, q);
}

static inline void quantise_q5_0(uint8_t *out, const float *x)
{
    uint8_t q[PLAIN];
    half_put(out, plain_centred(q, x, 16));
    plain_put_fifth_bits(out + 2, q);
    plain_put_halves(out + 6, q);
}

static inline void quantise_q5_1(uint8_t *out, const float *x)
{
    uint8_t q[PLAIN];
    float least;
    half_put(out, plain_spread(q, x, 31, &least));
    half_put(out + 2, least);
    plain_put_fifth_bits(out + 4, q);
    plain_put_halves(out + 8, q);
}

/* q = x / d to the nearest, ties away from zero; d = largest magnitude / 127. */
static inline void quantise_q8_0(uint8_t *out, const float *x)
{
    float d = fabsf(plain_extreme(x)) / 127, id = plain_inverse(d);
    half_put(out, d);
    for (size_t j = 0; j < PLAIN; j++)
        out[2 + j] = (uint8_t)(int8_t)roundf(x[j] * id);
}

#endif
