/* Softmax cross-entropy: loss = log sum_v exp(x_v) - x_target, natural logarithm. */
#include <string.h>

#include "train/layers.h"

struct rows {
    const struct kernels *kernels;
    float *losses, *lse;
    const float *logits;
    const int32_t *targets;
    size_t V;
};

static void losses_of(const void *context, size_t from, size_t to)
{
    const struct rows *c = context;
    for (size_t r = from; r < to; r++) {
        const float *x = c->logits + r * c->V;
        c->lse[r] = c->losses[r] = 0;
        if (c->targets[r] < 0)
            continue;
        c->lse[r] = c->kernels->learn->log_sum_exp(x, c->V);
        c->losses[r] = c->lse[r] - x[c->targets[r]];
    }
}

void cross_entropy(const struct crew *crew, float *losses, float *lse, const float *logits,
                   const int32_t *targets, size_t rows, size_t V)
{
    struct rows c = {crew->kernels, losses, lse, logits, targets, V};
    crew_run(crew, rows, rows * V, losses_of, &c);
}

struct rows_backward {
    const struct kernels *kernels;
    float *logits; /* become their gradient */
    const float *lse;
    const int32_t *targets;
    size_t V;
    float scale;
};

static void gradients_of(const void *context, size_t from, size_t to)
{
    const struct rows_backward *c = context;
    for (size_t r = from; r < to; r++) {
        float *x = c->logits + r * c->V;
        if (c->targets[r] < 0)
            memset(x, 0, c->V * sizeof *x);
        else
            c->kernels->learn->softmax_backward(x, c->V, c->lse[r], (size_t)c->targets[r],
                                                c->scale);
    }
}

void cross_entropy_backward(const struct crew *crew, float *logits, const float *lse,
                            const int32_t *targets, size_t rows, size_t V, float scale)
{
    struct rows_backward c = {crew->kernels, logits, lse, targets, V, scale};
    crew_run(crew, rows, rows * V, gradients_of, &c);
}

struct loss loss_sum(const float *losses, const int32_t *targets, size_t n)
{
    struct loss loss = {0, 0};
    for (size_t i = 0; i < n; i++)
        if (targets[i] >= 0) {
            loss.sum += (double)losses[i];
            loss.count++;
        }
    return loss;
}
