/* Models of random weights (tributary/quantize.h): shapes by name, tensors of the llama
 * architecture, drawn while the file is written. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/error.h"
#include "base/rng.h"
#include "engine/file_job.h"
#include "engine/synth_vocabulary.h"
#include "file/gguf_write.h"
#include "kernel/random_weights.h"
#include "model/mix.h"
#include "tributary/quantize.h"

static const struct shape {
    const char *name;
    size_t layers, width, heads, kv_heads, head_dim, ffn, vocabulary, context;
} shapes[] = {
    {"tiny", 2, 256, 4, 2, 64, 512, 512, 2048},
    {"100m", 12, 768, 12, 4, 64, 2048, 32000, 8192},
    {"1b", 16, 2048, 32, 8, 64, 8192, 32000, 131072},
    {"3b", 28, 3072, 24, 8, 128, 8192, 128256, 131072},  /* Llama 3.2's */
    {"8b", 32, 4096, 32, 8, 128, 14336, 128256, 131072}, /* Llama 3.1's */
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static const float DEVIATION = 0.02f, EPSILON = 1e-5f, ROPE_BASE = 500000;

trib_synth_options trib_synth_options_default(void)
{
    return (trib_synth_options){.shape = "tiny", .type = "q8_0", .seed = 1};
}

const char *trib_synth_shape(size_t i)
{
    return i < SHAPES ? shapes[i].name : NULL;
}

/* What all tensors share. */
struct synth {
    trib_synth_options options;
    const struct file_type *type;
    struct mix_model model;
    struct tensor *tensors;
    size_t count;
    uint64_t elements, done;
    const char *path;
};

/* A tensor of the model, and its stream of weights. */
struct tensor {
    struct synth *synth;
    char name[64];
    enum dtype type;
    uint64_t seed;
    float deviation; /* 0: a norm, of ones */
};

static trib_status source(void *context, uint64_t first, size_t count, void *out, trib_error *error)
{
    struct tensor *t = context;
    struct synth *s = t->synth;
    if (t->deviation > 0)
        random_weights(t->type, out, first, count, t->seed, t->deviation, s->options.threads);
    else
        for (size_t i = 0; i < count; i++)
            ((float *)out)[i] = 1;
    s->done += count;
    if (s->options.progress &&
        !s->options.progress(s->options.progress_context, s->done, s->elements))
        return error_set(error, TRIB_STOPPED, "%s: stopped", s->path);
    return TRIB_OK;
}

/* A matrix of `outputs` rows of `inputs`, or a norm where there are no outputs. */
static void put(struct synth *s, struct gguf_writer *writer, const char *name, size_t inputs,
                size_t outputs, float deviation)
{
    struct tensor *t = &s->tensors[s->count];
    uint32_t dims = outputs ? 2 : 1;
    snprintf(t->name, sizeof t->name, "%s.weight", name);
    t->synth = s;
    t->seed = rng_bits(s->options.seed, s->count++);
    t->deviation = outputs ? deviation : 0;
    t->type = mix_choose(s->type, &s->model, slice_of(t->name), dims, inputs, DTYPE_F32).type;
    gguf_put_tensor_from(writer, t->name, t->type, dims, (uint64_t[]){inputs, outputs}, source, t);
    s->elements += (uint64_t)inputs * (outputs ? outputs : 1);
}

static void put_block(struct synth *s, struct gguf_writer *writer, size_t layer)
{
    const trib_synth_options *o = &s->options;
    size_t E = o->width, F = o->ffn, HD = o->heads * o->head_dim, GD = o->kv_heads * o->head_dim;
    /* What adds to the residual, 2 L times: its variance is to stay that of one. */
    float adds = DEVIATION / sqrtf(2 * (float)o->layers);
    const struct {
        const char *name;
        size_t inputs, outputs;
        float deviation;
    } tensors[] = {
        {"attn_norm", E, 0, 0},        {"attn_q", E, HD, DEVIATION}, {"attn_k", E, GD, DEVIATION},
        {"attn_v", E, GD, DEVIATION},  {"attn_output", HD, E, adds}, {"ffn_norm", E, 0, 0},
        {"ffn_gate", E, F, DEVIATION}, {"ffn_up", E, F, DEVIATION},  {"ffn_down", F, E, adds},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        char name[48];
        snprintf(name, sizeof name, "blk.%zu.%s", layer, tensors[i].name);
        put(s, writer, name, tensors[i].inputs, tensors[i].outputs, tensors[i].deviation);
    }
}

enum { BLOCK_TENSORS = 9, OTHER_TENSORS = 3 };

static void put_tensors(struct synth *s, struct gguf_writer *writer)
{
    const trib_synth_options *o = &s->options;
    put(s, writer, "token_embd", o->width, o->vocabulary, DEVIATION);
    for (size_t layer = 0; layer < o->layers; layer++)
        put_block(s, writer, layer);
    put(s, writer, "output_norm", o->width, 0, 0);
    if (!o->tied)
        put(s, writer, "output", o->width, o->vocabulary, DEVIATION);
}

