/* The public face of model files: description, tokenizer, streaming decoder (tributary/model.h). */
#include "engine/model_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "file/hf_folder.h"
#include "model/config.h"
#include "text/utf8.h"
#include "train/predictor_file.h"

trib_status model_file_open(struct gguf **out, const char *path, trib_error *error)
{
    return hf_folder_is(path) ? hf_folder_open(out, path, error) : gguf_open(out, path, error);
}

trib_status trib_model_open(trib_model **out, const char *path, trib_error *error)
{
    *out = NULL;
    trib_model *model = calloc(1, sizeof *model);
    if (!model)
        return error_no_memory(error, path, sizeof *model);
    trib_status status = model_file_open(&model->file, path, error);
    if (status != TRIB_OK) {
        free(model);
        return status;
    }
    /* A file without a usable vocabulary can still be described. */
    tokenizer_open(&model->tokenizer, model->file, &model->no_tokenizer);
    *out = model;
    return TRIB_OK;
}

void trib_model_close(trib_model *model)
{
    if (!model)
        return;
    tokenizer_close(model->tokenizer);
    gguf_close(model->file);
    free(model);
}

const char *trib_model_note(const trib_model *model)
{
    return model->file->note;
}

uint32_t trib_model_version(const trib_model *model)
{
    return model->file->version;
}

uint64_t trib_model_file_size(const trib_model *model)
{
    return model->file->size;
}

size_t trib_model_metadata_count(const trib_model *model)
{
    return model->file->value_count;
}

static trib_text text_of(struct slice s)
{
    return (trib_text){s.bytes, s.length};
}

trib_metadata trib_model_metadata(const trib_model *model, size_t i)
{
    const struct gguf_value *v = &model->file->values[i];
    trib_metadata m = {.key = text_of(v->key),
                       .type = gguf_type_name(v->type),
                       .element_type = gguf_type_name(v->element),
                       .count = v->count};
    const uint8_t *cursor = v->data;
    switch (v->type) {
    case GGUF_ARRAY:
        m.kind = TRIB_VALUE_ARRAY;
        break;
    case GGUF_STRING:
        m.kind = TRIB_VALUE_STRING;
        m.value.string = text_of(gguf_next_string(&cursor));
        break;
    case GGUF_BOOL:
        m.kind = TRIB_VALUE_BOOL;
        m.value.boolean = gguf_number(v, 0) != 0;
        break;
    case GGUF_F32:
    case GGUF_F64:
        m.kind = TRIB_VALUE_REAL;
        m.value.real = gguf_number(v, 0);
        break;
    case GGUF_U64: /* 64-bit integers do not all fit in a double */
        m.kind = TRIB_VALUE_UNSIGNED;
        memcpy(&m.value.natural, v->data, sizeof m.value.natural);
        break;
    case GGUF_I64:
        m.kind = TRIB_VALUE_INTEGER;
        memcpy(&m.value.integer, v->data, sizeof m.value.integer);
        break;
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_U16:
    case GGUF_I16:
    case GGUF_U32:
    case GGUF_I32:
        m.kind = TRIB_VALUE_INTEGER;
        m.value.integer = (int64_t)gguf_number(v, 0);
        break;
    }
    return m;
}

size_t trib_model_tensor_count(const trib_model *model)
{
    return model->file->tensor_count;
}

trib_tensor trib_model_tensor(const trib_model *model, size_t i)
{
    const struct gguf_tensor *t = &model->file->tensors[i];
    trib_tensor out = {.name = text_of(t->name),
                       .type = dtype_info(t->type)->name,
                       .dims = t->dims,
                       .bytes = t->bytes};
    memcpy(out.shape, t->shape, sizeof out.shape);
    return out;
}

static trib_status describe_predictor(const trib_model *model, trib_model_shape *out,
                                      trib_error *error)
{
    struct predictor_config c;
    trib_status status = predictor_config_read(&c, model->file, error);
    if (status != TRIB_OK)
        return status;
    bool attends = c.model == MODEL_TRANSFORMER;
    *out = (trib_model_shape){.layers = c.layers,
                              .width = c.width,
                              .heads = attends ? c.heads : 0,
                              .kv_heads = attends ? c.kv_heads : 0,
                              .head_dim = attends ? c.width / c.heads : 0,
                              .ffn = c.model == MODEL_RNN ? 0 : c.ffn,
                              .vocabulary = c.vocabulary,
                              .context = c.context};
    return TRIB_OK;
}

