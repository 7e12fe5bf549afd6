/* Vectors of bytes and whole numbers beside simd.h's floats: what products with block-quantised
 * weights are made of. vi is a vector of LANES 32-bit lanes, four bytes each. */
#ifndef KERNEL_SIMD_BYTES_H
#define KERNEL_SIMD_BYTES_H

#include <stdbool.h>

#include "kernel/simd/simd.h"

/* Four bytes of a row. */
typedef int word __attribute__((may_alias));

#if defined(__AVX512F__)

typedef __m512i vi;

INLINE vi vi_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

INLINE void vi_store(void *p, vi x)
{
    _mm512_storeu_si512(p, x);
}

INLINE vi vi_zero(void)
{
    return _mm512_setzero_si512();
}

INLINE vi vi_set(int x)
{
    return _mm512_set1_epi32(x);
}

INLINE vi vi_set_bytes(int x)
{
    return _mm512_set1_epi8((char)x);
}

INLINE vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}

/* a, and the bits of b where mask is */
INLINE vi vi_or_and(vi a, vi b, vi mask)
{
    return _mm512_ternarylogic_epi32(a, b, mask, 0xf8);
}

/* Each lane shifted by n bits, to the left where n is negative. */
INLINE vi vi_shift(vi x, int n)
{
    if (n == 0)
        return x;
    return n > 0 ? _mm512_srli_epi32(x, (unsigned)n) : _mm512_slli_epi32(x, (unsigned)-n);
}

/* The same by a variable number of bits, to the right. */
INLINE vi vi_shift_by(vi x, int n)
{
    return _mm512_srl_epi32(x, _mm_cvtsi32_si128(n));
}

INLINE vi vi_shift_signed(vi x, int n)
{
    return _mm512_srai_epi32(x, (unsigned)n);
}

INLINE vi vi_larger(vi a, vi b)
{
    return _mm512_max_epi32(a, b);
}

INLINE vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}

/* Each four lanes' sum in all of them. */
/* The lanes of four vectors, each of -128 to 127, as bytes in order. Packing works within 128 bits.
 */
INLINE vi vi_bytes(const vi x[4])
{
    __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i first = _mm512_packs_epi32(x[0], x[1]), second = _mm512_packs_epi32(x[2], x[3]);
    return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(first, second));
}

INLINE vi vi_add_fours(vi x)
{
    x = _mm512_add_epi32(x, _mm512_shuffle_epi32(x, 0x4e));
    return _mm512_add_epi32(x, _mm512_shuffle_epi32(x, 0xb1));
}

/* The largest of the lanes, and their sum. */
INLINE int vi_largest(vi x)
{
    return _mm512_reduce_max_epi32(x);
}

INLINE int vi_total(vi x)
{
    return _mm512_reduce_add_epi32(x);
}

INLINE vi vi_add_bytes(vi a, vi b)
{
    return _mm512_add_epi8(a, b);
}

/* sum + both products of 16 bits in each lane */
INLINE vi vi_dot_pairs(vi sum, vi a, vi b)
{
#if defined(__AVX512VNNI__)
    return _mm512_dpwssd_epi32(sum, a, b);
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}

/* 2 LANES bytes widened to 16 bits, and LANES to 32. */
INLINE vi vi_from_bytes_signed(const void *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(p));
}

INLINE vi vi_from_bytes(const void *p)
{
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256(p));
}

INLINE vi vi_from_bytes_far(const void *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(p));
}

/* table[x] for bytes x of 0 to 15 */
INLINE vi vi_look_up(const void *table, vi x)
{
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table)), x);
}

INLINE vf vf_from_vi(vi x)
{
    return _mm512_cvtepi32_ps(x);
}

/* The floats of these bits. */
INLINE vf vf_from_bits(vi x)
{
    return _mm512_castsi512_ps(x);
}

INLINE vi vi_from_vf(vf x)
{
    return _mm512_cvtps_epi32(x);
}

#else

typedef __m256i vi;

INLINE vi vi_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

INLINE void vi_store(void *p, vi x)
{
    _mm256_storeu_si256(p, x);
}

INLINE vi vi_zero(void)
{
    return _mm256_setzero_si256();
}

INLINE vi vi_set(int x)
{
    return _mm256_set1_epi32(x);
}

INLINE vi vi_set_bytes(int x)
{
    return _mm256_set1_epi8((char)x);
}

INLINE vi vi_and(vi a, vi b)
{
    return _mm256_and_si256(a, b);
}

INLINE vi vi_or_and(vi a, vi b, vi mask)
{
    return _mm256_or_si256(a, _mm256_and_si256(b, mask));
}

