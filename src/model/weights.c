/* Binding tensors to weights. One table says what every tensor is called, how it is shaped and
 * where it goes; the architecture says which of them there are. A walk over the table serves twice:
 * to check and count, and then, when there is memory, to load. */
#include "model/weights.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "kernel/ref/ref.h"

/* Sizes a table row can name. */
enum size_name {
    NOTHING,
    SIZE_E,
    SIZE_HD,
    SIZE_GD,
    SIZE_F,
    SIZE_D,
    SIZE_V,
    SIZE_P,
    SIZE_TT,
    SIZE_R
};

enum tensor_kind { MATRIX, VECTOR, ROWS };

#define OF_MODEL(field) offsetof(struct weights, field)
#define OF_BLOCK(field) offsetof(struct layer_weights, field)

enum { SLICES = 3 };

/* A matrix has `inputs` columns; its rows go to one weight, or slice by slice to several. So do the
 * elements of a vector. */
static const struct tensor_row {
    const char *name; /* of a block's tensor without "blk.N." */
    enum tensor_kind kind;
    enum size_name inputs;
    struct {
        enum size_name outputs; /* NOTHING ends the list */
        size_t field;
    } slices[SLICES];
} tensor_rows[TENSORS] = {
    [TENSOR_EMBEDDING] = {"token_embd.weight", ROWS, SIZE_E, {{SIZE_V, OF_MODEL(embedding)}}},
    [TENSOR_POSITIONS] = {"position_embd.weight", ROWS, SIZE_E, {{SIZE_P, OF_MODEL(positions)}}},
    [TENSOR_TOKEN_TYPES] = {"token_types.weight", ROWS, SIZE_E, {{SIZE_TT, OF_MODEL(token_types)}}},
    [TENSOR_EMBEDDING_NORM] = {"token_embd_norm.weight",
                               VECTOR,
                               NOTHING,
                               {{SIZE_E, OF_MODEL(embedding_norm.scale)}}},
    [TENSOR_EMBEDDING_NORM_BIAS] = {"token_embd_norm.bias",
                                    VECTOR,
                                    NOTHING,
                                    {{SIZE_E, OF_MODEL(embedding_norm.shift)}}},
    [TENSOR_FINAL_NORM] = {"output_norm.weight",
                           VECTOR,
                           NOTHING,
                           {{SIZE_E, OF_MODEL(final_norm.scale)}}},
    [TENSOR_FINAL_NORM_BIAS] = {"output_norm.bias",
                                VECTOR,
                                NOTHING,
                                {{SIZE_E, OF_MODEL(final_norm.shift)}}},
    [TENSOR_OUTPUT] = {"output.weight", MATRIX, SIZE_E, {{SIZE_V, OF_MODEL(output.weight)}}},
    [TENSOR_ROPE_FACTORS] = {"rope_freqs.weight",
                             VECTOR,
                             NOTHING,
                             {{SIZE_R, OF_MODEL(rope_factors)}}},
    [TENSOR_ROPE_LONG] = {"rope_factors_long.weight",
                          VECTOR,
                          NOTHING,
                          {{SIZE_R, OF_MODEL(rope_long)}}},
    [TENSOR_ROPE_SHORT] = {"rope_factors_short.weight",
                           VECTOR,
                           NOTHING,
                           {{SIZE_R, OF_MODEL(rope_short)}}},

#define BLOCK_VECTOR(text, size, field)                                                            \
    {                                                                                              \
        text, VECTOR, NOTHING,                                                                     \
        {                                                                                          \
            {                                                                                      \
                size, OF_BLOCK(field)                                                              \
            }                                                                                      \
        }                                                                                          \
    }
#define BLOCK_MATRIX(text, size, in, field)                                                        \
    {                                                                                              \
        text, MATRIX, in,                                                                          \
        {                                                                                          \
            {                                                                                      \
                size, OF_BLOCK(field)                                                              \
            }                                                                                      \
        }                                                                                          \
    }

    [TENSOR_ATTENTION_NORM] = BLOCK_VECTOR("attn_norm.weight", SIZE_E, attention_norm.scale),
    [TENSOR_ATTENTION_NORM_BIAS] = BLOCK_VECTOR("attn_norm.bias", SIZE_E, attention_norm.shift),
    [TENSOR_QUERY] = BLOCK_MATRIX("attn_q.weight", SIZE_HD, SIZE_E, query.weight),
    [TENSOR_KEY] = BLOCK_MATRIX("attn_k.weight", SIZE_GD, SIZE_E, key.weight),
    [TENSOR_VALUE] = BLOCK_MATRIX("attn_v.weight", SIZE_GD, SIZE_E, value.weight),
    [TENSOR_QUERY_BIAS] = BLOCK_VECTOR("attn_q.bias", SIZE_HD, query.bias),
    [TENSOR_KEY_BIAS] = BLOCK_VECTOR("attn_k.bias", SIZE_GD, key.bias),
    [TENSOR_VALUE_BIAS] = BLOCK_VECTOR("attn_v.bias", SIZE_GD, value.bias),
    [TENSOR_QKV] = {"attn_qkv.weight",
                    MATRIX,
                    SIZE_E,
                    {{SIZE_HD, OF_BLOCK(query.weight)},
                     {SIZE_GD, OF_BLOCK(key.weight)},
                     {SIZE_GD, OF_BLOCK(value.weight)}}},
    [TENSOR_QKV_BIAS] = {"attn_qkv.bias",
                         VECTOR,
                         NOTHING,
                         {{SIZE_HD, OF_BLOCK(query.bias)},
                          {SIZE_GD, OF_BLOCK(key.bias)},
                          {SIZE_GD, OF_BLOCK(value.bias)}}},
    [TENSOR_QUERY_NORM] = BLOCK_VECTOR("attn_q_norm.weight", SIZE_D, query_norm),
    [TENSOR_KEY_NORM] = BLOCK_VECTOR("attn_k_norm.weight", SIZE_D, key_norm),
    [TENSOR_ATTENTION_OUTPUT] =
        BLOCK_MATRIX("attn_output.weight", SIZE_E, SIZE_HD, attention_output.weight),
    [TENSOR_ATTENTION_OUTPUT_BIAS] =
        BLOCK_VECTOR("attn_output.bias", SIZE_E, attention_output.bias),
    [TENSOR_ATTENTION_POST_NORM] =
        BLOCK_VECTOR("post_attention_norm.weight", SIZE_E, attention_post_norm.scale),
    [TENSOR_ATTENTION_SUM_NORM] =
        BLOCK_VECTOR("attn_output_norm.weight", SIZE_E, attention_sum_norm.scale),
    [TENSOR_ATTENTION_SUM_NORM_BIAS] =
        BLOCK_VECTOR("attn_output_norm.bias", SIZE_E, attention_sum_norm.shift),
    [TENSOR_FFN_NORM] = BLOCK_VECTOR("ffn_norm.weight", SIZE_E, ffn_norm.scale),
    [TENSOR_FFN_NORM_BIAS] = BLOCK_VECTOR("ffn_norm.bias", SIZE_E, ffn_norm.shift),
    [TENSOR_GATE] = BLOCK_MATRIX("ffn_gate.weight", SIZE_F, SIZE_E, gate.weight),
    [TENSOR_UP] = BLOCK_MATRIX("ffn_up.weight", SIZE_F, SIZE_E, up.weight),
    [TENSOR_UP_BIAS] = BLOCK_VECTOR("ffn_up.bias", SIZE_F, up.bias),
    [TENSOR_GATE_UP] = {"ffn_up.weight",
                        MATRIX,
                        SIZE_E,
                        {{SIZE_F, OF_BLOCK(gate.weight)}, {SIZE_F, OF_BLOCK(up.weight)}}},
    [TENSOR_DOWN] = BLOCK_MATRIX("ffn_down.weight", SIZE_E, SIZE_F, down.weight),
    [TENSOR_DOWN_BIAS] = BLOCK_VECTOR("ffn_down.bias", SIZE_E, down.bias),
    [TENSOR_FFN_POST_NORM] = BLOCK_VECTOR("post_ffw_norm.weight", SIZE_E, ffn_post_norm.scale),
    [TENSOR_FFN_SUM_NORM] = BLOCK_VECTOR("layer_output_norm.weight", SIZE_E, ffn_sum_norm.scale),
    [TENSOR_FFN_SUM_NORM_BIAS] = BLOCK_VECTOR("layer_output_norm.bias", SIZE_E, ffn_sum_norm.shift),

#undef BLOCK_VECTOR
#undef BLOCK_MATRIX
};

