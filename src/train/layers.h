/* The layers that work row by row: embedding, norms, activations, dropout, rotation, loss. Each
 * there, and right below back. Rows are cut over the crew's threads. */
#ifndef TRAIN_LAYERS_H
#define TRAIN_LAYERS_H

#include "train/crew.h"
#include "train/predictor.h"

/* y [rows][E] = table [tokens[r]]; `table` has the row of every token. */
void embedding(const struct crew *crew, float *y, const float *table, const int32_t *tokens,
               size_t rows, size_t E);

/* dtable[tokens[r]] += dy_r, over ascending r. */
void embedding_backward(const struct crew *crew, float *dtable, const float *dy,
                        const int32_t *tokens, size_t rows, size_t E);

/* A norm with its weights [E] and their gradients; b and db are NULL for RMSNorm. */
struct norm {
    const float *w, *b;
    float *dw, *db;
    size_t E;
    float eps;
};

/* The norm of parameter number `weight`; the one after it is its shift, for LayerNorm. */
struct norm norm_of(const struct predictor *p, size_t weight, bool shifted);

/* y [rows][E] = the norm of x. `saved` [rows] for the way back. */
void norm(const struct crew *crew, const struct norm *n, float *y, const float *x,
          struct norm_row *saved, size_t rows);

/* LayerNorm: dx = its gradient; RMSNorm: dx += its gradient. And dw, db. dx overlaps nothing. */
void norm_backward(const struct crew *crew, const struct norm *n, float *dx, const float *dy,
                   const float *x, struct norm_row *saved, size_t rows);

/* y += x */
void add(const struct crew *crew, float *y, const float *x, size_t n);

/* y = f(x), and dx = dy f'(x) by what f gave. y may be x, dx may be dy. */
void activate(const struct crew *crew, enum predictor_activation f, float *y, const float *x,
              size_t n);
void activate_backward(const struct crew *crew, enum predictor_activation f, float *dx,
                       const float *dy, const float *y, size_t n);

/* y = silu(gate) up, and back in place: gate and up become their gradients. */
void swiglu(const struct crew *crew, float *y, const float *gate, const float *up, size_t n);
void swiglu_backward(const struct crew *crew, const float *dy, float *gate, float *up, size_t n);

/* Where draws of dropout come from: one of these per forward. */
struct dropping {
    uint64_t seed; /* of the forward */
    uint32_t drop; /* of 2^16; 0: nothing is dropped */
};

struct dropping dropping_of(const struct predictor *p, const struct batch *batch);

/* y = dropout of x at place `site` of the predictor; back it is the same function. y may be x. With
 * nothing to drop it is a copy. */
void dropout(const struct crew *crew, const struct dropping *dropping, uint64_t site, float *y,
             const float *x, size_t n);

/* Rotates adjacent pairs of [rows][heads][D] by the angles of row r mod T, cosine and sine [T][D /
 * 2]; back it is the rotation by the opposite angle. */
void rotate(const struct crew *crew, float *x, const float *cosine, const float *sine, size_t rows,
            size_t T, size_t heads, size_t D);
void rotate_backward(const struct crew *crew, float *dx, const float *cosine, const float *sine,
                     size_t rows, size_t T, size_t heads, size_t D);

/* Softmax cross-entropy: lse [rows] and losses [rows] of logits [rows][V]; target -1: loss 0. */
void cross_entropy(const struct crew *crew, float *losses, float *lse, const float *logits,
                   const int32_t *targets, size_t rows, size_t V);

/* logits become the gradient of scale times the sum of losses. */
void cross_entropy_backward(const struct crew *crew, float *logits, const float *lse,
                            const int32_t *targets, size_t rows, size_t V, float scale);

/* losses [B][T] summed over ascending place. */
struct loss loss_sum(const float *losses, const int32_t *targets, size_t n);

#endif
