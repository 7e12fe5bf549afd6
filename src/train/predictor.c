/* What all predictors share: the check of their numbers, memory for a pass, and the way to a kind.
 */
#include "train/predictor.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

const char *const predictor_models[] = {"direct", "rnn", "transformer", NULL};
const char *const predictor_activations[] = {"tanh", "relu", NULL};
const char *const predictor_cells[] = {"elman", "gru", "lstm", NULL};
const char *const predictor_attentions[] = {"none", "dot", "general", "additive", NULL};
const char *const predictor_blocks[] = {"lecture", "modern", NULL};
const char *const predictor_position_kinds[] = {"learned", "sinusoidal", NULL};

/* Products of two of them fit in 64 bits, and nobody means more. */
enum { MOST = 1 << 24, MOST_LAYERS = 4096 };

/* Floats of the largest kind of array: a predictor has some dozens of them for each layer, which
 * together can then be counted in 64 bits. */
static const double MOST_FLOATS = 0x1p50;

struct predictor_config predictor_config_default(void)
{
    return (struct predictor_config){.model = MODEL_TRANSFORMER,
                                     .vocabulary = 256,
                                     .width = 128,
                                     .layers = 4,
                                     .context = 64,
                                     .ffn = 384,
                                     .cell = CELL_LSTM,
                                     .block = BLOCK_MODERN,
                                     .heads = 4,
                                     .kv_heads = 4,
                                     .norm_eps = 1e-5f,
                                     .rope_base = 10000,
                                     .product = DTYPE_F32};
}

static trib_status check(const struct predictor_config *c, trib_error *error)
{
    const struct {
        const char *name;
        size_t value, most;
    } numbers[] = {
        {"vocabulary", c->vocabulary, MOST}, {"width", c->width, MOST},
        {"layers", c->layers, MOST_LAYERS},  {"context", c->context, MOST},
        {"ffn", c->ffn ? c->ffn : 1, MOST},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value < 1 || numbers[i].value > numbers[i].most)
            return error_set(error, TRIB_INVALID, "%s: expected 1 to %zu, found %zu",
                             numbers[i].name, numbers[i].most, numbers[i].value);
    if ((double)c->layers * (double)c->context * (double)c->width > MOST_FLOATS)
        return error_set(error, TRIB_INVALID,
                         "layers x context x width: %zu x %zu x %zu is more than memory can hold",
                         c->layers, c->context, c->width);
    if (!(c->dropout >= 0 && c->dropout <= 0.99f))
        return error_set(error, TRIB_INVALID, "dropout: expected 0 to 0.99, found %g",
                         (double)c->dropout);
    if (c->product != DTYPE_F32 && c->product != DTYPE_BF16)
        return error_set(error, TRIB_INVALID, "dtype: expected f32 or bf16, found number %d",
                         (int)c->product);
    return TRIB_OK;
}

trib_status predictor_open(struct predictor *p, const struct predictor_config *config,
                           const struct kernels *kernels, int threads, trib_error *error)
{
    static const struct predictor_kind *const kinds[] = {
        [MODEL_DIRECT] = &predictor_direct,
        [MODEL_RNN] = &predictor_rnn,
        [MODEL_TRANSFORMER] = &predictor_transformer,
    };
    *p = (struct predictor){.config = *config, .kernels = kernels, .threads = threads};
    if ((size_t)config->model >= sizeof kinds / sizeof *kinds)
        return error_set(error, TRIB_INVALID, "model: expected 0 to 2, found %d",
                         (int)config->model);
    p->kind = kinds[config->model];
    trib_status status = check(config, error);
    if (status == TRIB_OK)
        status = p->kind->check(config, error);
    if (status == TRIB_OK)
        status = p->kind->list(config, &p->parameters, error);
    if (status != TRIB_OK)
        predictor_close(p);
    return status;
}

void predictor_close(struct predictor *p)
{
    parameters_close(&p->parameters);
    *p = (struct predictor){0};
}

size_t pass_bytes(const struct predictor *p, size_t B, size_t T, bool backward)
{
    struct pass pass = {.predictor = p, .B = B, .T = T, .backward = backward};
    const struct predictor_config *c = &p->config;
    double row = (double)c->vocabulary + (double)c->ffn + (double)c->context * (double)c->width;
    if (B > MOST || T > MOST || (double)B * (double)T * row * (double)c->layers > MOST_FLOATS)
        return SIZE_MAX;
    p->kind->layout(&pass);
    return pass.bytes;
}

trib_status pass_open(struct pass *pass, const struct predictor *p, size_t B, size_t T,
                      bool backward, trib_error *error)
{
    *pass = (struct pass){.predictor = p, .B = B, .T = T, .backward = backward};
    if (B < 1 || T < 1)
        return error_set(error, TRIB_INVALID,
                         "batch: expected 1 or more sequences and tokens, found %zu and %zu", B, T);
    if (p->config.model == MODEL_TRANSFORMER && T > p->config.context)
        return error_set(error, TRIB_INVALID,
                         "batch: expected at most the context of %zu tokens, found %zu",
                         p->config.context, T);
    size_t bytes = pass_bytes(p, B, T, backward);
    pass->memory = memory_zeroed(bytes);
    if (!pass->memory)
        return error_no_memory(error, "activations", bytes);
    p->kind->layout(pass);
    return TRIB_OK;
}

void pass_close(struct pass *pass)
{
    free(pass->memory);
    *pass = (struct pass){0};
}

struct loss pass_forward(struct pass *pass, const struct batch *batch)
{
    assert(batch->B <= pass->B && batch->T <= pass->T);
    return pass->predictor->kind->forward(pass, batch);
}

void pass_backward(struct pass *pass, const struct batch *batch, float scale)
{
    assert(pass->backward && pass->predictor->parameters.gradients);
    pass->predictor->kind->backward(pass, batch, scale);
}

const float *pass_logits(const struct pass *pass, size_t b, size_t t)
{
    return pass->predictor->kind->logits(pass, b, t);
}

size_t predictor_state_bytes(const struct predictor *p)
{
    return p->kind->state_bytes(p);
}

void predictor_state_reset(const struct predictor *p, void *state)
{
    p->kind->state_reset(p, state);
}

size_t predictor_state_position(const struct predictor *p, const void *state)
{
    (void)p;
    size_t position; /* a state of any kind begins with it */
    memcpy(&position, state, sizeof position);
    return position;
}

trib_status predictor_step(const struct predictor *p, void *state, int32_t token, float *logits,
                           trib_error *error)
{
    if (token < 0 || (size_t)token >= p->config.vocabulary)
        return error_set(error, TRIB_INVALID, "token: expected 0 to %zu, found %d",
                         p->config.vocabulary - 1, token);
    return p->kind->step(p, state, token, logits, error);
}
