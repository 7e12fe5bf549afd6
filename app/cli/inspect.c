/* trib inspect: what is in a model file and what running it takes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "load.h"
#include "tributary/engine.h"

struct values {
    size_t context;
    const char *kv_type;
    bool json;
};

static const struct option_row options[] = {
    {"context", 'c', OPTION_SIZE, offsetof(struct values, context), "N",
     "tokens to state the memory for (default: as trained)"},
    {"kv-type", 0, OPTION_STRING, offsetof(struct values, kv_type), "TYPE",
     "of the KV cache: f16 (default), f32, bf16 or q8_0"},
    {"json", 0, OPTION_FLAG, offsetof(struct values, json), NULL, "print one JSON object"},
};

/* What this build makes of the file: its shape and needs, or why it cannot run. */
struct verdict {
    bool runs;
    trib_model_shape shape;
    trib_memory memory;
    trib_error why_not;
};

static struct verdict judge(const trib_model *model, const struct values *v)
{
    struct verdict verdict = {0};
    trib_engine_options engine = trib_engine_options_default();
    engine.kv_type = v->kv_type;
    engine.context = v->context;
    verdict.runs =
        trib_model_describe(model, &verdict.shape, &verdict.why_not) == TRIB_OK &&
        trib_memory_needed(model, &engine, NULL, &verdict.memory, &verdict.why_not) == TRIB_OK;
    return verdict;
}

/* Bytes of a file are shown with what would disturb a terminal replaced by '?'. */
static void print_text(trib_text text, size_t most)
{
    size_t length = text.length < most ? text.length : most;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        putchar(c < 32 || c == 127 ? '?' : c);
    }
    if (length < text.length)
        printf("... (%zu bytes)", text.length);
}

static void print_value(const trib_metadata *m)
{
    switch (m->kind) {
    case TRIB_VALUE_INTEGER:
        printf("%" PRId64, m->value.integer);
        break;
    case TRIB_VALUE_UNSIGNED:
        printf("%" PRIu64, m->value.natural);
        break;
    case TRIB_VALUE_REAL:
        printf("%.7g", m->value.real);
        break;
    case TRIB_VALUE_BOOL:
        printf(m->value.boolean ? "true" : "false");
        break;
    case TRIB_VALUE_STRING:
        print_text(m->value.string, 60);
        break;
    case TRIB_VALUE_ARRAY:
        printf("[%" PRIu64 " x %s]", m->count, m->element_type);
        break;
    }
}

static void print_metadata(const trib_model *model)
{
    size_t count = trib_model_metadata_count(model);
    printf("\nmetadata (%zu)\n", count);
    for (size_t i = 0; i < count; i++) {
        trib_metadata m = trib_model_metadata(model, i);
        printf("  ");
        print_text(m.key, 60);
        printf("%*s  %-6s  ", m.key.length < 42 ? (int)(42 - m.key.length) : 0, "", m.type);
        print_value(&m);
        putchar('\n');
    }
}

static void print_tensors(const trib_model *model)
{
    size_t count = trib_model_tensor_count(model);
    printf("\ntensors (%zu)\n", count);
    for (size_t i = 0; i < count; i++) {
        trib_tensor t = trib_model_tensor(model, i);
        printf("  ");
        print_text(t.name, 60);
        printf("%*s  %-5s {", t.name.length < 28 ? (int)(28 - t.name.length) : 0, "", t.type);
        for (uint32_t d = 0; d < t.dims; d++)
            printf(d ? ", %" PRIu64 : "%" PRIu64, t.shape[d]);
        printf("}  %" PRIu64 " bytes\n", t.bytes);
    }
}

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

static void print_verdict(const struct verdict *v)
{
    if (!v->runs) {
        printf("runs here    no: %s\n", v->why_not.message);
        return;
    }
    const trib_model_shape *s = &v->shape;
    printf("parameters   %" PRIu64 "\n", s->parameters);
    printf("shape        L=%zu E=%zu H=%zu G=%zu D=%zu F=%zu V=%zu context=%zu\n", s->layers,
           s->width, s->heads, s->kv_heads, s->head_dim, s->ffn, s->vocabulary, s->context);
    if (v->memory.kv_per_token == 0 && v->memory.activations)
        printf("memory       weights %.1f MiB, activations %.1f MiB\n", mib(v->memory.weights),
               mib(v->memory.activations));
    else if (v->memory.kv_per_token == 0)
        printf("memory       weights %.1f MiB, state of a sequence %.1f KiB\n",
               mib(v->memory.weights), (double)v->memory.kv / 1024);
    else
        printf("memory       weights %.1f MiB, KV cache up to %.1f MiB (%" PRIu64
               " bytes a token), activations %.1f MiB\n",
               mib(v->memory.weights), mib(v->memory.kv), v->memory.kv_per_token,
               mib(v->memory.activations));
}

