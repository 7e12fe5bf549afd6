/* The parameters of both blocks, as tables: names, shapes, first values. */
#include "train/transformer_parameters.h"

#include <math.h>

#include "base/error.h"

/* Places of a block's parameters behind its first one. */
enum {
    LECTURE_Q,
    LECTURE_K,
    LECTURE_V,
    LECTURE_O,
    LECTURE_NORM1,
    LECTURE_UP = 6,
    LECTURE_DOWN,
    LECTURE_NORM2,
    LECTURE_COUNT = 10
};
enum {
    MODERN_NORM1,
    MODERN_Q,
    MODERN_K,
    MODERN_V,
    MODERN_O,
    MODERN_NORM2,
    MODERN_GATE,
    MODERN_UP,
    MODERN_DOWN,
    MODERN_COUNT
};

bool transformer_is_modern(const struct predictor_config *c)
{
    return c->block == BLOCK_MODERN;
}

size_t transformer_head_dim(const struct predictor_config *c)
{
    return c->width / c->heads;
}

trib_status transformer_check(const struct predictor_config *c, trib_error *error)
{
    if (c->heads < 1 || c->width % c->heads != 0 || transformer_head_dim(c) > 1024)
        return error_set(error, TRIB_INVALID,
                         "heads: expected a divisor of the width %zu with at most 1024 floats a "
                         "head, found %zu",
                         c->width, c->heads);
    if (c->kv_heads < 1 || c->heads % c->kv_heads != 0)
        return error_set(error, TRIB_INVALID,
                         "kv-heads: expected a divisor of %zu heads, found %zu", c->heads,
                         c->kv_heads);
    if (transformer_is_modern(c) && transformer_head_dim(c) % 2 != 0)
        return error_set(error, TRIB_INVALID,
                         "heads: rotation wants an even number of floats a head, found %zu",
                         transformer_head_dim(c));
    if (c->ffn < 1)
        return error_set(error, TRIB_INVALID, "ffn: expected 1 or more, found %zu", c->ffn);
    if ((size_t)c->block > BLOCK_MODERN || (size_t)c->positions > POSITIONS_SINUSOIDAL)
        return error_set(error, TRIB_INVALID, "block and positions: no such number: %d, %d",
                         (int)c->block, (int)c->positions);
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return error_set(error, TRIB_INVALID,
                         "norm eps: expected more than 0 and below 1, found %g",
                         (double)c->norm_eps);
    if (transformer_is_modern(c) && !(c->rope_base >= 1 && isfinite(c->rope_base)))
        return error_set(error, TRIB_INVALID, "rope base: expected 1 or more, found %g",
                         (double)c->rope_base);
    return TRIB_OK;
}

/* The name of a block's parameter, its sizes by letter, and whether its result joins the rows. */
struct entry {
    const char *name;
    char outputs, inputs; /* E, Q: H D, K: G D, F; inputs 0: the weight of a norm, 1: its shift */
    bool joins;
};

static const struct entry lecture_block[LECTURE_COUNT] = {
    {"blk.%zu.attn_q.weight", 'Q', 'E', false},
    {"blk.%zu.attn_k.weight", 'K', 'E', false},
    {"blk.%zu.attn_v.weight", 'K', 'E', false},
    {"blk.%zu.attn_output.weight", 'E', 'Q', true},
    {"blk.%zu.attn_output_norm.weight", 'E', 0, false},
    {"blk.%zu.attn_output_norm.bias", 'E', 1, false},
    {"blk.%zu.ffn_up.weight", 'F', 'E', false},
    {"blk.%zu.ffn_down.weight", 'E', 'F', true},
    {"blk.%zu.layer_output_norm.weight", 'E', 0, false},
    {"blk.%zu.layer_output_norm.bias", 'E', 1, false},
};

static const struct entry modern_block[MODERN_COUNT] = {
    {"blk.%zu.attn_norm.weight", 'E', 0, false},    {"blk.%zu.attn_q.weight", 'Q', 'E', false},
    {"blk.%zu.attn_k.weight", 'K', 'E', false},     {"blk.%zu.attn_v.weight", 'K', 'E', false},
    {"blk.%zu.attn_output.weight", 'E', 'Q', true}, {"blk.%zu.ffn_norm.weight", 'E', 0, false},
    {"blk.%zu.ffn_gate.weight", 'F', 'E', false},   {"blk.%zu.ffn_up.weight", 'F', 'E', false},
    {"blk.%zu.ffn_down.weight", 'E', 'F', true},
};

