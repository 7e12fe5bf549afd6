/* Scores with the library's attend: keys and values are the states, one head as wide as they are.
 */
#include "train/past_attention.h"

#include <string.h>

#include "attention/fold.h"
#include "train/layers.h"

static trib_attention attention_of(enum predictor_attention score, const float *w, size_t E,
                                   size_t window)
{
    return (trib_attention){.heads = 1,
                            .kv_heads = 1,
                            .head_dim = E,
                            .scale = 1,
                            .additive = score == ATTENTION_ADDITIVE ? w : NULL,
                            .mask = {.causal = true, .window = window}};
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Positions count from a multiple of a span near the first state: that changes no bit, and however
 * long the text, they stay below SPAN + M + T. */
static size_t origin(const struct past_rows *rows)
{
    return (rows->position - rows->M) / SPAN * SPAN;
}

size_t past_attention_workspace(const struct crew *crew, enum predictor_attention score, size_t E,
                                size_t window, size_t T, size_t B, bool backward)
{
    trib_attention attention = attention_of(ATTENTION_DOT, NULL, E, window);
    size_t S = window + T;
    size_t most = linear_workspace(crew, T * B, E, 2 * E, backward);
    most = larger(most, linear_workspace(crew, T * B, E, E, backward));
    most = larger(most, linear_workspace(crew, S * B, E, E, backward));
    if (backward && score == ATTENTION_ADDITIVE)
        most = larger(most, additive_batch_workspace(crew, E));
    return larger(most, attend_batch_workspace(crew, &attention, T, SPAN + S, backward));
}

static struct attend_batch batch_of(const struct past_attention *layer,
                                    const struct past_rows *rows, size_t T, size_t B)
{
    size_t E = layer->E, shift = origin(rows);
    return (struct attend_batch){
        .attention = attention_of(layer->score, layer->w, E, layer->window),
        .B = B,
        .T = T,
        .S = rows->M + T,
        .first_query = rows->position - shift,
        .first_key = rows->position - rows->M - shift,
        .q = layer->score == ATTENTION_DOT ? rows->h + rows->M * B * E : rows->q,
        .k = layer->score == ATTENTION_ADDITIVE ? rows->k : rows->h,
        .v = rows->h,
        .q_sequence = E,
        .q_token = B * E,
        .kv_sequence = E,
        .kv_token = B * E,
        .s = rows->s,
        .y = rows->c};
}

/* to [T][B][to_row] = from [B][T][E]: a sequence after the other becomes a step after the other. */
static void to_steps(float *to, size_t to_row, const float *from, size_t T, size_t B, size_t E)
{
    for (size_t t = 0; t < T; t++)
        for (size_t b = 0; b < B; b++)
            memcpy(to + (t * B + b) * to_row, from + (b * T + t) * E, E * sizeof *to);
}

static void to_sequences(float *to, const float *from, size_t from_row, size_t T, size_t B,
                         size_t E)
{
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++)
            memcpy(to + (b * T + t) * E, from + (t * B + b) * from_row, E * sizeof *to);
}

void past_attention(const struct crew *crew, const struct past_attention *layer,
                    const struct past_rows *rows, size_t T, size_t B)
{
    size_t E = layer->E, R = T * B;
    const float *h = rows->h + rows->M * B * E;
    if (layer->score != ATTENTION_DOT)
        linear(crew, &layer->query, rows->q, h, R);
    if (layer->score == ATTENTION_ADDITIVE) {
        size_t ready = rows->keys_ready ? rows->M * B : 0;
        linear(crew, &layer->key, rows->k + ready * E, rows->h + ready * E,
               (rows->M + T) * B - ready);
    }
    struct attend_batch batch = batch_of(layer, rows, T, B);
    attend_batch(crew, &batch);
    to_steps(rows->both, 2 * E, rows->c, T, B, E);
    for (size_t r = 0; r < R; r++)
        memcpy(rows->both + r * 2 * E + E, h + r * E, E * sizeof *h);
    linear(crew, &layer->combine, rows->y, rows->both, R);
    activate(crew, ACTIVATION_TANH, rows->y, rows->y, R * E);
}

/* dh [T][B][E] += d [B][M + T][E] without the first M. */
static void add_new(const struct crew *crew, float *dh, const float *d, size_t M, size_t T,
                    size_t B, size_t E)
{
    for (size_t t = 0; t < T; t++)
        for (size_t b = 0; b < B; b++)
            crew->kernels->add(dh + (t * B + b) * E, d + (b * (M + T) + M + t) * E, E);
}

void past_attention_backward(const struct crew *crew, const struct past_attention *layer,
                             const struct past_rows *rows, const struct past_scratch *scratch,
                             float *dh, float *dy, size_t T, size_t B)
{
    size_t E = layer->E, R = T * B, M = rows->M, S = M + T;
    const float *h = rows->h + M * B * E;
    activate_backward(crew, ACTIVATION_TANH, dy, dy, rows->y, R * E);
    linear_backward(crew, &layer->combine, scratch->dboth, false, dy, rows->both, R);
    to_sequences(scratch->dc, scratch->dboth, 2 * E, T, B, E);
    for (size_t r = 0; r < R; r++)
        memcpy(dh + r * E, scratch->dboth + r * 2 * E + E, E * sizeof *dh);

    struct attend_batch batch = batch_of(layer, rows, T, B);
    float *dq = scratch->dq, *dk = scratch->dk, *dv = scratch->dv;
    if (layer->score == ATTENTION_ADDITIVE) {
        additive_batch_backward(crew, &batch, scratch->dc, dq, dk, dv, scratch->dw);
        for (size_t b = 0; b < B; b++)
            crew->kernels->add(layer->dw, scratch->dw + b * E, E);
    } else {
        attend_batch_backward(crew, &batch, scratch->dc, dq, dk, dv);
        add_new(crew, dh, dk, M, T, B, E);
    }
    add_new(crew, dh, dv, M, T, B, E);
    to_steps(scratch->rows, E, dq, T, B, E);
    if (layer->score == ATTENTION_DOT)
        add(crew, dh, scratch->rows, R * E);
    else
        linear_backward(crew, &layer->query, dh, true, scratch->rows, h, R);
    if (layer->score == ATTENTION_ADDITIVE) {
        to_steps(scratch->rows, E, dk, S, B, E);
        linear_backward(crew, &layer->key, scratch->more, false, scratch->rows, rows->h, S * B);
        add(crew, dh, scratch->more + M * B * E, R * E);
    }
}
