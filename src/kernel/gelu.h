/* GELU, x Phi(x) with the normal distribution's Phi (Hendrycks and Gimpel 2016), in scalar form
 * here, in vector form in simd/gelu.c with the same operations in the same order, so that every
 * table gives the same bits.
 *
 * The tanh form: 0.5 x (1 + tanh(u)) = x / (1 + exp(-2 u)),  u = sqrt(2/pi) (x + 0.044715 x^3).
 *
 * The erf form: x Phi(x) = max(x, 0) - a Phi(-a) with a = |x|, and with t = 1 / (1 + 0.3 a)
 *
 *     Phi(-a) = exp(-a^2 / 2) t Q(t),  Q of degree 7
 *
 * (the form of Hastings, 1955). Q minimises the relative error (5.0e-8, below half an ulp) for a up
 * to 10; beyond, a Phi(-a) is below 1e-22. So the difference cancels nowhere: where x is negative
 * it is a Phi(-a) alone. Above GELU_MOST that is 0, and infinity would be 0 times infinity.
 */
#ifndef KERNEL_GELU_H
#define KERNEL_GELU_H

#include "kernel/exp.h"

#define GELU_SCALE (-0x1.988454p+0f) /* -2 sqrt(2/pi) */
#define GELU_CUBIC 0x1.6e4e26p-5f    /* 0.044715 */

#define GELU_MOST 30.0f
#define GELU_T    0x1.333334p-2f /* 0.3 */
#define GELU_Q0   0x1.e9e6fap-4f
#define GELU_Q1   0x1.f0124ep-4f
#define GELU_Q2   0x1.9068b0p-4f
#define GELU_Q3   0x1.157f16p-3f
#define GELU_Q4   (-0x1.107ba0p-4f)
#define GELU_Q5   0x1.c2bbdcp-3f
#define GELU_Q6   (-0x1.521410p-3f)
#define GELU_Q7   0x1.3397d8p-5f

static inline float gelu_tanh_scalar(float x)
{
    float u = x * fmaf(GELU_CUBIC, x * x, 1.0f);
    return x / (1.0f + exp_scalar(GELU_SCALE * u));
}

static inline float gelu_erf_scalar(float x)
{
    float a = fabsf(x) < GELU_MOST ? fabsf(x) : GELU_MOST;
    float t = 1.0f / fmaf(GELU_T, a, 1.0f);
    float q = fmaf(t, GELU_Q7, GELU_Q6);
    q = fmaf(t, q, GELU_Q5);
    q = fmaf(t, q, GELU_Q4);
    q = fmaf(t, q, GELU_Q3);
    q = fmaf(t, q, GELU_Q2);
    q = fmaf(t, q, GELU_Q1);
    q = fmaf(t, q, GELU_Q0);
    float tail = exp_scalar(-0.5f * a * a) * (t * q);
    return (0.0f < x ? x : 0.0f * x) - a * tail;
}

#endif
