/* Predictors to GGUF files and back. */
#include "train/predictor_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"

enum { MOST_LAYERS = 4096, MOST_WIDTH = 1 << 20, MOST_CONTEXT = 1 << 20 };

static const char *const architectures[] = {"tributary-direct", "tributary-rnn",
                                            "tributary-lecture", "llama"};

enum { DIRECT, RNN, LECTURE, LLAMA, ARCHITECTURES };

static int architecture_of(const struct predictor_config *c)
{
    if (c->model == MODEL_DIRECT)
        return DIRECT;
    if (c->model == MODEL_RNN)
        return RNN;
    return c->block == BLOCK_LECTURE ? LECTURE : LLAMA;
}

struct key {
    char text[80];
};

/* "ARCHITECTURE.name" */
static struct key key_of(int architecture, const char *name)
{
    struct key key;
    snprintf(key.text, sizeof key.text, "%s.%s", architectures[architecture], name);
    return key;
}

/* ---- Writing ---- */

static void put_count(struct gguf_writer *writer, int a, const char *name, size_t value)
{
    gguf_put_u32(writer, key_of(a, name).text, (uint32_t)value);
}

static void put_choice(struct gguf_writer *writer, int a, const char *name, const char *value)
{
    gguf_put_string(writer, key_of(a, name).text, slice_of(value));
}

static void put_config(const struct predictor_config *c, struct gguf_writer *writer)
{
    int a = architecture_of(c);
    gguf_put_string(writer, "general.architecture", slice_of(architectures[a]));
    gguf_put_string(writer, "general.name", slice_of("Trained by Tributary"));
    put_count(writer, a, "vocab_size", c->vocabulary);
    put_count(writer, a, "context_length", c->context);
    put_count(writer, a, "embedding_length", c->width);
    put_count(writer, a, "block_count", c->layers);
    if (a != RNN)
        put_count(writer, a, "feed_forward_length", c->ffn);
    if (a == DIRECT)
        put_choice(writer, a, "activation", predictor_activations[c->activation]);
    if (a == RNN) {
        put_choice(writer, a, "cell", predictor_cells[c->cell]);
        put_choice(writer, a, "attention.score", predictor_attentions[c->attention]);
    }
    if (a == LECTURE || a == LLAMA) {
        put_count(writer, a, "attention.head_count", c->heads);
        put_count(writer, a, "attention.head_count_kv", c->kv_heads);
    }
    if (a == LECTURE) {
        put_choice(writer, a, "positions", predictor_position_kinds[c->positions]);
        gguf_put_f32(writer, key_of(a, "attention.layer_norm_epsilon").text, c->norm_eps);
    }
    if (a == LLAMA) {
        gguf_put_f32(writer, key_of(a, "attention.layer_norm_rms_epsilon").text, c->norm_eps);
        put_count(writer, a, "rope.dimension_count", c->width / c->heads);
        gguf_put_f32(writer, key_of(a, "rope.freq_base").text, c->rope_base);
    }
}

/* Blocks of 32: a scale d = max |x| / 127 in float16, then x / d rounded to the nearest. */
static void quantize(unsigned char *out, const float *x, size_t count)
{
    enum { BLOCK = 32 };
    for (size_t b = 0; b < count / BLOCK; b++, x += BLOCK, out += 2 + BLOCK) {
        float most = 0;
        for (size_t i = 0; i < BLOCK; i++)
            most = fmaxf(most, fabsf(x[i]));
        float step = most / 127, factor = step > 0 ? 1 / step : 0;
        uint16_t scale = f16_from_float(step);
        memcpy(out, &scale, sizeof scale);
        for (size_t i = 0; i < BLOCK; i++)
            out[2 + i] = (unsigned char)(signed char)lrintf(x[i] * factor);
    }
}

static trib_status make(void *context, uint64_t first, size_t count, void *out, trib_error *error)
{
    const struct predictor_source *s = context;
    const float *weights = s->predictor->parameters.weights + s->parameter->offset + first;
    (void)error;
    if (s->type == DTYPE_Q8_0)
        quantize(out, weights, count);
    else
        s->predictor->kernels->pack(s->type, out, weights, count);
    return TRIB_OK;
}

