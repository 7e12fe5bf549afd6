/* GELU in both forms, and gated. */
#include "kernel/gelu.h"
#include "kernel/ref/ref.h"

void gelu_tanh_ref(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gelu_tanh_scalar(x[i]);
}

void gelu_erf_ref(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gelu_erf_scalar(x[i]);
}

void geglu_ref(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gelu_tanh_scalar(gate[i]) * up[i];
}
