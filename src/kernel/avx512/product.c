/* Matrix products of float32. Where the arithmetic is BF16 and there are no dot products for it,
 * float32 rounded to bf16 stands for it. */
#include <string.h>

#include "base/half.h"
#include "kernel/avx512/product.h"
#include "kernel/simd/ops.h"

/* How far ahead memory is asked for, in floats: along rows that are turned, and along the rows of a
 * strip of panels. */
enum { ALONG_AHEAD = 128, ACROSS_AHEAD = 256 };

static void round_words(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = bf16_to_float(bf16_from_float(x[i]));
}

/* out[j][i] = in[i][j] for 16 rows and `columns` columns, 16 at most. */
static void columns_16(float *out, size_t out_stride, const float *in, size_t in_stride,
                       size_t columns, __mmask16 rows)
{
    for (size_t j = 0; j < columns; j += 4) {
        __m512i y[4];
        transpose_16_rows(y, (const char *)(in + j), in_stride * 4);
        for (size_t n = 0; n < 4 && j + n < columns; n++)
            _mm512_mask_storeu_epi32(out + (j + n) * out_stride, rows, y[n]);
    }
}

/* out[j][i] = in[i][j] for i < rows, j < columns. */
static void turn(float *out, size_t out_stride, const float *in, size_t in_stride, size_t rows,
                 size_t columns)
{
    for (size_t i = 0; i < rows; i += BLOCK)
        for (size_t j = 0; j < columns; j += BLOCK) {
            const float *block = in + i * in_stride + j;
            size_t height = at_most(rows - i, BLOCK), width = at_most(columns - j, BLOCK);
            float *to = out + j * out_stride + i;
            if (height == BLOCK && width == BLOCK) {
                for (size_t r = 0; r < BLOCK; r++)
                    _mm_prefetch((const char *)(block + r * in_stride + ALONG_AHEAD), _MM_HINT_T0);
                columns_16(to, out_stride, block, in_stride, BLOCK, 0xffff);
                continue;
            }
            struct edge edge;
            edge_fill(&edge, block, in_stride, height, width);
            columns_16(to, out_stride, edge.at[0], BLOCK, width, (__mmask16)((1u << height) - 1));
        }
}

void product_rows_avx512(enum dtype arithmetic, void *out, size_t out_stride, const float *a,
                         size_t a_m, size_t a_k, size_t rows, size_t terms)
{
    if (a_k == 1)
        for (size_t m = 0; m < rows; m++)
            memcpy((float *)out + m * out_stride, a + m * a_m, terms * sizeof *a);
    else
        turn(out, out_stride, a, a_k, terms, rows);
    for (size_t m = 0; m < rows && arithmetic == DTYPE_BF16; m++)
        round_words((float *)out + m * out_stride, terms);
}

void product_panel_avx512(enum dtype arithmetic, void *out, const float *b, size_t b_k, size_t b_n,
                          size_t terms, size_t columns)
{
    if (b_n != 1)
        turn(out, PRODUCT_COLUMNS, b, b_n, columns, terms);
    for (size_t k = 0; k < terms && b_n == 1; k++)
        for (size_t n = 0; n < columns; n += LANES) {
            size_t left = at_most(columns - n, LANES);
            __mmask16 lanes = (__mmask16)((1u << left) - 1);
            _mm_prefetch((const char *)(b + k * b_k + n + ACROSS_AHEAD), _MM_HINT_T1);
            _mm512_storeu_ps((float *)out + k * PRODUCT_COLUMNS + n,
                             _mm512_maskz_loadu_ps(lanes, b + k * b_k + n));
        }
    if (arithmetic == DTYPE_BF16)
        for (size_t k = 0; k < terms; k++)
            round_words((float *)out + k * PRODUCT_COLUMNS, columns);
}

static void product_block_f32(const struct product_block *t)
{
    product_any(WORD_F32, t);
}

static void product_block_f16(const struct product_block *t)
{
    product_any(WORD_F16, t);
}

static void product_block_halves(const struct product_block *t)
{
    product_any(WORD_BF16, t);
}

void product_block_avx512(const struct product_block *t)
{
    if (t->halves == DTYPE_F16)
        product_block_f16(t);
    else if (t->halves == DTYPE_BF16)
        product_block_halves(t);
    else
        product_block_f32(t);
}
