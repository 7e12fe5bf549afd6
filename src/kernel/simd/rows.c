/* Operations on one row: normalisation, gated activation, sum. Contracts: kernel.h. */
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

void SIMD(rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps)
{
    vf squares = vf_set(0);
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        vf a = vf_load(x + i);
        squares = vf_fma(a, a, squares);
    }
    if (i < n) {
        vf a = vf_load_tail(x + i, n - i);
        squares = vf_fma(a, a, squares);
    }
    vf scale = vf_set(1 / sqrtf(vf_sum(squares) / (float)n + eps));
    for (i = 0; i + LANES <= n; i += LANES)
        vf_store(y + i, vf_mul(vf_mul(vf_load(x + i), scale), vf_load(w + i)));
    if (i < n) {
        vf a = vf_mul(vf_load_tail(x + i, n - i), scale);
        vf_store_tail(y + i, vf_mul(a, vf_load_tail(w + i, n - i)), n - i);
    }
}

static inline vf silu_times(vf gate, vf up)
{
    vf e = vf_exp(vf_sub(vf_set(0), gate));
    return vf_mul(vf_div(gate, vf_add(vf_set(1), e)), up);
}

void SIMD(swiglu)(float *y, const float *gate, const float *up, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vf_store(y + i, silu_times(vf_load(gate + i), vf_load(up + i)));
    if (i < n)
        vf_store_tail(y + i, silu_times(vf_load_tail(gate + i, n - i), vf_load_tail(up + i, n - i)),
                      n - i);
}

void SIMD(add)(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vf_store(y + i, vf_add(vf_load(y + i), vf_load(x + i)));
    if (i < n)
        vf_store_tail(y + i, vf_add(vf_load_tail(y + i, n - i), vf_load_tail(x + i, n - i)), n - i);
}

void SIMD(exp)(float *x, size_t n)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vf_store(x + i, vf_exp(vf_load(x + i)));
    if (i < n)
        vf_store_tail(x + i, vf_exp(vf_load_tail(x + i, n - i)), n - i);
}

/* R rows of W vectors, which lie together in x and y from place `at` of x on; R and W are constants
 * where this is inlined. */
static inline __attribute__((always_inline)) void weigh_tile(size_t R, size_t W, float *y,
                                                             const float *w, size_t w_stride,
                                                             const float *const *x, size_t parts,
                                                             size_t at)
{
    vf sum[16];
    for (size_t r = 0; r < R; r++)
        for (size_t i = 0; i < W; i++)
            sum[r * W + i] = vf_load(y + (r * W + i) * LANES);
    for (size_t p = 0; p < parts; p++, w += w_stride) {
        const float *from = x[p] + at;
        for (size_t r = 0; r < R; r++)
            for (size_t i = 0; i < W; i++)
                sum[r * W + i] =
                    vf_fma(vf_set(w[r]), vf_load(from + (r * W + i) * LANES), sum[r * W + i]);
    }
    for (size_t r = 0; r < R; r++)
        for (size_t i = 0; i < W; i++)
            vf_store(y + (r * W + i) * LANES, sum[r * W + i]);
}

static void weigh_row(float *y, const float *w, size_t w_stride, const float *const *x,
                      size_t parts, size_t from, size_t n)
{
    size_t j = 0;
    for (; j + 8 * LANES <= n; j += 8 * LANES)
        weigh_tile(1, 8, y + j, w, w_stride, x, parts, from + j);
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        weigh_tile(1, 4, y + j, w, w_stride, x, parts, from + j);
    for (; j + LANES <= n; j += LANES)
        weigh_tile(1, 1, y + j, w, w_stride, x, parts, from + j);
    for (size_t p = 0; p < parts; p++)
        for (size_t i = j; i < n; i++)
            y[i] = fmaf(w[p * w_stride], x[p][from + i], y[i]);
}

/* Several short rows at once, where the registers hold them: a part is then read in longer runs,
 * and fewer pages are in use together. */
void SIMD(weigh)(float *y, const float *w, size_t w_stride, const float *const *x, size_t parts,
                 size_t from, size_t rows, size_t n)
{
    enum { REGISTERS = LANES == 16 ? 16 : 8 };
    size_t r = 0;
    if (n == 4 * LANES)
        for (; r + REGISTERS / 4 <= rows; r += REGISTERS / 4)
            weigh_tile(REGISTERS / 4, 4, y + r * n, w + r, w_stride, x, parts, from + r * n);
    if (n == 8 * LANES)
        for (; r + REGISTERS / 8 <= rows; r += REGISTERS / 8)
            weigh_tile(REGISTERS / 8, 8, y + r * n, w + r, w_stride, x, parts, from + r * n);
    for (; r < rows; r++)
        weigh_row(y + r * n, w + r, w_stride, x, parts, from + r * n, n);
}
