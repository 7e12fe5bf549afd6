/* The bursts with vectors. Twelve sums fit the registers of every instruction set; an empty
 * assembler statement, which may have changed the factors, keeps the compiler from folding steps
 * together. */
#include "kernel/peak.h"
#include "kernel/simd/simd.h"

enum { STEPS = 4096, SUMS = 12 };

double SIMD(peak_f32)(void)
{
    vf sum[SUMS], a = vf_set(0.5f), b = vf_set(0.5f);
    for (size_t i = 0; i < SUMS; i++)
        sum[i] = b;
    for (size_t step = 0; step < STEPS; step++) {
        __asm__ volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 12
        for (size_t i = 0; i < SUMS; i++)
            sum[i] = vf_fma(sum[i], a, b);
    }
    for (size_t i = 0; i < SUMS; i++)
        __asm__ volatile("" : : "v"(sum[i]));
    return 2.0 * STEPS * SUMS * LANES;
}

/* Whole numbers, so that a sum of anything costs the same. */
typedef unsigned long long vi __attribute__((vector_size(LANES * sizeof(float)), may_alias));

unsigned SIMD(peak_read)(const char *memory, size_t n)
{
    enum { WIDE = 256 / sizeof(vi) };
    size_t part = n / PEAK_STREAMS;
    vi sum[WIDE] = {{0}};
    for (size_t at = 0; at < part; at += 256)
        for (size_t stream = 0; stream < PEAK_STREAMS; stream++) {
            const vi *p = (const vi *)(const void *)(memory + stream * part + at);
#pragma GCC unroll 8
            for (size_t i = 0; i < WIDE; i++)
                sum[i] += p[i];
        }
    for (size_t i = 1; i < WIDE; i++)
        sum[0] += sum[i];
    return (unsigned)sum[0][0];
}
