/* Multi-head self-attention: projections, rotation, attention, and the projection of what the heads
 * found side by side (Vaswani et al. 2017). */
#ifndef TRAIN_SELF_ATTENTION_H
#define TRAIN_SELF_ATTENTION_H

#include "train/linear.h"

struct self_attention {
    struct linear query, key, value, output;
    size_t H, G, D;             /* heads, KV heads, head_dim */
    const float *cosine, *sine; /* [T][D / 2] of the tokens' positions, or NULL: not rotated */
};

/* What one layer's forward leaves for its backward. Keys and values begin with those of positions
 * before `first`, which are there already; B is 1 unless `first` is 0. */
struct self_rows {
    float *q;     /* [B][T][H D] */
    float *k, *v; /* [B][first + T][G D] */
    float *y;     /* [B][T][H D] */
    float *s;     /* [B][T][H] */
    size_t first;
};

/* Scratch of the way back. */
struct self_scratch {
    float *dy, *dq; /* [B][T][H D] */
    float *dk, *dv; /* [B][T][G D] */
};

/* Bytes of crew->workspace, over sequences of T tokens that reach up to `keys` positions. */
size_t self_attention_workspace(const struct crew *crew, size_t H, size_t G, size_t D, size_t E,
                                size_t B, size_t T, size_t keys, bool backward);

/* out [B][T][E] = Wo attention(rotated Wq x, rotated Wk x, Wv x), causal. */
void self_attention(const struct crew *crew, const struct self_attention *layer,
                    const struct self_rows *rows, float *out, const float *x, size_t B, size_t T);

/* dx = the gradient for x, or += where `onto`, and those of the four matrices. dout is not needed
 * any more when dx is written: they may be the same. */
void self_attention_backward(const struct crew *crew, const struct self_attention *layer,
                             const struct self_rows *rows, const struct self_scratch *scratch,
                             float *dx, bool onto, const float *dout, const float *x, size_t B,
                             size_t T);

#endif
