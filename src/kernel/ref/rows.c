/* Operations on one row: normalisation, gated activation, sum. */
#include <math.h>

#include "kernel/exp.h"
#include "kernel/ref/ref.h"

void rmsnorm_ref(float *y, const float *x, const float *w, size_t n, float eps)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    float scale = 1 / sqrtf(sum / (float)n + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * scale * w[i];
}

void swiglu_ref(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gate[i] / (1 + exp_scalar(-gate[i])) * up[i];
}

void add_ref(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

void exp_ref(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = exp_scalar(x[i]);
}
