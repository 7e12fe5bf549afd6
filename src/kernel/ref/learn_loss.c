/* Activations, dropout and the loss, and their way back. */
#include <math.h>

#include "base/rng.h"
#include "kernel/exp.h"
#include "kernel/learn_ops.h"

void relu_ref(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] < 0 ? 0 : x[i];
}

void relu_backward_ref(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = y[i] > 0 ? dy[i] : 0;
}

void tanh_ref(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = tanh_scalar(x[i]);
}

void tanh_backward_ref(float *dx, const float *dy, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * (1 - y[i] * y[i]);
}

void swiglu_backward_ref(float *dgate, float *dup, const float *dy, const float *gate,
                         const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = gate[i], s = 1 / (1 + exp_scalar(-x));
        float dx = dy[i] * up[i] * s * (1 + x * (1 - s));
        dup[i] = dy[i] * x * s;
        dgate[i] = dx;
    }
}

float log_sum_exp_ref(const float *x, size_t n)
{
    float most = x[0];
    for (size_t i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    float sum = exp_scalar(x[0] - most);
    for (size_t i = 1; i < n; i++)
        sum += exp_scalar(x[i] - most);
    return most + logf(sum);
}

void softmax_backward_ref(float *x, size_t n, float lse, size_t target, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (exp_scalar(x[i] - lse) - (i == target ? 1.0f : 0.0f));
}

void dropout_ref(float *y, const float *x, size_t n, uint64_t seed, uint64_t first, uint32_t drop)
{
    float scale = 65536 / (float)(65536 - drop);
    for (size_t i = 0; i < n; i++) {
        uint64_t draw = rng_bits(seed, (first + i) / 4) >> 16 * ((first + i) % 4) & 0xffff;
        y[i] = draw < drop ? 0 : x[i] * scale;
    }
}
