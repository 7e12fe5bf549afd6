/* What the bodies of simd/ define, under the name of the instruction set they are compiled for.
 * Contracts: kernel.h. */
#ifndef KERNEL_SIMD_OPS_H
#define KERNEL_SIMD_OPS_H

#include "kernel/kernel.h"

/* Query rows of an attention tile: as many as fill the registers with sums. */
enum { TILE_ROWS_AVX2 = 6, TILE_ROWS_AVX512 = 6 };

#define SIMD_OPS(set)                                                                              \
    void unpack_##set(enum dtype type, float *out, const void *in, size_t n);                      \
    void pack_##set(enum dtype type, void *out, const float *in, size_t n);                        \
    void dots_##set(float *y, size_t y_stride, const float *x, size_t rows, const float *w,        \
                    size_t outputs, size_t K);                                                     \
    void rmsnorm_##set(float *y, const float *x, const float *w, size_t n, float eps);             \
    void swiglu_##set(float *y, const float *gate, const float *up, size_t n);                     \
    void add_##set(float *y, const float *x, size_t n);                                            \
    void absorb_##set(const struct absorb *tile);

SIMD_OPS(avx2)
SIMD_OPS(avx512)

#undef SIMD_OPS

#endif
