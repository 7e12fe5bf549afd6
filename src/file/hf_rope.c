/* Rotary parameters: the base, and how positions are scaled, as metadata or as tensors of factors.
 *
 * Files have them in rope_parameters (one object, or one for each kind of attention), or, before
 * transformers 5, in rope_theta and rope_scaling. */
#include "file/hf.h"

#include <math.h>
#include <stdio.h>

#include "base/error.h"

static const double TAU = 6.283185307179586;

/* The parameters of one kind of attention, and where they stand. */
struct rope {
    struct hf_folder *folder;
    const struct json_file *file;
    const json_t *object; /* may be NULL */
    uint64_t rotated;     /* dimensions of a head that are rotated */
    double base;
    double partial; /* the part of a head that is rotated */
};

static void put_f32(const struct rope *r, const char *key, double value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.rope.%s", r->folder->config.name, key);
    gguf_put_f32(r->folder->metadata, full, (float)value);
}

static void put_u32(const struct rope *r, const char *key, uint64_t value)
{
    char full[96];
    snprintf(full, sizeof full, "%s.rope.%s", r->folder->config.name, key);
    gguf_put_u32(r->folder->metadata, full, (uint32_t)value);
}

static void put_type(const struct rope *r, const char *type)
{
    char full[96];
    snprintf(full, sizeof full, "%s.rope.scaling.type", r->folder->config.name);
    gguf_put_string(r->folder->metadata, full, slice_of(type));
}

/* A number above 0 of the parameters. */
static trib_status get_positive(const struct rope *r, const char *key, double *out,
                                trib_error *error)
{
    trib_status status = json_get_number(r->file, r->object, key, out, error);
    if (status == TRIB_OK && !(*out > 0 && isfinite((float)*out)))
        return error_set(error, TRIB_FORMAT, "%s: %s: expected a number above 0, found %g",
                         r->file->name, key, *out);
    return status;
}

/* One that has no default. */
static trib_status need_positive(const struct rope *r, const char *key, double *out,
                                 trib_error *error)
{
    if (!json_field(r->object, key))
        return error_set(error, TRIB_FORMAT, "%s: %s: expected a number, found nothing",
                         r->file->name, key);
    return get_positive(r, key, out, error);
}

/* The context that the model was trained with before it was stretched. */
static trib_status get_original_context(const struct rope *r, uint64_t otherwise, uint64_t *out,
                                        trib_error *error)
{
    const char *key = "original_max_position_embeddings";
    *out = otherwise;
    trib_status status = json_get_count(r->file, r->file->root, key, 1, 1 << 30, out, error);
    if (status == TRIB_OK)
        status = json_get_count(r->file, r->object, key, 1, 1 << 30, out, error);
    return status;
}

static trib_status add_factors(const struct rope *r, const char *name, const float *factors,
                               trib_error *error)
{
    return hf_tensor_add(r->folder, name, DTYPE_F32, 1, (uint64_t[]){r->rotated / 2}, factors,
                         error);
}

/* What queries and keys grow by: attention_factor, else a quotient of two mscales, else what the
 * model computes of the factor. It computes that in any case, so what is left is put.
 * (transformers, modeling_rope_utils.py, _compute_yarn_parameters.) */
static trib_status put_yarn_magnitude(const struct rope *r, double factor, trib_error *error)
{
    double growth = factor > 1 ? 0.1 * log(factor) : 0, mscale = 0, all_dim = 0;
    double magnitude = 1 + growth;
    trib_status status = json_get_number(r->file, r->object, "mscale", &mscale, error);
    if (status == TRIB_OK)
        status = json_get_number(r->file, r->object, "mscale_all_dim", &all_dim, error);
    if (mscale != 0 && all_dim != 0)
        magnitude = (1 + mscale * growth) / (1 + all_dim * growth);
    if (status == TRIB_OK)
        status = get_positive(r, "attention_factor", &magnitude, error);
    float rest = (float)(magnitude / (1 + 0.1 * log(factor)));
    if (rest != 1)
        put_f32(r, "scaling.attn_factor", (double)rest);
    return status;
}

