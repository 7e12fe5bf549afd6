/* Reading a safetensors file.
 *
 *     length:u64, little-endian; that many bytes of JSON; the data
 *     {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
 *      "__metadata__": {"KEY": "VALUE", ...}}
 *
 * Nothing is believed: the length is held against the file before anything is parsed by it, sizes
 * are computed with overflow checks, and the tensors, sorted by offset, must follow each other from
 * the first byte of the data to the last. */
#include "file/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "file/json.h"
#include "file/map.h"

/* Element types that take whole bytes. */
static const struct {
    const char *name;
    uint32_t bytes;
} types[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
    {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},
    {"I32", 4},  {"F32", 4}, {"U64", 8}, {"I64", 8},     {"F64", 8},
};

struct safetensors_index {
    struct file_map map;   /* empty when the bytes are the caller's */
    struct json_file json; /* owns the names */
    const uint8_t *data;
    uint64_t size; /* of the data */
};

struct safetensors_shown safetensors_show(struct slice name)
{
    struct safetensors_shown s;
    size_t n = name.length < sizeof s.text - 1 ? name.length : sizeof s.text - 1;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name.bytes[i];
        s.text[i] = c < 32 || c > 126 ? '?' : (char)c;
    }
    s.text[n] = 0;
    return s;
}

/* "FILE: tensor NAME: " and what is wrong with it. */
static trib_status complain(const struct safetensors *file, const struct safetensors_tensor *t,
                            const char *what, trib_error *error)
{
    return error_set(error, TRIB_FORMAT, "%s: tensor %s: %s", file->name,
                     safetensors_show(t->name).text, what);
}

static trib_status read_type(const struct safetensors *file, struct safetensors_tensor *t,
                             const json_t *entry, uint32_t *bytes, trib_error *error)
{
    const json_t *value = json_object_get(entry, "dtype");
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (json_is(value, types[i].name)) {
            t->type = types[i].name;
            *bytes = types[i].bytes;
            return TRIB_OK;
        }
    struct slice found = slice_of(json_kind(value));
    if (value && json_is_string(value))
        found = json_slice(value);
    return error_set(error, TRIB_UNSUPPORTED,
                     "%s: tensor %s: dtype: expected BOOL, U8, ..., F32, F64, found %.20s",
                     file->name, safetensors_show(t->name).text, safetensors_show(found).text);
}

/* The shape, and from it elements and the bytes that the tensor must have. */
static trib_status read_shape(const struct safetensors *file, struct safetensors_tensor *t,
                              const json_t *entry, uint32_t bytes, trib_error *error)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!shape || !json_is_array(shape))
        return complain(file, t, "shape: expected an array of integers", error);
    if (json_array_size(shape) > SAFETENSORS_MAX_DIMS)
        return complain(file, t, "shape: expected at most 8 dimensions", error);
    t->dims = (uint32_t)json_array_size(shape);
    t->elements = 1;
    for (uint32_t d = 0; d < t->dims; d++) {
        const json_t *value = json_array_get(shape, d);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return complain(file, t, "shape: expected integers from 0 on", error);
        t->shape[d] = (uint64_t)json_integer_value(value);
        if (!size_mul(t->elements, t->shape[d], &t->elements))
            return complain(file, t, "shape: the product of its dimensions is too large", error);
    }
    if (!size_mul(t->elements, bytes, &t->bytes))
        return complain(file, t, "shape: its size is too large", error);
    return TRIB_OK;
}

/* Where the data lies, which must be within the file and as long as the shape asks for. */
static trib_status read_offsets(const struct safetensors *file, struct safetensors_tensor *t,
                                const json_t *entry, trib_error *error)
{
    const json_t *pair = json_object_get(entry, "data_offsets"), *first, *last;
    first = json_array_get(pair, 0);
    last = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(first) || !json_is_integer(last) ||
        json_integer_value(first) < 0)
        return complain(file, t, "data_offsets: expected two integers from 0 on", error);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (end < begin || (uint64_t)end > file->index->size)
        return error_set(error, TRIB_FORMAT,
                         "%s: tensor %s: data_offsets: expected a range within the %llu bytes of "
                         "data, found %lld to %lld",
                         file->name, safetensors_show(t->name).text,
                         (unsigned long long)file->index->size, (long long)begin, (long long)end);
    if ((uint64_t)(end - begin) != t->bytes)
        return error_set(error, TRIB_FORMAT,
                         "%s: tensor %s: data_offsets: expected the %llu bytes of its shape, found "
                         "%lld",
                         file->name, safetensors_show(t->name).text, (unsigned long long)t->bytes,
                         (long long)(end - begin));
    t->offset = (uint64_t)begin;
    t->data = file->index->data + begin;
    return TRIB_OK;
}

static trib_status read_tensor(const struct safetensors *file, struct safetensors_tensor *t,
                               const json_t *entry, trib_error *error)
{
    uint32_t bytes = 0;
    if (!json_is_object(entry))
        return complain(file, t, "expected an object", error);
    trib_status status = read_type(file, t, entry, &bytes, error);
    if (status == TRIB_OK)
        status = read_shape(file, t, entry, bytes, error);
    return status == TRIB_OK ? read_offsets(file, t, entry, error) : status;
}

