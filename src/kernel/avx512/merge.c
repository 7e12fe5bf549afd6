/* Span states merged, the factors of 16 rows by one exponential: scalar, they took 3% of prefill.
 * Contract: kernel.h. */
#include "kernel/avx512/softmax.h"
#include "kernel/simd/ops.h"

/* Rows [0, rows), at most 16: m and d; x1 and x2 [16] are their factors. Returns whose row is to be
 * merged at all. */
static unsigned merge_factors(const struct partials *into, const struct partials *from, size_t rows,
                              float *x1, float *x2)
{
    __mmask16 there = (__mmask16)((1u << rows) - 1);
    __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 m1 = _mm512_maskz_loadu_ps(there, into->m), m2 = _mm512_maskz_loadu_ps(there, from->m);
    __m512 m = _mm512_max_ps(m1, m2);
    there &= _mm512_cmp_ps_mask(m2, none, _CMP_NEQ_UQ);
    __mmask16 begun = _mm512_cmp_ps_mask(m1, none, _CMP_NEQ_UQ);
    __m512 a = _mm512_maskz_mov_ps(begun, exp2_exact(_mm512_sub_ps(m1, m)));
    __m512 b = exp2_exact(_mm512_sub_ps(m2, m));
    __m512 d = _mm512_mul_ps(b, _mm512_maskz_loadu_ps(there, from->d));
    d = _mm512_fmadd_ps(a, _mm512_maskz_loadu_ps(there, into->d), d);
    _mm512_mask_storeu_ps(into->m, there, m);
    _mm512_mask_storeu_ps(into->d, there, d);
    _mm512_store_ps(x1, a);
    _mm512_store_ps(x2, b);
    return there;
}

void merge_avx512(const struct partials *into, const struct partials *from, size_t rows, size_t D)
{
    size_t Dv = value_stride(D);
    for (size_t row = 0; row < rows; row += LANES) {
        _Alignas(64) float x1[LANES], x2[LANES];
        struct partials a = {into->m + row, into->d + row, into->o + row * Dv};
        struct partials b = {from->m + row, from->d + row, from->o + row * Dv};
        size_t some = rows - row < LANES ? rows - row : LANES;
        unsigned merged = merge_factors(&a, &b, some, x1, x2);
        for (size_t r = 0; r < some; r++, a.o += Dv, b.o += Dv) {
            if (!(merged >> r & 1))
                continue;
            __m512 p = _mm512_set1_ps(x1[r]), q = _mm512_set1_ps(x2[r]);
            for (size_t i = 0; i < Dv; i += LANES) {
                __m512 x = _mm512_mul_ps(q, _mm512_loadu_ps(b.o + i));
                _mm512_storeu_ps(a.o + i, _mm512_fmadd_ps(p, _mm512_loadu_ps(a.o + i), x));
            }
        }
    }
}
