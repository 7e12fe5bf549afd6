/* Rotary position embedding, in plain C: it is a thousandth of what the products beside it cost. */
#include "kernel/ops.h"

#include <math.h>

void rope_frequencies(double *frequency, size_t D, double base)
{
    for (size_t i = 0; i < D / 2; i++)
        frequency[i] = pow(base, -2.0 * (double)i / (double)D);
}

void rope_angles(float *cosine, float *sine, const double *frequency, size_t D, size_t position)
{
    for (size_t i = 0; i < D / 2; i++) {
        double angle = (double)position * frequency[i];
        cosine[i] = (float)cos(angle);
        sine[i] = (float)sin(angle);
    }
}

void rope(float *x, const float *cosine, const float *sine, size_t heads, size_t D)
{
    for (size_t h = 0; h < heads; h++, x += D)
        for (size_t i = 0; i < D / 2; i++) {
            float even = x[2 * i], odd = x[2 * i + 1];
            x[2 * i] = even * cosine[i] - odd * sine[i];
            x[2 * i + 1] = even * sine[i] + odd * cosine[i];
        }
}

void rope_halves(float *x, const float *cosine, const float *sine, size_t heads, size_t D,
                 size_t rotated)
{
    size_t half = rotated / 2;
    for (size_t h = 0; h < heads; h++, x += D)
        for (size_t i = 0; i < half; i++) {
            float first = x[i], second = x[half + i];
            x[i] = first * cosine[i] - second * sine[i];
            x[half + i] = first * sine[i] + second * cosine[i];
        }
}