static trib_status put_yarn(const struct rope *r, double factor, trib_error *error)
{
    static const struct {
        const char *theirs, *ours;
    } numbers[] = {
        {"extrapolation_factor", "scaling.yarn_ext_factor"},
        {"beta_fast", "scaling.yarn_beta_fast"},
        {"beta_slow", "scaling.yarn_beta_slow"},
    };
    uint64_t original;
    bool truncate = true;
    trib_status status = json_get_bool(r->file, r->object, "truncate", &truncate, error);
    if (status == TRIB_OK && !truncate)
        return error_set(error, TRIB_UNSUPPORTED, "%s: truncate: expected true", r->file->name);
    if (status == TRIB_OK)
        status = get_original_context(r, r->folder->config.context, &original, error);
    if (status != TRIB_OK)
        return status;
    put_u32(r, "scaling.original_context_length", original);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == TRIB_OK; i++) {
        double value = NAN;
        status = json_get_number(r->file, r->object, numbers[i].theirs, &value, error);
        if (status == TRIB_OK && !isnan(value))
            put_f32(r, numbers[i].ours, value);
    }
    return status == TRIB_OK ? put_yarn_magnitude(r, factor, error) : status;
}

/* Llama 3: a factor that divides each frequency. Waves longer than the original context over
 * low_freq_factor are stretched by `factor`, those shorter than it over high_freq_factor not at
 * all, those between in part. (transformers, modeling_rope_utils.py, _compute_llama3_parameters.)
 */
