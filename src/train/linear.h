/* The linear layer, y = x W^T + b, there and back. */
#ifndef TRAIN_LINEAR_H
#define TRAIN_LINEAR_H

#include "train/crew.h"
#include "train/parameters.h"

struct linear {
    const float *w; /* [outputs][inputs] */
    const float *b; /* [outputs], or NULL */
    float *dw, *db; /* the same; NULL without gradients */
    size_t outputs, inputs;
};

/* The layer of parameter number `weight`, with the one after it as its bias if it has one. */
struct linear linear_of(const struct parameters *p, size_t weight, bool biased);

/* Bytes of crew->workspace for layers of up to `outputs` and `inputs`, there and, if `backward`,
 * back, over up to `rows` rows. */
size_t linear_workspace(const struct crew *crew, size_t rows, size_t outputs, size_t inputs,
                        bool backward);

/* y [rows][outputs] = x [rows][inputs] W^T + b */
void linear(const struct crew *crew, const struct linear *layer, float *y, const float *x,
            size_t rows);

/* dW += dy^T x, db += sum_r dy_r, and dx [rows][inputs] = dy W, or += where `onto`; dx may be NULL.
 */
void linear_backward(const struct crew *crew, const struct linear *layer, float *dx, bool onto,
                     const float *dy, const float *x, size_t rows);

/* db [columns] += sum_r dy_r */
void bias_backward(const struct crew *crew, float *db, const float *dy, size_t rows,
                   size_t columns);

#endif