void predictor_put(const struct predictor *p, enum dtype type, struct predictor_source *sources,
                   struct gguf_writer *writer)
{
    put_config(&p->config, writer);
    for (size_t i = 0; i < p->parameters.count; i++) {
        const struct parameter *w = &p->parameters.list[i];
        bool matrix = w->dims == 2;
        uint64_t shape[2] = {matrix ? w->inputs : w->outputs, w->outputs};
        sources[i] = (struct predictor_source){p, w, matrix ? type : DTYPE_F32};
        gguf_put_tensor_from(writer, w->name, sources[i].type, w->dims, shape, make, &sources[i]);
    }
}

trib_status predictor_check_type(const struct predictor *p, enum dtype type, trib_error *error)
{
    uint32_t block = dtype_info(type)->block;
    for (size_t i = 0; i < p->parameters.count; i++) {
        const struct parameter *w = &p->parameters.list[i];
        if (w->dims == 2 && w->inputs % block != 0)
            return error_set(error, TRIB_INVALID,
                             "save-type %s: %s: expected rows of a multiple of %u, found %zu",
                             dtype_info(type)->name, w->name, block, w->inputs);
    }
    return TRIB_OK;
}

/* ---- Reading ---- */

static int find_architecture(const struct gguf *file)
{
    struct slice name = {0};
    if (gguf_get_string(file, "general.architecture", &name, &(bool){false}, NULL) != TRIB_OK)
        return -1;
    for (int i = 0; i < ARCHITECTURES; i++)
        if (slice_is(name, architectures[i]))
            return i;
    return -1;
}

bool predictor_in_file(const struct gguf *file)
{
    int a = find_architecture(file);
    return a >= 0 && a != LLAMA;
}

static trib_status get_count(const struct gguf *file, int a, const char *name, uint32_t most,
                             size_t *out, trib_error *error)
{
    struct key key = key_of(a, name);
    uint32_t value = 0;
    trib_status status = gguf_get_u32(file, key.text, &value, NULL, error);
    if (status == TRIB_OK && (value < 1 || value > most))
        status = error_set(error, TRIB_FORMAT, "%s: %s: expected 1 to %u, found %u", file->name,
                           key.text, most, value);
    *out = value;
    return status;
}

static trib_status get_choice(const struct gguf *file, int a, const char *name,
                              const char *const *choices, int *out, trib_error *error)
{
    struct key key = key_of(a, name);
    struct slice value = {0};
    trib_status status = gguf_get_string(file, key.text, &value, NULL, error);
    if (status != TRIB_OK)
        return status;
    for (*out = 0; choices[*out]; ++*out)
        if (slice_is(value, choices[*out]))
            return TRIB_OK;
    return error_set(error, TRIB_FORMAT, "%s: %s: found the unknown choice %.*s", file->name,
                     key.text, value.length > 40 ? 40 : (int)value.length, value.bytes);
}

static trib_status read_lecture(struct predictor_config *c, const struct gguf *file,
                                trib_error *error)
{
    int positions = 0;
    trib_status status;
    if ((status = get_count(file, LECTURE, "attention.head_count", MOST_WIDTH, &c->heads, error)) ||
        (status = get_count(file, LECTURE, "attention.head_count_kv", MOST_WIDTH, &c->kv_heads,
                            error)) ||
        (status =
             get_choice(file, LECTURE, "positions", predictor_position_kinds, &positions, error)) ||
        (status = gguf_get_f32(file, key_of(LECTURE, "attention.layer_norm_epsilon").text,
                               &c->norm_eps, NULL, error)))
        return status;
    c->positions = (enum predictor_positions)positions;
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return error_set(error, TRIB_FORMAT, "%s: layer_norm_epsilon: expected 0 to 1, found %g",
                         file->name, (double)c->norm_eps);
    return TRIB_OK;
}

static trib_status read_rnn(struct predictor_config *c, const struct gguf *file, trib_error *error)
{
    int cell = 0, attention = 0;
    trib_status status = get_choice(file, RNN, "cell", predictor_cells, &cell, error);
    if (status == TRIB_OK)
        status = get_choice(file, RNN, "attention.score", predictor_attentions, &attention, error);
    c->cell = (enum predictor_cell)cell;
    c->attention = (enum predictor_attention)attention;
    return status;
}

static trib_status read_direct(struct predictor_config *c, const struct gguf *file,
                               trib_error *error)
{
    int activation = 0;
    trib_status status =
        get_choice(file, DIRECT, "activation", predictor_activations, &activation, error);
    c->activation = (enum predictor_activation)activation;
    return status;
}

