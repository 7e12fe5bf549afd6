/* One vector type for every instruction set: a body that includes this file is compiled once per
 * set, with that set's flags, and gets as many lanes as there are.
 *
 * vf is a vector of LANES floats, vm a mask of LANES bits. All operations are exact IEEE ones; the
 * reductions fold halves together, an order that depends on LANES alone.
 */
#ifndef KERNEL_SIMD_SIMD_H
#define KERNEL_SIMD_SIMD_H

#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel/exp.h"
#include "kernel/inline.h"

/* The only pasted names of the project: f becomes f_avx2 or f_avx512. */
#define SIMD_PASTE2(name, set) name##_##set
#define SIMD_PASTE(name, set)  SIMD_PASTE2(name, set)
#define SIMD(name)             SIMD_PASTE(name, TRIB_SIMD)

#if defined(__AVX512F__)

enum { LANES = 16 };
typedef __m512 vf;
typedef __mmask16 vm;

static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void vf_store(float *p, vf x)
{
    _mm512_storeu_ps(p, x);
}

static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

/* a b + c, rounded once */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* The larger and the smaller; b where either is NaN. */
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

static inline vf vf_round(vf x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vf vf_floor(vf x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

/* y 2^n for whole n, rounded once. */
static inline vf vf_scale(vf y, vf n)
{
    return _mm512_scalef_ps(y, n);
}

/* The same for y in [1, 2] and n in [EXP2_MIN, 0]. */
static inline vf vf_scale_down(vf y, vf n)
{
    return vf_scale(y, n);
}

static inline vm vm_from_bits(uint64_t bits)
{
    return (vm)bits;
}

static inline vm vm_less(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline vf vf_select(vm mask, vf yes, vf no)
{
    return _mm512_mask_blend_ps(mask, no, yes);
}

/* The first n floats, zero in the other lanes; nothing past them is read. */
static inline vf vf_load_tail(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

static inline void vf_store_tail(float *p, vf x, size_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
}

static inline vf vf_from_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

static inline void vf_to_f16(uint16_t *p, vf x)
{
    _mm256_storeu_si256((void *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

static inline vf vf_from_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline vf vf_from_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}

/* Byte n of each of LANES pairs, signed. */
static inline vf vf_from_byte(const void *pairs, size_t n)
{
    __m512i x = _mm512_cvtepi16_epi32(_mm256_loadu_si256(pairs));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(n ? x : _mm512_slli_epi32(x, 24), n ? 8 : 24));
}

/* Rows to columns: LANES vectors of LANES floats, in place. Four stages of 2 x 2 exchanges, of
 * floats, pairs, quarters and halves. */
static inline void vf_transpose(vf r[16])
{
    vf t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_f32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_f32x4(r[i + j], r[i + j + 4], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_f32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_f32x4(t[j], t[j + 8], 0xdd);
    }
}

static inline __m256 vf_half(vf x, int high)
{
    __m512d d = _mm512_castps_pd(x);
    return _mm256_castpd_ps(high ? _mm512_extractf64x4_pd(d, 1) : _mm512_castpd512_pd256(d));
}

static inline __m256 vf_fold_add(vf x)
{
    return _mm256_add_ps(vf_half(x, 0), vf_half(x, 1));
}

static inline __m256 vf_fold_max(vf x)
{
    return _mm256_max_ps(vf_half(x, 0), vf_half(x, 1));
}

#elif defined(__AVX2__)

enum { LANES = 8 };
typedef __m256 vf;
typedef __m256 vm; /* the sign bit of each lane */

static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x);
}

static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

static inline vf vf_round(vf x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vf vf_floor(vf x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}

/* 2^n in two normal factors: only the last product rounds. */
static inline vf vf_scale(vf y, vf n)
{
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i bias = _mm256_set1_epi32(127);
    __m256i low = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i high = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
    return vf_mul(vf_mul(y, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high));
}

/* 2^n in a normal factor, 2^(n + 100), and a constant. */
static inline vf vf_scale_down(vf y, vf n)
{
    __m256i high = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    high = _mm256_add_epi32(high, _mm256_set1_epi32((100 + 127) << 23));
    return vf_mul(vf_mul(y, _mm256_castsi256_ps(high)), vf_set(0x1p-100f));
}

static inline vm vm_from_bits(uint64_t bits)
{
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_and_si256(_mm256_set1_epi32((int)(bits & 255)), lane);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane));
}

static inline vm vm_less(vf a, vf b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

static inline vf vf_select(vm mask, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, mask);
}

static inline vf vf_load_tail(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, _mm256_castps_si256(vm_from_bits((1u << n) - 1)));
}

static inline void vf_store_tail(float *p, vf x, size_t n)
{
    _mm256_maskstore_ps(p, _mm256_castps_si256(vm_from_bits((1u << n) - 1)), x);
}

static inline vf vf_from_f16(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p));
}

