/* Opening a model and the memory of its forward pass. */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#include "attention/fold.h"
#include "base/error.h"
#include "base/memory.h"
#include "file/fingerprint.h"

/* LongRoPE has two tables of factors. Which one serves is a matter of the context that is asked
 * for, not of the tokens there are: a key must not depend on what comes behind it. (So in
 * llama.cpp; transformers turns all keys by the other table once the text is longer.) */
static trib_status choose_factors(const struct model *m, struct rope_factors *out,
                                  const char *file_name, trib_error *error)
{
    const struct weights *w = &m->weights;
    const struct model_config *c = &m->config;
    if (!w->rope_long != !w->rope_short)
        return error_set(error, TRIB_FORMAT, "%s: tensor %s is missing", file_name,
                         w->rope_long ? "rope_factors_short.weight" : "rope_factors_long.weight");
    if (!w->rope_long)
        *out = (struct rope_factors){w->rope_factors, "rope_freqs.weight"};
    else if (c->context > c->rope_original_context)
        *out = (struct rope_factors){w->rope_long, "rope_factors_long.weight"};
    else
        *out = (struct rope_factors){w->rope_short, "rope_factors_short.weight"};
    return TRIB_OK;
}

trib_status model_open(struct model *model, const struct gguf *file, size_t context,
                       const struct kernels *kernels, int threads, struct load_watch watch,
                       trib_error *error)
{
    struct rope_factors factors;
    *model = (struct model){.kernels = kernels};
    trib_status status = model_config_read(&model->config, file, error);
    if (status == TRIB_OK)
        status = model_config_limit(&model->config, context, error);
    if (status == TRIB_OK)
        status =
            weights_load(&model->weights, &model->config, file, kernels, threads, watch, error);
    if (status == TRIB_OK)
        status = choose_factors(model, &factors, file->name, error);
    if (status == TRIB_OK)
        status = rope_open(&model->rope, &model->config, factors, file->name, error);
    if (status == TRIB_OK && watch.fingerprint) /* the context may have chosen them */
        fingerprint_add(watch.fingerprint, model->rope.frequency,
                        model->rope.half * sizeof *model->rope.frequency);
    return status;
}

void model_close(struct model *model)
{
    rope_close(&model->rope);
    weights_close(&model->weights);
}

static size_t most_inputs(const struct model_config *c)
{
    size_t attended = c->heads * c->head_dim, most = c->width > c->ffn ? c->width : c->ffn;
    return attended > most ? attended : most;
}

/* Hands out the arrays one after the other from `memory`, or only counts when that is NULL; returns
 * the bytes used. Each array begins on a cache line. */
static size_t lay_out(struct activations *a, const struct model *m, char *memory)
{
    const struct model_config *c = &m->config;
    size_t HD = c->heads * c->head_dim, GD = c->kv_heads * c->head_dim, used = 0;
    size_t half = c->rotated / 2, local = c->local_rope_base > 0 ? half : 0;
    size_t gates = c->architecture->ffn <= FFN_GEGLU ? c->ffn : 0, each = a->rows * sizeof(float);
    const struct {
        void *pointer; /* to the pointer to set */
        size_t bytes;
    } arrays[] = {
        {&a->x, each * c->width},
        {&a->normed, each * c->width},
        {&a->q, each * HD},
        {&a->k, each * GD},
        {&a->v, each * GD},
        {&a->attended, each * HD},
        {&a->gate, each * gates},
        {&a->up, each * c->ffn},
        {&a->cosine[0], each * half},
        {&a->sine[0], each * half},
        {&a->cosine[1], each * local},
        {&a->sine[1], each * local},
        {&a->workspace, weight_workspace(m->kernels, a->rows, most_inputs(c), a->threads)},
        {&a->of_rows, a->rows * sizeof *a->of_rows},
        {&a->positions, a->rows * sizeof *a->positions},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        void *array = memory ? memory + used : NULL;
        memcpy(arrays[i].pointer, &array, sizeof array);
        used += (arrays[i].bytes + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
    }
    return used;
}

size_t activations_bytes(const struct model *model, size_t rows, int threads)
{
    struct activations a = {.rows = rows, .threads = threads};
    return lay_out(&a, model, NULL);
}

trib_attention model_attention(const struct model *model, size_t layer, int threads)
{
    const struct model_config *c = &model->config;
    return (trib_attention){
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = c->head_dim,
        .scale = c->attention_scale,
        .softcap = c->attention_softcap,
        .mask = {.causal = !c->bidirectional, .window = model_config_window(c, layer)},
        .threads = threads};
}

size_t activations_fold_bytes(const struct model *model, size_t rows, size_t length, int threads)
{
    trib_attention attention = model_attention(model, 0, threads);
    size_t fold = fold_workspace(model->kernels, &attention, rows, length);
    size_t cascade = cascade_workspace(model->kernels, &attention, rows);
    return fold > cascade ? fold : cascade;
}

trib_status activations_open(struct activations *a, const struct model *model, size_t rows,
                             int threads, trib_error *error)
{
    *a = (struct activations){.rows = rows, .threads = threads};
    size_t bytes = activations_bytes(model, rows, threads);
    a->memory = memory_zeroed(bytes);
    if (!a->memory)
        return error_no_memory(error, "the activations", bytes);
    lay_out(a, model, a->memory);
    return TRIB_OK;
}

void activations_close(struct activations *a)
{
    free(a->memory);
    free(a->logits.memory);
    attending_close(&a->attending);
    *a = (struct activations){0};
}
