/* Opening a model and the memory of its forward pass. */
#include "model/model.h"

#include <stdlib.h>

#include "attention/fold.h"
#include "base/error.h"
#include "base/memory.h"

trib_status model_open(struct model *model, const struct gguf *file, const struct kernels *kernels,
                       trib_error *error)
{
    *model = (struct model){.kernels = kernels};
    trib_status status = model_config_read(&model->config, file, error);
    if (status == TRIB_OK)
        status = weights_bind(&model->weights, &model->config, file, error);
    return status;
}

void model_close(struct model *model)
{
    weights_close(&model->weights);
}

static size_t most_inputs(const struct model_config *c)
{
    size_t attended = c->heads * c->head_dim, most = c->width > c->ffn ? c->width : c->ffn;
    return attended > most ? attended : most;
}

/* Hands out the arrays one after the other from `memory`, or only counts when that is NULL; returns
 * the floats used. Each array begins on a cache line. */
static size_t lay_out(struct activations *a, const struct model_config *c, float *memory)
{
    size_t HD = c->heads * c->head_dim, GD = c->kv_heads * c->head_dim, used = 0;
    const struct {
        float **array;
        size_t floats;
    } arrays[] = {
        {&a->x, a->rows * c->width},
        {&a->normed, a->rows * c->width},
        {&a->q, a->rows * HD},
        {&a->k, a->rows * GD},
        {&a->v, a->rows * GD},
        {&a->attended, a->rows * HD},
        {&a->gate, a->rows * c->ffn},
        {&a->up, a->rows * c->ffn},
        {&a->cosine, a->rows * c->head_dim / 2},
        {&a->sine, a->rows * c->head_dim / 2},
        {&a->scratch, matmul_scratch(most_inputs(c), a->threads)},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        *arrays[i].array = memory ? memory + used : NULL;
        used += (arrays[i].floats + 15) / 16 * 16;
    }
    return used;
}

size_t activations_bytes(const struct model *model, size_t rows, int threads)
{
    struct activations a = {.rows = rows, .threads = threads};
    return lay_out(&a, &model->config, NULL) * sizeof(float);
}

trib_attention model_attention(const struct model *model, int threads)
{
    return (trib_attention){.heads = model->config.heads,
                            .kv_heads = model->config.kv_heads,
                            .head_dim = model->config.head_dim,
                            .scale = model->config.attention_scale,
                            .mask = {.causal = true},
                            .threads = threads};
}

size_t activations_fold_bytes(const struct model *model, size_t rows, size_t length, int threads)
{
    trib_attention attention = model_attention(model, threads);
    return fold_workspace(model->kernels, &attention, rows, length);
}

trib_status activations_open(struct activations *a, const struct model *model, size_t rows,
                             int threads, trib_error *error)
{
    *a = (struct activations){.rows = rows, .threads = threads};
    size_t bytes = activations_bytes(model, rows, threads);
    a->memory = memory_zeroed(bytes);
    if (!a->memory)
        return error_no_memory(error, "the activations", bytes);
    lay_out(a, &model->config, a->memory);
    return TRIB_OK;
}

void activations_close(struct activations *a)
{
    free(a->memory);
    free(a->fold);
    *a = (struct activations){0};
}
