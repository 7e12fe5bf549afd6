/* Matrix products of float32, bf16 being float32 rounded to it. Contract: kernel.h.
 *
 * A tile is ROWS rows by WIDTH vectors of sums that stay in registers, fed by one row of a panel
 * and one broadcast for each row of a. */
#include <string.h>

#include "base/half.h"
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

enum { ROWS = PRODUCT_ROWS, WIDTH = 2 };

#define INLINE static inline __attribute__((always_inline))

static void round_words(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = bf16_to_float(bf16_from_float(x[i]));
}

void SIMD(product_rows)(enum dtype arithmetic, void *out, size_t out_stride, const float *a,
                        size_t a_m, size_t a_k, size_t rows, size_t terms)
{
    if (a_k == 1)
        for (size_t m = 0; m < rows; m++)
            memcpy((float *)out + m * out_stride, a + m * a_m, terms * sizeof *a);
    else
        SIMD(transpose)(out, out_stride, a, a_k, terms, rows);
    for (size_t m = 0; m < rows && arithmetic == DTYPE_BF16; m++)
        round_words((float *)out + m * out_stride, terms);
}

void SIMD(product_panel)(enum dtype arithmetic, void *out, const float *b, size_t b_k, size_t b_n,
                         size_t terms, size_t columns)
{
    if (b_n == 1)
        for (size_t k = 0; k < terms; k++)
            memcpy((float *)out + k * PRODUCT_COLUMNS, b + k * b_k, columns * sizeof *b);
    else
        SIMD(transpose)(out, PRODUCT_COLUMNS, b, b_n, columns, terms);
    for (size_t k = 0; k < terms && arithmetic == DTYPE_BF16; k++)
        round_words((float *)out + k * PRODUCT_COLUMNS, columns);
}

/* The vector of n floats, LANES or fewer, that begins at p. */
INLINE vf load_some(const float *p, size_t n)
{
    return n < LANES ? vf_load_tail(p, n) : vf_load(p);
}

/* R rows by W vectors, from row m and column n on; `last` floats of the last vector exist. */
INLINE void tile(const struct product_block *t, size_t m, size_t n, size_t R, size_t W, size_t last)
{
    const float *a = (const float *)t->a + m * t->a_stride, *b = (const float *)t->b + n;
    float *c = t->c + m * t->c_stride + n;
    size_t a_stride = t->a_stride, c_stride = t->c_stride;
    vf sum[ROWS][WIDTH];
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 2
        for (size_t w = 0; w < W; w++) {
            size_t there = w + 1 < W ? (size_t)LANES : last;
            vf bias = t->bias ? load_some(t->bias + n + w * LANES, there) : vf_set(0);
            sum[r][w] = bias;
            if (t->accumulate) {
                vf old = load_some(c + r * c_stride + w * LANES, there);
                sum[r][w] = t->bias ? vf_add(old, bias) : old;
            }
        }
    for (size_t k = 0; k < t->words; k++, a++, b += PRODUCT_COLUMNS) {
        vf right[WIDTH];
#pragma GCC unroll 2
        for (size_t w = 0; w < W; w++)
            right[w] = vf_load(b + w * LANES);
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            vf left = vf_set(a[r * a_stride]);
#pragma GCC unroll 2
            for (size_t w = 0; w < W; w++)
                sum[r][w] = vf_fma(left, right[w], sum[r][w]);
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 2
        for (size_t w = 0; w < W; w++)
            if (w + 1 < W || last == LANES)
                vf_store(c + r * c_stride + w * LANES, sum[r][w]);
            else
                vf_store_tail(c + r * c_stride + w * LANES, sum[r][w], last);
}

INLINE void tile_width(const struct product_block *t, size_t m, size_t n, size_t R)
{
    size_t left = t->columns - n;
    if (left >= WIDTH * LANES)
        tile(t, m, n, R, WIDTH, LANES);
    else if (left > LANES)
        tile(t, m, n, R, WIDTH, left - LANES);
    else
        tile(t, m, n, R, 1, left);
}

void SIMD(product_block)(const struct product_block *t)
{
    for (size_t n = 0; n < t->columns; n += WIDTH * LANES) {
        size_t m = 0;
        for (; m + ROWS <= t->rows; m += ROWS)
            tile_width(t, m, n, ROWS);
        for (; m + 2 <= t->rows; m += 2)
            tile_width(t, m, n, 2);
        if (m < t->rows)
            tile_width(t, m, n, 1);
    }
}
