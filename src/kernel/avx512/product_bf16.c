/* Matrix products of bf16 with the dot products of AVX512-BF16: a word is two terms.
 *
 * Rounding and dot products take numbers below 2^-126 for zero. Tails are rounded by the same
 * instructions as all else, so that no number is rounded differently for its place. */
#include "kernel/avx512/avx512.h"
#include "kernel/avx512/product.h"
#include "kernel/simd/ops.h"

/* Lane by lane the pair of a term and the next. */
INLINE __m512i pairs_of(__m512 term, __m512 next)
{
    static const uint16_t interleave[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                            21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                            11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(next, term);
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(interleave), both);
}

INLINE __m512 lanes_up_to(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps((__mmask16)(n < LANES ? (1u << n) - 1 : 0xffff), p);
}

/* One row into words, the last filled up with 0. */
static void round_row(uint32_t *out, const float *row, size_t terms)
{
    for (size_t k = 0; k < terms; k += 2 * LANES) {
        size_t n = terms - k;
        __m512 low = lanes_up_to(row + k, n);
        __m512 high = n > LANES ? lanes_up_to(row + k + LANES, n - LANES) : _mm512_setzero_ps();
        __mmask16 words = (__mmask16)(n < 2 * LANES ? (1u << (n + 1) / 2) - 1 : 0xffff);
        _mm512_mask_storeu_epi32(out + k / 2, words, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

/* 16 words of 16 rows, or fewer where a ends: a [terms][rows], `stride` floats from term to term.
 */
static void turn_rows(uint32_t *out, size_t out_stride, const float *a, size_t stride, size_t rows,
                      size_t terms)
{
    _Alignas(64) uint32_t pairs[BLOCK][BLOCK];
    for (size_t i = 0; i < BLOCK; i++) {
        size_t k = 2 * i;
        const float *row = a + k * stride;
        __m512 term = k < terms ? lanes_up_to(row, rows) : _mm512_setzero_ps();
        __m512 next = k + 1 < terms ? lanes_up_to(row + stride, rows) : _mm512_setzero_ps();
        _mm512_store_si512(pairs[i], pairs_of(term, next));
    }
    size_t words = (terms + 1) / 2;
    __mmask16 there = (__mmask16)(words < BLOCK ? (1u << words) - 1 : 0xffff);
    for (size_t m = 0; m < rows; m += 4) {
        __m512i y[4];
        transpose_16_rows(y, (const char *)&pairs[0][m], sizeof pairs[0]);
        for (size_t n = 0; n < 4 && m + n < rows; n++)
            _mm512_mask_storeu_epi32(out + (m + n) * out_stride, there, y[n]);
    }
}

void product_rows_avx512bf16(enum dtype arithmetic, void *out, size_t out_stride, const float *a,
                             size_t a_m, size_t a_k, size_t rows, size_t terms)
{
    uint32_t *words = out;
    if (arithmetic != DTYPE_BF16)
        product_rows_avx512(arithmetic, out, out_stride, a, a_m, a_k, rows, terms);
    for (size_t m = 0; m < rows && arithmetic == DTYPE_BF16 && a_k == 1; m++)
        round_row(words + m * out_stride, a + m * a_m, terms);
    for (size_t k = 0; k < terms && arithmetic == DTYPE_BF16 && a_k != 1; k += 2 * BLOCK)
        for (size_t m = 0; m < rows; m += BLOCK)
            turn_rows(words + m * out_stride + k / 2, out_stride, a + m + k * a_k, a_k,
                      at_most(rows - m, BLOCK), at_most(terms - k, 2 * BLOCK));
}

/* Terms across: rows of b are loaded as they are. */
static void panel_of_rows(uint32_t *out, const float *b, size_t b_k, size_t terms, size_t columns)
{
    for (size_t k = 0; k < terms; k += 2, out += PRODUCT_COLUMNS)
        for (size_t n = 0; n < columns; n += LANES) {
            const float *row = b + k * b_k + n;
            __m512 term = lanes_up_to(row, columns - n), next = _mm512_setzero_ps();
            if (k + 1 < terms)
                next = lanes_up_to(row + b_k, columns - n);
            _mm512_store_si512(out + n, pairs_of(term, next));
        }
}

/* 16 columns of 16 terms at most; each column is a row in memory. */
static void panel_turn(uint32_t *out, const float *b, size_t b_n, size_t terms)
{
    for (size_t k = 0; k < terms; k += 4) {
        __m512i y[4];
        transpose_16_rows(y, (const char *)(b + k), b_n * 4);
        for (size_t i = 0; i < 4 && k + i < terms; i += 2)
            _mm512_store_si512(out + (k + i) / 2 * PRODUCT_COLUMNS,
                               pairs_of(_mm512_castsi512_ps(y[i]), _mm512_castsi512_ps(y[i + 1])));
    }
}

void product_panel_avx512bf16(enum dtype arithmetic, void *out, const float *b, size_t b_k,
                              size_t b_n, size_t terms, size_t columns)
{
    if (arithmetic != DTYPE_BF16) {
        product_panel_avx512(arithmetic, out, b, b_k, b_n, terms, columns);
        return;
    }
    if (b_n == 1) {
        panel_of_rows(out, b, b_k, terms, columns);
        return;
    }
    for (size_t n = 0; n < columns; n += BLOCK)
        for (size_t k = 0; k < terms; k += BLOCK) {
            uint32_t *to = (uint32_t *)out + k / 2 * PRODUCT_COLUMNS + n;
            const float *block = b + n * b_n + k;
            size_t wide = at_most(columns - n, BLOCK), deep = at_most(terms - k, BLOCK);
            struct edge edge;
            if (wide < BLOCK || deep < BLOCK) {
                edge_fill(&edge, block, b_n, wide, deep);
                panel_turn(to, edge.at[0], BLOCK, deep);
            } else {
                panel_turn(to, block, b_n, BLOCK);
            }
        }
}

static void product_block_bf16(const struct product_block *t)
{
    product_any(WORD_PAIR, t);
}

void product_block_avx512bf16(const struct product_block *t)
{
    if (t->arithmetic == DTYPE_BF16)
        product_block_bf16(t);
    else
        product_block_avx512(t);
}
