/* Attention of a recurrent predictor over its own past states, there and back.
 *
 *     a_ti = softmax_i score(h_t, h_i) over the last `window` states up to h_t,  c_t = sum_i a_ti
 * h_i y_t = tanh(Wc [c_t; h_t])                                (Luong, Pham and Manning 2015)
 *
 *     dot       h_i . h_t
 *     general   h_i . (W h_t)
 *     additive  w . tanh(W1 h_t + W2 h_i)                      (Bahdanau, Cho and Bengio 2014)
 *
 * States are time-major, [M + T][B][E]: the M that batches before left, and the T new ones. Nothing
 * goes back into the M, but W2 learns from them.
 */
#ifndef TRAIN_PAST_ATTENTION_H
#define TRAIN_PAST_ATTENTION_H

#include "train/attend_batch.h"
#include "train/linear.h"
#include "train/predictor.h"

struct past_attention {
    enum predictor_attention score;
    struct linear query; /* W, or W1: [E][E] */
    struct linear key;   /* W2 [E][E] */
    const float *w;      /* [E] */
    float *dw;
    struct linear combine; /* Wc [E][2 E] */
    size_t E, window;
};

struct past_rows {
    const float *h;  /* [M + T][B][E] */
    float *q;        /* [T][B][E] unless dot */
    float *k;        /* additive: [M + T][B][E] */
    bool keys_ready; /* the first M of k are there */
    float *s, *c;    /* [B][T], [B][T][E]: the states of attention */
    float *both;     /* [T][B][2 E] */
    float *y;        /* [T][B][E] */
    size_t M;        /* below `window` */
    size_t position; /* of the first new state */
};

/* Scratch of the way back, for up to S = M + T states. */
struct past_scratch {
    float *dboth;   /* [T][B][2 E] */
    float *dc;      /* [B][T][E] */
    float *dq;      /* [B][T][E] */
    float *dk, *dv; /* [B][S][E] */
    float *rows;    /* [S][B][E] */
    float *more;    /* additive: [S][B][E] */
    float *dw;      /* additive: [B][E] */
};

/* Bytes of crew->workspace. */
size_t past_attention_workspace(const struct crew *crew, enum predictor_attention score, size_t E,
                                size_t window, size_t T, size_t B, bool backward);

/* rows->y. */
void past_attention(const struct crew *crew, const struct past_attention *layer,
                    const struct past_rows *rows, size_t T, size_t B);

/* dh [T][B][E] = the gradient for the new states of dy [T][B][E], which is used up. */
void past_attention_backward(const struct crew *crew, const struct past_attention *layer,
                             const struct past_rows *rows, const struct past_scratch *scratch,
                             float *dh, float *dy, size_t T, size_t B);

/* dq, dk, dv and dw [B][E] of the additive score: what trib_attend_backward does for the others.
 * Queries and keys as in `batch`, with one head; dy [B][T][E]; all dense, written whole. */
void additive_batch_backward(const struct crew *crew, const struct attend_batch *batch,
                             const float *dy, float *dq, float *dk, float *dv, float *dw);
size_t additive_batch_workspace(const struct crew *crew, size_t E);

#endif
