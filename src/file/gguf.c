/* Reading a GGUF file: header, metadata, tensor table, then lookup by hash.
 *
 *     "GGUF" version:u32 tensors:u64 values:u64
 *     values:   key:string type:u32 value
 *     tensors:  name:string dims:u32 shape:u64[dims] type:u32 offset:u64
 *     padding to the alignment, then the tensors' data; offsets count from there
 *     string:   length:u64 bytes;  array: type:u32 count:u64 elements
 *
 * Invariant: nothing is believed. Every count is held against the bytes that are left before memory
 * is allocated by it, every sum and product is checked for overflow, and reading is linear in the
 * size of the file.
 */
#include "file/gguf.h"

#include <assert.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"
#include "base/size.h"
#include "file/map.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF values are read as they lie in the file, which is little-endian"
#endif

enum {
    NAME_MOST = 120, /* bytes of the path in messages, its end: they say more than the path */
    VALUE_LEAST = 8 + 1 + 4 + 1,          /* bytes of the shortest metadata entry */
    TENSOR_LEAST = 8 + 1 + 4 + 8 + 4 + 8, /* bytes of the shortest tensor entry */
};

/* An open-addressed table of positions plus one; 0 is a free slot. */
struct table {
    uint32_t *slots;
    size_t mask;
};

struct gguf_index {
    struct file_map map; /* empty when the bytes are the caller's */
    char *name;
    struct gguf_value *values;
    struct gguf_tensor *tensors;
    struct table by_key, by_name;
    void *owner; /* of the parts of an assembled file */
    void (*release)(void *owner);
};

struct reader {
    struct gguf *file;
    const uint8_t *start, *at, *end;
    trib_error *error;
};

/* Names from files, fit for a message: cut, and without bytes that disturb a terminal. */
struct shown {
    char text[64];
};

static struct shown show(struct slice name)
{
    struct shown s;
    size_t n = name.length < sizeof s.text - 1 ? name.length : sizeof s.text - 1;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name.bytes[i];
        s.text[i] = c < 32 || c > 126 ? '?' : (char)c;
    }
    s.text[n] = 0;
    return s;
}

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static trib_status truncated(const struct reader *r, const char *what, uint64_t bytes)
{
    return error_set(
        r->error, TRIB_FORMAT,
        "%s: %s: expected %llu bytes at offset %zu, found the end of the file after %zu",
        r->file->name, what, (unsigned long long)bytes, (size_t)(r->at - r->start), left(r));
}

static trib_status read_bytes(struct reader *r, const char *what, void *out, size_t n)
{
    if (left(r) < n)
        return truncated(r, what, n);
    memcpy(out, r->at, n);
    r->at += n;
    return TRIB_OK;
}

static trib_status skip_bytes(struct reader *r, const char *what, uint64_t n)
{
    if (left(r) < n)
        return truncated(r, what, n);
    r->at += n;
    return TRIB_OK;
}

static trib_status read_string(struct reader *r, const char *what, struct slice *out)
{
    uint64_t length = 0;
    trib_status status = read_bytes(r, what, &length, sizeof length);
    if (status != TRIB_OK)
        return status;
    *out = (struct slice){(const char *)r->at, (size_t)length};
    return skip_bytes(r, what, length);
}

/* A key or a tensor's name: a string of 1 to GGUF_NAME_MOST bytes. */
static trib_status read_name(struct reader *r, const char *what, struct slice *out)
{
    trib_status status = read_string(r, what, out);
    if (status == TRIB_OK && (out->length == 0 || out->length > GGUF_NAME_MOST))
        return error_set(r->error, TRIB_FORMAT, "%s: %s: expected 1 to %d bytes, found %zu",
                         r->file->name, what, GGUF_NAME_MOST, out->length);
    return status;
}

/* ---- Lookup ---- */

