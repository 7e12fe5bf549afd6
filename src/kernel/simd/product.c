/* Matrix products of float32, bf16 being float32 rounded to it. Contract: kernel.h.
 *
 * A tile is 6 rows by 2 vectors of sums that stay in registers, or 2 by 4, fed by one row of a
 * panel and one broadcast for each row of a. */
#include <string.h>

#include "base/half.h"
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

enum { ROWS = PRODUCT_ROWS, WIDTH = 4, TERMS = 64 };

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

/* The vector of b at p. */
INLINE vf right_load(enum dtype halves, const void *p)
{
    if (halves == DTYPE_F16)
        return vf_from_f16(p);
    return halves == DTYPE_BF16 ? vf_from_bf16(p) : vf_load(p);
}

/* R rows by W vectors, from row m and column n on; `last` floats of the last vector exist. */
INLINE void tile(enum dtype halves, const struct product_block *t, size_t m, size_t n, size_t R,
                 size_t W, size_t last)
{
    size_t wide = halves == DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
    const float *a = (const float *)t->a + m * t->a_stride;
    const char *b = (const char *)t->b + n * wide;
    float *c = t->c + m * t->c_stride + n;
    size_t a_stride = t->a_stride, a_step = t->a_step, c_stride = t->c_stride;
    vf sum[ROWS][WIDTH];
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t w = 0; w < W; w++) {
            size_t there = w + 1 < W ? (size_t)LANES : last;
            vf bias = t->bias ? load_some(t->bias + n + w * LANES, there) : vf_set(0);
            sum[r][w] = bias;
            if (t->accumulate) {
                vf old = load_some(c + r * c_stride + w * LANES, there);
                sum[r][w] = t->bias ? vf_add(old, bias) : old;
            }
        }
    for (size_t k = 0; k < t->words; k++, a += a_step, b += PRODUCT_COLUMNS * wide) {
        vf right[WIDTH];
#pragma GCC unroll 4
        for (size_t w = 0; w < W; w++)
            right[w] = right_load(halves, b + w * LANES * wide);
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            vf left = vf_set(a[r * a_stride]);
#pragma GCC unroll 4
            for (size_t w = 0; w < W; w++)
                sum[r][w] = vf_fma(left, right[w], sum[r][w]);
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t w = 0; w < W; w++)
            if (w + 1 < W || last == LANES)
                vf_store(c + r * c_stride + w * LANES, sum[r][w]);
            else
                vf_store_tail(c + r * c_stride + w * LANES, sum[r][w], last);
}

/* R rows against all columns, W vectors at a time. */
INLINE void tile_row(enum dtype halves, const struct product_block *t, size_t m, size_t R, size_t W)
{
    size_t n = 0;
    for (; n + W * LANES <= t->columns; n += W * LANES)
        tile(halves, t, m, n, R, W, LANES);
    for (; n < t->columns; n += LANES)
        tile(halves, t, m, n, R, 1, t->columns - n < LANES ? t->columns - n : LANES);
}

INLINE void tiles(enum dtype halves, const struct product_block *t)
{
    size_t m = 0;
    for (; m + ROWS <= t->rows; m += ROWS)
        tile_row(halves, t, m, ROWS, 2);
    for (; m + 2 <= t->rows; m += 2)
        tile_row(halves, t, m, 2, WIDTH);
    if (m < t->rows)
        tile_row(halves, t, m, 1, WIDTH);
}

/* Some terms at a time: so that a panel, which is passed over once for each few vectors of columns,
 * stays in the first-level cache between the passes. */
void SIMD(product_block)(const struct product_block *t)
{
    struct product_block part = *t;
    size_t k = 0;
    do {
        size_t wide = t->halves == DTYPE_F32 ? sizeof(float) : sizeof(uint16_t);
        part.words = t->words - k < TERMS ? t->words - k : TERMS;
        part.a = (const float *)t->a + k * t->a_step;
        part.b = (const char *)t->b + k * PRODUCT_COLUMNS * wide;
        if (t->halves == DTYPE_F16)
            tiles(DTYPE_F16, &part);
        else if (t->halves == DTYPE_BF16)
            tiles(DTYPE_BF16, &part);
        else
            tiles(DTYPE_F32, &part);
        part.bias = NULL;
        part.accumulate = true;
        k += part.words;
    } while (k < t->words);
}
