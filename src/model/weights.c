/* Binding tensors to weights. One table says what a block is made of. */
#include "model/weights.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "kernel/ref/ref.h"

/* Sizes a table row can name. */
enum size_name { SIZE_E, SIZE_HD, SIZE_GD, SIZE_F };

/* The tensors of a block, "blk.N." before each name. A norm has one dimension, `inputs`. */
static const struct {
    const char *name;
    bool is_norm;
    enum size_name outputs, inputs;
    size_t field;
} block_tensors[] = {
    {"attn_norm.weight", true, 0, SIZE_E, offsetof(struct layer_weights, attention_norm)},
    {"attn_q.weight", false, SIZE_HD, SIZE_E, offsetof(struct layer_weights, query)},
    {"attn_k.weight", false, SIZE_GD, SIZE_E, offsetof(struct layer_weights, key)},
    {"attn_v.weight", false, SIZE_GD, SIZE_E, offsetof(struct layer_weights, value)},
    {"attn_output.weight", false, SIZE_E, SIZE_HD,
     offsetof(struct layer_weights, attention_output)},
    {"ffn_norm.weight", true, 0, SIZE_E, offsetof(struct layer_weights, ffn_norm)},
    {"ffn_gate.weight", false, SIZE_F, SIZE_E, offsetof(struct layer_weights, gate)},
    {"ffn_up.weight", false, SIZE_F, SIZE_E, offsetof(struct layer_weights, up)},
    {"ffn_down.weight", false, SIZE_E, SIZE_F, offsetof(struct layer_weights, down)},
};

enum { BLOCK_TENSORS = sizeof block_tensors / sizeof block_tensors[0] };

/* What binding carries along. */
struct binder {
    const struct model_config *config;
    const struct gguf *file;
    trib_error *error;
    float *next_norm;
    size_t used; /* tensors bound */
};

static size_t size_of(const struct model_config *c, enum size_name name)
{
    switch (name) {
    case SIZE_E:
        return c->width;
    case SIZE_HD:
        return c->heads * c->head_dim;
    case SIZE_GD:
        return c->kv_heads * c->head_dim;
    case SIZE_F:
        return c->ffn;
    }
    return 0;
}

/* Finds a tensor of shape {inputs, outputs} and `dims` dimensions. */
static trib_status find(struct binder *b, const char *name, uint32_t dims, size_t inputs,
                        size_t outputs, const struct gguf_tensor **out)
{
    const struct gguf_tensor *t = gguf_find_tensor(b->file, name);
    *out = t;
    if (!t)
        return error_set(b->error, TRIB_FORMAT, "%s: tensor %s is missing", b->file->name, name);
    if (t->dims > dims || t->shape[0] != inputs || t->shape[1] != outputs)
        return error_set(b->error, TRIB_FORMAT,
                         "%s: %s: expected shape {%zu, %zu}, found {%llu, %llu} in %u dimensions",
                         b->file->name, name, inputs, outputs, (unsigned long long)t->shape[0],
                         (unsigned long long)t->shape[1], t->dims);
    if (t->type == DTYPE_F32 && (uintptr_t)t->data % sizeof(float) != 0)
        return error_set(b->error, TRIB_UNSUPPORTED,
                         "%s: %s: float32 data is not aligned to 4 bytes", b->file->name, name);
    b->used++;
    return TRIB_OK;
}

static trib_status bind_matrix(struct binder *b, const char *name, size_t outputs, size_t inputs,
                               struct matrix *out)
{
    const struct gguf_tensor *t;
    trib_status status = find(b, name, 2, inputs, outputs, &t);
    if (status == TRIB_OK)
        *out = (struct matrix){t->type, t->data, outputs, inputs};
    return status;
}

static trib_status bind_norm(struct binder *b, const char *name, const float **out)
{
    const struct gguf_tensor *t;
    trib_status status = find(b, name, 1, b->config->width, 1, &t);
    if (status != TRIB_OK)
        return status;
    unpack_ref(t->type, b->next_norm, t->data, b->config->width);
    *out = b->next_norm;
    b->next_norm += b->config->width;
    return TRIB_OK;
}

