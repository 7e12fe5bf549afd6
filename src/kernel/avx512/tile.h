/* The sums of a tile in registers: up to 6 rows by up to 4 vectors, and the step that feeds them.
 *
 * Both products of attention, q K and p V, are sums of steps: one row of the right side (4 vectors,
 * loaded once) times one number of each row of the left side (broadcast). 24 of the 32 registers
 * hold sums, so 10 loads feed 24 multiply-adds, and a row's sums never meet another row's.
 *
 * Multiply-adds, loads and broadcasts are assembly in source order. Left to itself, gcc 12 hoists
 * loads to where no register is left for them and spills sums, and a spilled vector costs what 1.6
 * multiply-adds cost: 55 to 89% of this form's speed were measured. All is inlined into functions
 * where the form, R (rows) and W (vectors) are constants.
 */
#ifndef KERNEL_AVX512_TILE_H
#define KERNEL_AVX512_TILE_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "kernel/inline.h"

enum { TILE_ROWS = 6, TILE_VECTORS = 4, LANES = 16 };

struct sums {
    __m512 at[TILE_ROWS][TILE_VECTORS];
};

/* ---- Single instructions ---- */

INLINE __m512 lanes_load(const void *p)
{
    __m512 x;
    __asm__ volatile("vmovups %1, %0" : "=v"(x) : "m"(*(const __m512_u *)p));
    return x;
}

/* 16 halves widened: needs no multiplier, so it is as good as a plain load beside multiply-adds. */
INLINE __m512 lanes_load_f16(const void *p)
{
    __m512 x;
    __asm__ volatile("vcvtph2ps %1, %0" : "=v"(x) : "m"(*(const __m256i_u *)p));
    return x;
}

/* 16 bf16 widened. */
INLINE __m512 lanes_load_bf16(const void *p)
{
    __m512i x;
    __asm__ volatile("vpmovzxwd %1, %0" : "=v"(x) : "m"(*(const __m256i_u *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}

/* A float, or a pair of bf16. */
typedef float number __attribute__((may_alias));

INLINE __m512 lanes_broadcast(const void *p)
{
    __m512 x;
    __asm__ volatile("vbroadcastss %1, %0" : "=v"(x) : "m"(*(const number *)p));
    return x;
}

/* sum += a b */
INLINE void lanes_fma(__m512 *sum, __m512 a, __m512 b)
{
    __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

/* sum += a b, b the same number in all lanes */
INLINE void lanes_fma_one(__m512 *sum, __m512 a, const void *b)
{
    __asm__ volatile("vfmadd231ps %2%{1to16%}, %1, %0"
                     : "+v"(*sum)
                     : "v"(a), "m"(*(const number *)b));
}

/* sum += a0 b0 + a1 b1 of the pairs of bf16 in each lane */
INLINE void lanes_dot_bf16(__m512 *sum, __m512 a, __m512 b)
{
    __asm__ volatile("vdpbf16ps %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

/* The same with one pair of b in all lanes. */
INLINE void lanes_dot_bf16_one(__m512 *sum, __m512 a, const void *b)
{
    __asm__ volatile("vdpbf16ps %2%{1to16%}, %1, %0"
                     : "+v"(*sum)
                     : "v"(a), "m"(*(const number *)b));
}

/* ---- Pairs of bf16 ---- */

/* Two rows of 32 bf16 as 32 pairs in two vectors. Unpacking is free beside dot products, but works
 * within 128 bits: the first vector has columns 0-3, 8-11, 16-19, 24-27, the second the others. */
INLINE void pairs_load(__m512 pair[2], const char *a, const char *b)
{
    __m512i x = _mm512_castps_si512(lanes_load(a)), y = _mm512_castps_si512(lanes_load(b));
    pair[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(x, y));
    pair[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(x, y));
}

/* Two rows of 16, in order. */
INLINE __m512 pairs_load_half(const char *a, const char *b)
{
    __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)a));
    __m512i y = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)b));
    return _mm512_castsi512_ps(_mm512_or_si512(x, _mm512_slli_epi32(y, 16)));
}

/* Two vectors of sums over pairs_load's columns into order, and back. */
INLINE void pairs_order(__m512 x[2])
{
    __m512 low = _mm512_shuffle_f32x4(x[0], x[1], 0x44);
    __m512 high = _mm512_shuffle_f32x4(x[0], x[1], 0xee);
    x[0] = _mm512_shuffle_f32x4(low, low, 0xd8);
    x[1] = _mm512_shuffle_f32x4(high, high, 0xd8);
}