INLINE vi vi_shift(vi x, int n)
{
    if (n == 0)
        return x;
    return n > 0 ? _mm256_srli_epi32(x, n) : _mm256_slli_epi32(x, -n);
}

INLINE vi vi_shift_by(vi x, int n)
{
    return _mm256_srl_epi32(x, _mm_cvtsi32_si128(n));
}

INLINE vi vi_shift_signed(vi x, int n)
{
    return _mm256_srai_epi32(x, n);
}

INLINE vi vi_larger(vi a, vi b)
{
    return _mm256_max_epi32(a, b);
}

INLINE vi vi_add(vi a, vi b)
{
    return _mm256_add_epi32(a, b);
}

INLINE vi vi_bytes(const vi x[4])
{
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i first = _mm256_packs_epi32(x[0], x[1]), second = _mm256_packs_epi32(x[2], x[3]);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second), order);
}

INLINE vi vi_add_fours(vi x)
{
    x = _mm256_add_epi32(x, _mm256_shuffle_epi32(x, 0x4e));
    return _mm256_add_epi32(x, _mm256_shuffle_epi32(x, 0xb1));
}

INLINE int vi_largest(vi x)
{
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

INLINE int vi_total(vi x)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

INLINE vi vi_add_bytes(vi a, vi b)
{
    return _mm256_add_epi8(a, b);
}

INLINE vi vi_dot_pairs(vi sum, vi a, vi b)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}

INLINE vi vi_from_bytes_signed(const void *p)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(p));
}

INLINE vi vi_from_bytes(const void *p)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128(p));
}

INLINE vi vi_from_bytes_far(const void *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
}

INLINE vi vi_look_up(const void *table, vi x)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table)), x);
}

INLINE vf vf_from_vi(vi x)
{
    return _mm256_cvtepi32_ps(x);
}

INLINE vf vf_from_bits(vi x)
{
    return _mm256_castsi256_ps(x);
}

INLINE vi vi_from_vf(vf x)
{
    return _mm256_cvtps_epi32(x);
}

#endif

/* From an aligned place; such loads keep their order. */
INLINE vi vi_load_in_order(const void *p)
{
    return *(const volatile vi *)p;
}

INLINE vf vf_negate(vf x)
{
    return vf_sub(vf_set(-0.0f), x);
}

INLINE vi vi_broadcast(const void *p)
{
    return vi_set(*(const word *)p);
}

/* ---- Dot products of four bytes ---- */

/* Codes as the dot products take them. Without VNNI two products are added in 16 bits, with
 * saturation: codes of more than 7 bits become magnitudes of at most 128, whose signs go to x. */
struct codes {
    vi u;
#if !defined(__AVX512VNNI__) && defined(__AVX512F__)
    __mmask64 negative;
#elif !defined(__AVX512VNNI__)
    vi sign;
#endif
};

/* Whether codes of 8 bits are multiplied as u - QUANT_ZERO. */
#if defined(__AVX512VNNI__)
enum { WIDE_CODES_ARE_SIGNED = 0 };
#else
enum { WIDE_CODES_ARE_SIGNED = 1 };
#endif

INLINE struct codes codes_make(bool wide, vi u)
{
    struct codes codes = {.u = u};
#if !defined(__AVX512VNNI__) && defined(__AVX512F__)
    vi w = _mm512_xor_si512(u, vi_set_bytes(-128));
    codes.negative = wide ? _mm512_movepi8_mask(w) : 0;
    if (wide)
        codes.u = _mm512_abs_epi8(w);
#elif !defined(__AVX512VNNI__)
    codes.sign = _mm256_xor_si256(u, vi_set_bytes(-128));
    if (wide)
        codes.u = _mm256_abs_epi8(codes.sign);
#else
    (void)wide;
#endif
    return codes;
}

/* sum + the four products of each lane, exactly */
INLINE vi vi_dot(bool wide, vi sum, struct codes codes, vi x)
{
#if defined(__AVX512VNNI__)
    (void)wide;
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes.u), "v"(x));
    return sum;
#elif defined(__AVX512F__)
    if (wide)
        x = _mm512_mask_sub_epi8(x, codes.negative, vi_zero(), x);
    vi pairs = _mm512_maddubs_epi16(codes.u, x);
    return vi_dot_pairs(sum, pairs, _mm512_set1_epi16(1));
#else
    if (wide)
        x = _mm256_sign_epi8(x, codes.sign);
    vi pairs = _mm256_maddubs_epi16(codes.u, x);
    return vi_dot_pairs(sum, pairs, _mm256_set1_epi16(1));
#endif
}

#endif
