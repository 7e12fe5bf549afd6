/* Conversions between float32 and the 16-bit floats, in portable C.
 *
 * To float32 they are exact. From float32 they round to nearest, ties to even, keep infinities and
 * signed zeros, and keep a NaN a (quiet) NaN. */
#ifndef BASE_HALF_H
#define BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float float_from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline float bf16_to_float(uint16_t h)
{
    return float_from_bits((uint32_t)h << 16);
}

static inline uint16_t bf16_from_float(float f)
{
    uint32_t u = float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x0040u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline float f16_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u) /* infinity, or NaN made quiet */
        return float_from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13 |
                               (magnitude > 0x7c00u ? 0x400000u : 0u));
    if (magnitude < 0x0400u) { /* zero or subnormal: magnitude times 2^-24, exact */
        float f = (float)magnitude * 0x1p-24f;
        return float_from_bits(sign | float_bits(f));
    }
    return float_from_bits(sign | ((magnitude << 13) + 0x38000000u));
}

static inline uint16_t f16_from_float(float f)
{
    uint32_t u = float_bits(f);
    uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    u &= 0x7fffffffu;
    if (u > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (u >> 13 & 0x3ffu));
    if (u >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (u < 0x38800000u) { /* below 2^-14: adding 0.5 rounds to a multiple of 2^-24 */
        float sum = float_from_bits(u) + 0.5f;
        return (uint16_t)(sign | (float_bits(sum) - 0x3f000000u));
    }
    u -= 0x38000000u;
    return (uint16_t)(sign | ((u + 0xfffu + (u >> 13 & 1u)) >> 13));
}

#endif