static int by_offset(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones first */
}

/* Neither gaps nor overlaps: what no tensor claims could hide anything. */
static trib_status check_cover(const struct safetensors *file, trib_error *error)
{
    uint64_t at = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensors_tensor *t = &file->tensors[i];
        if (t->offset != at)
            return error_set(error, TRIB_FORMAT,
                             "%s: tensor %s: data_offsets: expected %llu, where the one before "
                             "ends, found %llu",
                             file->name, safetensors_show(t->name).text, (unsigned long long)at,
                             (unsigned long long)t->offset);
        at += t->bytes;
    }
    if (at != file->index->size)
        return error_set(error, TRIB_FORMAT,
                         "%s: expected the data to end with its last tensor at %llu, found %llu "
                         "bytes",
                         file->name, (unsigned long long)at, (unsigned long long)file->index->size);
    return TRIB_OK;
}

static trib_status read_metadata(const struct safetensors *file, const json_t *metadata,
                                 trib_error *error)
{
    struct slice key;
    const json_t *value;
    void *at = NULL;
    bool strings = json_is_object(metadata);
    while (json_next(metadata, &at, &key, &value))
        strings = strings && json_is_string(value);
    return strings ? TRIB_OK
                   : error_set(error, TRIB_FORMAT, "%s: __metadata__: expected strings by name",
                               file->name);
}

static trib_status read_table(struct safetensors *file, trib_error *error)
{
    const json_t *root = file->index->json.root, *entry;
    size_t most = json_object_size(root);
    struct slice key;
    void *at = NULL;
    file->tensors = calloc(most + 1, sizeof *file->tensors);
    if (!file->tensors)
        return error_no_memory(error, "the tensors", most * sizeof *file->tensors);
    while (json_next(root, &at, &key, &entry)) {
        trib_status status;
        struct safetensors_tensor *t = &file->tensors[file->count];
        if (slice_is(key, "__metadata__")) {
            status = read_metadata(file, entry, error);
        } else {
            t->name = key;
            status = read_tensor(file, t, entry, error);
            file->count++;
        }
        if (status != TRIB_OK)
            return status;
    }
    qsort(file->tensors, file->count, sizeof *file->tensors, by_offset);
    return check_cover(file, error);
}

static trib_status read_file(struct safetensors *file, const uint8_t *bytes, size_t size,
                             trib_error *error)
{
    uint64_t length = 0;
    if (size < sizeof length)
        return error_set(error, TRIB_FORMAT, "%s: expected a header of 8 bytes, found %zu",
                         file->name, size);
    for (size_t i = 0; i < sizeof length; i++)
        length |= (uint64_t)bytes[i] << (8 * i);
    if (length > SAFETENSORS_HEADER_MOST || length > size - sizeof length)
        return error_set(error, TRIB_FORMAT,
                         "%s: length of the header: expected at most %zu, what the file has, and "
                         "%d, found %llu",
                         file->name, size - sizeof length, SAFETENSORS_HEADER_MOST,
                         (unsigned long long)length);
    file->index->data = bytes + sizeof length + length;
    file->index->size = size - sizeof length - length;
    trib_status status = json_file_parse(&file->index->json, bytes + sizeof length, (size_t)length,
                                         file->name, true, error);
    return status == TRIB_OK ? read_table(file, error) : status;
}

trib_status safetensors_parse(struct safetensors **out, const void *bytes, size_t size,
                              const char *name, trib_error *error)
{
    *out = NULL;
    struct safetensors *file = calloc(1, sizeof *file);
    struct safetensors_index *index = calloc(1, sizeof *index);
    char *copy = strdup(name);
    if (!file || !index || !copy) {
        free(file);
        free(index);
        free(copy);
        return error_no_memory(error, name, sizeof *index);
    }
    file->index = index;
    file->name = copy;
    trib_status status = read_file(file, bytes, size, error);
    if (status != TRIB_OK)
        safetensors_close(file);
    else
        *out = file;
    return status;
}

trib_status safetensors_open(struct safetensors **out, const char *path, trib_error *error)
{
    struct file_map map;
    *out = NULL;
    trib_status status = file_map_open(&map, path, error);
    if (status != TRIB_OK)
        return status;
    status = safetensors_parse(out, map.bytes, map.size, path, error);
    if (status != TRIB_OK)
        file_map_close(&map);
    else
        (*out)->index->map = map;
    return status;
}

void safetensors_close(struct safetensors *file)
{
    if (!file)
        return;
    json_file_close(&file->index->json);
    file_map_close(&file->index->map);
    free(file->index);
    free(file->tensors);
    free((char *)(uintptr_t)file->name);
    free(file);
}

const struct file_map *safetensors_map(const struct safetensors *file)
{
    return &file->index->map;
}

bool safetensors_has(const struct safetensors *file, struct slice name)
{
    return !slice_is(name, "__metadata__") &&
           json_object_getn(file->index->json.root, name.bytes, name.length);
}