/* A walk over the tensors. */
struct walk {
    const struct model_config *config;
    const struct gguf *file;
    const struct kernels *kernels;
    trib_error *error;
    uint64_t matrix_bytes, vector_floats; /* counted */
    uint64_t staged_bytes;                /* the largest matrix that does not lie in order */
    size_t used;                          /* tensors of the file that are part of the model */

    /* Of loading; NULL while counting. */
    struct weights *weights;
    char *next_matrix;
    float *next_vector;
    void *staging; /* [staged_bytes] */
    int threads;
    struct load_watch watch;
    uint64_t total; /* matrix_bytes of the count */
};

static size_t size_of(const struct model_config *c, enum size_name name)
{
    switch (name) {
    case NOTHING:
        return 0;
    case SIZE_E:
        return c->width;
    case SIZE_HD:
        return c->heads * c->head_dim;
    case SIZE_GD:
        return c->kv_heads * c->head_dim;
    case SIZE_F:
        return c->ffn;
    case SIZE_D:
        return c->head_dim;
    case SIZE_V:
        return c->vocabulary;
    case SIZE_P:
        return c->positions;
    case SIZE_TT:
        return c->token_types;
    case SIZE_R:
        return c->rotated / 2;
    }
    return 0;
}

static size_t all_outputs(const struct model_config *c, const struct tensor_row *row)
{
    size_t outputs = 0;
    for (size_t i = 0; i < SLICES; i++)
        outputs += size_of(c, row->slices[i].outputs);
    return outputs;
}

