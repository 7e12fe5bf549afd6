/* The table of training options and what is done by it. */
#include "train/options.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static const char *const dtypes[] = {"f32", "bf16", NULL};
static const char *const save_types[] = {"f32", "f16", "bf16", "q8_0", NULL};

enum { STEPS = 2000, WARMUP = 100 }; /* where they are left open */

#define AT(field)    offsetof(trib_train_options, field)
#define BELOW_1      0.99999994 /* the float before 1 */
#define MOST_COUNT   1e9
#define MOST_WIDTH   (1 << 20)
#define MOST_CONTEXT (1 << 20)

const struct train_option train_options[] = {
    {"model", TRAIN_CHOICE, AT(model), predictor_models, 0, 0, false},
    {"block", TRAIN_CHOICE, AT(block), predictor_blocks, 0, 0, false},
    {"positions", TRAIN_CHOICE, AT(positions), predictor_position_kinds, 0, 0, false},
    {"cell", TRAIN_CHOICE, AT(cell), predictor_cells, 0, 0, false},
    {"attention", TRAIN_CHOICE, AT(attention), predictor_attentions, 0, 0, false},
    {"activation", TRAIN_CHOICE, AT(activation), predictor_activations, 0, 0, false},
    {"layers", TRAIN_COUNT, AT(layers), NULL, 1, 4096, false},
    {"heads", TRAIN_COUNT, AT(heads), NULL, 1, MOST_WIDTH, false},
    {"kv-heads", TRAIN_COUNT, AT(kv_heads), NULL, 0, MOST_WIDTH, false},
    {"width", TRAIN_COUNT, AT(width), NULL, 1, MOST_WIDTH, false},
    {"ffn", TRAIN_COUNT, AT(ffn), NULL, 0, MOST_WIDTH, false},
    {"context", TRAIN_COUNT, AT(context), NULL, 1, MOST_CONTEXT, false},
    {"tied", TRAIN_SWITCH, AT(tied), NULL, 0, 1, false},
    {"dtype", TRAIN_CHOICE, AT(dtype), dtypes, 0, 0, false},
    {"validation", TRAIN_NUMBER, AT(validation), NULL, 0, BELOW_1, false},
    {"batch", TRAIN_COUNT, AT(batch), NULL, 1, 65536, false},
    {"accumulate", TRAIN_COUNT, AT(accumulate), NULL, 1, 65536, false},
    {"steps", TRAIN_COUNT, AT(steps), NULL, 0, MOST_COUNT, true},
    {"lr", TRAIN_NUMBER, AT(lr), NULL, 0, 1e3, false},
    {"min-lr", TRAIN_NUMBER, AT(min_lr), NULL, -FLT_MAX, 1e3, false},
    {"warmup", TRAIN_COUNT, AT(warmup), NULL, 0, MOST_COUNT, false},
    {"beta1", TRAIN_NUMBER, AT(beta1), NULL, 0, BELOW_1, false},
    {"beta2", TRAIN_NUMBER, AT(beta2), NULL, 0, BELOW_1, false},
    {"eps", TRAIN_NUMBER, AT(eps), NULL, FLT_MIN, 1, false},
    {"weight-decay", TRAIN_NUMBER, AT(weight_decay), NULL, 0, 1e3, false},
    {"clip", TRAIN_NUMBER, AT(clip), NULL, 0, FLT_MAX, false},
    {"dropout", TRAIN_NUMBER, AT(dropout), NULL, 0, 0.99f, false},
    {"seed", TRAIN_WHOLE, AT(seed), NULL, 0, 0, false},
    {"save-type", TRAIN_CHOICE, AT(save_type), save_types, 0, 0, true},
};

const size_t train_option_count = sizeof train_options / sizeof train_options[0];

trib_train_options trib_train_options_default(void)
{
    return (trib_train_options){
        .model = "transformer",
        .block = "modern",
        .positions = "learned",
        .cell = "gru",
        .attention = "none",
        .activation = "tanh",
        .layers = 4,
        .heads = 4,
        .kv_heads = 0,
        .width = 128,
        .ffn = 0,
        .context = 64,
        .tied = false,
        .dtype = "f32",
        .vocabulary = "bytes",
        .validation = 0.1f,
        .batch = 12,
        .accumulate = 1,
        .steps = 0,
        .lr = 1e-3f,
        .min_lr = -1,
        .warmup = SIZE_MAX,
        .beta1 = 0.9f,
        .beta2 = 0.99f,
        .eps = 1e-8f,
        .weight_decay = 0.1f,
        .clip = 1,
        .dropout = 0,
        .seed = 1,
        .save_type = NULL,
        .threads = 0,
        .kernels = NULL,
    };
}

/* An option's place. The struct's members have the types that the table says. */
static void *field_of(trib_train_options *o, const struct train_option *row)
{
    return (char *)o + row->offset;
}

const void *train_option_value(const trib_train_options *o, const struct train_option *row)
{
    return (const char *)o + row->offset;
}

