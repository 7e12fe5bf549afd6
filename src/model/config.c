/* Reading a model's configuration. Every number is bounded here, so that products of two of them
 * fit and nobody allocates by a number that the file made up. Keys are those of llama.cpp's files
 * (github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py), with the architecture's name and a
 * point before them. */
#include "model/config.h"

#include <math.h>
#include <stdio.h>

#include "base/error.h"

enum { MOST_LAYERS = 4096, MOST_WIDTH = 1 << 20, MOST_HEAD_DIM = 1024, MOST_CONTEXT = 1 << 30 };

struct reader {
    const struct gguf *file;
    struct model_config *c;
    trib_error *error;
};

/* "llama." and what follows. */
struct key {
    char text[96];
};

static struct key key_of(const struct reader *r, const char *name)
{
    struct key key;
    snprintf(key.text, sizeof key.text, "%s.%s", r->c->architecture->name, name);
    return key;
}

static bool has(const struct reader *r, const char *name)
{
    return gguf_find(r->file, key_of(r, name).text) != NULL;
}

/* A required count from `least` to `most`. */
static trib_status read_between(const struct reader *r, const char *name, uint32_t least,
                                uint32_t most, size_t *out)
{
    struct key key = key_of(r, name);
    uint32_t value = 0;
    trib_status status = gguf_get_u32(r->file, key.text, &value, NULL, r->error);
    if (status != TRIB_OK)
        return status;
    if (value < least || value > most)
        return error_set(r->error, TRIB_FORMAT, "%s: %s: expected %u to %u, found %u",
                         r->file->name, key.text, least, most, value);
    *out = value;
    return TRIB_OK;
}

static trib_status read_count(const struct reader *r, const char *name, uint32_t most, size_t *out)
{
    return read_between(r, name, 1, most, out);
}

/* The same, but absent means `otherwise`. */
static trib_status read_count_or(const struct reader *r, const char *name, uint32_t most,
                                 size_t otherwise, size_t *out)
{
    *out = otherwise;
    return has(r, name) ? read_count(r, name, most, out) : TRIB_OK;
}

/* A number from `least` to `most`; *out keeps its value where there is none. */
static trib_status read_real(const struct reader *r, const char *name, double least, double most,
                             bool required, double *out)
{
    struct key key = key_of(r, name);
    float value = (float)*out;
    bool found = true;
    trib_status status =
        gguf_get_f32(r->file, key.text, &value, required ? NULL : &found, r->error);
    if (status != TRIB_OK || !found)
        return status;
    if (!((double)value >= least && (double)value <= most))
        return error_set(r->error, TRIB_FORMAT, "%s: %s: expected %g to %g, found %g",
                         r->file->name, key.text, least, most, (double)value);
    *out = (double)value;
    return TRIB_OK;
}

static trib_status unsupported(const struct reader *r, const char *name, const char *expected,
                               struct slice found)
{
    return error_set(r->error, TRIB_UNSUPPORTED, "%s: %s: expected %s, found %.*s", r->file->name,
                     name, expected, found.length > 40 ? 40 : (int)found.length, found.bytes);
}

static trib_status read_architecture(const struct reader *r)
{
    struct slice name = {0};
    trib_status status = gguf_get_string(r->file, "general.architecture", &name, NULL, r->error);
    if (status != TRIB_OK)
        return status;
    r->c->architecture = architecture_find(name);
    if (r->c->architecture)
        return TRIB_OK;
    char known[160];
    size_t used = 0;
    for (size_t i = 0; architecture_at(i) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 architecture_at(i)->name);
    return unsupported(r, "general.architecture", known, name);
}

