/* Dense matrix products, cut over threads by output.
 *
 * Every element of c is one chain of multiply-adds over ascending k that begins at
 *
 *     accumulate ? c[m][n] + bias[n] : bias[n]        (without bias: c[m][n], or 0)
 *
 * so its bits depend on its row of a, its column of b and where it begins, and on nothing else: not
 * on M, N or its place, the strides, or the threads. Of DTYPE_F32 they are the same in every table;
 * of DTYPE_BF16 tables differ in whether two terms are added at once. A NaN or infinity stays in
 * its own row, or column.
 */
#ifndef KERNEL_PRODUCT_H
#define KERNEL_PRODUCT_H

#include "kernel/kernel.h"

/* c[m][n] = (accumulate ? c[m][n] : 0) + bias[n] + sum_k a(m, k) b(k, n)
 * for m < M, n < N, k < K, any of which may be 0. c overlaps nothing. */
struct product {
    size_t M, N, K;
    const float *a; /* a(m, k) = a[m * a_m + k * a_k], one of the strides 1 */
    size_t a_m, a_k;
    const float *b; /* b(k, n) = b[k * b_k + n * b_n], one of the strides 1 */
    size_t b_k, b_n;
    float *c;          /* c[m * c_m + n] */
    size_t c_m;        /* at least N */
    const float *bias; /* [N], or NULL */
    bool accumulate;
    enum dtype arithmetic; /* DTYPE_F32; DTYPE_BF16: a and b rounded to bf16, sums in float32 */
};

/* Bytes of workspace for the product, a multiple of 64: for each thread, parts of b and, where it
 * has to be copied, of a. It depends on sizes, strides and arithmetic, not on the pointers. */
size_t product_workspace(const struct kernels *kernels, const struct product *product, int threads);

/* Computes c. `workspace` is aligned to 64 and holds nothing between calls. `threads` is the size
 * of the team at most; with 1 no team is asked for, so threads of the caller's may each compute
 * products of their own. */
void product(const struct kernels *kernels, const struct product *product, void *workspace,
             int threads);

#endif