/* The number of a choice, or -1. */
static int choice_of(const char *const *choices, const char *name)
{
    for (int i = 0; name && choices[i]; i++)
        if (strcmp(choices[i], name) == 0)
            return i;
    return -1;
}

static trib_status check_choice(const struct train_option *row, const char **name,
                                trib_error *error)
{
    int choice = choice_of(row->choices, *name);
    if (choice >= 0) {
        *name = row->choices[choice];
        return TRIB_OK;
    }
    char list[96] = "";
    for (size_t i = 0; row->choices[i]; i++) {
        const char *before = i == 0 ? "" : row->choices[i + 1] ? ", " : " or ";
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", before, row->choices[i]);
    }
    return error_set(error, TRIB_INVALID, "%s: expected %s, found %.40s", row->name, list,
                     *name ? *name : "NULL");
}

static trib_status check(trib_train_options *o, const struct train_option *row, trib_error *error)
{
    double found;
    if (row->kind == TRAIN_CHOICE && row->free && !*(const char **)field_of(o, row))
        return TRIB_OK; /* left open */
    if (row->kind == TRAIN_CHOICE)
        return check_choice(row, field_of(o, row), error);
    if (row->kind == TRAIN_COUNT)
        found = (double)*(const size_t *)train_option_value(o, row);
    else if (row->kind == TRAIN_NUMBER)
        found = (double)*(const float *)train_option_value(o, row);
    else
        return TRIB_OK;
    if (found >= row->least && found <= row->most)
        return TRIB_OK;
    if (row->most == BELOW_1)
        return error_set(error, TRIB_INVALID, "%s: expected %g to below 1, found %g", row->name,
                         row->least, found);
    return error_set(error, TRIB_INVALID, "%s: expected %g to %g, found %.10g", row->name,
                     row->least, row->most, found);
}

/* What other options decide where an option leaves it open. */
static void fill_in(trib_train_options *o)
{
    bool modern = strcmp(o->model, "transformer") == 0 && strcmp(o->block, "modern") == 0;
    if (o->kv_heads == 0)
        o->kv_heads = o->heads;
    if (o->ffn == 0)
        o->ffn = modern ? (o->width * 8 / 3 + 31) / 32 * 32 : 4 * o->width;
    if (o->min_lr < 0)
        o->min_lr = o->lr / 10;
    if (!o->save_type)
        o->save_type = "f32";
}

/* Comes before the checks: SIZE_MAX is in no range. */
static void fill_in_steps(trib_train_options *o)
{
    if (o->steps == 0)
        o->steps = STEPS;
    if (o->warmup == SIZE_MAX)
        o->warmup = o->steps < WARMUP ? o->steps : WARMUP;
}

trib_status train_options_resolve(trib_train_options *o, trib_error *error)
{
    fill_in_steps(o);
    for (size_t i = 0; i < train_option_count; i++) {
        trib_status status = check(o, &train_options[i], error);
        if (status != TRIB_OK)
            return status;
    }
    fill_in(o);
    if (o->min_lr > o->lr)
        return error_set(error, TRIB_INVALID, "min-lr: expected at most lr, %g, found %g",
                         (double)o->lr, (double)o->min_lr);
    if (o->warmup > o->steps)
        return error_set(error, TRIB_INVALID, "warmup: expected at most steps, %zu, found %zu",
                         o->steps, o->warmup);
    return TRIB_OK;
}

struct predictor_config train_options_config(const trib_train_options *o, size_t vocabulary)
{
    struct predictor_config c = predictor_config_default();
    c.model = (enum predictor_model)choice_of(predictor_models, o->model);
    c.block = (enum predictor_block)choice_of(predictor_blocks, o->block);
    c.positions = (enum predictor_positions)choice_of(predictor_position_kinds, o->positions);
    c.cell = (enum predictor_cell)choice_of(predictor_cells, o->cell);
    c.attention = (enum predictor_attention)choice_of(predictor_attentions, o->attention);
    c.activation = (enum predictor_activation)choice_of(predictor_activations, o->activation);
    c.vocabulary = vocabulary;
    c.layers = o->layers;
    c.heads = o->heads;
    c.kv_heads = o->kv_heads;
    c.width = o->width;
    c.ffn = o->ffn;
    c.context = o->context;
    c.tied = o->tied;
    c.dropout = o->dropout;
    c.product = strcmp(o->dtype, "bf16") == 0 ? DTYPE_BF16 : DTYPE_F32;
    return c;
}

enum dtype train_options_save_type(const trib_train_options *o)
{
    enum dtype type = DTYPE_F32;
    dtype_find(o->save_type, &type);
    return type;
}

struct key {
    char text[48];
};

/* "training.kv_heads" for kv-heads. */
static struct key key_of(const struct train_option *row)
{
    struct key key;
    snprintf(key.text, sizeof key.text, "training.%s", row->name);
    for (char *c = key.text; *c; c++)
        if (*c == '-')
            *c = '_';
    return key;
}