static trib_status table_open(struct table *table, size_t count, trib_error *error)
{
    size_t slots = 8;
    while (slots < 2 * count)
        slots *= 2;
    table->mask = slots - 1;
    table->slots = calloc(slots, sizeof *table->slots);
    return table->slots ? TRIB_OK : error_no_memory(error, "an index", slots * sizeof(uint32_t));
}

/* The slot of a name: free, or holding a position whose name is equal. `names` is the first name of
 * an array with `stride` bytes from one to the next. */
static uint32_t *table_slot(const struct table *table, struct slice name, const struct slice *names,
                            size_t stride)
{
    size_t i = (size_t)XXH3_64bits(name.bytes, name.length) & table->mask;
    while (table->slots[i]) {
        const char *other = (const char *)names + (table->slots[i] - 1) * stride;
        if (slice_equal(*(const struct slice *)(const void *)other, name))
            break;
        i = (i + 1) & table->mask;
    }
    return &table->slots[i];
}

static uint32_t *value_slot(const struct gguf_index *index, struct slice key)
{
    return table_slot(&index->by_key, key, &index->values->key, sizeof *index->values);
}

static uint32_t *tensor_slot(const struct gguf_index *index, struct slice name)
{
    return table_slot(&index->by_name, name, &index->tensors->name, sizeof *index->tensors);
}

const struct gguf_value *gguf_find(const struct gguf *file, const char *key)
{
    uint32_t at = file->value_count ? *value_slot(file->index, slice_of(key)) : 0;
    return at ? &file->values[at - 1] : NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *file, const char *name)
{
    uint32_t at = file->tensor_count ? *tensor_slot(file->index, slice_of(name)) : 0;
    return at ? &file->tensors[at - 1] : NULL;
}

/* ---- Metadata ---- */

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

static trib_status read_values(struct reader *r, uint64_t count)
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

/* ---- Tensors ---- */

#define DTYPE_NAME(name, number, text, block, bytes) " " text
#define DTYPE_NAMES                                  DTYPE_LIST(DTYPE_NAME)

