/* Rows of x for products with block-quantised weights. Contract and equations: kernel/quant.h. */
#include "kernel/quant.h"
#include "kernel/simd/bytes.h"
#include "kernel/simd/ops.h"
#if defined(__AVX512VNNI__)
#include "kernel/avx512/avx512.h"
#endif

/* LANES whole numbers of -128 to 127 as bytes. */
INLINE void store_bytes(int8_t *out, vi x)
{
#if defined(__AVX512F__)
    _mm_storeu_si128((void *)out, _mm512_cvtepi32_epi8(x));
#else
    __m256i order = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0,
                                     4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i four = _mm256_shuffle_epi8(x, order);
    __m128i all =
        _mm_unpacklo_epi32(_mm256_castsi256_si128(four), _mm256_extracti128_si256(four, 1));
    _mm_storel_epi64((void *)out, all);
#endif
}

/* The largest of the bits of n magnitudes: numbers in order, then infinity, then NaN. */
INLINE uint32_t largest_bits(const float *x, size_t n)
{
    vi most = vi_zero(), magnitude = vi_set(0x7fffffff);
    for (size_t i = 0; i < n; i += LANES)
        most = vi_larger(most, vi_and(vi_load(x + i), magnitude));
    return (uint32_t)vi_largest(most);
}

/* d of n elements, one of the levels or any, and what they are multiplied by, 0 where q is 0
 * whatever they are. */
INLINE float step_of(const float *x, size_t n, bool levels, float *inverse)
{
    uint32_t bits = largest_bits(x, n);
    float most;
    memcpy(&most, &bits, sizeof most);
    *inverse = 0;
    if (!(most <= QUANT_HUGE))
        return NAN;
    if (most < QUANT_TINY)
        return 0;
    float d = levels ? quant_level_up(most / 127) : most / 127;
    *inverse = levels ? 1 / d : 127 / most;
    return d;
}

static void block_32(struct quant_block32 *out, const float *x)
{
    float inverse;
    int sum = 0;
    out->d = step_of(x, 32, true, &inverse);
    if (inverse > 0) {
        vi lanes = vi_zero();
        for (size_t i = 0; i < 32; i += LANES) {
            vi q = vi_from_vf(vf_mul(vf_load(x + i), vf_set(inverse)));
            store_bytes(out->q + i, q);
            lanes = vi_add(lanes, q);
        }
        sum = vi_total(lanes);
    } else {
        memset(out->q, 0, sizeof out->q);
    }
    out->d_sum = out->d * (float)sum;
    out->start = -QUANT_ZERO * sum;
    out->lift = quant_lift(out->d);
}

/* A vector of bytes q, and the sums of each 16 of them, four times each. The bytes stay in
 * registers between: reading what was written in smaller pieces waits until that has reached the
 * cache. */
INLINE void bytes_and_sums(int8_t *q, int32_t *sums, const float *x, vf inverse)
{
    struct codes ones = {.u = vi_set_bytes(1)};
    vi four[4];
    for (size_t i = 0; i < 4; i++)
        four[i] = vi_from_vf(vf_mul(vf_load(x + i * LANES), inverse));
    vi bytes = vi_bytes(four);
    vi_store(q, bytes);
    vi_store(sums, vi_add_fours(vi_dot(false, vi_zero(), ones, bytes)));
}

static void block_256(struct quant_block256 *out, const float *x)
{
    float inverse;
    int32_t sums[64];
    out->d = step_of(x, 256, false, &inverse);
    if (inverse > 0) {
        for (size_t i = 0; i < 256; i += 4 * LANES)
            bytes_and_sums(out->q + i, sums + i / 4, x + i, vf_set(inverse));
    } else {
        memset(out->q, 0, sizeof out->q);
        memset(sums, 0, sizeof sums);
    }
    __asm__("" : "+m"(sums)); /* from memory: taking vectors apart is slower */
    for (size_t i = 0; i < 16; i++) {
        out->sum16[i] = (int16_t)sums[4 * i];
        out->start16[i] = -QUANT_ZERO * sums[4 * i];
    }
    for (size_t i = 0; i < 8; i++) {
        int sum = sums[8 * i] + sums[8 * i + 4];
        out->sum32[i] = (int16_t)sum;
        out->start32[i] = -QUANT_ZERO * sum;
    }
    memset(out->spare, 0, sizeof out->spare);
}

void SIMD(quant_row)(enum dtype type, void *out, const float *x, size_t inputs)
{
    if (quant_layout(type).inputs == 32)
        for (size_t i = 0; i < inputs / 32; i++)
            block_32((struct quant_block32 *)out + i, x + 32 * i);
    else
        for (size_t i = 0; i < inputs / 256; i++)
            block_256((struct quant_block256 *)out + i, x + 256 * i);
}
