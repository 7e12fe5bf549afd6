/* Activations, dropout and the loss, and their way back. Contracts: kernel/learn.h. */
#include "base/rng.h"
#include "kernel/learn_ops.h"
#include "kernel/simd/some.h"

void SIMD(relu)(float *y, const float *x, size_t n)
{
    vf zero = vf_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = vf_load_some(x + i, n - i);
        vf_store_some(y + i, vf_select(vm_less(a, zero), zero, a), n - i); /* NaN stays */
    }
}

void SIMD(relu_backward)(float *dx, const float *dy, const float *y, size_t n)
{
    vf zero = vf_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        vm on = vm_less(zero, vf_load_some(y + i, n - i));
        vf_store_some(dx + i, vf_select(on, vf_load_some(dy + i, n - i), zero), n - i);
    }
}

void SIMD(tanh)(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vf_store_some(y + i, vf_tanh(vf_load_some(x + i, n - i)), n - i);
}

void SIMD(tanh_backward)(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf a = vf_load_some(y + i, n - i);
        vf slope = vf_sub(vf_set(1), vf_mul(a, a));
        vf_store_some(dx + i, vf_mul(vf_load_some(dy + i, n - i), slope), n - i);
    }
}

void SIMD(swiglu_backward)(float *dgate, float *dup, const float *dy, const float *gate,
                           const float *up, size_t n)
{
    vf one = vf_set(1);
    for (size_t i = 0; i < n; i += LANES) {
        vf x = vf_load_some(gate + i, n - i), d = vf_load_some(dy + i, n - i);
        vf s = vf_div(one, vf_add(one, vf_exp(vf_sub(vf_set(0), x))));
        vf slope = vf_mul(s, vf_fma(x, vf_sub(one, s), one));
        vf dx = vf_mul(vf_mul(d, vf_load_some(up + i, n - i)), slope);
        vf_store_some(dup + i, vf_mul(vf_mul(d, x), s), n - i);
        vf_store_some(dgate + i, dx, n - i);
    }
}

float SIMD(log_sum_exp)(const float *x, size_t n)
{
    vf low = vf_set(-INFINITY), most = low, sum = vf_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = vf_load_some(x + i, n - i);
        most =
            vf_max(n - i < LANES ? vf_select(vm_from_bits((1u << (n - i)) - 1), a, low) : a, most);
    }
    float top = vf_largest(most);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = vf_exp(vf_sub(vf_load_some(x + i, n - i), vf_set(top)));
        if (n - i < LANES)
            a = vf_select(vm_from_bits((1u << (n - i)) - 1), a, vf_set(0));
        sum = vf_add(sum, a);
    }
    return top + logf(vf_sum(sum));
}

void SIMD(softmax_backward)(float *x, size_t n, float lse, size_t target, float scale)
{
    float of_target = exp_scalar(x[target] - lse) - 1.0f;
    for (size_t i = 0; i < n; i += LANES) {
        vf p = vf_exp(vf_sub(vf_load_some(x + i, n - i), vf_set(lse)));
        vf_store_some(x + i, vf_mul(vf_set(scale), p), n - i);
    }
    x[target] = scale * of_target;
}

/* The draws in plain C, which compilers turn into the instructions of the set: 64-bit products have
 * no counterpart in simd.h. */
void SIMD(dropout)(float *y, const float *x, size_t n, uint64_t seed, uint64_t first, uint32_t drop)
{
    enum { WORDS = 16, DRAWS = 4 * WORDS };
    vf scale = vf_set(65536 / (float)(65536 - drop)), zero = vf_set(0);
    for (size_t at = 0; at < n; at += DRAWS) {
        uint64_t words[WORDS];
        uint16_t draws[DRAWS];
        float kept[DRAWS]; /* above 0 where it is */
        for (size_t w = 0; w < WORDS; w++)
            words[w] = rng_bits(seed, (first + at) / 4 + w);
        memcpy(draws, words, sizeof draws); /* little-endian, as every machine with these sets */
        for (size_t i = 0; i < DRAWS; i++)
            kept[i] = (float)((int)draws[i] - (int)drop + 1);
        for (size_t i = 0; i < DRAWS && at + i < n; i += LANES) {
            size_t left = n - at - i;
            vf a = vf_mul(vf_load_some(x + at + i, left), scale);
            vf_store_some(y + at + i, vf_select(vm_less(zero, vf_load(kept + i)), a, zero), left);
        }
    }
}