INLINE void pairs_disorder(__m512 x[2])
{
    __m512 first = _mm512_shuffle_f32x4(x[0], x[1], 0x88);
    x[1] = _mm512_shuffle_f32x4(x[0], x[1], 0xdd);
    x[0] = first;
}

/* ---- The tile ---- */

/* W vectors of a row of the right side, of form F32 or F16; of BF16, the pairs of two rows. */
INLINE void right_load(enum dtype form, size_t W, __m512 right[TILE_VECTORS], const char *b,
                       const char *next)
{
    if (form == DTYPE_BF16) {
        if (W > 1)
            pairs_load(right, b, next);
        if (W > 3)
            pairs_load(right + 2, b + 64, next + 64);
        if (W % 2)
            right[W - 1] = pairs_load_half(b + (W - 1) * 32, next + (W - 1) * 32);
        return;
    }
    UNROLL
    for (size_t w = 0; w < W; w++)
        right[w] = form == DTYPE_F32 ? lanes_load(b + 64 * w) : lanes_load_f16(b + 32 * w);
}

/* sums += left[r] x right for R rows; `stride` bytes from one row's number to the next row's. */
INLINE void tile_step(enum dtype form, size_t R, size_t W, struct sums *s, const char *left,
                      size_t stride, const char *b, const char *next)
{
    __m512 right[TILE_VECTORS];
    right_load(form, W, right, b, next);
    bool memory = form == DTYPE_F16 || R > 3;
    UNROLL
    for (size_t r = 0; r < R; r++) {
        __m512 a;
        if (!memory)
            a = lanes_broadcast(left + r * stride);
        UNROLL
        for (size_t w = 0; w < W; w++)
            if (form == DTYPE_BF16 && memory)
                lanes_dot_bf16_one(&s->at[r][w], right[w], left + r * stride);
            else if (form == DTYPE_BF16)
                lanes_dot_bf16(&s->at[r][w], a, right[w]);
            else if (memory)
                lanes_fma_one(&s->at[r][w], right[w], left + r * stride);
            else
                lanes_fma(&s->at[r][w], a, right[w]);
    }
}

INLINE void tile_zero(size_t R, size_t W, struct sums *s)
{
    UNROLL
    for (size_t r = 0; r < R; r++)
        UNROLL
    for (size_t w = 0; w < W; w++)
        s->at[r][w] = _mm512_setzero_ps();
}

/* Rows of `stride` floats. */
INLINE void tile_load(enum dtype form, size_t R, size_t W, struct sums *s, const float *from,
                      size_t stride)
{
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t w = 0; w < W; w++)
            s->at[r][w] = _mm512_loadu_ps(from + r * stride + w * LANES);
        if (form == DTYPE_BF16 && W > 1)
            pairs_disorder(s->at[r]);
        if (form == DTYPE_BF16 && W > 3)
            pairs_disorder(s->at[r] + 2);
    }
}

/* The vectors as they are: of BF16, in pairs_load's order. */
INLINE void tile_store_in_place(size_t R, size_t W, const struct sums *s, float *to, size_t stride)
{
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t w = 0; w < W; w++)
            _mm512_storeu_ps(to + r * stride + w * LANES, s->at[r][w]);
    }
}

INLINE void tile_store(enum dtype form, size_t R, size_t W, struct sums *s, float *to,
                       size_t stride)
{
    UNROLL
    for (size_t r = 0; r < R; r++) {
        if (form == DTYPE_BF16 && W > 1)
            pairs_order(s->at[r]);
        if (form == DTYPE_BF16 && W > 3)
            pairs_order(s->at[r] + 2);
    }
    tile_store_in_place(R, W, s, to, stride);
}

/* Row r times factor[r]. */
INLINE void tile_scale(size_t R, size_t W, struct sums *s, const float *factor)
{
    UNROLL
    for (size_t r = 0; r < R; r++) {
        __m512 x = lanes_broadcast(factor + r);
        UNROLL
        for (size_t w = 0; w < W; w++)
            s->at[r][w] = _mm512_mul_ps(s->at[r][w], x);
    }
}

#endif
