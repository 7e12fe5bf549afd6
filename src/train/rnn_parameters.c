/* The parameters of a recurrent predictor: names, shapes, first values. */
#include "train/rnn_parameters.h"

#include <math.h>

#include "base/error.h"

/* Parameters follow each other: the embedding, (W, b, U, b') of each layer, those of attention that
 * its score has, the output's two. */
enum { RNN_LAYERS = RNN_EMBEDDING + 1, RNN_LAYER_COUNT = 4 };

bool rnn_attends(const struct predictor_config *f)
{
    return f->attention != ATTENTION_NONE;
}

trib_status rnn_check(const struct predictor_config *f, trib_error *error)
{
    if ((size_t)f->cell > CELL_LSTM || (size_t)f->attention > ATTENTION_ADDITIVE)
        return error_set(error, TRIB_INVALID, "cell and attention: no such number: %d, %d",
                         (int)f->cell, (int)f->attention);
    if (rnn_attends(f) && f->width > 1024)
        return error_set(error, TRIB_INVALID,
                         "width: expected at most 1024 with attention over states, found %zu",
                         f->width);
    return TRIB_OK;
}

static trib_status list_attention(const struct predictor_config *f, struct parameters *p,
                                  float size, trib_error *error)
{
    size_t E = f->width;
    trib_status status = TRIB_OK;
    if (f->attention != ATTENTION_DOT)
        status = parameters_matrix(p, "attn_query.weight", 0, E, E, INIT_UNIFORM, size, error);
    if (f->attention == ATTENTION_ADDITIVE && status == TRIB_OK)
        status = parameters_matrix(p, "attn_key.weight", 0, E, E, INIT_UNIFORM, size, error);
    if (f->attention == ATTENTION_ADDITIVE && status == TRIB_OK)
        status = parameters_vector(p, "attn_score.weight", 0, E, INIT_UNIFORM, size, error);
    if (status == TRIB_OK)
        status =
            parameters_matrix(p, "attn_combine.weight", 0, E, 2 * E, INIT_UNIFORM, size, error);
    return status;
}

/* Everything begins uniform within 1 / sqrt(E), as PyTorch's cells do. */
trib_status rnn_list(const struct predictor_config *f, struct parameters *p, trib_error *error)
{
    size_t E = f->width, gates = recurrent_gates(f->cell) * E;
    float size = 1 / sqrtf((float)E);
    trib_status status =
        parameters_matrix(p, "token_embd.weight", 0, f->vocabulary, E, INIT_NORMAL, 1, error);
    for (size_t l = 0; l < f->layers && status == TRIB_OK; l++)
        if ((status = parameters_matrix(p, "blk.%zu.input.weight", l, gates, E, INIT_UNIFORM, size,
                                        error)) == TRIB_OK &&
            (status = parameters_vector(p, "blk.%zu.input.bias", l, gates, INIT_UNIFORM, size,
                                        error)) == TRIB_OK &&
            (status = parameters_matrix(p, "blk.%zu.recurrent.weight", l, gates, E, INIT_UNIFORM,
                                        size, error)) == TRIB_OK)
            status =
                parameters_vector(p, "blk.%zu.recurrent.bias", l, gates, INIT_UNIFORM, size, error);
    if (status == TRIB_OK && rnn_attends(f))
        status = list_attention(f, p, size, error);
    if (status == TRIB_OK)
        status =
            parameters_matrix(p, "output.weight", 0, f->vocabulary, E, INIT_UNIFORM, size, error);
    if (status == TRIB_OK)
        status = parameters_vector(p, "output.bias", 0, f->vocabulary, INIT_ZERO, 0, error);
    return status;
}

struct recurrent rnn_layer(const struct predictor *p, size_t l)
{
    size_t at = RNN_LAYERS + l * RNN_LAYER_COUNT;
    return (struct recurrent){.cell = p->config.cell,
                              .input = linear_of(&p->parameters, at, true),
                              .hidden = linear_of(&p->parameters, at + 2, true),
                              .n = p->config.width};
}

struct past_attention rnn_attention(const struct predictor *p)
{
    const struct parameters *all = &p->parameters;
    const struct predictor_config *f = &p->config;
    size_t at = RNN_LAYERS + f->layers * RNN_LAYER_COUNT;
    struct past_attention a = {.score = f->attention, .E = f->width, .window = f->context};
    if (f->attention != ATTENTION_DOT)
        a.query = linear_of(all, at++, false);
    if (f->attention == ATTENTION_ADDITIVE) {
        a.key = linear_of(all, at++, false);
        a.w = all->weights + all->list[at].offset;
        a.dw = all->gradients ? all->gradients + all->list[at].offset : NULL;
        at++;
    }
    a.combine = linear_of(all, at, false);
    return a;
}

struct linear rnn_output(const struct predictor *p)
{
    return linear_of(&p->parameters, p->parameters.count - 2, true);
}
