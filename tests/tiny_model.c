/* Building the tiny models. */
#include "tiny_model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf_build.h"
#include "kernel/quantise.h"
#include "model/architecture.h"
#include "must.h"

/* `count` elements of `type`, values of about 1 / sqrt(inputs) so that activations keep their size.
 */
static void *random_weights(struct random *random, enum dtype type, size_t count, size_t inputs)
{
    float size = 1.7f / sqrtf((float)inputs);
    uint8_t *bytes = malloc(dtype_size(type, count));
    float *values = malloc(count * sizeof *values);
    random_fill(random, values, count, size);
    quantise(kernels_best(), type, bytes, values, count, 1);
    free(values);
    return bytes;
}

enum {
    HD = TINY_HEADS * TINY_HEAD_DIM,
    GD = TINY_KV_HEADS * TINY_HEAD_DIM,
    E = TINY_WIDTH,
    F = TINY_FFN,
    V = TINY_VOCABULARY,
};

/* Vectors have no outputs. */
static const struct {
    const char *name;
    size_t inputs, outputs;
} tensors[TENSORS] = {
    [TENSOR_EMBEDDING] = {"token_embd.weight", E, V},
    [TENSOR_POSITIONS] = {"position_embd.weight", E, TINY_CONTEXT},
    [TENSOR_TOKEN_TYPES] = {"token_types.weight", E, 2},
    [TENSOR_EMBEDDING_NORM] = {"token_embd_norm.weight", E, 0},
    [TENSOR_EMBEDDING_NORM_BIAS] = {"token_embd_norm.bias", E, 0},
    [TENSOR_FINAL_NORM] = {"output_norm.weight", E, 0},
    [TENSOR_FINAL_NORM_BIAS] = {"output_norm.bias", E, 0},
    [TENSOR_OUTPUT] = {"output.weight", E, V},
    [TENSOR_ROPE_FACTORS] = {"rope_freqs.weight", TINY_HEAD_DIM / 2, 0},
    [TENSOR_ROPE_LONG] = {"rope_factors_long.weight", TINY_HEAD_DIM / 2, 0},
    [TENSOR_ROPE_SHORT] = {"rope_factors_short.weight", TINY_HEAD_DIM / 2, 0},
    [TENSOR_ATTENTION_NORM] = {"attn_norm.weight", E, 0},
    [TENSOR_ATTENTION_NORM_BIAS] = {"attn_norm.bias", E, 0},
    [TENSOR_QUERY] = {"attn_q.weight", E, HD},
    [TENSOR_KEY] = {"attn_k.weight", E, GD},
    [TENSOR_VALUE] = {"attn_v.weight", E, GD},
    [TENSOR_QUERY_BIAS] = {"attn_q.bias", HD, 0},
    [TENSOR_KEY_BIAS] = {"attn_k.bias", GD, 0},
    [TENSOR_VALUE_BIAS] = {"attn_v.bias", GD, 0},
    [TENSOR_QKV] = {"attn_qkv.weight", E, HD + 2 * GD},
    [TENSOR_QKV_BIAS] = {"attn_qkv.bias", HD + 2 * GD, 0},
    [TENSOR_QUERY_NORM] = {"attn_q_norm.weight", TINY_HEAD_DIM, 0},
    [TENSOR_KEY_NORM] = {"attn_k_norm.weight", TINY_HEAD_DIM, 0},
    [TENSOR_ATTENTION_OUTPUT] = {"attn_output.weight", HD, E},
    [TENSOR_ATTENTION_OUTPUT_BIAS] = {"attn_output.bias", E, 0},
    [TENSOR_ATTENTION_POST_NORM] = {"post_attention_norm.weight", E, 0},
    [TENSOR_ATTENTION_SUM_NORM] = {"attn_output_norm.weight", E, 0},
    [TENSOR_ATTENTION_SUM_NORM_BIAS] = {"attn_output_norm.bias", E, 0},
    [TENSOR_FFN_NORM] = {"ffn_norm.weight", E, 0},
    [TENSOR_FFN_NORM_BIAS] = {"ffn_norm.bias", E, 0},
    [TENSOR_GATE] = {"ffn_gate.weight", E, F},
    [TENSOR_UP] = {"ffn_up.weight", E, F},
    [TENSOR_UP_BIAS] = {"ffn_up.bias", F, 0},
    [TENSOR_GATE_UP] = {"ffn_up.weight", E, 2 * F},
    [TENSOR_DOWN] = {"ffn_down.weight", F, E},
    [TENSOR_DOWN_BIAS] = {"ffn_down.bias", E, 0},
    [TENSOR_FFN_POST_NORM] = {"post_ffw_norm.weight", E, 0},
    [TENSOR_FFN_SUM_NORM] = {"layer_output_norm.weight", E, 0},
    [TENSOR_FFN_SUM_NORM_BIAS] = {"layer_output_norm.bias", E, 0},
};

/* A model in the making. */
struct maker {
    struct gguf_build *b;
    const struct architecture *architecture;
    enum dtype type;
    struct random *random;
    const struct tiny_change *change;
    bool changed; /* the key that the change sets was written */
};

static bool is_changed(const struct maker *m, const char *name)
{
    return m->change && m->change->name && strcmp(m->change->name, name) == 0;
}

/* Vectors are near 1: norms, and factors above 0. Biases are moderate so. */
static void put_tensor(struct maker *m, const char *name, size_t inputs, size_t outputs)
{
    float near_one[HD + 2 * GD];
    if (m->change && m->change->kind == TINY_NO_TENSOR &&
        (is_changed(m, name) || (m->change->text && strcmp(m->change->text, name) == 0)))
        return;
    if (outputs) {
        void *data = random_weights(m->random, m->type, inputs * outputs, inputs);
        gguf_build_tensor(m->b, name, m->type, 2, (uint64_t[]){inputs, outputs}, data);
        free(data);
        return;
    }
    for (size_t i = 0; i < inputs; i++)
        near_one[i] = random_between(m->random, 0.75f, 1.25f);
    gguf_build_tensor(m->b, name, DTYPE_F32, 1, (uint64_t[]){inputs}, near_one);
}

