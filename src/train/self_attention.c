/* Self-attention over a batch of sequences, there and back. */
#include "train/self_attention.h"

#include <math.h>

#include "train/attend_batch.h"
#include "train/layers.h"

static trib_attention attention_of(size_t H, size_t G, size_t D)
{
    return (trib_attention){.heads = H,
                            .kv_heads = G,
                            .head_dim = D,
                            .scale = 1 / sqrtf((float)D),
                            .mask = {.causal = true}};
}

size_t self_attention_workspace(const struct crew *crew, size_t H, size_t G, size_t D, size_t E,
                                size_t B, size_t T, size_t keys, bool backward)
{
    trib_attention attention = attention_of(H, G, D);
    size_t most = attend_batch_workspace(crew, &attention, T, keys, backward);
    const size_t shapes[][2] = {{H * D, E}, {G * D, E}, {E, H * D}};
    for (size_t i = 0; i < 3; i++) {
        size_t bytes = linear_workspace(crew, B * T, shapes[i][0], shapes[i][1], backward);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static struct attend_batch batch_of(const struct self_attention *layer,
                                    const struct self_rows *rows, size_t B, size_t T)
{
    size_t HD = layer->H * layer->D, GD = layer->G * layer->D, S = rows->first + T;
    return (struct attend_batch){.attention = attention_of(layer->H, layer->G, layer->D),
                                 .B = B,
                                 .T = T,
                                 .S = S,
                                 .first_query = rows->first,
                                 .q = rows->q,
                                 .k = rows->k,
                                 .v = rows->v,
                                 .q_sequence = T * HD,
                                 .q_token = HD,
                                 .kv_sequence = S * GD,
                                 .kv_token = GD,
                                 .s = rows->s,
                                 .y = rows->y};
}

void self_attention(const struct crew *crew, const struct self_attention *layer,
                    const struct self_rows *rows, float *out, const float *x, size_t B, size_t T)
{
    size_t R = B * T, GD = layer->G * layer->D;
    float *k = rows->k + rows->first * GD, *v = rows->v + rows->first * GD;
    linear(crew, &layer->query, rows->q, x, R);
    linear(crew, &layer->key, k, x, R);
    linear(crew, &layer->value, v, x, R);
    if (layer->cosine) {
        rotate(crew, rows->q, layer->cosine, layer->sine, R, T, layer->H, layer->D);
        rotate(crew, k, layer->cosine, layer->sine, R, T, layer->G, layer->D);
    }
    struct attend_batch batch = batch_of(layer, rows, B, T);
    attend_batch(crew, &batch);
    linear(crew, &layer->output, out, rows->y, R);
}

void self_attention_backward(const struct crew *crew, const struct self_attention *layer,
                             const struct self_rows *rows, const struct self_scratch *scratch,
                             float *dx, bool onto, const float *dout, const float *x, size_t B,
                             size_t T)
{
    size_t R = B * T;
    float *dq = scratch->dq, *dk = scratch->dk, *dv = scratch->dv;
    linear_backward(crew, &layer->output, scratch->dy, false, dout, rows->y, R);
    struct attend_batch batch = batch_of(layer, rows, B, T);
    attend_batch_backward(crew, &batch, scratch->dy, dq, dk, dv);
    if (layer->cosine) {
        rotate_backward(crew, dq, layer->cosine, layer->sine, R, T, layer->H, layer->D);
        rotate_backward(crew, dk, layer->cosine, layer->sine, R, T, layer->G, layer->D);
    }
    linear_backward(crew, &layer->query, dx, onto, dq, x, R);
    linear_backward(crew, &layer->key, dx, true, dk, x, R);
    linear_backward(crew, &layer->value, dx, true, dv, x, R);
}
