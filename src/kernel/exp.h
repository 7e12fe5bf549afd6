/* The exponentials of every kernel: polynomials, in scalar form here, in vector form in simd/simd.h
 * with the same operations in the same order, so that both give the same bits.
 *
 *     n = round(x / ln 2),  r = x - n ln 2,  |r| <= ln(2)/2
 *     exp(x) = 2^n (1 + r + r^2 P(r)),  P of degree 4
 *
 * P minimises the relative error (3.1e-9, a twentieth of half an ulp) over the interval; measured
 * over all float32 arguments the result is within 1.01 ulp where it is normal (13 of them are
 * beyond 1) and within 0.75 of the smallest subnormal below. Below -104 the result is 0, above 88.8
 * infinity; -inf gives 0 and NaN gives NaN.
 */
#ifndef KERNEL_EXP_H
#define KERNEL_EXP_H

#include <math.h>
#include <stdint.h>

#include "base/half.h"

#define EXP_MIN     (-104.0f) /* exp of it is below half the smallest subnormal */
#define EXP_MAX     89.0f     /* exp of it is above the largest float32 */
#define EXP_LOG2E   0x1.715476p+0f
#define EXP_LN2     0x1.62e430p-1f
#define EXP_LN2_LOW (-0x1.05c610p-29f) /* ln 2 minus EXP_LN2 */
#define EXP_P0      0x1.fffffcp-2f
#define EXP_P1      0x1.555492p-3f
#define EXP_P2      0x1.5558f2p-5f
#define EXP_P3      0x1.123a20p-7f
#define EXP_P4      0x1.6a23cep-10f

static inline float exp_scalar(float x)
{
    if (x < EXP_MIN)
        x = EXP_MIN;
    if (x > EXP_MAX)
        x = EXP_MAX;
    if (isnan(x))
        return x;
    float n = rintf(x * EXP_LOG2E);
    float r = fmaf(-n, EXP_LN2, x);
    r = fmaf(-n, EXP_LN2_LOW, r);
    float p = fmaf(r, EXP_P4, EXP_P3);
    p = fmaf(r, p, EXP_P2);
    p = fmaf(r, p, EXP_P1);
    p = fmaf(r, p, EXP_P0);
    float y = fmaf(r * r, p, r) + 1.0f;
    /* 2^n in two factors, each a normal number, so that results may be subnormal or infinite */
    int whole = (int)n, half = (int)floorf(0.5f * n);
    float low = float_from_bits((uint32_t)(half + 127) << 23);
    float high = float_from_bits((uint32_t)(whole - half + 127) << 23);
    return y * low * high;
}

/* 2^x for x <= 0, as softmax wants it: attention keeps its scores in units of log 2.
 *
 *     n = floor(x),  r = x - n in [0, 1),  2^x = 2^n P(r),  P of degree 5 with P(0) = 1
 *
 * Relative error of P 9.4e-8. 2^0 is 1 exactly, 2^-inf is 0, NaN stays NaN. */
#define EXP2_MIN (-200.0f) /* far below where the result is 0 */
#define EXP2_P1  0x1.62e4bap-1f
#define EXP2_P2  0x1.ebdb56p-3f
#define EXP2_P3  0x1.c91ce6p-5f
#define EXP2_P4  0x1.277856p-7f
#define EXP2_P5  0x1.e974fap-10f

static inline float exp2_scalar(float x)
{
    if (isnan(x))
        return x;
    if (x < EXP2_MIN)
        x = EXP2_MIN;
    float n = floorf(x), r = x - n;
    float p = fmaf(r, EXP2_P5, EXP2_P4);
    p = fmaf(r, p, EXP2_P3);
    p = fmaf(r, p, EXP2_P2);
    p = fmaf(r, p, EXP2_P1);
    p = fmaf(r, p, 1.0f);
    int whole = (int)n, half = (int)floorf(0.5f * n);
    float low = float_from_bits((uint32_t)(half + 127) << 23);
    float high = float_from_bits((uint32_t)(whole - half + 127) << 23);
    return p * low * high;
}

/* tanh(x) = 1 - 2 / (exp(2 x) + 1), and near 0, where that cancels, its series to x^7:
 * the first term left out is 62/2835 x^9, 8.4e-8 of x at the border. */
#define TANH_SMALL 0.25f
#define TANH_P3    (-0x1.555556p-2f) /* -1/3 */
#define TANH_P5    0x1.111112p-3f    /* 2/15 */
#define TANH_P7    (-0x1.ba1ba2p-5f) /* -17/315 */

static inline float tanh_scalar(float x)
{
    float x2 = x * x;
    if (x2 < TANH_SMALL * TANH_SMALL)
        return x * fmaf(x2, fmaf(x2, fmaf(x2, TANH_P7, TANH_P5), TANH_P3), 1.0f);
    return 1.0f - 2.0f / (exp_scalar(2.0f * x) + 1.0f);
}

#endif
