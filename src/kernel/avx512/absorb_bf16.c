/* Absorbing panels of bf16 with the dot products of AVX512-BF16: q and the probabilities are
 * rounded to bf16, two products a lane are summed in float32 per step.
 *
 * The dot product takes numbers below 2^-126 for zero, on every side. */
#include "kernel/avx512/avx512.h"
#include "kernel/avx512/span.h"
#include "kernel/simd/ops.h"

/* q in pairs of dimensions; after an odd last one comes zero. */
static struct left round_queries(const struct absorb *t, uint16_t *pairs)
{
    size_t D = t->head_dim, stride = (D + 31) / 32 * 32;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t i = 0; i < D; i += 32) {
            const float *q = t->q + r * D + i;
            size_t n = D - i < 32 ? D - i : 32;
            __mmask32 there = (__mmask32)(((uint64_t)1 << n) - 1);
            __m512 low = _mm512_maskz_loadu_ps((__mmask16)there, q);
            __m512 high = _mm512_maskz_loadu_ps((__mmask16)(there >> 16), q + 16);
            _mm512_storeu_si512(pairs + r * stride + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
        }
    return (struct left){(const char *)pairs, stride * sizeof *pairs};
}

static void absorb_bf16(const struct absorb *t)
{
    _Alignas(64) uint16_t pairs[TILE_ROWS * 1024];
    span_absorb(DTYPE_BF16, t, round_queries(t, pairs));
}

void absorb_avx512bf16(const struct absorb *t)
{
    if (t->panels[0]->form == DTYPE_BF16)
        absorb_bf16(t);
    else if (t->panels[0]->form == DTYPE_Q8_0)
        absorb_q8_avx512(t);
    else
        absorb_avx512(t);
}