/* Features that this build does not have: a key, and the number with which it changes nothing. */
static const struct {
    const char *name;
    double neutral;
} features[] = {
    {"expert_count", 0},
    {"use_parallel_residual", 0},
    {"logit_scale", 1},
    {"residual_scale", 1},
    {"embedding_scale", 1},
    {"attention.max_alibi_bias", 0},
    {"attention.clamp_kqv", 0},
    {"attention.output_scale", 1},
    {"attention.temperature_length", 0},
    {"attention.temperature_scale", 0},
    {"attention.shared_kv_layers", 0},
    {"attention.q_lora_rank", 0},
    {"attention.kv_lora_rank", 0},
    {"rope.dimension_sections", 0},
    {"rope.scale_linear", 1},
    {"rope.scaling.alpha", 0},
    {"rope.scaling.yarn_log_multiplier", 0},
    {"rope.scaling.yarn_ext_factor", 1},
    {"rope.scaling.yarn_attn_factor", 1},
};

static trib_status refuse_features(const struct reader *r)
{
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        struct key key = key_of(r, features[i].name);
        const struct gguf_value *value = gguf_find(r->file, key.text);
        if (!value)
            continue;
        if (value->type == GGUF_ARRAY || value->type == GGUF_STRING)
            return error_set(r->error, TRIB_UNSUPPORTED,
                             "%s: %s: expected none, found one: this is not supported",
                             r->file->name, key.text);
        double found = gguf_number(value, 0);
        if (found != features[i].neutral)
            return error_set(r->error, TRIB_UNSUPPORTED,
                             "%s: %s: expected %g, found %g: anything else is not supported",
                             r->file->name, key.text, features[i].neutral, found);
    }
    return TRIB_OK;
}

/* The rows of a tensor [rows][E] that the architecture requires; weights.c checks the rest. */
static trib_status read_rows(const struct reader *r, enum tensor tensor, const char *name,
                             uint32_t most, size_t *out)
{
    *out = 0;
    if (!tensor_in(r->c->architecture->required, tensor))
        return TRIB_OK;
    const struct gguf_tensor *t = gguf_find_tensor(r->file, name);
    if (!t)
        return error_set(r->error, TRIB_FORMAT, "%s: tensor %s is missing", r->file->name, name);
    if (t->shape[1] < 1 || t->shape[1] > most)
        return error_set(r->error, TRIB_FORMAT, "%s: %s: expected 1 to %u rows, found %llu",
                         r->file->name, name, most, (unsigned long long)t->shape[1]);
    *out = (size_t)t->shape[1];
    return TRIB_OK;
}

static trib_status read_shapes(const struct reader *r)
{
    struct model_config *c = r->c;
    size_t value_dim;
    trib_status status;
    if ((status = read_count(r, "block_count", MOST_LAYERS, &c->layers)) ||
        (status = read_count(r, "embedding_length", MOST_WIDTH, &c->width)) ||
        (status = read_count(r, "feed_forward_length", MOST_WIDTH, &c->ffn)) ||
        (status = read_count(r, "context_length", MOST_CONTEXT, &c->context)) ||
        (status = read_count(r, "attention.head_count", MOST_WIDTH, &c->heads)) ||
        (status =
             read_count_or(r, "attention.head_count_kv", MOST_WIDTH, c->heads, &c->kv_heads)) ||
        (status = read_count_or(r, "attention.key_length", MOST_HEAD_DIM, c->width / c->heads,
                                &c->head_dim)) ||
        (status =
             read_count_or(r, "attention.value_length", MOST_HEAD_DIM, c->head_dim, &value_dim)) ||
        (status = read_rows(r, TENSOR_EMBEDDING, "token_embd.weight", INT32_MAX, &c->vocabulary)) ||
        (status =
             read_rows(r, TENSOR_POSITIONS, "position_embd.weight", MOST_CONTEXT, &c->positions)) ||
        (status =
             read_rows(r, TENSOR_TOKEN_TYPES, "token_types.weight", MOST_WIDTH, &c->token_types)))
        return status;
    if (c->positions && c->positions < c->context)
        c->context = c->positions;
    const char *name = c->architecture->name;
    if (c->heads % c->kv_heads != 0)
        return error_set(
            r->error, TRIB_FORMAT,
            "%s: %s.attention.head_count: expected a multiple of head_count_kv %zu, found %zu",
            r->file->name, name, c->kv_heads, c->heads);
    if (c->head_dim < 1 || c->head_dim > MOST_HEAD_DIM)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: dimension of a head: expected 1 to %d, found %zu", r->file->name,
                         MOST_HEAD_DIM, c->head_dim);
    if (value_dim != c->head_dim)
        return error_set(r->error, TRIB_UNSUPPORTED,
                         "%s: %s.attention.value_length: expected %zu, the dimension of a head, "
                         "found %zu",
                         r->file->name, name, c->head_dim, value_dim);
    return TRIB_OK;
}