static inline void vf_to_f16(uint16_t *p, vf x)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

static inline vf vf_from_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline vf vf_from_i8(const int8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p)));
}

static inline vf vf_from_byte(const void *pairs, size_t n)
{
    __m256i x = _mm256_cvtepi16_epi32(_mm_loadu_si128(pairs));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(n ? x : _mm256_slli_epi32(x, 24), n ? 8 : 24));
}

static inline void vf_transpose(vf r[8])
{
    vf t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            __m256d a = _mm256_castps_pd(t[i + j]), b = _mm256_castps_pd(t[i + j + 2]);
            r[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
            r[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        }
    for (int j = 0; j < 4; j++) {
        vf low = r[j], high = r[j + 4];
        r[j] = _mm256_permute2f128_ps(low, high, 0x20);
        r[j + 4] = _mm256_permute2f128_ps(low, high, 0x31);
    }
}

static inline __m256 vf_fold_add(vf x)
{
    return x;
}

static inline __m256 vf_fold_max(vf x)
{
    return x;
}

#else
#error "a body of simd/ is compiled with the flags of an instruction set"
#endif

static inline float vf_sum(vf x)
{
    __m256 y = vf_fold_add(x);
    __m128 z = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_add_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_add_ss(z, _mm_movehdup_ps(z)));
}

/* The largest lane; which lane wins among NaN and numbers is unspecified. */
static inline float vf_largest(vf x)
{
    __m256 y = vf_fold_max(x);
    __m128 z = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    z = _mm_max_ps(z, _mm_movehl_ps(z, z));
    return _mm_cvtss_f32(_mm_max_ss(z, _mm_movehdup_ps(z)));
}

/* exp of every lane: kernel/exp.h, operation by operation. The bounds stand first, because the
 * second operand is what max and min return for NaN. */
static inline vf vf_exp(vf x)
{
    x = vf_min(vf_set(EXP_MAX), vf_max(vf_set(EXP_MIN), x));
    vf n = vf_round(vf_mul(x, vf_set(EXP_LOG2E)));
    vf r = vf_fma(n, vf_set(-EXP_LN2), x);
    r = vf_fma(n, vf_set(-EXP_LN2_LOW), r);
    vf p = vf_fma(r, vf_set(EXP_P4), vf_set(EXP_P3));
    p = vf_fma(r, p, vf_set(EXP_P2));
    p = vf_fma(r, p, vf_set(EXP_P1));
    p = vf_fma(r, p, vf_set(EXP_P0));
    vf y = vf_add(vf_fma(vf_mul(r, r), p, r), vf_set(1));
    return vf_scale(y, n);
}

/* 2^x of every lane, x <= 0: kernel/exp.h. */
static inline vf vf_exp2(vf x)
{
    x = vf_max(vf_set(EXP2_MIN), x);
    vf n = vf_floor(x), r = vf_sub(x, n);
    vf p = vf_fma(r, vf_set(EXP2_P5), vf_set(EXP2_P4));
    p = vf_fma(r, p, vf_set(EXP2_P3));
    p = vf_fma(r, p, vf_set(EXP2_P2));
    p = vf_fma(r, p, vf_set(EXP2_P1));
    p = vf_fma(r, p, vf_set(1));
    return vf_scale_down(p, n);
}

/* tanh of every lane: kernel/exp.h. */
static inline vf vf_tanh(vf x)
{
    vf x2 = vf_mul(x, x);
    vf p = vf_fma(x2, vf_set(TANH_P7), vf_set(TANH_P5));
    p = vf_fma(x2, p, vf_set(TANH_P3));
    vf small = vf_mul(x, vf_fma(x2, p, vf_set(1)));
    vf e = vf_exp(vf_mul(vf_set(2), x));
    vf large = vf_sub(vf_set(1), vf_div(vf_set(2), vf_add(e, vf_set(1))));
    return vf_select(vm_less(x2, vf_set(TANH_SMALL * TANH_SMALL)), small, large);
}

#endif