static void put_tensors(struct maker *m)
{
    tensor_set set = m->architecture->required | m->architecture->optional;
    for (size_t i = 0; i < TENSOR_ATTENTION_NORM; i++)
        if (tensor_in(set, (enum tensor)i))
            put_tensor(m, tensors[i].name, tensors[i].inputs, tensors[i].outputs);
    for (int layer = 0; layer < TINY_LAYERS; layer++)
        for (size_t i = TENSOR_ATTENTION_NORM; i < TENSORS; i++) {
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s", layer, tensors[i].name);
            if (tensor_in(set, (enum tensor)i))
                put_tensor(m, name, tensors[i].inputs, tensors[i].outputs);
        }
    if (m->change && m->change->kind == TINY_MORE_TENSOR)
        put_tensor(m, m->change->name, E, 0);
}

/* What the change sets instead of the key's value; false where it does not concern the key. */
static bool put_change(struct maker *m, const char *key)
{
    const struct tiny_change *c = m->change;
    if (!is_changed(m, key))
        return false;
    m->changed = true;
    switch (c->kind) {
    case TINY_U32:
        gguf_build_u32(m->b, key, (uint32_t)c->number);
        break;
    case TINY_F32:
        gguf_build_f32(m->b, key, (float)c->number);
        break;
    case TINY_BOOL:
        gguf_build_bool(m->b, key, c->number != 0);
        break;
    case TINY_STRING:
        gguf_build_string(m->b, key, c->text);
        break;
    case TINY_SAME:
    case TINY_NO_KEY:
    case TINY_NO_TENSOR:
    case TINY_MORE_TENSOR:
        break;
    }
    return true;
}

static const char *key_of(const struct maker *m, char key[96], const char *name)
{
    snprintf(key, 96, "%s.%s", m->architecture->name, name);
    return key;
}

static void put_count(struct maker *m, const char *name, uint32_t value)
{
    char key[96];
    if (!put_change(m, key_of(m, key, name)))
        gguf_build_u32(m->b, key, value);
}

static void put_number(struct maker *m, const char *name, float value)
{
    char key[96];
    if (!put_change(m, key_of(m, key, name)))
        gguf_build_f32(m->b, key, value);
}

/* A SentencePiece vocabulary of single letters: enough to open; the tests give ids themselves. */
static void put_vocabulary(struct gguf_build *b)
{
    gguf_build_string(b, "tokenizer.ggml.model", "llama");
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, V);
    for (int i = 0; i < V; i++) {
        char text[8];
        snprintf(text, sizeof text, "t%d", i);
        put_string(&b->values, text);
    }
    gguf_build_array(b, "tokenizer.ggml.scores", GGUF_F32, V);
    for (int i = 0; i < V; i++)
        put_f32(&b->values, 0);
}

static void put_metadata(struct maker *m)
{
    char key[96];
    if (!put_change(m, "general.architecture"))
        gguf_build_string(m->b, "general.architecture", m->architecture->name);
    put_count(m, "block_count", TINY_LAYERS);
    put_count(m, "embedding_length", TINY_WIDTH);
    put_count(m, "feed_forward_length", TINY_FFN);
    put_count(m, "context_length", TINY_CONTEXT);
    put_count(m, "attention.head_count", TINY_HEADS);
    put_count(m, "attention.head_count_kv", TINY_KV_HEADS);
    put_count(m, "attention.key_length", TINY_HEAD_DIM);
    if (m->architecture->rope != ROPE_NONE)
        put_count(m, "rope.dimension_count", TINY_HEAD_DIM);
    put_number(m, "attention.layer_norm_rms_epsilon", 1e-5f);
    put_number(m, "attention.layer_norm_epsilon", 1e-5f);
    if (m->architecture->global_every) {
        put_count(m, "attention.sliding_window", TINY_WINDOW);
        put_count(m, "attention.sliding_window_pattern", 2);
    }
    if (m->architecture->bidirectional && !put_change(m, key_of(m, key, "attention.causal")))
        gguf_build_bool(m->b, key, false);
    if (m->change && m->change->kind <= TINY_STRING && m->change->name && !m->changed)
        put_change(m, m->change->name);
}

void tiny_model_build(struct gguf_build *b, const char *architecture, enum dtype type,
                      struct random *random, const struct tiny_change *change)
{
    struct maker m = {b, architecture_find(slice_of(architecture)), type, random, change, false};
    put_metadata(&m);
    put_vocabulary(b);
    put_tensors(&m);
}

void tiny_architecture_write(char path[64], const char *architecture, enum dtype type,
                             struct random *random)
{
    struct gguf_build b;
    gguf_build_open(&b);
    tiny_model_build(&b, architecture, type, random, NULL);
    gguf_build_finish(&b);
    strcpy(path, "/tmp/trib-tiny-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || !gguf_build_write(&b, path)) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    close(fd);
    gguf_build_close(&b);
}

void tiny_model_write(char path[64], enum dtype type, struct random *random)
{
    tiny_architecture_write(path, "llama", type, random);
}

trib_model *tiny_open(const char *architecture, struct random *random)
{
    trib_error error = {0};
    trib_model *model;
    char path[64];
    tiny_architecture_write(path, architecture, DTYPE_F32, random);
    must(trib_model_open(&model, path, &error), &error);
    unlink(path);
    return model;
}
