/* config.json: what a model is made of, as GGUF's metadata.
 *
 * One table has the fields, with the names they go by and the defaults of Hugging Face's classes
 * for files that leave them out. What would be computed otherwise than by the architectures as they
 * are known here (another activation, quantised weights, ...) is refused. */
#include "file/hf.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

enum { MOST_LAYERS = 4096, MOST_WIDTH = 1 << 24, MOST_CONTEXT = 1 << 30 };

/* Sees images, too; text_config is its text part. */
#define OF_IMAGES "Gemma3ForConditionalGeneration"

static const struct {
    const char *theirs;
    const char *name;
    enum hf_kind kind;
} architectures[] = {
    {"LlamaForCausalLM", "llama", HF_LLAMA},    {"MistralForCausalLM", "llama", HF_MISTRAL},
    {"Qwen2ForCausalLM", "qwen2", HF_QWEN2},    {"Qwen3ForCausalLM", "qwen3", HF_QWEN3},
    {"Gemma2ForCausalLM", "gemma2", HF_GEMMA2}, {"Gemma3ForCausalLM", "gemma3", HF_GEMMA3},
    {OF_IMAGES, "gemma3", HF_GEMMA3},           {"Phi3ForCausalLM", "phi3", HF_PHI3},
    {"GPT2LMHeadModel", "gpt2", HF_GPT2},       {"BertModel", "bert", HF_BERT},
    {"BertForMaskedLM", "bert", HF_BERT},       {"BertForPreTraining", "bert", HF_BERT},
};

/* Activations by the field that names them; the value that is computed, or another name of it. */
static const struct {
    int kinds;
    const char *key, *value, *also;
} activations[] = {
    {HF_LLAMAS | HF_QWEN | HF_PHI3, "hidden_act", "silu", "swish"},
    {HF_GEMMA, "hidden_activation", "gelu_pytorch_tanh", "gelu_new"},
    {HF_GPT2, "activation_function", "gelu_new", "gelu_pytorch_tanh"},
    {HF_BERT, "hidden_act", "gelu", "gelu_python"},
};

/* Switches that must be as they usually are. */
static const struct {
    int kinds;
    const char *key;
    bool value;
} switches[] = {
    {HF_QWEN, "use_sliding_window", false},
    {HF_GPT2, "scale_attn_weights", true},
    {HF_GPT2, "scale_attn_by_inverse_layer_idx", false},
    {HF_GPT2, "add_cross_attention", false},
    {HF_BERT, "is_decoder", false},
    {HF_BERT, "add_cross_attention", false},
    {HF_GEMMA3, "use_bidirectional_attention", false},
};

/* The counts of every model. Files of Gemma 3 leave out what is as usual. */
static const struct {
    const char *key; /* of GGUF, after the architecture */
    const char *names[3];
    uint64_t most;
    size_t field;
    uint64_t of_gemma3;
} counts[] = {
    {"context_length",
     {"max_position_embeddings", "n_positions", "n_ctx"},
     MOST_CONTEXT,
     offsetof(struct hf_config, context),
     131072},
    {"embedding_length",
     {"hidden_size", "n_embd"},
     MOST_WIDTH,
     offsetof(struct hf_config, width),
     2304},
    {"block_count",
     {"num_hidden_layers", "n_layer"},
     MOST_LAYERS,
     offsetof(struct hf_config, layers),
     26},
    {"attention.head_count",
     {"num_attention_heads", "n_head"},
     MOST_WIDTH,
     offsetof(struct hf_config, heads),
     8},
};

/* "ARCHITECTURE.KEY" */
struct full_key {
    char text[96];
};

static struct full_key full_key(const struct hf_folder *folder, const char *key)
{
    struct full_key full;
    snprintf(full.text, sizeof full.text, "%s.%s", folder->config.name, key);
    return full;
}

static void put_u32(struct hf_folder *folder, const char *key, uint64_t value)
{
    gguf_put_u32(folder->metadata, full_key(folder, key).text, (uint32_t)value);
}

static void put_f32(struct hf_folder *folder, const char *key, double value)
{
    gguf_put_f32(folder->metadata, full_key(folder, key).text, (float)value);
}

/* Goes on with the object of the text part, and what stands beside it and not in it. */
static trib_status enter_text_config(struct hf_folder *folder, trib_error *error)
{
    struct json_file *file = &folder->config_json;
    json_t *text = json_object_get(file->root, "text_config");
    if (!text || !json_is_object(text))
        return error_set(error, TRIB_FORMAT, "%s: text_config: expected an object, found %s",
                         file->name, json_kind(text));
    json_incref(text);
    json_object_del(file->root, "text_config");
    json_object_update_missing(text, file->root);
    json_decref(file->root);
    file->root = text;
    folder->config.of_images = true;
    return TRIB_OK;
}