/* A tensor of the shape that its row says; elements of plain types aligned to their size, as
 * products read them. */
static trib_status check(const struct walk *walk, const char *name, const struct tensor_row *row,
                         const struct gguf_tensor *t)
{
    size_t outputs = all_outputs(walk->config, row);
    size_t first = row->kind == VECTOR ? outputs : size_of(walk->config, row->inputs);
    size_t second = row->kind == VECTOR ? 1 : outputs;
    const struct dtype_info *type = dtype_info(t->type);
    if (t->dims > (row->kind == VECTOR ? 1 : 2) || t->shape[0] != first || t->shape[1] != second)
        return error_set(walk->error, TRIB_FORMAT,
                         "%s: %s: expected shape {%zu, %zu}, found {%llu, %llu} in %u dimensions",
                         walk->file->name, name, first, second, (unsigned long long)t->shape[0],
                         (unsigned long long)t->shape[1], t->dims);
    if (type->block == 1 && (uintptr_t)t->data % type->bytes != 0)
        return error_set(walk->error, TRIB_UNSUPPORTED,
                         "%s: %s: %s data is not aligned to %u bytes", walk->file->name, name,
                         type->name, type->bytes);
    return TRIB_OK;
}

/* The tensor, or where it does not lie in order one in the staging memory that does. */
static struct gguf_tensor in_order(struct walk *walk, const struct gguf_tensor *t)
{
    struct gguf_tensor ordered = *t;
    if (t->order == GGUF_IN_ORDER)
        return ordered;
    walk->staged_bytes = t->bytes > walk->staged_bytes ? t->bytes : walk->staged_bytes;
    if (walk->weights) {
        gguf_copy(t, 0, (size_t)t->elements, walk->staging);
        gguf_release(walk->file, t);
        ordered.data = walk->staging;
        ordered.order = GGUF_IN_ORDER;
    }
    return ordered;
}

