/* The file types and their rules. */
#include "model/mix.h"

#include <strings.h>

enum number {
    ALL_F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q8_0 = 7,
    Q5_0 = 8,
    Q5_1 = 9,
    Q2_K = 10,
    Q3_K_S = 11,
    Q3_K_M = 12,
    Q3_K_L = 13,
    Q4_K_S = 14,
    Q4_K_M = 15,
    Q5_K_S = 16,
    Q5_K_M = 17,
    Q6_K = 18,
    IQ4_NL = 25,
    IQ4_XS = 30,
    BF16 = 32,
};

static const struct file_type types[] = {
    {"f32", ALL_F32, DTYPE_F32},      {"f16", F16, DTYPE_F16},
    {"bf16", BF16, DTYPE_BF16},       {"q8_0", Q8_0, DTYPE_Q8_0},
    {"q6_k", Q6_K, DTYPE_Q6_K},       {"q5_k_m", Q5_K_M, DTYPE_Q5_K},
    {"q5_k_s", Q5_K_S, DTYPE_Q5_K},   {"q5_1", Q5_1, DTYPE_Q5_1},
    {"q5_0", Q5_0, DTYPE_Q5_0},       {"q4_k_m", Q4_K_M, DTYPE_Q4_K},
    {"q4_k_s", Q4_K_S, DTYPE_Q4_K},   {"q4_1", Q4_1, DTYPE_Q4_1},
    {"q4_0", Q4_0, DTYPE_Q4_0},       {"iq4_nl", IQ4_NL, DTYPE_IQ4_NL},
    {"iq4_xs", IQ4_XS, DTYPE_IQ4_XS}, {"q3_k_l", Q3_K_L, DTYPE_Q3_K},
    {"q3_k_m", Q3_K_M, DTYPE_Q3_K},   {"q3_k_s", Q3_K_S, DTYPE_Q3_K},
    {"q2_k", Q2_K, DTYPE_Q2_K},
};

enum { TYPES = sizeof types / sizeof types[0] };

const struct file_type *file_type_at(size_t i)
{
    return i < TYPES ? &types[i] : NULL;
}