/* "linear" without a factor is what files say that mean none. */
static trib_status read_scaling(const struct reader *r)
{
    struct model_config *c = r->c;
    struct slice type = {0};
    struct key key = key_of(r, "rope.scaling.type");
    bool found = false;
    trib_status status = gguf_get_string(r->file, key.text, &type, &found, r->error);
    c->rope_factor = 1;
    if (status == TRIB_OK)
        status = read_real(r, "rope.scaling.factor", 0, 1e6, false, &c->rope_factor);
    if (status != TRIB_OK)
        return status;
    if (c->rope_factor == 0)
        c->rope_factor = 1;
    if (!found || slice_is(type, "linear"))
        c->rope_scaling = c->rope_factor != 1 ? ROPE_LINEAR : ROPE_UNSCALED;
    else if (slice_is(type, "yarn"))
        c->rope_scaling = ROPE_YARN;
    else if (slice_is(type, "longrope") && c->rope_factor == 1)
        c->rope_scaling = ROPE_LONG;
    else if (!slice_is(type, "none"))
        return unsupported(r, key.text, "none, linear, yarn, or longrope without a factor", type);
    c->rope_magnitude = 1;
    c->rope_fast = 32;
    c->rope_slow = 1;
    if ((status = read_count_or(r, "rope.scaling.original_context_length", MOST_CONTEXT, c->context,
                                &c->rope_original_context)) ||
        (status = read_real(r, "rope.scaling.attn_factor", 1e-3, 1e3, false, &c->rope_magnitude)) ||
        (status = read_real(r, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, false, &c->rope_fast)) ||
        (status = read_real(r, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, false, &c->rope_slow)))
        return status;
    return TRIB_OK;
}

/* A base of their own for layers with a window, where the architecture has one. */
static trib_status read_local_base(const struct reader *r)
{
    struct model_config *c = r->c;
    double base = c->architecture->local_rope_base;
    c->local_rope_base = base;
    base = base > 0 ? base : c->rope_base;
    trib_status status = read_real(r, "rope.freq_base_swa", 1, 1e15, false, &base);
    if (status != TRIB_OK)
        return status;
    if (c->local_rope_base > 0)
        c->local_rope_base = base;
    else if (base != c->rope_base)
        return error_set(r->error, TRIB_UNSUPPORTED,
                         "%s: %s.rope.freq_base_swa: expected that of the other layers, %g, found "
                         "%g",
                         r->file->name, c->architecture->name, c->rope_base, base);
    return TRIB_OK;
}

static trib_status read_rope(const struct reader *r)
{
    struct model_config *c = r->c;
    if (c->architecture->rope == ROPE_NONE)
        return TRIB_OK;
    c->rope_base = 10000;
    trib_status status;
    if ((status = read_real(r, "rope.freq_base", 1, 1e15, false, &c->rope_base)) ||
        (status =
             read_count_or(r, "rope.dimension_count", MOST_HEAD_DIM, c->head_dim, &c->rotated)) ||
        (status = read_scaling(r)) || (status = read_local_base(r)))
        return status;
    if (c->rotated > c->head_dim || c->rotated % 2 != 0)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: %s.rope.dimension_count: expected an even number up to %zu, the "
                         "dimension of a head, found %zu",
                         r->file->name, c->architecture->name, c->head_dim, c->rotated);
    return TRIB_OK;
}

