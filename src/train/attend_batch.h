/* Attention over a batch of sequences of equal length, there and back: the library's attend and its
 * backward, once for each sequence. */
#ifndef TRAIN_ATTEND_BATCH_H
#define TRAIN_ATTEND_BATCH_H

#include "train/crew.h"
#include "tributary/attention.h"

struct attend_batch {
    trib_attention attention;      /* `threads` is not looked at */
    size_t B, T, S;                /* sequences, queries and keys of each */
    size_t first_query, first_key; /* positions */

    /* Query t of sequence b is q[b * q_sequence + t * q_token] and on, [H][D]; keys and values
     * likewise, [G][D]. Floats. */
    const float *q, *k, *v;
    size_t q_sequence, q_token, kv_sequence, kv_token;

    float *s, *y; /* the states: [B][T][H], [B][T][H][D] */
};

/* Bytes of crew->workspace for batches of sequences of up to `tokens` queries that reach up to
 * `keys` positions, there and, if `backward`, back. */
size_t attend_batch_workspace(const struct crew *crew, const trib_attention *attention,
                              size_t tokens, size_t keys, bool backward);

/* s and y. Same bits for any number of threads. */
void attend_batch(const struct crew *crew, const struct attend_batch *batch);

/* dq [B][T][H][D], dk and dv [B][S][G][D] of dy [B][T][H][D], dense, written whole. */
void attend_batch_backward(const struct crew *crew, const struct attend_batch *batch,
                           const float *dy, float *dq, float *dk, float *dv);

#endif
