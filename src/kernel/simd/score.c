/* Scores that are more than a dot product. Contracts: kernel.h. */
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

void SIMD(softcap)(float *s, size_t n, float cap)
{
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        vf_store(s + i, vf_mul(vf_set(cap), vf_tanh(vf_div(vf_load(s + i), vf_set(cap)))));
    if (i < n) {
        vf x = vf_div(vf_load_tail(s + i, n - i), vf_set(cap));
        vf_store_tail(s + i, vf_mul(vf_set(cap), vf_tanh(x)), n - i);
    }
}

void SIMD(additive)(float *s, const float *q, const float *w, const float *k, size_t D)
{
    for (size_t j = 0; j < CHUNK; j += LANES) {
        vf sum = vf_set(0);
        for (size_t i = 0; i < D; i++)
            sum = vf_fma(vf_set(w[i]), vf_tanh(vf_add(vf_set(q[i]), vf_load(k + i * CHUNK + j))),
                         sum);
        vf_store(s + j, sum);
    }
}
