/* The reference table of learn.h. */
#include "kernel/learn_ops.h"

const struct learn_kernels learn_ref = {
    .layernorm = layernorm_ref,
    .layernorm_backward = layernorm_backward_ref,
    .rmsnorm_backward = rmsnorm_backward_ref,
    .norm_sums = norm_sums_ref,
    .column_sums = column_sums_ref,
    .relu = relu_ref,
    .relu_backward = relu_backward_ref,
    .tanh = tanh_ref,
    .tanh_backward = tanh_backward_ref,
    .swiglu_backward = swiglu_backward_ref,
    .log_sum_exp = log_sum_exp_ref,
    .softmax_backward = softmax_backward_ref,
    .dropout = dropout_ref,
    .lstm = lstm_ref,
    .lstm_backward = lstm_backward_ref,
    .gru = gru_ref,
    .gru_backward = gru_backward_ref,
    .additive_backward = additive_backward_ref,
};