/* What the file says it is; empty when it does not. */
static trib_text architecture(const trib_model *model)
{
    const char *key = "general.architecture";
    for (size_t i = 0; i < trib_model_metadata_count(model); i++) {
        trib_metadata m = trib_model_metadata(model, i);
        if (m.kind == TRIB_VALUE_STRING && m.key.length == strlen(key) &&
            memcmp(m.key.bytes, key, m.key.length) == 0)
            return m.value.string;
    }
    return (trib_text){"", 0};
}

static void print_plain(const trib_model *model, const char *path, const struct verdict *verdict)
{
    printf("file         %s\n", path);
    if (trib_model_version(model) > 0)
        printf("format       GGUF version %u, ", trib_model_version(model));
    else
        printf("format       Hugging Face folder, ");
    printf("%" PRIu64 " bytes\n", trib_model_file_size(model));
    printf("architecture ");
    print_text(architecture(model), 60);
    putchar('\n');
    print_verdict(verdict);
    print_metadata(model);
    print_tensors(model);
}

static json_t *value_json(const trib_metadata *m)
{
    switch (m->kind) {
    case TRIB_VALUE_INTEGER:
        return json_integer(m->value.integer);
    case TRIB_VALUE_UNSIGNED:
        if (m->value.natural <= INT64_MAX)
            return json_integer((json_int_t)m->value.natural);
        return json_real((double)m->value.natural);
    case TRIB_VALUE_REAL: { /* JSON has no infinity and no NaN */
        json_t *real = json_real(m->value.real);
        return real ? real : json_null();
    }
    case TRIB_VALUE_BOOL:
        return json_boolean(m->value.boolean);
    case TRIB_VALUE_STRING:
        return json_text(m->value.string.bytes, m->value.string.length);
    case TRIB_VALUE_ARRAY:
        return json_pack("{s:s, s:I}", "array_of", m->element_type, "count", (json_int_t)m->count);
    }
    return NULL;
}

static json_t *metadata_json(const trib_model *model)
{
    json_t *array = json_array();
    for (size_t i = 0; i < trib_model_metadata_count(model); i++) {
        trib_metadata m = trib_model_metadata(model, i);
        json_array_append_new(array, json_pack("{s:o, s:s, s:o}", "key",
                                               json_text(m.key.bytes, m.key.length), "type", m.type,
                                               "value", value_json(&m)));
    }
    return array;
}

static json_t *tensors_json(const trib_model *model)
{
    json_t *array = json_array();
    for (size_t i = 0; i < trib_model_tensor_count(model); i++) {
        trib_tensor t = trib_model_tensor(model, i);
        json_t *shape = json_array();
        for (uint32_t d = 0; d < t.dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)t.shape[d]));
        json_array_append_new(
            array, json_pack("{s:o, s:s, s:o, s:I}", "name", json_text(t.name.bytes, t.name.length),
                             "type", t.type, "shape", shape, "bytes", (json_int_t)t.bytes));
    }
    return array;
}

static json_t *verdict_json(const struct verdict *v)
{
    if (!v->runs)
        return json_pack("{s:b, s:o}", "runs", 0, "why_not",
                         json_text(v->why_not.message, strlen(v->why_not.message)));
    const trib_model_shape *s = &v->shape;
    json_t *shape =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "layers", (json_int_t)s->layers,
                  "width", (json_int_t)s->width, "heads", (json_int_t)s->heads, "kv_heads",
                  (json_int_t)s->kv_heads, "head_dim", (json_int_t)s->head_dim, "ffn",
                  (json_int_t)s->ffn, "vocabulary", (json_int_t)s->vocabulary, "context",
                  (json_int_t)s->context, "parameters", (json_int_t)s->parameters);
    json_t *memory =
        json_pack("{s:I, s:I, s:I, s:I}", "weights", (json_int_t)v->memory.weights, "kv",
                  (json_int_t)v->memory.kv, "kv_per_token", (json_int_t)v->memory.kv_per_token,
                  "activations", (json_int_t)v->memory.activations);
    return json_pack("{s:b, s:o, s:o}", "runs", 1, "shape", shape, "memory", memory);
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.kv_type = "f16"};
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    trib_error error;
    trib_model *model;
    const char *path = argv[first];
    if (trib_model_open(&model, path, &error) != TRIB_OK)
        return complain(&error);
    say_note(model);
    struct verdict verdict = judge(model, &v);
    trib_text name = architecture(model);
    status = EXIT_SUCCESS;
    if (v.json)
        status = print_json(json_pack(
            "{s:o, s:i, s:I, s:o, s:o, s:o, s:o}", "file", json_text(path, strlen(path)), "version",
            (int)trib_model_version(model), "bytes", (json_int_t)trib_model_file_size(model),
            "architecture", json_text(name.bytes, name.length), "model", verdict_json(&verdict),
            "metadata", metadata_json(model), "tensors", tensors_json(model)));
    else
        print_plain(model, path, &verdict);
    trib_model_close(model);
    return status;
}

const struct command inspect_command = {
    .name = "inspect",
    .operands = "MODEL",
    .summary = "Show what is in a model file",
    .description = "Metadata, architecture, tensors, and the memory that running it takes.",
    .operands_least = 1,
    .operands_most = 1,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