/* Windows. A window of 0 stands in files that mean none. */
static trib_status read_windows(const struct reader *r)
{
    struct model_config *c = r->c;
    c->window = c->architecture->window;
    c->global_every = c->architecture->global_every;
    trib_status status = TRIB_OK;
    if (has(r, "attention.sliding_window"))
        status = read_between(r, "attention.sliding_window", 0, MOST_CONTEXT, &c->window);
    if (status == TRIB_OK && has(r, "attention.sliding_window_pattern"))
        status = read_count(r, "attention.sliding_window_pattern", MOST_LAYERS, &c->global_every);
    if (status == TRIB_OK && c->window && c->architecture->bidirectional)
        status = error_set(r->error, TRIB_UNSUPPORTED,
                           "%s: %s.attention.sliding_window: expected none, found %zu",
                           r->file->name, c->architecture->name, c->window);
    return status;
}

/* Which tokens see which, and what becomes of an encoder's. */
static trib_status read_direction(const struct reader *r)
{
    struct model_config *c = r->c;
    struct key causal_key = key_of(r, "attention.causal"), pooling_key = key_of(r, "pooling_type");
    bool found, causal = !c->architecture->bidirectional;
    uint32_t pooling = POOLING_NONE;
    trib_status status = gguf_get_bool(r->file, causal_key.text, &causal, &found, r->error);
    if (status == TRIB_OK)
        status = gguf_get_u32(r->file, pooling_key.text, &pooling, &found, r->error);
    if (status != TRIB_OK)
        return status;
    if (causal == c->architecture->bidirectional)
        return error_set(r->error, TRIB_UNSUPPORTED, "%s: %s: expected %s, found %s", r->file->name,
                         causal_key.text, causal ? "false" : "true", causal ? "true" : "false");
    if (pooling > POOLING_LAST)
        return error_set(r->error, TRIB_UNSUPPORTED,
                         "%s: %s: expected none (0), mean (1), cls (2) or last (3), found %u",
                         r->file->name, pooling_key.text, pooling);
    c->bidirectional = !causal;
    c->pooling = (enum pooling)pooling;
    return TRIB_OK;
}

static trib_status read_numbers(const struct reader *r)
{
    struct model_config *c = r->c;
    const struct architecture *a = c->architecture;
    const char *eps_name =
        a->norm == NORM_LAYER ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    bool wide = c->layers == a->wide_scale_layers;
    double eps = 0, attention_cap = (double)a->attention_softcap;
    double final_cap = (double)a->final_softcap;
    double scale = 1 / sqrt(wide ? (double)c->width / (double)c->heads : (double)c->head_dim);
    trib_status status = read_real(r, eps_name, 0, 1, true, &eps);
    if (status == TRIB_OK)
        status = read_real(r, "attn_logit_softcapping", 0, 1e6, false, &attention_cap);
    if (status == TRIB_OK)
        status = read_real(r, "final_logit_softcapping", 0, 1e6, false, &final_cap);
    if (status == TRIB_OK)
        status = read_real(r, "attention.scale", 1e-6, 1e6, false, &scale);
    c->norm_eps = (float)eps;
    c->attention_softcap = (float)attention_cap;
    c->final_softcap = (float)final_cap;
    c->attention_scale = (float)scale;
    return status;
}

trib_status model_config_read(struct model_config *config, const struct gguf *file,
                              trib_error *error)
{
    *config = (struct model_config){0};
    const struct reader r = {file, config, error};
    trib_status status;
    if ((status = read_architecture(&r)) || (status = refuse_features(&r)) ||
        (status = read_shapes(&r)) || (status = read_rope(&r)) || (status = read_windows(&r)) ||
        (status = read_direction(&r)))
        return status;
    return read_numbers(&r);
}

trib_status model_config_limit(struct model_config *c, size_t context, trib_error *error)
{
    if (context > c->context)
        return error_set(error, TRIB_INVALID,
                         "context: expected at most %zu, what the model was trained for, found %zu",
                         c->context, context);
    c->context = context ? context : c->context;
    return TRIB_OK;
}

size_t model_config_window(const struct model_config *c, size_t layer)
{
    bool global = c->global_every && (layer + 1) % c->global_every == 0;
    return global ? 0 : c->window;
}
