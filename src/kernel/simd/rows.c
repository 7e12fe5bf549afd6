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