void train_options_put(const trib_train_options *o, struct gguf_writer *writer)
{
    for (size_t i = 0; i < train_option_count; i++) {
        const struct train_option *row = &train_options[i];
        const void *value = train_option_value(o, row);
        struct key key = key_of(row);
        switch (row->kind) {
        case TRAIN_CHOICE:
            gguf_put_string(writer, key.text, slice_of(*(const char *const *)value));
            break;
        case TRAIN_COUNT:
            gguf_put_u32(writer, key.text, (uint32_t) * (const size_t *)value);
            break;
        case TRAIN_NUMBER:
            gguf_put_f32(writer, key.text, *(const float *)value);
            break;
        case TRAIN_SWITCH:
            gguf_put_bool(writer, key.text, *(const bool *)value);
            break;
        case TRAIN_WHOLE:
            gguf_put_u64(writer, key.text, *(const uint64_t *)value);
            break;
        }
    }
}

/* A choice becomes one of the table's strings: what stands in the file is not terminated. */
static trib_status get_choice(const char **out, const struct train_option *row, const char *key,
                              const struct gguf *file, trib_error *error)
{
    struct slice name = {0};
    trib_status status = gguf_get_string(file, key, &name, NULL, error);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; row->choices[i]; i++)
        if (slice_is(name, row->choices[i])) {
            *out = row->choices[i];
            return TRIB_OK;
        }
    return error_set(error, TRIB_FORMAT, "%s: %s: found the unknown choice %.*s", file->name, key,
                     name.length > 40 ? 40 : (int)name.length, name.bytes);
}

/* A double would not have all 64 bits. */
trib_status train_whole_get(uint64_t *out, const char *key, const struct gguf *file,
                            trib_error *error)
{
    const struct gguf_value *value = gguf_find(file, key);
    if (!value || value->type != GGUF_U64)
        return error_set(error, TRIB_FORMAT, "%s: %s: expected a value of type u64, found %s",
                         file->name, key, value ? gguf_type_name(value->type) : "none");
    memcpy(out, value->data, sizeof *out);
    return TRIB_OK;
}

trib_status train_options_get(trib_train_options *o, const struct gguf *file, trib_error *error)
{
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < train_option_count && status == TRIB_OK; i++) {
        const struct train_option *row = &train_options[i];
        void *field = field_of(o, row);
        struct key key = key_of(row);
        uint32_t count = 0;
        switch (row->kind) {
        case TRAIN_CHOICE:
            status = get_choice(field, row, key.text, file, error);
            break;
        case TRAIN_COUNT:
            status = gguf_get_u32(file, key.text, &count, NULL, error);
            *(size_t *)field = count;
            break;
        case TRAIN_NUMBER:
            status = gguf_get_f32(file, key.text, field, NULL, error);
            break;
        case TRAIN_SWITCH:
            status = gguf_get_bool(file, key.text, field, NULL, error);
            break;
        case TRAIN_WHOLE:
            status = train_whole_get(field, key.text, file, error);
            break;
        }
    }
    return status;
}

static bool equal(const trib_train_options *a, const trib_train_options *b,
                  const struct train_option *row)
{
    const void *x = train_option_value(a, row), *y = train_option_value(b, row);
    switch (row->kind) {
    case TRAIN_CHOICE: { /* NULL where it is left open */
        const char *one = *(const char *const *)x, *other = *(const char *const *)y;
        return one && other ? strcmp(one, other) == 0 : one == other;
    }
    case TRAIN_COUNT:
        return *(const size_t *)x == *(const size_t *)y;
    case TRAIN_NUMBER:
        return *(const float *)x == *(const float *)y;
    case TRAIN_SWITCH:
        return *(const bool *)x == *(const bool *)y;
    case TRAIN_WHOLE:
        return *(const uint64_t *)x == *(const uint64_t *)y;
    }
    return false;
}

size_t train_option_size(const struct train_option *row)
{
    static const size_t sizes[] = {
        [TRAIN_CHOICE] = sizeof(const char *), [TRAIN_COUNT] = sizeof(size_t),
        [TRAIN_NUMBER] = sizeof(float),        [TRAIN_SWITCH] = sizeof(bool),
        [TRAIN_WHOLE] = sizeof(uint64_t),
    };
    return sizes[row->kind];
}

trib_status train_options_resume(trib_train_options *o, const trib_train_options *saved,
                                 const trib_train_options *given, trib_error *error)
{
    trib_train_options usual = trib_train_options_default();
    *o = *given;
    for (size_t i = 0; i < train_option_count; i++) {
        const struct train_option *row = &train_options[i];
        bool asked = !equal(given, &usual, row);
        trib_status status = asked ? check(o, row, error) : TRIB_OK;
        if (status != TRIB_OK)
            return status;
        if (asked && !row->free && !equal(given, saved, row))
            return error_set(error, TRIB_INVALID,
                             "%s: expected it as the training that is resumed has it, or not given",
                             row->name);
        if (!asked || !row->free)
            memcpy(field_of(o, row), train_option_value(saved, row), train_option_size(row));
    }
    return TRIB_OK;
}