static trib_status describe_architecture(const trib_model *model, trib_model_shape *out,
                                         trib_error *error)
{
    struct model_config c;
    trib_status status = model_config_read(&c, model->file, error);
    if (status != TRIB_OK)
        return status;
    *out = (trib_model_shape){.layers = c.layers,
                              .width = c.width,
                              .heads = c.heads,
                              .kv_heads = c.kv_heads,
                              .head_dim = c.head_dim,
                              .ffn = c.ffn,
                              .vocabulary = c.vocabulary,
                              .context = c.context};
    return TRIB_OK;
}

trib_status trib_model_describe(const trib_model *model, trib_model_shape *out, trib_error *error)
{
    trib_status status = predictor_in_file(model->file) ? describe_predictor(model, out, error)
                                                        : describe_architecture(model, out, error);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < model->file->tensor_count; i++)
        out->parameters += model->file->tensors[i].elements;
    return TRIB_OK;
}

static trib_status need_tokenizer(const trib_model *model, trib_error *error)
{
    if (model->tokenizer)
        return TRIB_OK;
    return error_set(error, model->no_tokenizer.status, "%s", model->no_tokenizer.message);
}

trib_status trib_tokenize(const trib_model *model, const char *text, size_t length, unsigned flags,
                          int32_t **ids, size_t *count, trib_error *error)
{
    *ids = NULL;
    *count = 0;
    trib_status status = need_tokenizer(model, error);
    if (status != TRIB_OK)
        return status;
    size_t capacity = 0;
    status =
        tokenizer_encode(model->tokenizer, (struct slice){text, length},
                         (struct tokenize_options){.add_special = flags & TRIB_TOKENIZE_SPECIAL,
                                                   .parse_special = flags & TRIB_TOKENIZE_PARSE},
                         ids, count, &capacity, error);
    if (status != TRIB_OK) {
        free(*ids);
        *ids = NULL;
        *count = 0;
    }
    return status;
}

void trib_free(void *memory)
{
    free(memory);
}

size_t trib_vocabulary_size(const trib_model *model)
{
    return model->tokenizer ? tokenizer_count(model->tokenizer) : 0;
}

static bool is_token(const trib_model *model, int32_t id)
{
    return id >= 0 && (size_t)id < trib_vocabulary_size(model);
}

bool trib_token_is_end(const trib_model *model, int32_t id)
{
    return is_token(model, id) && tokenizer_is_end(model->tokenizer, id);
}

struct trib_decoder {
    const trib_model *model;
    bool first, special;
    size_t given; /* bytes at the front of `text` that the caller has had */
    size_t held;  /* bytes after them, held back */
    size_t capacity;
    char text[]; /* room for 3 bytes held back and the longest token */
};

trib_status trib_decoder_open(trib_decoder **out, const trib_model *model, bool continues,
                              bool special, trib_error *error)
{
    *out = NULL;
    trib_status status = need_tokenizer(model, error);
    if (status != TRIB_OK)
        return status;
    size_t capacity = 3 + tokenizer_longest(model->tokenizer);
    trib_decoder *decoder = calloc(1, sizeof *decoder + capacity);
    if (!decoder)
        return error_no_memory(error, "a decoder", capacity);
    decoder->model = model;
    decoder->first = !continues;
    decoder->special = special;
    decoder->capacity = capacity;
    *out = decoder;
    return TRIB_OK;
}

void trib_decoder_close(trib_decoder *decoder)
{
    free(decoder);
}

trib_text trib_decoder_next(trib_decoder *d, int32_t id)
{
    memmove(d->text, d->text + d->given, d->held);
    d->given = 0;
    if (!is_token(d->model, id))
        return (trib_text){d->text, 0};
    size_t length = tokenizer_decode(d->model->tokenizer, id, d->first, d->special,
                                     d->text + d->held, d->capacity - d->held);
    enum token_kind kind = tokenizer_kind(d->model->tokenizer, id);
    d->first = d->first && (kind == TOKEN_CONTROL || kind == TOKEN_UNKNOWN);
    d->held += length;
    d->given = d->held - utf8_incomplete_tail(d->text, d->held);
    d->held -= d->given;
    return (trib_text){d->text, d->given};
}

trib_text trib_decoder_rest(trib_decoder *d)
{
    trib_text rest = {d->text + d->given, d->held};
    d->given += d->held;
    d->held = 0;
    return rest;
}
