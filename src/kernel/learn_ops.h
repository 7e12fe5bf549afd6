/* What the bodies of ref/ and simd/ define for learn.h, under the name of the table. */
#ifndef KERNEL_LEARN_OPS_H
#define KERNEL_LEARN_OPS_H

#include "kernel/learn.h"

#define LEARN_OPS(set)                                                                             \
    void layernorm_##set(float *y, struct norm_row *row, const float *x, const float *w,           \
                         const float *b, size_t n, float eps);                                     \
    void layernorm_backward_##set(float *dx, const float *dy, const float *x, const float *w,      \
                                  const struct norm_row *row, size_t n);                           \
    void rmsnorm_backward_##set(float *dx, struct norm_row *row, const float *dy, const float *x,  \
                                const float *w, size_t n, float eps);                              \
    void norm_sums_##set(float *dw, float *db, const float *dy, const float *x,                    \
                         const struct norm_row *norms, size_t rows, size_t stride, size_t n);      \
    void column_sums_##set(float *db, const float *dy, size_t rows, size_t stride, size_t n);      \
    void relu_##set(float *y, const float *x, size_t n);                                           \
    void relu_backward_##set(float *dx, const float *dy, const float *y, size_t n);                \
    void tanh_##set(float *y, const float *x, size_t n);                                           \
    void tanh_backward_##set(float *dx, const float *dy, const float *y, size_t n);                \
    void swiglu_backward_##set(float *dgate, float *dup, const float *dy, const float *gate,       \
                               const float *up, size_t n);                                         \
    float log_sum_exp_##set(const float *x, size_t n);                                             \
    void softmax_backward_##set(float *x, size_t n, float lse, size_t target, float scale);        \
    void dropout_##set(float *y, const float *x, size_t n, uint64_t seed, uint64_t first,          \
                       uint32_t drop);                                                             \
    void lstm_##set(const struct lstm_row *row, size_t n);                                         \
    void lstm_backward_##set(float *d, float *dc, const float *dh, const float *gates,             \
                             const float *c, const float *c_in, size_t n);                         \
    void gru_##set(const struct gru_row *row, size_t n);                                           \
    void gru_backward_##set(float *dx, float *dr, float *dh, const float *gates,                   \
                            const float *h_in, const float *before, size_t n);                     \
    void additive_backward_##set(float *dq, float *dk, float *dw, const float *ds, const float *q, \
                                 const float *k, const float *w, size_t D);

LEARN_OPS(ref)
LEARN_OPS(avx2)
LEARN_OPS(avx512)

#undef LEARN_OPS

#endif
