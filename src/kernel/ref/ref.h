/* The reference operations, one per file, in plain C. Contracts: kernel.h. */
#ifndef KERNEL_REF_REF_H
#define KERNEL_REF_REF_H

#include "kernel/kernel.h"

void unpack_ref(enum dtype type, float *out, const void *in, size_t n);
void pack_ref(enum dtype type, void *out, const float *in, size_t n);
void dots_ref(float *y, size_t y_stride, const float *x, size_t rows, const float *w,
              size_t outputs, size_t K);
void rmsnorm_ref(float *y, const float *x, const float *w, size_t n, float eps);
void swiglu_ref(float *y, const float *gate, const float *up, size_t n);
void add_ref(float *y, const float *x, size_t n);
void absorb_ref(const struct absorb *tile);

#endif
