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
    _Alignas(64) uint32_t lanes[LANES];
    vi_store(lanes, most);
    uint32_t bits = 0;
    for (size_t i = 0; i < LANES; i++)
        bits = lanes[i] > bits ? lanes[i] : bits;
    return bits;
}

/* q of n elements, and the sums of each four of them; returns d. */
INLINE float round_block(int8_t *q, int32_t *sum4, const float *x, size_t n)
{
    uint32_t bits = largest_bits(x, n);
    float most;
    memcpy(&most, &bits, sizeof most);
    if (!(most >= QUANT_TINY) || bits >= 0x7f800000u) {
        memset(q, 0, n);
        memset(sum4, 0, n);
        return bits >= 0x7f800000u ? NAN : 0;
    }
    vf inverse = vf_set(127 / most);
    for (size_t i = 0; i < n; i += LANES)
        store_bytes(q + i, vi_from_vf(vf_mul(vf_load(x + i), inverse)));
    struct codes ones = {.u = vi_set_bytes(1)};
    for (size_t i = 0; i < n; i += 4 * LANES)
        vi_store(sum4 + i / 4, vi_dot(false, vi_zero(), ones, vi_load(q + i)));
    return most / 127;
}

static int sum_of(const int32_t *x, size_t n)
{
    int sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static void block_32(struct quant_block32 *out, const float *x)
{
    int8_t q[64] = {0};
    int32_t sum4[16];
    out->d = round_block(q, sum4, x, 32);
    memcpy(out->q, q, 32);
    int sum = sum_of(sum4, 8);
    out->d_sum = out->d * (float)sum;
    out->start = -QUANT_ZERO * sum;
    out->spare = 0;
}

static void block_256(struct quant_block256 *out, const float *x)
{
    int32_t sum4[64];
    memset(out, 0, sizeof *out);
    out->d = round_block(out->q, sum4, x, 256);
    for (size_t i = 0; i < 16; i++) {
        int sum = sum_of(sum4 + 4 * i, 4);
        out->sum16[i] = (int16_t)sum;
        out->start16[i] = -QUANT_ZERO * sum;
    }
    for (size_t i = 0; i < 8; i++) {
        int sum = out->sum16[2 * i] + out->sum16[2 * i + 1];
        out->sum32[i] = (int16_t)sum;
        out->start32[i] = -QUANT_ZERO * sum;
    }
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
