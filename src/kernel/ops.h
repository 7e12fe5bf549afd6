/* Operations over whole activations, cut over threads by output.
 *
 * `threads` is the size of the team at most; the result does not depend on it.
 */
#ifndef KERNEL_OPS_H
#define KERNEL_OPS_H

#include "kernel/kernel.h"

/* A weight matrix as stored: [outputs][inputs], rows of whole blocks. */
struct matrix {
    enum dtype type;
    const void *data;
    size_t outputs;
    size_t inputs;
};

/* Floats of scratch that matmul needs for matrices of up to `inputs` columns. */
size_t matmul_scratch(size_t inputs, int threads);

/* y [T][outputs] = x [T][inputs] w^T. `scratch` as matmul_scratch says, used only in the call. */
void matmul(const struct kernels *kernels, float *y, const float *x, const struct matrix *w,
            size_t T, float *scratch, int threads);

/* The inverse frequencies of rotary position embedding, base^(-2i/D), for i < D/2. */
void rope_frequencies(double *frequency, size_t D, double base);

/* Rotates each adjacent pair (x[2i], x[2i+1]) of `heads` heads of D floats by the angle
 * position * frequency[i], in place. (Su et al. 2021, "RoFormer".) The angles of a row are computed
 * once, in float64, by rope_angles. */
void rope_angles(float *cosine, float *sine, const double *frequency, size_t D, size_t position);
void rope(float *x, const float *cosine, const float *sine, size_t heads, size_t D);

#endif