/* The rows of a matrix, to one weight after the other. */
static void take_matrix(struct walk *walk, const struct tensor_row *row,
                        const struct gguf_tensor *t, char *base)
{
    size_t inputs = size_of(walk->config, row->inputs);
    const char *stored = (const char *)t->data;
    for (size_t i = 0; i < SLICES && row->slices[i].outputs != NOTHING; i++) {
        size_t outputs = size_of(walk->config, row->slices[i].outputs);
        size_t bytes = weight_bytes(walk->kernels, t->type, outputs, inputs);
        walk->matrix_bytes += bytes;
        if (!walk->weights)
            continue;
        weight_pack((struct weight *)(void *)(base + row->slices[i].field), walk->kernels, t->type,
                    outputs, inputs, stored, walk->next_matrix, walk->threads);
        walk->next_matrix += bytes;
        stored += outputs * dtype_size(t->type, inputs);
    }
    if (!walk->weights)
        return;
    gguf_release(walk->file, t);
    if (walk->watch.progress)
        walk->watch.progress(walk->watch.context, walk->matrix_bytes, walk->total);
}

static void take_vector(struct walk *walk, const struct tensor_row *row,
                        const struct gguf_tensor *t, char *base)
{
    size_t floats = all_outputs(walk->config, row);
    walk->vector_floats += floats;
    if (!walk->weights)
        return;
    unpack_ref(t->type, walk->next_vector, t->data, floats);
    for (size_t i = 0; i < SLICES && row->slices[i].outputs != NOTHING; i++) {
        *(const float **)(void *)(base + row->slices[i].field) = walk->next_vector;
        walk->next_vector += size_of(walk->config, row->slices[i].outputs);
    }
}

/* `base`: the struct weights or layer_weights that the row's fields are in; NULL while counting. */
static trib_status take(struct walk *walk, enum tensor tensor, size_t layer, char *base)
{
    const struct architecture *a = walk->config->architecture;
    const struct tensor_row *row = &tensor_rows[tensor];
    bool required = tensor_in(a->required, tensor);
    char name[64];
    if (!required && !tensor_in(a->optional, tensor))
        return TRIB_OK;
    if (tensor >= TENSOR_ATTENTION_NORM)
        snprintf(name, sizeof name, "blk.%zu.%s", layer, row->name);
    else
        snprintf(name, sizeof name, "%s", row->name);
    const struct gguf_tensor *t = gguf_find_tensor(walk->file, name);
    if (!t)
        return required ? error_set(walk->error, TRIB_FORMAT, "%s: tensor %s is missing",
                                    walk->file->name, name)
                        : TRIB_OK;
    trib_status status = check(walk, name, row, t);
    if (status != TRIB_OK)
        return status;
    walk->used++;
    struct gguf_tensor ordered = in_order(walk, t);
    if (walk->weights && walk->watch.fingerprint)
        fingerprint_tensor(walk->watch.fingerprint, &ordered, walk->threads);
    if (row->kind == MATRIX)
        take_matrix(walk, row, &ordered, base);
    else if (row->kind == VECTOR)
        take_vector(walk, row, t, base);
    else if (walk->weights)
        *(struct row_table *)(void *)(base + row->slices[0].field) =
            (struct row_table){t->type, t->data, (size_t)t->shape[1], (size_t)t->shape[0]};
    return TRIB_OK;
}

/* The head of a model without a matrix of its own is the embedding once more, packed. */
static void take_tied_output(struct walk *walk)
{
    const struct architecture *a = walk->config->architecture;
    if (!tensor_in(a->optional, TENSOR_OUTPUT) || gguf_find_tensor(walk->file, "output.weight"))
        return;
    take_matrix(walk, &tensor_rows[TENSOR_OUTPUT],
                gguf_find_tensor(walk->file, "token_embd.weight"), (char *)walk->weights);
}

static trib_status take_all(struct walk *walk)
{
    struct weights *w = walk->weights;
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < TENSOR_ATTENTION_NORM && status == TRIB_OK; i++)
        status = take(walk, (enum tensor)i, 0, (char *)w);
    for (size_t layer = 0; layer < walk->config->layers; layer++)
        for (size_t i = TENSOR_ATTENTION_NORM; i < TENSORS && status == TRIB_OK; i++)
            status = take(walk, (enum tensor)i, layer, w ? (char *)&w->layers[layer] : NULL);
    if (status == TRIB_OK)
        take_tied_output(walk);
    return status;
}

