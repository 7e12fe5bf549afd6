/* One recurrent layer over a batch of sequences, there and back through time. Rows are time-major,
 * [T][B][n]: what is computed together lies together.
 *
 *     Elman  h_t = tanh(W x_t + b + U h_{t-1} + b')
 *     GRU, LSTM: gates as PyTorch orders and writes them (kernel/learn.h)
 *
 * Both biases are there, as in PyTorch, although only GRU tells them apart.
 */
#ifndef TRAIN_RECURRENT_H
#define TRAIN_RECURRENT_H

#include "train/linear.h"
#include "train/predictor.h"

struct recurrent {
    enum predictor_cell cell;
    struct linear input;  /* W [g n][inputs], b */
    struct linear hidden; /* U [g n][n], b' */
    size_t n;             /* units */
};

/* Gates of a cell, g: 1, 3 or 4. */
size_t recurrent_gates(enum predictor_cell cell);

/* What one layer's forward leaves for its backward. */
struct recurrent_rows {
    float *gates; /* [T][B][g n] */
    float *h_in;  /* GRU: [T][B][3 n]; else [B][g n]: recurrent products */
    float *h;     /* [1 + T][B][n], the first of them the states before */
    float *c;     /* LSTM: the same */
};

/* Scratch of the way back. */
struct recurrent_scratch {
    float *d;       /* [T][B][g n] */
    float *d_in;    /* GRU: [T][B][3 n]; else d */
    float *dh, *dc; /* [B][n] */
};

/* Floats of recurrent_rows.h_in. */
size_t recurrent_products(enum predictor_cell cell, size_t T, size_t B, size_t n);

/* Bytes of crew->workspace. */
size_t recurrent_workspace(const struct crew *crew, enum predictor_cell cell, size_t T, size_t B,
                           size_t inputs, size_t n, bool backward);

/* rows->h of x [T][B][inputs] and the states before. */
void recurrent(const struct crew *crew, const struct recurrent *layer,
               const struct recurrent_rows *rows, const float *x, size_t T, size_t B);

/* dx [T][B][inputs] of dh [T][B][n], the gradients of the states as others read them. Nothing goes
 * back into the states before: that is where back-propagation through time is cut. */
void recurrent_backward(const struct crew *crew, const struct recurrent *layer,
                        const struct recurrent_rows *rows, const struct recurrent_scratch *scratch,
                        float *dx, const float *dh, const float *x, size_t T, size_t B);

#endif
