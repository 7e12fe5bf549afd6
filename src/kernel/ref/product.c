/* The three parts of a matrix product in plain C. BF16 is float32 rounded to it. */
#include <math.h>

#include "base/half.h"
#include "kernel/ref/ref.h"

static float rounded(enum dtype arithmetic, float x)
{
    return arithmetic == DTYPE_BF16 ? bf16_to_float(bf16_from_float(x)) : x;
}

void product_rows_ref(enum dtype arithmetic, void *out, size_t out_stride, const float *a,
                      size_t a_m, size_t a_k, size_t rows, size_t terms)
{
    for (size_t m = 0; m < rows; m++)
        for (size_t k = 0; k < terms; k++)
            ((float *)out)[m * out_stride + k] = rounded(arithmetic, a[m * a_m + k * a_k]);
}

void product_panel_ref(enum dtype arithmetic, void *out, const float *b, size_t b_k, size_t b_n,
                       size_t terms, size_t columns)
{
    for (size_t k = 0; k < terms; k++)
        for (size_t n = 0; n < columns; n++)
            ((float *)out)[k * PRODUCT_COLUMNS + n] = rounded(arithmetic, b[k * b_k + n * b_n]);
}

/* Number i of b, of what `halves` says. */
static float right_at(const struct product_block *t, size_t i)
{
    if (t->halves == DTYPE_F16)
        return f16_to_float(((const uint16_t *)t->b)[i]);
    if (t->halves == DTYPE_BF16)
        return bf16_to_float(((const uint16_t *)t->b)[i]);
    return ((const float *)t->b)[i];
}

void product_block_ref(const struct product_block *t)
{
    const float *a = t->a;
    for (size_t m = 0; m < t->rows; m++)
        for (size_t n = 0; n < t->columns; n++) {
            float *c = &t->c[m * t->c_stride + n], sum = t->accumulate ? *c : 0;
            if (t->bias)
                sum = t->accumulate ? sum + t->bias[n] : t->bias[n];
            for (size_t k = 0; k < t->words; k++)
                sum = fmaf(a[m * t->a_stride + k * t->a_step], right_at(t, k * PRODUCT_COLUMNS + n),
                           sum);
            *c = sum;
        }
}