/* What a type is called that others write and this build cannot read. */
static const char *foreign_name(uint32_t type)
{
    static const char *const names[] = {
        [2] = "Q4_0",    [3] = "Q4_1",     [6] = "Q5_0",    [7] = "Q5_1",     [9] = "Q8_1",
        [10] = "Q2_K",   [11] = "Q3_K",    [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",
        [15] = "Q8_K",   [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S",
        [20] = "IQ4_NL", [21] = "IQ3_S",   [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",
        [25] = "I16",    [26] = "I32",     [27] = "I64",    [28] = "F64",     [29] = "IQ1_M",
        [34] = "TQ1_0",  [35] = "TQ2_0",   [39] = "MXFP4",
    };
    const char *name = type < sizeof names / sizeof names[0] ? names[type] : NULL;
    return name ? name : "an unknown one";
}

/* Elements and bytes of a shape, refusing what does not fit. */
static trib_status measure(const struct reader *r, struct gguf_tensor *t, uint32_t type)
{
    const struct dtype_info *info = dtype_info(type);
    uint64_t bytes;
    if (!info)
        return error_set(r->error, TRIB_UNSUPPORTED,
                         "%s: tensor %s: type: expected one of" DTYPE_NAMES
                         ", found %s (number %u)",
                         r->file->name, show(t->name).text, foreign_name(type), type);
    t->type = (enum dtype)type;
    t->elements = 1;
    for (uint32_t d = 0; d < t->dims; d++) {
        if (t->shape[d] == 0)
            return error_set(r->error, TRIB_FORMAT,
                             "%s: tensor %s: dimension %u: expected 1 or more, found 0",
                             r->file->name, show(t->name).text, d);
        if (!size_mul(t->elements, t->shape[d], &t->elements))
            return error_set(r->error, TRIB_FORMAT,
                             "%s: tensor %s: the product of its dimensions is too large",
                             r->file->name, show(t->name).text);
    }
    if (t->shape[0] % info->block != 0)
        return error_set(
            r->error, TRIB_FORMAT,
            "%s: tensor %s: rows of %s: expected a multiple of %u elements, found %llu",
            r->file->name, show(t->name).text, info->name, info->block,
            (unsigned long long)t->shape[0]);
    if (!size_mul(t->elements / info->block, info->bytes, &bytes))
        return error_set(r->error, TRIB_FORMAT, "%s: tensor %s: its size is too large",
                         r->file->name, show(t->name).text);
    t->bytes = bytes;
    return TRIB_OK;
}

/* Reads one entry; its offset goes to *offset until the start of the data is known. */
static trib_status read_tensor(struct reader *r, struct gguf_tensor *t, uint64_t *offset)
{
    uint32_t type = 0;
    trib_status status = read_name(r, "a tensor's name", &t->name);
    if (status == TRIB_OK)
        status = read_bytes(r, "a tensor's dimensions", &t->dims, sizeof t->dims);
    if (status != TRIB_OK)
        return status;
    if (t->dims < 1 || t->dims > GGUF_MAX_DIMS)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: tensor %s: expected 1 to %d dimensions, found %u", r->file->name,
                         show(t->name).text, GGUF_MAX_DIMS, t->dims);
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++)
        t->shape[d] = 1;
    status = read_bytes(r, "a tensor's shape", t->shape, t->dims * sizeof t->shape[0]);
    if (status == TRIB_OK)
        status = read_bytes(r, "a tensor's type", &type, sizeof type);
    if (status == TRIB_OK)
        status = read_bytes(r, "a tensor's offset", offset, sizeof *offset);
    return status == TRIB_OK ? measure(r, t, type) : status;
}

static trib_status read_alignment(const struct reader *r, uint64_t *out)
{
    const struct gguf_value *v = gguf_find(r->file, "general.alignment");
    uint32_t alignment = GGUF_ALIGNMENT;
    if (v && v->type != GGUF_U32)
        return error_set(r->error, TRIB_FORMAT, "%s: general.alignment: expected u32, found %s",
                         r->file->name, gguf_type_name(v->type));
    if (v)
        memcpy(&alignment, v->data, sizeof alignment);
    if (alignment == 0 || alignment > GGUF_ALIGNMENT_MOST || (alignment & (alignment - 1)) != 0)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: general.alignment: expected a power of two up to %d, found %u",
                         r->file->name, GGUF_ALIGNMENT_MOST, alignment);
    *out = alignment;
    return TRIB_OK;
}

/* Points every tensor at its data, which must lie whole in the file. */
static trib_status place(const struct reader *r, const uint64_t *offsets)
{
    struct gguf *file = r->file;
    uint64_t alignment = 0, start;
    trib_status status = read_alignment(r, &alignment);
    if (status != TRIB_OK || file->tensor_count == 0)
        return status;
    if (!size_align((uint64_t)(r->at - r->start), alignment, &start) || start > file->size)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: expected tensor data, found the end of the file", file->name);
    for (size_t i = 0; i < file->tensor_count; i++) {
        struct gguf_tensor *t = &file->index->tensors[i];
        uint64_t room = file->size - start;
        if (offsets[i] % alignment != 0)
            return error_set(r->error, TRIB_FORMAT,
                             "%s: tensor %s: offset: expected a multiple of %llu, found %llu",
                             file->name, show(t->name).text, (unsigned long long)alignment,
                             (unsigned long long)offsets[i]);
        if (offsets[i] > room || t->bytes > room - offsets[i])
            return error_set(
                r->error, TRIB_FORMAT,
                "%s: tensor %s: expected %llu bytes at %llu of the data, found %llu in "
                "all",
                file->name, show(t->name).text, (unsigned long long)t->bytes,
                (unsigned long long)offsets[i], (unsigned long long)room);
        t->data = r->start + start + offsets[i];
    }
    return TRIB_OK;
}