trib_status predictor_config_read(struct predictor_config *config, const struct gguf *file,
                                  trib_error *error)
{
    struct predictor_config *c = config;
    int a = find_architecture(file);
    *c = predictor_config_default();
    if (a < 0 || a == LLAMA)
        return error_set(error, TRIB_UNSUPPORTED, "%s: general.architecture: expected tributary-*",
                         file->name);
    c->model = a == DIRECT ? MODEL_DIRECT : a == RNN ? MODEL_RNN : MODEL_TRANSFORMER;
    c->block = BLOCK_LECTURE;
    c->dropout = 0;
    c->product = DTYPE_F32;
    c->tied = a == LECTURE && !gguf_find_tensor(file, "output.weight");
    trib_status status;
    if ((status = get_count(file, a, "vocab_size", INT32_MAX, &c->vocabulary, error)) ||
        (status = get_count(file, a, "context_length", MOST_CONTEXT, &c->context, error)) ||
        (status = get_count(file, a, "embedding_length", MOST_WIDTH, &c->width, error)) ||
        (status = get_count(file, a, "block_count", MOST_LAYERS, &c->layers, error)) ||
        (a != RNN &&
         (status = get_count(file, a, "feed_forward_length", MOST_WIDTH, &c->ffn, error))))
        return status;
    if (c->layers > file->tensor_count) /* before listing parameters that no tensor backs */
        return error_set(error, TRIB_FORMAT,
                         "%s: block_count: expected a tensor or more for each of %zu layers, found "
                         "%zu in all",
                         file->name, c->layers, file->tensor_count);
    return a == RNN      ? read_rnn(c, file, error)
           : a == DIRECT ? read_direct(c, file, error)
                         : read_lecture(c, file, error);
}

/* The tensor of a parameter, checked for its shape. */
static trib_status find(const struct gguf *file, const struct parameter *w,
                        const struct gguf_tensor **out, trib_error *error)
{
    const struct gguf_tensor *t = gguf_find_tensor(file, w->name);
    size_t first = w->dims == 2 ? w->inputs : w->outputs, second = w->dims == 2 ? w->outputs : 1;
    *out = t;
    if (!t)
        return error_set(error, TRIB_FORMAT, "%s: tensor %s is missing", file->name, w->name);
    if (t->shape[0] != first || t->shape[1] != second || t->elements != w->count)
        return error_set(error, TRIB_FORMAT,
                         "%s: %s: expected shape {%zu, %zu}, found {%llu, %llu} in %u dimensions",
                         file->name, w->name, first, second, (unsigned long long)t->shape[0],
                         (unsigned long long)t->shape[1], t->dims);
    return TRIB_OK;
}

/* All shapes are checked before memory is taken, so that no file makes up a size. */
static trib_status read_weights(struct predictor *p, const struct gguf *file, trib_error *error)
{
    const struct gguf_tensor *t;
    for (size_t i = 0; i < p->parameters.count; i++) {
        trib_status status = find(file, &p->parameters.list[i], &t, error);
        if (status != TRIB_OK)
            return status;
    }
    if (file->tensor_count != p->parameters.count)
        return error_set(error, TRIB_UNSUPPORTED, "%s: expected %zu tensors, found %zu", file->name,
                         p->parameters.count, file->tensor_count);
    trib_status status = parameters_allocate(&p->parameters, false, error);
    for (size_t i = 0; i < p->parameters.count && status == TRIB_OK; i++) {
        const struct parameter *w = &p->parameters.list[i];
        status = find(file, w, &t, error);
        if (status == TRIB_OK)
            p->kernels->unpack(t->type, p->parameters.weights + w->offset, t->data, w->count);
    }
    return status;
}

trib_status predictor_read(struct predictor *p, const struct gguf *file,
                           const struct kernels *kernels, int threads, trib_error *error)
{
    struct predictor_config config;
    *p = (struct predictor){0};
    trib_status status = predictor_config_read(&config, file, error);
    if (status != TRIB_OK)
        return status;
    trib_error why = {0};
    status = predictor_open(p, &config, kernels, threads, &why);
    if (status != TRIB_OK)
        return error_set(error, status == TRIB_INVALID ? TRIB_FORMAT : status, "%.80s: %.160s",
                         file->name, why.message);
    status = read_weights(p, file, error);
    if (status != TRIB_OK) {
        predictor_close(p);
        *p = (struct predictor){0};
    }
    return status;
}