static trib_status find_architecture(struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    const json_t *list = NULL, *name;
    trib_status status = json_get_array(file, file->root, "architectures", &list, error);
    if (status != TRIB_OK)
        return status;
    name = json_array_get(list, 0);
    for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++)
        if (json_is(name, architectures[i].theirs)) {
            folder->config.name = architectures[i].name;
            folder->config.kind = architectures[i].kind;
            gguf_put_string(folder->metadata, "general.architecture",
                            slice_of(architectures[i].name));
            gguf_put_string(folder->metadata, "general.type", slice_of("model"));
            return json_is(name, OF_IMAGES) ? enter_text_config(folder, error) : TRIB_OK;
        }
    struct slice found = slice_of(json_kind(name));
    if (name && json_is_string(name))
        found = json_slice(name);
    return error_set(error, TRIB_UNSUPPORTED,
                     "%s: architectures: expected Llama, Mistral, Qwen2, Qwen3, Gemma2, Gemma3 or "
                     "Phi3ForCausalLM, GPT2LMHeadModel or BertModel, found %s",
                     file->name, safetensors_show(found).text);
}

static trib_status check_switches(const struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    if (json_field(file->root, "quantization_config"))
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: quantization_config: expected weights that are not quantised",
                         file->name);
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++) {
        struct slice name = slice_of(activations[i].value);
        if (!(folder->config.kind & (enum hf_kind)activations[i].kinds))
            continue;
        trib_status status = json_get_string(file, file->root, activations[i].key, &name, error);
        if (status != TRIB_OK)
            return status;
        if (!slice_is(name, activations[i].value) && !slice_is(name, activations[i].also))
            return error_set(error, TRIB_UNSUPPORTED, "%s: %s: expected %s, found %s", file->name,
                             activations[i].key, activations[i].value, safetensors_show(name).text);
    }
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        bool value = switches[i].value;
        if (!(folder->config.kind & (enum hf_kind)switches[i].kinds))
            continue;
        trib_status status = json_get_bool(file, file->root, switches[i].key, &value, error);
        if (status != TRIB_OK)
            return status;
        if (value != switches[i].value)
            return error_set(error, TRIB_UNSUPPORTED, "%s: %s: expected %s", file->name,
                             switches[i].key, value ? "false" : "true");
    }
    return TRIB_OK;
}

static trib_status read_vocabulary(struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    folder->vocabulary = folder->config.kind == HF_GEMMA3 ? 262208 : 0;
    trib_status status =
        json_get_count(file, file->root, "vocab_size", 1, INT32_MAX, &folder->vocabulary, error);
    if (status == TRIB_OK && folder->vocabulary == 0)
        return error_set(error, TRIB_FORMAT, "%s: vocab_size: expected an integer, found nothing",
                         file->name);
    if (folder->config.kind & HF_LLAMAS)
        put_u32(folder, "vocab_size", folder->vocabulary);
    return status;
}

static trib_status read_counts(struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    struct hf_config *c = &folder->config;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        uint64_t value = 0;
        for (size_t j = 0; j < 3 && counts[i].names[j] && value == 0; j++) {
            trib_status status = json_get_count(file, file->root, counts[i].names[j], 1,
                                                counts[i].most, &value, error);
            if (status != TRIB_OK)
                return status;
        }
        if (value == 0 && c->kind == HF_GEMMA3)
            value = counts[i].of_gemma3;
        if (value == 0)
            return error_set(error, TRIB_FORMAT, "%s: %s: expected an integer, found nothing",
                             file->name, counts[i].names[0]);
        memcpy((char *)c + counts[i].field, &value, sizeof value);
        put_u32(folder, counts[i].key, value);
    }
    c->ffn = c->kind == HF_GPT2 ? 4 * c->width : c->kind == HF_GEMMA3 ? 9216 : 0;
    trib_status status =
        json_get_count(file, file->root, c->kind == HF_GPT2 ? "n_inner" : "intermediate_size", 1,
                       MOST_WIDTH, &c->ffn, error);
    if (status == TRIB_OK && c->ffn == 0)
        return error_set(error, TRIB_FORMAT,
                         "%s: intermediate_size: expected an integer, found nothing", file->name);
    put_u32(folder, "feed_forward_length", c->ffn);
    return status;
}