static void put_values(const struct synth *s, struct gguf_writer *writer)
{
    const trib_synth_options *o = &s->options;
    const struct {
        const char *key;
        size_t value;
    } numbers[] = {
        {"llama.vocab_size", o->vocabulary},
        {"llama.context_length", o->context},
        {"llama.embedding_length", o->width},
        {"llama.block_count", o->layers},
        {"llama.feed_forward_length", o->ffn},
        {"llama.rope.dimension_count", o->head_dim},
        {"llama.attention.head_count", o->heads},
        {"llama.attention.head_count_kv", o->kv_heads},
        {"llama.attention.key_length", o->head_dim},
        {"llama.attention.value_length", o->head_dim},
        {"general.file_type", s->type->number},
        {"general.quantization_version", QUANTISATION_VERSION},
    };
    char name[64];
    snprintf(name, sizeof name, "synthetic %.32s, seed %llu", o->shape,
             (unsigned long long)o->seed);
    gguf_put_string(writer, "general.architecture", slice_of("llama"));
    gguf_put_string(writer, "general.name", slice_of(name));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        gguf_put_u32(writer, numbers[i].key, (uint32_t)numbers[i].value);
    gguf_put_f32(writer, "llama.attention.layer_norm_rms_epsilon", EPSILON);
    gguf_put_f32(writer, "llama.rope.freq_base", ROPE_BASE);
}

static trib_status check(const trib_synth_options *o, trib_error *error)
{
    const struct {
        const char *name;
        size_t value, least, most;
    } ranges[] = {
        {"layers", o->layers, 1, 1024},
        {"width", o->width, 2, 1 << 16},
        {"heads", o->heads, 1, 1024},
        {"KV heads", o->kv_heads, 1, o->heads},
        {"head dimension", o->head_dim, 2, 512},
        {"ffn", o->ffn, 1, 1 << 18},
        {"vocabulary", o->vocabulary, SYNTH_VOCABULARY_LEAST, SYNTH_VOCABULARY_MOST},
        {"context", o->context, 1, 1 << 30},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (ranges[i].value < ranges[i].least || ranges[i].value > ranges[i].most)
            return error_set(error, TRIB_INVALID, "%s: expected %zu to %zu, found %zu",
                             ranges[i].name, ranges[i].least, ranges[i].most, ranges[i].value);
    if (o->heads % o->kv_heads != 0)
        return error_set(error, TRIB_INVALID, "KV heads: expected a divisor of %zu, found %zu",
                         o->heads, o->kv_heads);
    if (o->head_dim % 2 != 0)
        return error_set(error, TRIB_INVALID, "head dimension: expected an even number, found %zu",
                         o->head_dim);
    return TRIB_OK;
}

/* Fills in the numbers of the shape where none are given. */
static trib_status resolve(struct synth *s, trib_error *error)
{
    trib_synth_options *o = &s->options;
    const struct shape *shape = shapes;
    while (shape < shapes + SHAPES && strcasecmp(shape->name, o->shape) != 0)
        shape++;
    if (shape == shapes + SHAPES)
        return error_set(error, TRIB_INVALID,
                         "\"%.40s\" is no shape: expected tiny, 100m, 1b, 3b "
                         "or 8b",
                         o->shape);
    s->type = file_type_find(o->type);
    if (!s->type)
        return error_set(error, TRIB_INVALID, "\"%.40s\" is no file type", o->type);
    o->layers = o->layers ? o->layers : shape->layers;
    o->width = o->width ? o->width : shape->width;
    o->heads = o->heads ? o->heads : shape->heads;
    o->kv_heads = o->kv_heads ? o->kv_heads : shape->kv_heads;
    o->head_dim = o->head_dim ? o->head_dim : shape->head_dim;
    o->ffn = o->ffn ? o->ffn : shape->ffn;
    o->vocabulary = o->vocabulary ? o->vocabulary : shape->vocabulary;
    o->context = o->context ? o->context : shape->context;
    trib_status status = check(o, error);
    s->model = (struct mix_model){.layers = o->layers,
                                  .heads_per_kv_head = o->heads / (o->kv_heads ? o->kv_heads : 1),
                                  .tied = o->tied,
                                  .pure = o->pure};
    return status == TRIB_OK ? job_threads(&o->threads, error) : status;
}

trib_status trib_synth(const char *path, const trib_synth_options *options, trib_error *error)
{
    struct synth s = {.path = path, .options = options ? *options : trib_synth_options_default()};
    trib_status status = resolve(&s, error);
    if (status != TRIB_OK)
        return status;
    size_t most = BLOCK_TENSORS * s.options.layers + OTHER_TENSORS;
    struct gguf_writer *writer = gguf_writer_open();
    s.tensors = calloc(most, sizeof *s.tensors);
    if (!s.tensors) {
        status = error_no_memory(error, "the tensors", most * sizeof *s.tensors);
        goto done;
    }
    put_values(&s, writer);
    status = synth_put_vocabulary(writer, s.options.vocabulary, error);
    if (status != TRIB_OK)
        goto done;
    put_tensors(&s, writer);
    status = gguf_writer_save(writer, path, error);
done:
    gguf_writer_close(writer);
    free(s.tensors);
    return status;
}
