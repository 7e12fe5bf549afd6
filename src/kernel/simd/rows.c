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

/* W vectors of columns; W is a constant where this is inlined. */
static inline __attribute__((always_inline)) void
weigh_columns(size_t W, float *y, const float *w, const float *const *x, size_t parts, size_t from)
{
    vf sum[8];
    for (size_t i = 0; i < W; i++)
        sum[i] = vf_load(y + i * LANES);
    for (size_t p = 0; p < parts; p++)
        for (size_t i = 0; i < W; i++)
            sum[i] = vf_add(sum[i], vf_mul(vf_set(w[p]), vf_load(x[p] + from + i * LANES)));
    for (size_t i = 0; i < W; i++)
        vf_store(y + i * LANES, sum[i]);
}

void SIMD(weigh)(float *y, const float *w, const float *const *x, size_t parts, size_t from,
                 size_t n)
{
    size_t j = 0;
    for (; j + 8 * LANES <= n; j += 8 * LANES)
        weigh_columns(8, y + j, w, x, parts, from + j);
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        weigh_columns(4, y + j, w, x, parts, from + j);
    for (; j + LANES <= n; j += LANES)
        weigh_columns(1, y + j, w, x, parts, from + j);
    for (size_t p = 0; p < parts; p++)
        for (size_t i = j; i < n; i++)
            y[i] += w[p] * x[p][from + i];
}
