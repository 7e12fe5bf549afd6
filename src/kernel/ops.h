/* Rotary position embedding. */
#ifndef KERNEL_OPS_H
#define KERNEL_OPS_H

#include <stddef.h>

/* The inverse frequencies of rotary position embedding, base^(-2i/D), for i < D/2. */
void rope_frequencies(double *frequency, size_t D, double base);

/* Rotates each adjacent pair (x[2i], x[2i+1]) of `heads` heads of D floats by the angle
 * position * frequency[i], in place. (Su et al. 2021, "RoFormer".) The angles of a row are computed
 * once, in float64, by rope_angles. */
void rope_angles(float *cosine, float *sine, const double *frequency, size_t D, size_t position);
void rope(float *x, const float *cosine, const float *sine, size_t heads, size_t D);

/* The same of pairs that lie half of the `rotated` first dimensions of a head apart: (x[i], x[i +
 * rotated / 2]); the dimensions behind them stay. */
void rope_halves(float *x, const float *cosine, const float *sine, size_t heads, size_t D,
                 size_t rotated);

#endif