/* Numbers of heads and their dimension, whose defaults depend on the class. */
static trib_status read_heads(struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    struct hf_config *c = &folder->config;
    uint64_t head_dim = c->kind & HF_GEMMA ? 256 : c->kind == HF_QWEN3 ? 128 : 0;
    trib_status status = TRIB_OK;
    bool named = json_object_get(file->root, "num_key_value_heads") != NULL; /* null: all heads */
    c->kv_heads = c->heads;
    if (c->kind & HF_GEMMA)
        c->kv_heads = 4;
    else if (c->kind & (HF_MISTRAL | HF_QWEN) && !named)
        c->kv_heads = c->kind == HF_MISTRAL ? 8 : 32;
    if (c->kind & HF_ROTARY)
        status = json_get_count(file, file->root, "num_key_value_heads", 1, MOST_WIDTH,
                                &c->kv_heads, error);
    if (status == TRIB_OK && c->kind & HF_ROTARY)
        status = json_get_count(file, file->root, "head_dim", 1, MOST_WIDTH, &head_dim, error);
    if (status != TRIB_OK)
        return status;
    if (c->heads % c->kv_heads != 0)
        return error_set(error, TRIB_FORMAT,
                         "%s: num_attention_heads: expected a multiple of num_key_value_heads "
                         "%llu, found %llu",
                         file->name, (unsigned long long)c->kv_heads, (unsigned long long)c->heads);
    c->head_dim = head_dim ? head_dim : c->width / c->heads;
    if ((!head_dim && c->width % c->heads != 0) || (c->kind & HF_ROTARY && c->head_dim % 2 != 0))
        return error_set(error, TRIB_FORMAT,
                         "%s: num_attention_heads: expected heads of one even dimension, found "
                         "%llu heads for %llu",
                         file->name, (unsigned long long)c->heads, (unsigned long long)c->width);
    if (c->kind & HF_ROTARY)
        put_u32(folder, "attention.head_count_kv", c->kv_heads);
    if (head_dim) {
        put_u32(folder, "attention.key_length", head_dim);
        put_u32(folder, "attention.value_length", head_dim);
    }
    if (c->kind & HF_LLAMAS)
        put_u32(folder, "rope.dimension_count", c->head_dim);
    return TRIB_OK;
}

/* A number that must be finite and above 0, put where it is there. */
static trib_status copy_positive(struct hf_folder *folder, const char *name, double otherwise,
                                 const char *key, trib_error *error)
{
    double value = otherwise;
    trib_status status =
        json_get_number(&folder->config_json, folder->config_json.root, name, &value, error);
    if (status != TRIB_OK || isnan(value))
        return status;
    if (!(value > 0 && isfinite((float)value)))
        return error_set(error, TRIB_FORMAT, "%s: %s: expected a number above 0, found %g",
                         folder->config_json.name, name, value);
    put_f32(folder, key, value);
    return TRIB_OK;
}

/* The scale of scores where it is not that of the head's dimension, and the caps. */
static trib_status read_gemma(struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    bool second = folder->config.kind == HF_GEMMA2;
    const json_t *cap = json_field(file->root, "attn_logit_softcapping");
    bool named = json_object_get(file->root, "attn_logit_softcapping") != NULL;
    double scalar = 256;
    trib_status status = json_get_number(file, file->root, "query_pre_attn_scalar", &scalar, error);
    if (status != TRIB_OK)
        return status;
    if (!(scalar > 0 && isfinite((float)scalar)))
        return error_set(error, TRIB_FORMAT,
                         "%s: query_pre_attn_scalar: expected a number above 0, found %g",
                         file->name, scalar);
    if (scalar != (double)folder->config.head_dim)
        put_f32(folder, "attention.scale", 1 / sqrt(scalar));
    if (second ? named && !cap : cap != NULL)
        return error_set(error, TRIB_UNSUPPORTED, "%s: attn_logit_softcapping: expected %s",
                         file->name, second ? "a number" : "null");
    if (second)
        status =
            copy_positive(folder, "attn_logit_softcapping", 50, "attn_logit_softcapping", error);
    if (status == TRIB_OK)
        status = copy_positive(folder, "final_logit_softcapping", second ? 30 : (double)NAN,
                               "final_logit_softcapping", error);
    return status;
}

/* Which layers see only a window: of every `usual` the last one sees all. Another period is put, an
 * order without one refused. */
