/* Normalisation on the way back, and sums over rows. Contracts: kernel/learn.h. */
#include "kernel/learn_ops.h"
#include "kernel/simd/some.h"

void SIMD(layernorm)(float *y, struct norm_row *row, const float *x, const float *w, const float *b,
                     size_t n, float eps)
{
    vf sum = vf_set(0), squares = vf_set(0);
    for (size_t i = 0; i < n; i += LANES)
        sum = vf_add(sum, vf_load_some(x + i, n - i));
    row->mean = vf_sum(sum) / (float)n;
    vf mean = vf_set(row->mean);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = vf_sub(vf_load_some(x + i, n - i), mean);
        if (n - i < LANES) /* lanes past the end hold 0 - mean */
            a = vf_select(vm_from_bits((1u << (n - i)) - 1), a, vf_set(0));
        squares = vf_fma(a, a, squares);
    }
    row->rstd = 1 / sqrtf(vf_sum(squares) / (float)n + eps);
    vf rstd = vf_set(row->rstd);
    for (size_t i = 0; i < n; i += LANES) {
        vf u = vf_mul(vf_sub(vf_load_some(x + i, n - i), mean), rstd);
        vf_store_some(y + i, vf_fma(u, vf_load_some(w + i, n - i), vf_load_some(b + i, n - i)),
                      n - i);
    }
}

void SIMD(layernorm_backward)(float *dx, const float *dy, const float *x, const float *w,
                              const struct norm_row *row, size_t n)
{
    vf mean = vf_set(row->mean), rstd = vf_set(row->rstd), g_sum = vf_set(0), gu_sum = vf_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        vf g = vf_mul(vf_load_some(dy + i, n - i), vf_load_some(w + i, n - i));
        vf u = vf_mul(vf_sub(vf_load_some(x + i, n - i), mean), rstd);
        g_sum = vf_add(g_sum, g);
        gu_sum = vf_fma(g, u, gu_sum);
    }
    vf g_mean = vf_set(vf_sum(g_sum) / (float)n), gu_mean = vf_set(vf_sum(gu_sum) / (float)n);
    for (size_t i = 0; i < n; i += LANES) {
        vf g = vf_mul(vf_load_some(dy + i, n - i), vf_load_some(w + i, n - i));
        vf u = vf_mul(vf_sub(vf_load_some(x + i, n - i), mean), rstd);
        vf change = vf_sub(vf_sub(g, g_mean), vf_mul(u, gu_mean));
        vf_store_some(dx + i, vf_mul(rstd, change), n - i);
    }
}

void SIMD(rmsnorm_backward)(float *dx, struct norm_row *row, const float *dy, const float *x,
                            const float *w, size_t n, float eps)
{
    vf squares = vf_set(0), gx_sum = vf_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = vf_load_some(x + i, n - i);
        vf g = vf_mul(vf_load_some(dy + i, n - i), vf_load_some(w + i, n - i));
        squares = vf_fma(a, a, squares);
        gx_sum = vf_fma(g, a, gx_sum);
    }
    row->mean = 0;
    row->rstd = 1 / sqrtf(vf_sum(squares) / (float)n + eps);
    vf rstd = vf_set(row->rstd), gu_mean = vf_set(vf_sum(gx_sum) * row->rstd / (float)n);
    for (size_t i = 0; i < n; i += LANES) {
        vf g = vf_mul(vf_load_some(dy + i, n - i), vf_load_some(w + i, n - i));
        vf u = vf_mul(vf_load_some(x + i, n - i), rstd);
        vf change = vf_mul(rstd, vf_sub(g, vf_mul(u, gu_mean)));
        vf_store_some(dx + i, vf_add(vf_load_some(dx + i, n - i), change), n - i);
    }
}

void SIMD(norm_sums)(float *dw, float *db, const float *dy, const float *x,
                     const struct norm_row *norms, size_t rows, size_t stride, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf w = vf_load_some(dw + i, n - i);
        for (size_t r = 0; r < rows; r++) {
            vf u = vf_sub(vf_load_some(x + r * stride + i, n - i), vf_set(norms[r].mean));
            u = vf_mul(u, vf_set(norms[r].rstd));
            w = vf_fma(vf_load_some(dy + r * stride + i, n - i), u, w);
        }
        vf_store_some(dw + i, w, n - i);
    }
    if (db)
        SIMD(column_sums)(db, dy, rows, stride, n);
}

void SIMD(column_sums)(float *db, const float *dy, size_t rows, size_t stride, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf b = vf_load_some(db + i, n - i);
        for (size_t r = 0; r < rows; r++)
            b = vf_add(b, vf_load_some(dy + r * stride + i, n - i));
        vf_store_some(db + i, b, n - i);
    }
}