static size_t size_of(const struct predictor_config *c, char letter)
{
    return letter == 'F'   ? c->ffn
           : letter == 'Q' ? c->width
           : letter == 'K' ? c->kv_heads * transformer_head_dim(c)
                           : c->width;
}

/* Matrices begin with a standard deviation of 0.02, and what joins the rows, 2 L times, with less,
 * so that the sum keeps that size (Radford et al. 2019). */
static trib_status list_block(const struct predictor_config *c, struct parameters *p, size_t l,
                              trib_error *error)
{
    const struct entry *block = transformer_is_modern(c) ? modern_block : lecture_block;
    size_t count = transformer_is_modern(c) ? MODERN_COUNT : LECTURE_COUNT;
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        const struct entry *e = &block[i];
        size_t outputs = size_of(c, e->outputs);
        float size = e->joins ? 0.02f / sqrtf(2 * (float)c->layers) : 0.02f;
        if (e->inputs > 1)
            status = parameters_matrix(p, e->name, l, outputs, size_of(c, e->inputs), INIT_NORMAL,
                                       size, error);
        else
            status = parameters_vector(p, e->name, l, outputs, e->inputs ? INIT_ZERO : INIT_ONE, 0,
                                       error);
    }
    return status;
}

bool transformer_is_learned(const struct predictor_config *c)
{
    return !transformer_is_modern(c) && c->positions == POSITIONS_LEARNED;
}

trib_status transformer_list(const struct predictor_config *c, struct parameters *p,
                             trib_error *error)
{
    bool waves = !transformer_is_modern(c) && c->positions == POSITIONS_SINUSOIDAL;
    trib_status status = parameters_matrix(p, "token_embd.weight", 0, c->vocabulary, c->width,
                                           INIT_NORMAL, waves ? 1 : 0.02f, error);
    if (status == TRIB_OK && transformer_is_learned(c))
        status = parameters_matrix(p, "position_embd.weight", 0, c->context, c->width, INIT_NORMAL,
                                   0.02f, error);
    for (size_t l = 0; l < c->layers && status == TRIB_OK; l++)
        status = list_block(c, p, l, error);
    if (status == TRIB_OK && transformer_is_modern(c))
        status = parameters_vector(p, "output_norm.weight", 0, c->width, INIT_ONE, 0, error);
    if (status == TRIB_OK && !c->tied)
        status = parameters_matrix(p, "output.weight", 0, c->vocabulary, c->width, INIT_NORMAL,
                                   0.02f, error);
    return status;
}

static size_t block_first(const struct predictor_config *c, size_t l)
{
    return transformer_is_modern(c) ? 1 + l * MODERN_COUNT
                                    : 1 + transformer_is_learned(c) + l * LECTURE_COUNT;
}

struct block transformer_block(const struct predictor *p, size_t l, const float *cosine,
                               const float *sine)
{
    const struct predictor_config *c = &p->config;
    const struct parameters *all = &p->parameters;
    bool modern = transformer_is_modern(c);
    size_t at = block_first(c, l), q = at + (modern ? MODERN_Q : LECTURE_Q);
    struct block k = {.kind = c->block, .E = c->width, .F = c->ffn};
    k.attention = (struct self_attention){.query = linear_of(all, q, false),
                                          .key = linear_of(all, q + 1, false),
                                          .value = linear_of(all, q + 2, false),
                                          .output = linear_of(all, q + 3, false),
                                          .H = c->heads,
                                          .G = c->kv_heads,
                                          .D = transformer_head_dim(c),
                                          .cosine = cosine,
                                          .sine = sine};
    k.norm1 = norm_of(p, at + (modern ? MODERN_NORM1 : LECTURE_NORM1), !modern);
    k.norm2 = norm_of(p, at + (modern ? MODERN_NORM2 : LECTURE_NORM2), !modern);
    k.up = linear_of(all, at + (modern ? MODERN_UP : LECTURE_UP), false);
    k.down = linear_of(all, at + (modern ? MODERN_DOWN : LECTURE_DOWN), false);
    if (modern)
        k.gate = linear_of(all, at + MODERN_GATE, false);
    return k;
}

struct linear transformer_output(const struct predictor *p)
{
    return linear_of(&p->parameters,
                     p->config.tied ? TRANSFORMER_EMBEDDING : p->parameters.count - 1, false);
}

struct norm transformer_norm(const struct predictor *p)
{
    if (!transformer_is_modern(&p->config))
        return (struct norm){0};
    return norm_of(p, block_first(&p->config, p->config.layers), false);
}