/* A tensor that the architecture has: by its name, a block's as "blk.N.NAME" with N below the
 * layers. */
static bool is_known(const struct model_config *c, struct slice name)
{
    tensor_set set = c->architecture->required | c->architecture->optional;
    char text[64];
    unsigned long layer = 0;
    int prefix = 0;
    if (name.length >= sizeof text)
        return false;
    memcpy(text, name.bytes, name.length);
    text[name.length] = 0;
    bool of_block = sscanf(text, "blk.%lu.%n", &layer, &prefix) == 1 && prefix;
    size_t first = of_block ? TENSOR_ATTENTION_NORM : 0;
    size_t end = of_block ? TENSORS : TENSOR_ATTENTION_NORM;
    for (size_t i = first; i < end && layer < c->layers; i++)
        if (tensor_in(set, (enum tensor)i) && strcmp(text + prefix, tensor_rows[i].name) == 0)
            return true;
    return false;
}

static trib_status refuse_unknown(const struct walk *walk)
{
    for (size_t i = 0; i < walk->file->tensor_count && walk->used < walk->file->tensor_count; i++) {
        struct slice name = walk->file->tensors[i].name;
        if (!is_known(walk->config, name))
            return error_set(walk->error, TRIB_UNSUPPORTED,
                             "%s: tensor %.*s is no part of the %s architecture as known here",
                             walk->file->name, name.length > 64 ? 64 : (int)name.length, name.bytes,
                             walk->config->architecture->name);
    }
    return TRIB_OK;
}

/* The walk that counts. Believes no number of layers that the file has no tensors for. */
static trib_status count(struct walk *walk)
{
    const struct model_config *c = walk->config;
    size_t least = 0;
    for (size_t i = TENSOR_ATTENTION_NORM; i < TENSORS; i++)
        least += tensor_in(c->architecture->required, (enum tensor)i);
    if (c->layers > walk->file->tensor_count / least)
        return error_set(walk->error, TRIB_FORMAT,
                         "%s: %s.block_count: expected %zu tensors for each of %zu blocks, found "
                         "%zu tensors in all",
                         walk->file->name, c->architecture->name, least, c->layers,
                         walk->file->tensor_count);
    trib_status status = take_all(walk);
    return status == TRIB_OK ? refuse_unknown(walk) : status;
}

trib_status weights_measure(const struct model_config *config, const struct gguf *file,
                            const struct kernels *kernels, uint64_t *bytes, trib_error *error)
{
    struct walk walk = {.config = config, .file = file, .kernels = kernels, .error = error};
    trib_status status = count(&walk);
    *bytes = walk.matrix_bytes + walk.staged_bytes + walk.vector_floats * sizeof(float) +
             config->layers * sizeof(struct layer_weights);
    return status;
}

trib_status weights_load(struct weights *w, const struct model_config *config,
                         const struct gguf *file, const struct kernels *kernels, int threads,
                         struct load_watch watch, trib_error *error)
{
    *w = (struct weights){0};
    struct walk walk = {.config = config, .file = file, .kernels = kernels, .error = error};
    trib_status status = count(&walk);
    if (status != TRIB_OK)
        return status;
    w->layers = calloc(config->layers, sizeof *w->layers);
    w->vectors = memory_zeroed(walk.vector_floats * sizeof(float));
    w->packed = memory_large(walk.matrix_bytes);
    void *staging = malloc(walk.staged_bytes + 1);
    if (!w->layers || !w->vectors || !w->packed || !staging) {
        free(staging);
        weights_close(w);
        return error_no_memory(error, "the weights", walk.matrix_bytes);
    }
    walk = (struct walk){.config = config,
                         .file = file,
                         .kernels = kernels,
                         .error = error,
                         .weights = w,
                         .next_matrix = w->packed,
                         .next_vector = w->vectors,
                         .staging = staging,
                         .threads = threads,
                         .watch = watch,
                         .total = walk.matrix_bytes};
    status = take_all(&walk);
    free(staging);
    if (status != TRIB_OK)
        weights_close(w);
    return status;
}

void weights_close(struct weights *w)
{
    free(w->layers);
    free(w->vectors);
    free(w->packed);
    *w = (struct weights){0};
}
