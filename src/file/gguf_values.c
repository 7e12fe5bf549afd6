/* Reading the metadata of a GGUF file; the format stands above gguf.c. */
#include "file/gguf_reader.h"

#include <stdlib.h>

static const struct {
    uint32_t number;
    const char *name;
    uint32_t bytes;
} types[] = {
#define TYPE_ROW(name, number, text, bytes) {number, text, bytes},
    GGUF_TYPE_LIST(TYPE_ROW)
#undef TYPE_ROW
};

enum { TYPES = sizeof types / sizeof types[0] };

const char *gguf_type_name(enum gguf_type type)
{
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].number == (uint32_t)type)
            return types[i].name;
    return "?";
}

size_t gguf_type_size(enum gguf_type type)
{
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].number == (uint32_t)type)
            return types[i].bytes;
    return 0;
}

static trib_status read_type(struct reader *r, struct slice key, enum gguf_type *out,
                             uint32_t *bytes)
{
    uint32_t number = 0;
    trib_status status = read_bytes(r, "the type of a value", &number, sizeof number);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].number == number) {
            *out = (enum gguf_type)number;
            *bytes = types[i].bytes;
            return TRIB_OK;
        }
    return error_set(r->error, TRIB_FORMAT, "%s: %s: expected a value type of 0 to 12, found %u",
                     r->file->name, show(key).text, number);
}

static trib_status read_array_header(struct reader *r, struct gguf_value *v, uint32_t *bytes)
{
    trib_status status = read_type(r, v->key, &v->element, bytes);
    if (status == TRIB_OK)
        status = read_bytes(r, "the length of an array", &v->count, sizeof v->count);
    if (status != TRIB_OK)
        return status;
    if (v->element == GGUF_ARRAY)
        return error_set(r->error, TRIB_UNSUPPORTED, "%s: %s: arrays of arrays are not supported",
                         r->file->name, show(v->key).text);
    uint32_t least = *bytes ? *bytes : 8; /* a string has at least its length */
    if (v->count > left(r) / least)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: %s: expected at most %zu elements, what is left of the file, found "
                         "%llu",
                         r->file->name, show(v->key).text, left(r) / least,
                         (unsigned long long)v->count);
    return TRIB_OK;
}

static trib_status check_bools(const struct reader *r, const struct gguf_value *v)
{
    for (uint64_t i = 0; i < v->count; i++)
        if (v->data[i] > 1)
            return error_set(r->error, TRIB_FORMAT, "%s: %s: expected a bool of 0 or 1, found %u",
                             r->file->name, show(v->key).text, v->data[i]);
    return TRIB_OK;
}

static trib_status read_value(struct reader *r, struct gguf_value *v)
{
    uint32_t bytes;
    trib_status status = read_name(r, "a metadata key", &v->key);
    if (status == TRIB_OK)
        status = read_type(r, v->key, &v->type, &bytes);
    if (status != TRIB_OK)
        return status;
    v->element = v->type;
    v->count = 1;
    if (v->type == GGUF_ARRAY && (status = read_array_header(r, v, &bytes)) != TRIB_OK)
        return status;
    v->data = r->at;
    if (v->element != GGUF_STRING) /* the count was bounded, or is 1: no overflow */
        status = skip_bytes(r, show(v->key).text, v->count * bytes);
    for (uint64_t i = 0; i < v->count && v->element == GGUF_STRING && status == TRIB_OK; i++)
        status = read_string(r, show(v->key).text, &(struct slice){0});
    if (status == TRIB_OK && v->element == GGUF_BOOL)
        status = check_bools(r, v);
    return status;
}

trib_status read_values(struct reader *r, uint64_t count)
{
    struct gguf_index *index = r->file->index;
    if (count > left(r) / VALUE_LEAST || count > UINT32_MAX / 4)
        return error_set(
            r->error, TRIB_FORMAT,
            "%s: metadata count: expected at most %zu, what the file has room for, found "
            "%llu",
            r->file->name, left(r) / VALUE_LEAST, (unsigned long long)count);
    index->values = calloc((size_t)count + 1, sizeof *index->values);
    if (!index->values)
        return error_no_memory(r->error, "the metadata", (size_t)count * sizeof *index->values);
    r->file->values = index->values;
    trib_status status = table_open(&index->by_key, (size_t)count, r->error);
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        status = read_value(r, &index->values[i]);
        if (status != TRIB_OK)
            break;
        uint32_t *slot = value_slot(index, index->values[i].key);
        if (*slot)
            return error_set(r->error, TRIB_FORMAT, "%s: metadata key %s stands twice",
                             r->file->name, show(index->values[i].key).text);
        *slot = (uint32_t)i + 1;
        r->file->value_count = i + 1;
    }
    return status;
}