static int by_data(const void *a, const void *b)
{
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a;
    const struct gguf_tensor *y = *(const struct gguf_tensor *const *)b;
    return (x->data > y->data) - (x->data < y->data);
}

static trib_status refuse_overlap(const struct reader *r)
{
    const struct gguf *file = r->file;
    const struct gguf_tensor **order = malloc((file->tensor_count + 1) * sizeof *order);
    trib_status status = TRIB_OK;
    if (!order)
        return error_no_memory(r->error, "the tensors", file->tensor_count * sizeof *order);
    for (size_t i = 0; i < file->tensor_count; i++)
        order[i] = &file->tensors[i];
    qsort(order, file->tensor_count, sizeof *order, by_data);
    for (size_t i = 1; i < file->tensor_count && status == TRIB_OK; i++)
        if (order[i - 1]->data + order[i - 1]->bytes > order[i]->data)
            status = error_set(r->error, TRIB_FORMAT, "%s: tensors %s and %s overlap", file->name,
                               show(order[i - 1]->name).text, show(order[i]->name).text);
    free(order);
    return status;
}

static trib_status read_tensor_table(struct reader *r, uint64_t count, uint64_t *offsets)
{
    struct gguf_index *index = r->file->index;
    trib_status status = table_open(&index->by_name, (size_t)count, r->error);
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        status = read_tensor(r, &index->tensors[i], &offsets[i]);
        if (status != TRIB_OK)
            break;
        uint32_t *slot = tensor_slot(index, index->tensors[i].name);
        if (*slot)
            return error_set(r->error, TRIB_FORMAT, "%s: tensor %s stands twice", r->file->name,
                             show(index->tensors[i].name).text);
        *slot = (uint32_t)i + 1;
        r->file->tensor_count = i + 1;
    }
    return status;
}

static trib_status read_tensors(struct reader *r, uint64_t count)
{
    struct gguf_index *index = r->file->index;
    index->tensors = calloc((size_t)count + 1, sizeof *index->tensors);
    uint64_t *offsets = calloc((size_t)count + 1, sizeof *offsets);
    r->file->tensors = index->tensors;
    trib_status status = TRIB_OK;
    if (!index->tensors || !offsets)
        status = error_no_memory(r->error, "the tensors", (size_t)count * sizeof *index->tensors);
    if (status == TRIB_OK)
        status = read_tensor_table(r, count, offsets);
    if (status == TRIB_OK)
        status = place(r, offsets);
    if (status == TRIB_OK)
        status = refuse_overlap(r);
    free(offsets);
    return status;
}

/* ---- The file ---- */

static trib_status read_version(struct reader *r)
{
    char magic[4] = {0};
    trib_status status = read_bytes(r, "the header", magic, sizeof magic);
    if (status != TRIB_OK || memcmp(magic, "GGUF", 4) != 0) {
        struct slice start = {(const char *)r->start, left(r) + (size_t)(r->at - r->start)};
        start.length = start.length < 4 ? start.length : 4;
        return error_set(r->error, TRIB_FORMAT,
                         "%s: not a GGUF file: expected it to begin with 'GGUF', found '%s'",
                         r->file->name, show(start).text);
    }
    status = read_bytes(r, "the version", &r->file->version, sizeof r->file->version);
    if (status != TRIB_OK)
        return status;
    if (r->file->version == 0x02000000 || r->file->version == 0x03000000)
        return error_set(r->error, TRIB_UNSUPPORTED,
                         "%s: a big-endian GGUF file; only little-endian ones can be read",
                         r->file->name);
    if (r->file->version != 2 && r->file->version != 3)
        return error_set(r->error, TRIB_UNSUPPORTED, "%s: GGUF version: expected 2 or 3, found %u",
                         r->file->name, r->file->version);
    return TRIB_OK;
}

