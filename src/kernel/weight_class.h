/* What a class of weight types does for kernel/weight.c, which owns the threads: dense types in
 * weight_dense.c, block-quantised ones in weight_quant.c. Outputs lie in panels of
 * `panel_outputs`; a class computes any run of panels for all rows in the calling thread. */
#ifndef KERNEL_WEIGHT_CLASS_H
#define KERNEL_WEIGHT_CLASS_H

#include "kernel/weight.h"

struct weight_class {
    size_t panel_outputs;

    size_t (*bytes)(const struct kernels *kernels, enum dtype type, size_t outputs, size_t inputs);

    /* Packs panels [first, end) from `stored`, the whole matrix as it lies in a file. */
    void (*pack)(const struct weight *weight, const void *stored, size_t first, size_t end);

    /* The form in which rows of x are taken: weights of equal form share prepared rows. */
    int (*form)(const struct kernels *kernels, enum dtype type);

    /* Bytes of a prepared row, a multiple of 64, and preparing `rows` rows. */
    size_t (*row_bytes)(const struct kernels *kernels, enum dtype type, size_t inputs);
    void (*prepare)(const struct weight *weight, void *out, const float *x, size_t x_stride,
                    size_t rows);

    /* Panels [first, end) of a job over all prepared rows. */
    void (*compute)(const struct weight_job *job, const void *prepared, size_t rows, size_t first,
                    size_t end);
};

extern const struct weight_class weight_dense, weight_quant;

#endif
