/* The table of learn.h for one instruction set. */
#include "kernel/learn_ops.h"
#include "kernel/simd/simd.h"

const struct learn_kernels SIMD(learn) = {
    .layernorm = SIMD(layernorm),
    .layernorm_backward = SIMD(layernorm_backward),
    .rmsnorm_backward = SIMD(rmsnorm_backward),
    .norm_sums = SIMD(norm_sums),
    .column_sums = SIMD(column_sums),
    .relu = SIMD(relu),
    .relu_backward = SIMD(relu_backward),
    .tanh = SIMD(tanh),
    .tanh_backward = SIMD(tanh_backward),
    .swiglu_backward = SIMD(swiglu_backward),
    .log_sum_exp = SIMD(log_sum_exp),
    .softmax_backward = SIMD(softmax_backward),
    .dropout = SIMD(dropout),
    .lstm = SIMD(lstm),
    .lstm_backward = SIMD(lstm_backward),
    .gru = SIMD(gru),
    .gru_backward = SIMD(gru_backward),
    .additive_backward = SIMD(additive_backward),
};