static trib_status read_file(struct reader *r)
{
    uint64_t tensors = 0, values = 0;
    trib_status status = read_version(r);
    if (status == TRIB_OK)
        status = read_bytes(r, "the tensor count", &tensors, sizeof tensors);
    if (status == TRIB_OK)
        status = read_bytes(r, "the metadata count", &values, sizeof values);
    if (status != TRIB_OK)
        return status;
    if (tensors > left(r) / TENSOR_LEAST || tensors > UINT32_MAX / 4)
        return error_set(
            r->error, TRIB_FORMAT,
            "%s: tensor count: expected at most %zu, what the file has room for, found "
            "%llu",
            r->file->name, left(r) / TENSOR_LEAST, (unsigned long long)tensors);
    status = read_values(r, values);
    return status == TRIB_OK ? read_tensors(r, tensors) : status;
}

static struct gguf *allocate(const char *name)
{
    struct gguf *file = calloc(1, sizeof *file);
    struct gguf_index *index = calloc(1, sizeof *index);
    size_t length = strlen(name), cut = length > NAME_MOST ? length - NAME_MOST : 0;
    char *copy = strdup(name + cut);
    if (!file || !index || !copy) {
        free(file);
        free(index);
        free(copy);
        return NULL;
    }
    if (cut)
        memcpy(copy, "...", 3);
    file->index = index;
    file->name = index->name = copy;
    return file;
}

trib_status gguf_parse(struct gguf **out, const void *bytes, size_t size, const char *name,
                       trib_error *error)
{
    *out = NULL;
    struct gguf *file = allocate(name);
    if (!file)
        return error_no_memory(error, name, sizeof *file);
    file->size = size;
    struct reader r = {file, bytes, bytes, (const uint8_t *)bytes + size, error};
    trib_status status = read_file(&r);
    if (status != TRIB_OK)
        gguf_close(file);
    else
        *out = file;
    return status;
}

trib_status gguf_open(struct gguf **out, const char *path, trib_error *error)
{
    struct file_map map;
    *out = NULL;
    trib_status status = file_map_open(&map, path, error);
    if (status != TRIB_OK)
        return status;
    status = gguf_parse(out, map.bytes, map.size, path, error);
    if (status != TRIB_OK)
        file_map_close(&map);
    else
        (*out)->index->map = map;
    return status;
}

trib_status gguf_assemble(struct gguf **out, const void *bytes, size_t size, const char *name,
                          const struct gguf_tensor *tensors, size_t count, void *owner,
                          void (*release)(void *owner), trib_error *error)
{
    struct gguf *file;
    trib_status status = gguf_parse(out, bytes, size, name, error);
    if (status != TRIB_OK)
        return status;
    file = *out;
    assert(file->tensor_count == 0);
    struct gguf_index *index = file->index;
    free(index->by_name.slots);
    index->by_name.slots = NULL;
    struct gguf_tensor *copy = realloc(index->tensors, (count + 1) * sizeof *copy);
    if (!copy)
        status = error_no_memory(error, "the tensors", count * sizeof *copy);
    else
        file->tensors = index->tensors = copy;
    if (status == TRIB_OK)
        status = table_open(&index->by_name, count, error);
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        copy[i] = tensors[i];
        uint32_t *slot = tensor_slot(index, copy[i].name);
        if (*slot)
            status = error_set(error, TRIB_FORMAT, "%s: tensor %s stands twice", file->name,
                               show(copy[i].name).text);
        *slot = (uint32_t)i + 1;
        file->tensor_count = i + 1;
        file->size += copy[i].bytes;
    }
    if (status != TRIB_OK) {
        gguf_close(file);
        *out = NULL;
        return status;
    }
    file->version = 0;
    index->owner = owner;
    index->release = release;
    return TRIB_OK;
}

void gguf_close(struct gguf *file)
{
    if (!file)
        return;
    struct gguf_index *index = file->index;
    file_map_close(&index->map);
    free(index->by_key.slots);
    free(index->by_name.slots);
    free(index->values);
    free(index->tensors);
    free(index->name);
    if (index->release)
        index->release(index->owner);
    free(index);
    free(file);
}
