/* AdamW: Adam with decoupled weight decay, as PyTorch computes it; the norm that gradients are
 * clipped by; and the learning rate of a step.
 *
 * Nothing here depends on the number of threads: an update touches each parameter alone, and the
 * norm is cut into a fixed number of pieces, whose sums are added in their order. */
#ifndef TRAIN_ADAMW_H
#define TRAIN_ADAMW_H

#include <stddef.h>
#include <stdint.h>

/* One update. `t` counts them from 1. */
struct adamw {
    double lr, beta1, beta2, eps, weight_decay;
    uint64_t t;
    double
        scale; /* of the gradient, first of all: clipping, and the mean over accumulated batches */
};

/* For each of the n parameters w with gradient g and moments m and v:
 *
 *     w' = w - lr weight_decay w
 *     m' = m + (1 - beta1) (g - m)               v' = beta2 v + (1 - beta2) g^2
 *     w' = w' - lr / (1 - beta1^t) m' / (sqrt(v') / sqrt(1 - beta2^t) + eps)
 *
 * (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization"; Kingma and Ba 2015.) */
void adamw_update(const struct adamw *update, float *w, const float *g, float *m, float *v,
                  size_t n, int threads);

/* The Euclidean norm of n numbers, summed in float64. NaN or infinite where one of them is. */
double gradient_norm(const float *g, size_t n, int threads);

/* What to multiply a gradient of this norm by so that its norm is at most `most` (0: any): as
 * PyTorch's clip_grad_norm_, most / (norm + 1e-6) where that is below 1. */
double gradient_clip(double norm, double most);

/* The learning rate of step `step`, counted from 0: linear over `warmup` steps, then half a cosine
 * down to `low`, which is reached at step `steps`. (Loshchilov and Hutter 2017, "SGDR".)
 *
 *     step < warmup:  high (step + 1) / (warmup + 1)
 *     otherwise:      low + (high - low) (1 + cos(pi x)) / 2,  x = (step - warmup) / (steps -
 * warmup)
 */
struct schedule {
    double high, low;
    size_t warmup, steps;
};

double schedule_rate(const struct schedule *schedule, size_t step);

#endif
