/* Reading a model's configuration. Every number is bounded here, so that products of two of them
 * fit and nobody allocates by a number that the file made up. */
#include "model/config.h"

#include <math.h>

#include "base/error.h"

enum { MOST_LAYERS = 4096, MOST_WIDTH = 1 << 20, MOST_HEAD_DIM = 1024, MOST_CONTEXT = 1 << 30 };

/* A required count in [1, most]. */
static trib_status read_count(const struct gguf *file, const char *key, uint32_t most, size_t *out,
                              trib_error *error)
{
    uint32_t value = 0;
    trib_status status = gguf_get_u32(file, key, &value, NULL, error);
    if (status != TRIB_OK)
        return status;
    if (value < 1 || value > most)
        return error_set(error, TRIB_FORMAT, "%s: %s: expected 1 to %u, found %u", file->name, key,
                         most, value);
    *out = value;
    return TRIB_OK;
}

/* The same, but absent means `otherwise`. */
static trib_status read_count_or(const struct gguf *file, const char *key, uint32_t most,
                                 size_t otherwise, size_t *out, trib_error *error)
{
    *out = otherwise;
    return gguf_find(file, key) ? read_count(file, key, most, out, error) : TRIB_OK;
}

static trib_status check_features(const struct gguf *file, trib_error *error)
{
    struct slice name = {0};
    trib_status status = gguf_get_string(file, "general.architecture", &name, NULL, error);
    if (status != TRIB_OK)
        return status;
    if (!slice_is(name, "llama"))
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: general.architecture: expected llama, found %.*s", file->name,
                         name.length > 40 ? 40 : (int)name.length, name.bytes);
    struct slice scaling = {0};
    bool scaled = false;
    status = gguf_get_string(file, "llama.rope.scaling.type", &scaling, &scaled, error);
    if (status == TRIB_OK && scaled && !slice_is(scaling, "none"))
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: llama.rope.scaling.type: expected none, found %.*s", file->name,
                         scaling.length > 40 ? 40 : (int)scaling.length, scaling.bytes);
    uint32_t experts = 0;
    if (status == TRIB_OK)
        status = gguf_get_u32(file, "llama.expert_count", &experts, &(bool){false}, error);
    if (status == TRIB_OK && experts > 0)
        return error_set(
            error, TRIB_UNSUPPORTED,
            "%s: llama.expert_count: expected 0, found %u: mixtures of experts are not "
            "supported",
            file->name, experts);
    return status;
}

static trib_status read_shapes(struct model_config *c, const struct gguf *file, trib_error *error)
{
    trib_status status;
    if ((status = read_count(file, "llama.block_count", MOST_LAYERS, &c->layers, error)) ||
        (status = read_count(file, "llama.embedding_length", MOST_WIDTH, &c->width, error)) ||
        (status = read_count(file, "llama.feed_forward_length", MOST_WIDTH, &c->ffn, error)) ||
        (status = read_count(file, "llama.context_length", MOST_CONTEXT, &c->context, error)) ||
        (status = read_count(file, "llama.attention.head_count", MOST_WIDTH, &c->heads, error)) ||
        (status = read_count_or(file, "llama.attention.head_count_kv", MOST_WIDTH, c->heads,
                                &c->kv_heads, error)) ||
        (status = read_count_or(file, "llama.attention.key_length", MOST_HEAD_DIM,
                                c->width / c->heads, &c->head_dim, error)))
        return status;
    if (c->heads % c->kv_heads != 0)
        return error_set(
            error, TRIB_FORMAT,
            "%s: llama.attention.head_count: expected a multiple of head_count_kv %zu, "
            "found %zu",
            file->name, c->kv_heads, c->heads);
    if (c->head_dim < 2 || c->head_dim % 2 != 0 || c->head_dim > MOST_HEAD_DIM)
        return error_set(error, TRIB_FORMAT,
                         "%s: dimension of a head: expected an even number from 2 to %d, found %zu",
                         file->name, MOST_HEAD_DIM, c->head_dim);
    size_t rotated, value_dim;
    if ((status = read_count_or(file, "llama.rope.dimension_count", MOST_HEAD_DIM, c->head_dim,
                                &rotated, error)) ||
        (status = read_count_or(file, "llama.attention.value_length", MOST_HEAD_DIM, c->head_dim,
                                &value_dim, error)))
        return status;
    if (rotated != c->head_dim || value_dim != c->head_dim)
        return error_set(
            error, TRIB_UNSUPPORTED,
            "%s: llama.rope.dimension_count %zu and value_length %zu: expected %zu, the "
            "dimension of a head",
            file->name, rotated, value_dim, c->head_dim);
    return TRIB_OK;
}

static trib_status read_numbers(struct model_config *c, const struct gguf *file, trib_error *error)
{
    float base = 10000;
    trib_status status;
    if ((status = gguf_get_f32(file, "llama.attention.layer_norm_rms_epsilon", &c->norm_eps, NULL,
                               error)) ||
        (status = gguf_get_f32(file, "llama.rope.freq_base", &base, &(bool){false}, error)))
        return status;
    if (!(c->norm_eps >= 0 && c->norm_eps < 1))
        return error_set(error, TRIB_FORMAT,
                         "%s: llama.attention.layer_norm_rms_epsilon: expected 0 to 1, found %g",
                         file->name, (double)c->norm_eps);
    if (!(base >= 1 && isfinite(base)))
        return error_set(error, TRIB_FORMAT,
                         "%s: llama.rope.freq_base: expected a number from 1 on, found %g",
                         file->name, (double)base);
    c->rope_base = base;
    c->attention_scale = (float)(1 / sqrt((double)c->head_dim));
    return TRIB_OK;
}

trib_status model_config_read(struct model_config *config, const struct gguf *file,
                              trib_error *error)
{
    *config = (struct model_config){0};
    trib_status status = check_features(file, error);
    if (status == TRIB_OK)
        status = read_shapes(config, file, error);
    if (status == TRIB_OK)
        status = read_numbers(config, file, error);
    if (status != TRIB_OK)
        return status;
    const struct gguf_tensor *embedding = gguf_find_tensor(file, "token_embd.weight");
    if (!embedding)
        return error_set(error, TRIB_FORMAT, "%s: tensor token_embd.weight is missing", file->name);
    if (embedding->shape[1] < 1 || embedding->shape[1] > INT32_MAX)
        return error_set(error, TRIB_FORMAT, "%s: token_embd.weight: senseless row count",
                         file->name);
    config->vocabulary = (size_t)embedding->shape[1];
    return TRIB_OK;
}
