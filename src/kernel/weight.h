/* Weight matrices of a model: packed once when it is loaded, for products with any number of rows.
 *
 *     y[t][n] = (accumulate ? y[t][n] : 0) + bias[n] + sum_k x[t][k] w[n][k]
 *
 * The bits of an element depend on its row of x and its row of w, and on nothing else: not on how
 * many rows or jobs there are, where it stands among them, or the threads. Rows of x are taken in
 * the form that the type of w is multiplied in; what form that is, the type and the table know.
 */
#ifndef KERNEL_WEIGHT_H
#define KERNEL_WEIGHT_H

#include "kernel/kernel.h"

/* A packed matrix [outputs][inputs]. */
struct weight {
    const struct kernels *kernels;
    enum dtype type;
    size_t outputs; /* N */
    size_t inputs;  /* K, whole blocks of the type */
    void *packed;   /* weight_bytes() bytes, aligned to 64; the caller's */
};

/* Bytes of the packed form, a multiple of 64. */
size_t weight_bytes(const struct kernels *kernels, enum dtype type, size_t outputs, size_t inputs);

/* Packs `stored`, rows of a file as they lie there, into `memory`, and makes `weight` of it. */
void weight_pack(struct weight *weight, const struct kernels *kernels, enum dtype type,
                 size_t outputs, size_t inputs, const void *stored, void *memory, int threads);

/* One product of several that share x. */
struct weight_job {
    const struct weight *weight;
    float *y; /* [rows][y_stride] */
    size_t y_stride;
    const float *bias; /* [outputs], or NULL */
    bool accumulate;
};

/* Bytes of workspace for products of up to `rows` rows of up to `inputs` elements, a multiple of
 * 64. */
size_t weight_workspace(const struct kernels *kernels, size_t rows, size_t inputs, int threads);

/* All `count` jobs over x [rows][x_stride], the inputs of each job's weight at the front of each
 * row. `workspace` is aligned to 64 and holds nothing between calls. No y overlaps x or another y.
 */
void weight_products(const struct weight_job *jobs, size_t count, const float *x, size_t x_stride,
                     size_t rows, void *workspace, int threads);

/* Rows of x that are made where a product takes them, each once, by any of the threads: what they
 * are made from is read in one go with rounding them, and nobody writes them to memory. */
struct weight_rows {
    void (*make)(const void *context, size_t row, float *out); /* out [inputs] */
    const void *context;
};

/* The same jobs, all of equal inputs, over the rows that `x` makes. */
void weight_products_of(const struct weight_job *jobs, size_t count, const struct weight_rows *x,
                        size_t rows, void *workspace, int threads);

#endif
