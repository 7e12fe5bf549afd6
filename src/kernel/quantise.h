/* Quantising: float32 to any stored type.
 *
 * Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 have the bytes that GGUF's reference quantiser gives. The K types
 * and the IQ4 types are a search for scales (kernel/ref/quantise_affine.h, quantise_signed.h),
 * which may find others than other programs do. A block's bytes depend on the block alone, in every
 * table. */
#ifndef KERNEL_QUANTISE_H
#define KERNEL_QUANTISE_H

#include <stdbool.h>
#include <stddef.h>

#include "kernel/kernel.h"

/* The largest magnitude that every type takes: scales and least values are f16. */
#define QUANTISE_MOST 65504.0f

/* Whether all of x [n] are numbers of at most QUANTISE_MOST; else *at is the first that is not. */
bool quantise_takes(const float *x, size_t n, size_t *at);

/* out = x [n] in `type`, n in whole blocks; values as quantise_takes asks for unless the type is
 * F32, F16 or BF16. Cut over threads by blocks. */
void quantise(const struct kernels *kernels, enum dtype type, void *out, const float *x, size_t n,
              int threads);

#endif