static trib_status add_llama3(const struct rope *r, trib_error *error)
{
    double factor = 1, low = 1, high = 4;
    uint64_t context;
    float *factors = hf_own(r->folder, (size_t)r->rotated / 2 * sizeof *factors);
    if (!factors)
        return error_no_memory(error, "rotary factors", (size_t)r->rotated * 2);
    trib_status status = need_positive(r, "factor", &factor, error);
    if (status == TRIB_OK)
        status = need_positive(r, "low_freq_factor", &low, error);
    if (status == TRIB_OK)
        status = need_positive(r, "high_freq_factor", &high, error);
    if (status == TRIB_OK)
        status = get_original_context(r, r->folder->config.context, &context, error);
    if (status == TRIB_OK && high <= low)
        status = error_set(error, TRIB_FORMAT,
                           "%s: high_freq_factor: expected more than low_freq_factor %g, found %g",
                           r->file->name, low, high);
    for (uint64_t i = 0; i < r->rotated / 2 && status == TRIB_OK; i++) {
        double wave = TAU * pow(r->base, 2 * (double)i / (double)r->rotated);
        double smooth = ((double)context / wave - low) / (high - low);
        if (wave < (double)context / high)
            factors[i] = 1;
        else if (wave > (double)context / low)
            factors[i] = (float)factor;
        else
            factors[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
    return status == TRIB_OK ? add_factors(r, "rope_freqs.weight", factors, error) : status;
}

static trib_status add_list(const struct rope *r, const char *key, const char *name,
                            trib_error *error)
{
    const json_t *list = NULL;
    size_t count = (size_t)r->rotated / 2;
    trib_status status = json_get_array(r->file, r->object, key, &list, error);
    if (status != TRIB_OK)
        return status;
    if (json_array_size(list) != count)
        return error_set(error, TRIB_FORMAT, "%s: %s: expected %zu numbers, found %zu",
                         r->file->name, key, count, json_array_size(list));
    float *factors = hf_own(r->folder, count * sizeof *factors);
    if (!factors)
        return error_no_memory(error, "rotary factors", count * sizeof *factors);
    for (size_t i = 0; i < count; i++) {
        factors[i] = (float)json_number_value(json_array_get(list, i));
        if (!(factors[i] > 0 && isfinite(factors[i])))
            return error_set(error, TRIB_FORMAT, "%s: %s: expected numbers above 0", r->file->name,
                             key);
    }
    return add_factors(r, name, factors, error);
}

/* Phi-3: two lists of factors, for contexts within and beyond the original, and a factor of queries
 * and keys that makes up for it. The lists tell the kind of scaling; no key does. (transformers,
 * modeling_rope_utils.py, _compute_longrope_parameters.) */
static trib_status add_longrope(const struct rope *r, trib_error *error)
{
    uint64_t context = r->folder->config.context, original;
    trib_status status = get_original_context(r, context, &original, error);
    if (status == TRIB_OK)
        status = add_list(r, "long_factor", "rope_factors_long.weight", error);
    if (status == TRIB_OK)
        status = add_list(r, "short_factor", "rope_factors_short.weight", error);
    if (status != TRIB_OK)
        return status;
    double scale = (double)context / (double)original, factor = 1;
    status = get_positive(r, "factor", &scale, error);
    if (scale > 1 && original > 1)
        factor = sqrt(1 + log(scale) / log((double)original));
    if (status == TRIB_OK)
        status = get_positive(r, "attention_factor", &factor, error);
    put_f32(r, "scaling.attn_factor", factor);
    return status;
}

static trib_status put_scaling(const struct rope *r, trib_error *error)
{
    struct slice type = slice_of("default");
    double factor = 1;
    trib_status status = json_get_string(r->file, r->object, "type", &type, error);
    if (status == TRIB_OK)
        status = json_get_string(r->file, r->object, "rope_type", &type, error);
    if (status != TRIB_OK || slice_is(type, "default"))
        return status;
    if (slice_is(type, "llama3"))
        return add_llama3(r, error);
    if (r->folder->config.kind == HF_PHI3 && (slice_is(type, "longrope") || slice_is(type, "su")))
        return add_longrope(r, error);
    bool linear = slice_is(type, "linear");
    if (!linear && (!slice_is(type, "yarn") || r->folder->config.kind == HF_PHI3))
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: rope_type: expected default, linear, yarn, llama3, or longrope with "
                         "Phi-3, found %s",
                         r->file->name, safetensors_show(type).text);
    if (!linear && json_is_null(json_object_get(r->object, "factor"))) { /* the contexts tell */
        uint64_t original;
        status = get_original_context(r, r->folder->config.context, &original, error);
        factor = (double)r->folder->config.context / (double)original;
    } else {
        status = need_positive(r, "factor", &factor, error);
    }
    put_type(r, linear ? "linear" : "yarn");
    put_f32(r, "scaling.factor", factor);
    return status == TRIB_OK && !linear ? put_yarn(r, factor, error) : status;
}

/* Gemma 3 rotates in layers with a window by a base of their own. */
static trib_status put_local_base(const struct rope *r, const json_t *local, trib_error *error)
{
    struct rope of_window = *r;
    double base = 10000;
    of_window.object = r->file->root;
    trib_status status = get_positive(&of_window, "rope_local_base_freq", &base, error);
    of_window.object = local;
    if (status == TRIB_OK)
        status = get_positive(&of_window, "rope_theta", &base, error);
    if (status == TRIB_OK)
        put_f32(r, "freq_base_swa", base);
    return status;
}

trib_status hf_rope_read(struct hf_folder *folder, trib_error *error)
{
    const struct hf_config *c = &folder->config;
    struct rope r = {folder,
                     &folder->config_json,
                     folder->config_json.root,
                     c->head_dim,
                     c->kind == HF_GEMMA3 ? 1e6 : 1e4,
                     1};
    const json_t *parameters = NULL, *full, *local = NULL;
    trib_status status = get_positive(&r, "rope_theta", &r.base, error);
    if (status == TRIB_OK)
        status = get_positive(&r, "partial_rotary_factor", &r.partial, error);
    if (status == TRIB_OK)
        status = json_get_object(r.file, r.file->root, "rope_scaling", &parameters, error);
    if (status == TRIB_OK)
        status = json_get_object(r.file, r.file->root, "rope_parameters", &parameters, error);
    full = parameters;
    if (status == TRIB_OK)
        status = json_get_object(r.file, parameters, "full_attention", &full, error);
    if (status == TRIB_OK)
        status = json_get_object(r.file, parameters, "sliding_attention", &local, error);
    r.object = full;
    if (status == TRIB_OK)
        status = get_positive(&r, "rope_theta", &r.base, error);
    if (status == TRIB_OK)
        status = get_positive(&r, "partial_rotary_factor", &r.partial, error);
    if (status != TRIB_OK)
        return status;
    if (r.partial > 1 || (r.partial != 1 && c->kind != HF_PHI3))
        return error_set(error, TRIB_UNSUPPORTED, "%s: partial_rotary_factor: expected 1, found %g",
                         r.file->name, r.partial);
    put_f32(&r, "freq_base", r.base);
    if (c->kind == HF_PHI3) {
        uint64_t original;
        r.rotated = (uint64_t)(r.partial * (double)c->head_dim);
        if (r.rotated < 2 || r.rotated % 2 != 0)
            return error_set(error, TRIB_FORMAT,
                             "%s: partial_rotary_factor: expected an even number of dimensions, "
                             "found %llu",
                             r.file->name, (unsigned long long)r.rotated);
        put_u32(&r, "dimension_count", r.rotated);
        status = get_original_context(&r, c->context, &original, error);
        if (status != TRIB_OK)
            return status;
        put_u32(&r, "scaling.original_context_length", original);
    }
    if (c->kind == HF_GEMMA3)
        status = put_local_base(&r, local, error);
    return status == TRIB_OK ? put_scaling(&r, error) : status;
}
