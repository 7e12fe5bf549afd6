/* What the searches for scales share: lanes, weights, rounding. */
#ifndef KERNEL_REF_FIT_H
#define KERNEL_REF_FIT_H

#include <math.h>
#include <stddef.h>

#include "base/half.h"

/* Sums run in this many lanes, whatever the machine: element i goes to lane i % LANES. */
enum { LANES = 8 };

#define MOST_HALF 65504.0f /* the largest f16 */

static inline float fold_lanes(const float *s)
{
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

/* As it will be read. */
static inline float as_half(float x)
{
    return f16_to_float(f16_from_float(x));
}

/* w = rms(x) + |x|; returns the sum, above 0. */
static inline float weigh_group(float *w, const float *x, size_t n)
{
    float squares[LANES] = {0}, sums[LANES] = {0};
    for (size_t i = 0; i < n; i++)
        squares[i % LANES] += x[i] * x[i];
    float rms = sqrtf(fold_lanes(squares) / (float)n);
    for (size_t i = 0; i < n; i++) {
        w[i] = rms > 0 ? rms + fabsf(x[i]) : 1;
        sums[i % LANES] += w[i];
    }
    return fold_lanes(sums);
}

#endif
