/* GELU in both forms, and gated: kernel/gelu.h in vectors. Contracts: kernel.h. */
#include "kernel/gelu.h"

#include "kernel/simd/ops.h"
#include "kernel/simd/some.h"

static inline vf vf_gelu_tanh(vf x)
{
    vf u = vf_mul(x, vf_fma(vf_set(GELU_CUBIC), vf_mul(x, x), vf_set(1)));
    return vf_div(x, vf_add(vf_set(1), vf_exp(vf_mul(vf_set(GELU_SCALE), u))));
}

static inline vf vf_gelu_erf(vf x)
{
    vf most = vf_set(GELU_MOST), zero = vf_set(0);
    vf a = vf_max(x, vf_sub(zero, x));
    a = vf_select(vm_less(a, most), a, most);
    vf t = vf_div(vf_set(1), vf_fma(vf_set(GELU_T), a, vf_set(1)));
    vf q = vf_fma(t, vf_set(GELU_Q7), vf_set(GELU_Q6));
    q = vf_fma(t, q, vf_set(GELU_Q5));
    q = vf_fma(t, q, vf_set(GELU_Q4));
    q = vf_fma(t, q, vf_set(GELU_Q3));
    q = vf_fma(t, q, vf_set(GELU_Q2));
    q = vf_fma(t, q, vf_set(GELU_Q1));
    q = vf_fma(t, q, vf_set(GELU_Q0));
    vf tail = vf_mul(vf_exp(vf_mul(vf_mul(vf_set(-0.5f), a), a)), vf_mul(t, q));
    vf positive = vf_select(vm_less(zero, x), x, vf_mul(zero, x));
    return vf_sub(positive, vf_mul(a, tail));
}

void SIMD(gelu_tanh)(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vf_store_some(y + i, vf_gelu_tanh(vf_load_some(x + i, n - i)), n - i);
}

void SIMD(gelu_erf)(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vf_store_some(y + i, vf_gelu_erf(vf_load_some(x + i, n - i)), n - i);
}

void SIMD(geglu)(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf g = vf_gelu_tanh(vf_load_some(gate + i, n - i));
        vf_store_some(y + i, vf_mul(g, vf_load_some(up + i, n - i)), n - i);
    }
}