static trib_status read_layer_types(struct hf_folder *folder, uint64_t usual, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    const json_t *list = NULL;
    uint64_t period = usual;
    trib_status status =
        json_get_count(file, file->root, "sliding_window_pattern", 1, MOST_LAYERS, &period, error);
    if (status == TRIB_OK)
        status = json_get_array(file, file->root, "layer_types", &list, error);
    if (status != TRIB_OK)
        return status;
    size_t count = json_array_size(list), first = 0;
    while (first < count && !json_is(json_array_get(list, first), "full_attention"))
        first++;
    if (first < count)
        period = first + 1;
    else if (list && count >= period)
        period = count + 1;
    for (size_t i = 0; i < count; i++)
        if (!json_is(json_array_get(list, i),
                     (i + 1) % period == 0 ? "full_attention" : "sliding_attention"))
            return error_set(error, TRIB_UNSUPPORTED,
                             "%s: layer_types: expected full_attention in every layer whose "
                             "number is a multiple of %llu, and only there",
                             file->name, (unsigned long long)period);
    if (period != usual)
        put_u32(folder, "attention.sliding_window_pattern", period);
    return TRIB_OK;
}

/* Llama's class does not look at the field; Qwen's windows are switched off. Mistral's has a window
 * unless the field is there and null. */
static trib_status read_window(struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    enum hf_kind kind = folder->config.kind;
    bool named = json_object_get(file->root, "sliding_window") != NULL;
    uint64_t window = kind & HF_GEMMA || (kind == HF_MISTRAL && !named) ? 4096 : 0;
    trib_status status = TRIB_OK;
    if (kind & (HF_LLAMA | HF_QWEN))
        return TRIB_OK;
    status = json_get_count(file, file->root, "sliding_window", 0, MOST_CONTEXT, &window, error);
    if (status == TRIB_OK && kind & HF_GEMMA)
        status = read_layer_types(folder, kind == HF_GEMMA2 ? 2 : 6, error);
    if (status == TRIB_OK && (window > 0 || kind == HF_PHI3)) /* 0 tells Phi-4 from Phi-3 */
        put_u32(folder, "attention.sliding_window", window);
    return status;
}

static trib_status read_bert(struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    struct slice positions = slice_of("absolute");
    trib_status status =
        json_get_string(file, file->root, "position_embedding_type", &positions, error);
    if (status == TRIB_OK && !slice_is(positions, "absolute"))
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: position_embedding_type: expected absolute, found %s", file->name,
                         safetensors_show(positions).text);
    folder->config.token_types = 2;
    if (status == TRIB_OK)
        status = json_get_count(file, file->root, "type_vocab_size", 1, MOST_WIDTH,
                                &folder->config.token_types, error);
    gguf_put_bool(folder->metadata, "bert.attention.causal", false);
    gguf_put_u32(folder->metadata, "tokenizer.ggml.token_type_count",
                 (uint32_t)folder->config.token_types);
    return status;
}

trib_status hf_config_read(struct hf_folder *folder, trib_error *error)
{
    const struct json_file *file = &folder->config_json;
    struct hf_config *c = &folder->config;
    trib_status status = find_architecture(folder, error);
    if (status == TRIB_OK)
        status = check_switches(folder, error);
    if (status == TRIB_OK)
        status = read_counts(folder, error);
    if (status == TRIB_OK)
        status = read_vocabulary(folder, error);
    if (status == TRIB_OK)
        status = read_heads(folder, error);
    if (status != TRIB_OK)
        return status;
    c->tied = c->kind & (HF_GEMMA | HF_GPT2);
    status = json_get_bool(file, file->root, "tie_word_embeddings", &c->tied, error);
    if (status == TRIB_OK && c->kind & HF_ROTARY)
        status = copy_positive(folder, "rms_norm_eps", c->kind == HF_PHI3 ? 1e-5 : 1e-6,
                               "attention.layer_norm_rms_epsilon", error);
    if (status == TRIB_OK && c->kind == HF_GPT2)
        status = copy_positive(folder, "layer_norm_epsilon", 1e-5, "attention.layer_norm_epsilon",
                               error);
    if (status == TRIB_OK && c->kind == HF_BERT)
        status =
            copy_positive(folder, "layer_norm_eps", 1e-12, "attention.layer_norm_epsilon", error);
    if (status == TRIB_OK && c->kind & HF_GEMMA)
        status = read_gemma(folder, error);
    if (status == TRIB_OK && c->kind & HF_ROTARY)
        status = read_window(folder, error);
    if (status == TRIB_OK && c->kind == HF_BERT)
        status = read_bert(folder, error);
    return status;
}
