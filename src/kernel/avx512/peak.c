/* The bursts of dot products. Twelve sums, as in simd/peak.c. */
#include <immintrin.h>

#include "kernel/peak.h"

enum { STEPS = 4096, SUMS = 12, LANES = 16 };

/* Each lane multiplies two pairs and adds both products to its sum. */
double peak_bf16_avx512(void)
{
    __m512 sum[SUMS];
    __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(0.5f)), b = a;
    for (size_t i = 0; i < SUMS; i++)
        sum[i] = _mm512_set1_ps(0.5f);
    for (size_t step = 0; step < STEPS; step++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (size_t i = 0; i < SUMS; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], a, b);
    }
    for (size_t i = 0; i < SUMS; i++)
        __asm__ volatile("" : : "v"(sum[i]));
    return 4.0 * STEPS * SUMS * LANES;
}

/* Each lane multiplies four pairs and adds all products to its sum (VNNI). */
double peak_int8_avx512(void)
{
    __m512i sum[SUMS], a = _mm512_set1_epi8(3), b = a;
    for (size_t i = 0; i < SUMS; i++)
        sum[i] = a;
    for (size_t step = 0; step < STEPS; step++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (size_t i = 0; i < SUMS; i++)
            sum[i] = _mm512_dpbusd_epi32(sum[i], a, b);
    }
    for (size_t i = 0; i < SUMS; i++)
        __asm__ volatile("" : : "v"(sum[i]));
    return 8.0 * STEPS * SUMS * LANES;
}