const struct file_type *file_type_find(const char *name)
{
    static const char *const short_names[][2] = {
        {"q3_k", "q3_k_m"}, {"q4_k", "q4_k_m"}, {"q5_k", "q5_k_m"}};
    for (size_t i = 0; i < sizeof short_names / sizeof short_names[0]; i++)
        if (strcasecmp(short_names[i][0], name) == 0)
            name = short_names[i][1];
    for (size_t i = 0; i < TYPES; i++)
        if (strcasecmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

static bool contains(struct slice name, const char *part)
{
    size_t length = strlen(part);
    for (size_t i = 0; i + length <= name.length; i++)
        if (memcmp(name.bytes + i, part, length) == 0)
            return true;
    return false;
}

/* Matrices that are small, or are no factors of a product with activations. */
static bool stays(struct slice name, uint32_t dims)
{
    static const char *const parts[] = {
        "_norm.weight",  "ffn_gate_inp.weight",
        "position_embd", "token_types.weight",
        "ssm_conv1d",    "shortconv.conv",
        "attn_rel_b",    "time_mix_first.weight",
        "time_mix_w0",   "time_mix_w1",
        "time_mix_w2",   "time_mix_v0",
        "time_mix_v1",   "time_mix_v2",
        "time_mix_a0",   "time_mix_a1",
        "time_mix_a2",   "time_mix_g1",
        "time_mix_g2",   "time_mix_decay_w",
        "time_mix_lerp", "altup",
        "laurel",        "per_layer_model_proj",
        "patch_embd",
    };
    static const char ending[] = "weight";
    size_t length = sizeof ending - 1;
    if (dims < 2 || name.length < length ||
        memcmp(name.bytes + name.length - length, ending, length) != 0)
        return true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (contains(name, parts[i]))
            return true;
    return false;
}

/* The N of "blk.N."; 0 where there is none. */
static size_t layer_of(struct slice name)
{
    size_t layer = 0;
    if (name.length < 5 || memcmp(name.bytes, "blk.", 4) != 0)
        return 0;
    for (size_t i = 4; i < name.length && name.bytes[i] >= '0' && name.bytes[i] <= '9'; i++)
        layer = 10 * (layer % 1000000) + (size_t)(name.bytes[i] - '0');
    return layer;
}

/* The first and last eighth of the layers, and every third between. */
static bool is_sensitive(size_t layer, size_t layers)
{
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

static enum dtype output_type(enum dtype type)
{
    return type == DTYPE_Q8_0 ? type : DTYPE_Q6_K;
}

static enum dtype value_type(enum number number, const struct mix_model *m, size_t layer,
                             enum dtype type)
{
    bool grouped = m->heads_per_kv_head >= 4;
    if (number == Q2_K)
        type = grouped ? DTYPE_Q4_K : DTYPE_Q3_K;
    else if (number == Q3_K_M)
        type = layer < 2 ? DTYPE_Q5_K : DTYPE_Q4_K;
    else if (number == Q3_K_L || ((number == IQ4_NL || number == IQ4_XS) && grouped) ||
             (number == Q4_K_S && layer < 4))
        type = DTYPE_Q5_K;
    else if ((number == Q4_K_M || number == Q5_K_M) && is_sensitive(layer, m->layers))
        type = DTYPE_Q6_K;
    /* Llama's model of 70 billion: few values for many queries. */
    if (m->layers == 80 && m->heads_per_kv_head > 1 && (type == DTYPE_Q3_K || type == DTYPE_Q4_K))
        type = DTYPE_Q5_K;
    return m->experts == 8 ? DTYPE_Q8_0 : type;
}

static enum dtype down_type(enum number number, const struct mix_model *m, size_t layer,
                            enum dtype type)
{
    switch (number) {
    case Q2_K:
        return DTYPE_Q3_K;
    case Q3_K_M:
        return layer < m->layers / 16 ? DTYPE_Q5_K : DTYPE_Q4_K;
    case Q3_K_L:
        return DTYPE_Q5_K;
    case Q4_K_S:
    case IQ4_NL:
    case IQ4_XS:
        return layer < m->layers / 8 ? DTYPE_Q5_K : type;
    case Q4_K_M:
    case Q5_K_M:
        return is_sensitive(layer, m->layers) ? DTYPE_Q6_K : type;
    default:
        return type;
    }
}

static enum dtype attention_output_type(enum number number, const struct mix_model *m,
                                        enum dtype type)
{
    bool small = number == Q2_K || number == Q3_K_S || number == Q3_K_M || number == Q4_K_S ||
                 number == Q4_K_M || number == IQ4_NL || number == IQ4_XS;
    if (m->experts == 8)
        return small ? DTYPE_Q5_K : type;
    return number == Q2_K     ? DTYPE_Q3_K
           : number == Q3_K_M ? DTYPE_Q4_K
           : number == Q3_K_L ? DTYPE_Q5_K
                              : type;
}

/* The type where rows suit it. */
static enum dtype wanted(const struct file_type *f, const struct mix_model *m, struct slice name)
{
    enum number number = (enum number)f->number;
    size_t layer = layer_of(name);
    bool is_embedding = slice_is(name, "token_embd.weight");
    if (slice_is(name, "output.weight") || (m->tied && is_embedding))
        return output_type(f->type);
    if (is_embedding)
        return f->type;
    if (contains(name, "attn_v.weight") || contains(name, "attn_qkv.weight") ||
        contains(name, "attn_kv_b.weight"))
        return value_type(number, m, layer, f->type);
    if (contains(name, "attn_k.weight"))
        return m->experts == 8 ? DTYPE_Q8_0 : f->type;
    if (contains(name, "attn_output.weight"))
        return attention_output_type(number, m, f->type);
    if (contains(name, "ffn_down"))
        return down_type(number, m, layer, f->type);
    return f->type;
}

/* What takes the place of a type whose blocks the rows are no multiple of. */
static enum dtype instead(enum dtype type, uint64_t row)
{
    enum dtype smaller = DTYPE_F16;
    switch (type) {
    case DTYPE_Q6_K:
        smaller = DTYPE_Q8_0;
        break;
    case DTYPE_Q5_K:
        smaller = DTYPE_Q5_1;
        break;
    case DTYPE_Q4_K:
        smaller = DTYPE_Q5_0;
        break;
    case DTYPE_IQ4_XS:
        smaller = DTYPE_IQ4_NL;
        break;
    case DTYPE_Q3_K:
    case DTYPE_Q2_K:
        smaller = DTYPE_Q4_0;
        break;
    default:
        break;
    }
    return row % dtype_info(smaller)->block == 0 ? smaller : DTYPE_F16;
}

struct mix_choice mix_choose(const struct file_type *file_type, const struct mix_model *model,
                             struct slice name, uint32_t dims, uint64_t row, enum dtype from)
{
    if (stays(name, dims))
        return (struct mix_choice){from, false};
    if (dtype_info(file_type->type)->block == 1)
        return (struct mix_choice){file_type->type, false};
    enum dtype type = model->pure ? file_type->type : wanted(file_type, model, name);
    if (row % dtype_info(type)->block == 0)
        return (struct mix_choice){type, false};
    return (struct mix_choice){instead(type, row), true};
}
