/* A matrix packed once for many products with few rows, such as the recurrent weights over all
 * steps of a sequence: what product() packs anew in each call stays packed here. Same bits as
 * product(). Everything runs in the calling thread. */
#ifndef KERNEL_PACKED_H
#define KERNEL_PACKED_H

#include "kernel/kernel.h"

struct packed {
    const struct kernels *kernels;
    enum dtype arithmetic; /* DTYPE_F32, or DTYPE_BF16 as in kernel/product.h */
    size_t N, K;
    size_t words;       /* of a row of a as the kernels read it */
    const char *panels; /* [(N + 63) / 64] panels */
};

/* Bytes of memory for packing, and of scratch for products with up to `rows` rows; multiples of 64.
 */
size_t packed_bytes(const struct kernels *kernels, enum dtype arithmetic, size_t N, size_t K);
size_t packed_scratch(const struct kernels *kernels, enum dtype arithmetic, size_t K, size_t rows);

/* Packs b(k, n) = b[k * b_k + n * b_n], one of the strides 1, into `memory`, aligned to 64. */
struct packed packed_make(const struct kernels *kernels, enum dtype arithmetic, void *memory,
                          const float *b, size_t b_k, size_t b_n, size_t N, size_t K);

/* c[m][n] = (accumulate ? c[m][n] : 0) + sum_k a[m][k] b(k, n): a [rows][K], c [rows][N], dense. */
void packed_product(const struct packed *packed, float *c, const float *a, size_t rows,
                    bool accumulate, void *scratch);

#endif