static trib_status bind_block(struct binder *b, size_t layer, struct layer_weights *weights)
{
    for (size_t i = 0; i < BLOCK_TENSORS; i++) {
        char name[64];
        void *field = (char *)weights + block_tensors[i].field;
        snprintf(name, sizeof name, "blk.%zu.%s", layer, block_tensors[i].name);
        trib_status status =
            block_tensors[i].is_norm
                ? bind_norm(b, name, field)
                : bind_matrix(b, name, size_of(b->config, block_tensors[i].outputs),
                              size_of(b->config, block_tensors[i].inputs), field);
        if (status != TRIB_OK)
            return status;
    }
    return TRIB_OK;
}

static trib_status bind_all(struct binder *b, struct weights *w)
{
    const struct model_config *c = b->config;
    trib_status status =
        bind_matrix(b, "token_embd.weight", c->vocabulary, c->width, &w->embedding);
    for (size_t layer = 0; layer < c->layers && status == TRIB_OK; layer++)
        status = bind_block(b, layer, &w->layers[layer]);
    if (status == TRIB_OK)
        status = bind_norm(b, "output_norm.weight", &w->output_norm);
    if (status != TRIB_OK)
        return status;
    w->output = w->embedding;
    if (gguf_find_tensor(b->file, "output.weight"))
        status = bind_matrix(b, "output.weight", c->vocabulary, c->width, &w->output);
    return status;
}

/* A tensor by the name a block could have: "blk.N.NAME" with N below the layers. */
static bool is_known(const struct model_config *c, struct slice name)
{
    char text[64];
    unsigned long layer = 0;
    int prefix = 0;
    if (name.length >= sizeof text)
        return false;
    memcpy(text, name.bytes, name.length);
    text[name.length] = 0;
    if (sscanf(text, "blk.%lu.%n", &layer, &prefix) == 1 && prefix && layer < c->layers)
        for (size_t i = 0; i < BLOCK_TENSORS; i++)
            if (strcmp(text + prefix, block_tensors[i].name) == 0)
                return true;
    return slice_is(name, "token_embd.weight") || slice_is(name, "output_norm.weight") ||
           slice_is(name, "output.weight");
}

static trib_status refuse_unknown(const struct binder *b)
{
    for (size_t i = 0; i < b->file->tensor_count && b->used < b->file->tensor_count; i++) {
        struct slice name = b->file->tensors[i].name;
        if (!is_known(b->config, name))
            return error_set(b->error, TRIB_UNSUPPORTED,
                             "%s: tensor %.*s is no part of the llama architecture as known here",
                             b->file->name, name.length > 64 ? 64 : (int)name.length, name.bytes);
    }
    return TRIB_OK;
}

trib_status weights_bind(struct weights *w, const struct model_config *c, const struct gguf *file,
                         trib_error *error)
{
    *w = (struct weights){0};
    if (c->layers > file->tensor_count / BLOCK_TENSORS)
        return error_set(error, TRIB_FORMAT,
                         "%s: llama.block_count: expected %d tensors for each of %zu blocks, found "
                         "%zu tensors in all",
                         file->name, BLOCK_TENSORS, c->layers, file->tensor_count);
    size_t norm_floats = (2 * c->layers + 1) * c->width, norm_bytes = norm_floats * sizeof(float);
    if (norm_floats > file->size) /* before allocating by numbers that no tensor backs */
        return error_set(
            error, TRIB_FORMAT,
            "%s: llama.embedding_length: the norms of %zu blocks of width %zu cannot fit "
            "in the file's %llu bytes",
            file->name, c->layers, c->width, (unsigned long long)file->size);
    trib_status status = TRIB_OK;
    w->layers = calloc(c->layers, sizeof *w->layers);
    w->norms = memory_zeroed(norm_bytes);
    w->rope_frequency = calloc(c->head_dim / 2, sizeof *w->rope_frequency);
    if (!w->layers || !w->norms || !w->rope_frequency) {
        status = error_no_memory(error, "the table of weights", norm_bytes);
        goto done;
    }
    struct binder b = {c, file, error, w->norms, 0};
    status = bind_all(&b, w);
    if (status == TRIB_OK)
        status = refuse_unknown(&b);
    rope_frequencies(w->rope_frequency, c->head_dim, c->rope_base);
done:
    if (status != TRIB_OK)
        weights_close(w);
    return status;
}

void weights_close(struct weights *w)
{
    free(w->layers);
    free(w->norms);
    free(w->rope_frequency);
    *w = (struct weights){0};
}
