/* Normalisation on the way back, and sums over rows. */
#include <math.h>

#include "kernel/learn_ops.h"

void layernorm_ref(float *y, struct norm_row *row, const float *x, const float *w, const float *b,
                   size_t n, float eps)
{
    float sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    row->mean = sum / (float)n;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - row->mean) * (x[i] - row->mean);
    row->rstd = 1 / sqrtf(squares / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf((x[i] - row->mean) * row->rstd, w[i], b[i]);
}

void layernorm_backward_ref(float *dx, const float *dy, const float *x, const float *w,
                            const struct norm_row *row, size_t n)
{
    float g_sum = 0, gu_sum = 0;
    for (size_t i = 0; i < n; i++) {
        float g = dy[i] * w[i];
        g_sum += g;
        gu_sum = fmaf(g, (x[i] - row->mean) * row->rstd, gu_sum);
    }
    float g_mean = g_sum / (float)n, gu_mean = gu_sum / (float)n;
    for (size_t i = 0; i < n; i++) {
        float u = (x[i] - row->mean) * row->rstd;
        dx[i] = row->rstd * (dy[i] * w[i] - g_mean - u * gu_mean);
    }
}

void rmsnorm_backward_ref(float *dx, struct norm_row *row, const float *dy, const float *x,
                          const float *w, size_t n, float eps)
{
    float squares = 0, gx_sum = 0;
    for (size_t i = 0; i < n; i++) {
        squares = fmaf(x[i], x[i], squares);
        gx_sum = fmaf(dy[i] * w[i], x[i], gx_sum);
    }
    row->mean = 0;
    row->rstd = 1 / sqrtf(squares / (float)n + eps);
    float gu_mean = gx_sum * row->rstd / (float)n;
    for (size_t i = 0; i < n; i++)
        dx[i] += row->rstd * (dy[i] * w[i] - x[i] * row->rstd * gu_mean);
}

void norm_sums_ref(float *dw, float *db, const float *dy, const float *x,
                   const struct norm_row *norms, size_t rows, size_t stride, size_t n)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++) {
            float u = (x[r * stride + i] - norms[r].mean) * norms[r].rstd;
            dw[i] = fmaf(dy[r * stride + i], u, dw[i]);
        }
    if (db)
        column_sums_ref(db, dy, rows, stride, n);
}

void column_sums_ref(float *db, const float *dy, size_t rows, size_t stride, size_t n)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < n; i++)
            db[i] += dy[r * stride + i];
}
