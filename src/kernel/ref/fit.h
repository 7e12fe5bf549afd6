/* What quantisers share: lanes, weights, rounding. The bodies are compiled once per instruction set
 * and have the same bits in each. */
#ifndef KERNEL_REF_FIT_H
#define KERNEL_REF_FIT_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/half.h"

/* Sums run in this many lanes, whatever the machine: element i goes to lane i % FIT_LANES. Vectors
 * are never passed by value: how they would be depends on the instruction set. */
enum { FIT_LANES = 8 };

typedef float lanes __attribute__((vector_size(4 * FIT_LANES)));
typedef int32_t lane_bits __attribute__((vector_size(4 * FIT_LANES)));

/* A block of the K types. */
enum { K_BLOCK = 256, K_GROUPS_MOST = 16 };

#define MOST_HALF 65504.0f /* the largest f16 */

static inline void lanes_load(lanes *out, const float *in)
{
    memcpy(out, in, sizeof *out);
}

static inline float lanes_fold(const lanes *v)
{
    const lanes s = *v;
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

/* The whole number nearest to x within low to high, both of less than 2^22: adding 1.5 times 2^23
 * leaves no room for a fraction. */
static inline float nearest(float x, float low, float high)
{
    x = x > low ? x : low;
    x = x < high ? x : high;
    return (x + 0x1.8p23f) - 0x1.8p23f;
}

/* Stores a scale. */
static inline void half_put(uint8_t *out, float x)
{
    uint16_t h = f16_from_float(x);
    out[0] = (uint8_t)h;
    out[1] = (uint8_t)(h >> 8);
}

/* The same of every lane. */
static inline void lanes_nearest(lanes *x, float low, float high)
{
    const lanes zero = {0}, lows = zero + low, highs = zero + high;
    lane_bits above = *x > lows;
    *x = (lanes)((above & (lane_bits)*x) | (~above & (lane_bits)lows));
    lane_bits below = *x < highs;
    *x = (lanes)((below & (lane_bits)*x) | (~below & (lane_bits)highs));
    *x = (*x + 0x1.8p23f) - 0x1.8p23f;
}

/* As it will be read. */
static inline float as_half(float x)
{
    return f16_to_float(f16_from_float(x));
}

/* w = rms(x) + |x|; returns the sum, above 0. */
static inline float weigh_group(float *w, const float *x, size_t n)
{
    lanes squares = {0}, sums = {0}, v;
    for (size_t i = 0; i < n; i += FIT_LANES) {
        lanes_load(&v, x + i);
        squares += v * v;
    }
    float rms = sqrtf(lanes_fold(&squares) / (float)n);
    for (size_t i = 0; i < n; i++)
        w[i] = rms > 0 ? rms + fabsf(x[i]) : 1;
    for (size_t i = 0; i < n; i += FIT_LANES) {
        lanes_load(&v, w + i);
        sums += v;
    }
    return lanes_fold(&sums);
}

#endif
