/* Writing a GGUF file; the format stands above gguf.c.
 *
 * Metadata is put together in memory as the file will have it, since its count comes first. Tensors
 * are remembered; their offsets are known once the alignment is, when the file is saved. Invariant:
 * an entry that is kept has passed what gguf.c will ask of it. */
#include "file/gguf_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "file/atomic.h"

enum {
    VERSION = 3,
    CHUNK = 1 << 18, /* elements made at a time: a multiple of every block */
};

/* Bytes that grow. */
struct bytes {
    uint8_t *at;
    size_t size, capacity;
};

struct tensor {
    char *name;
    enum dtype type;
    uint32_t dims;
    uint64_t shape[GGUF_MAX_DIMS];
    uint64_t elements, bytes;
    const void *data;    /* NULL: comes from `source` */
    gguf_source *source; /* NULL: zeros */
    void *context;
};

struct gguf_writer {
    struct bytes values;
    size_t *keys; /* [value_count] where each entry begins in `values` */
    size_t value_count, key_capacity;
    struct tensor *tensors;
    size_t tensor_count, tensor_capacity;
    uint32_t alignment;
    trib_error first; /* what went wrong first; TRIB_OK: nothing */
};

struct gguf_writer *gguf_writer_open(void)
{
    struct gguf_writer *writer = calloc(1, sizeof *writer);
    if (writer)
        writer->alignment = GGUF_ALIGNMENT;
    return writer;
}

void gguf_writer_close(struct gguf_writer *writer)
{
    if (!writer)
        return;
    for (size_t i = 0; i < writer->tensor_count; i++)
        free(writer->tensors[i].name);
    free(writer->tensors);
    free(writer->values.at);
    free(writer->keys);
    free(writer);
}

static bool works(const struct gguf_writer *writer)
{
    return writer && writer->first.status == TRIB_OK;
}

/* Room for one more item: the array, perhaps elsewhere. Where there is none the failure is kept. */
static void *grown(struct gguf_writer *writer, void *items, size_t count, size_t *capacity,
                   size_t size)
{
    if (count < *capacity)
        return items;
    size_t larger = *capacity ? 2 * *capacity : 32;
    void *moved = realloc(items, larger * size);
    if (!moved) {
        error_no_memory(&writer->first, "the contents of a file", larger * size);
        return items;
    }
    *capacity = larger;
    return moved;
}

static void append(struct gguf_writer *writer, const void *bytes, size_t size)
{
    struct bytes *b = &writer->values;
    if (!works(writer))
        return;
    if (b->capacity - b->size < size) {
        uint64_t larger;
        uint8_t *grown = NULL;
        if (size_mul(b->capacity, 2, &larger) && size_add(larger, size, &larger))
            grown = realloc(b->at, larger);
        if (!grown) {
            error_no_memory(&writer->first, "the metadata of a file", size);
            return;
        }
        b->at = grown;
        b->capacity = larger;
    }
    if (size)
        memcpy(b->at + b->size, bytes, size);
    b->size += size;
}

static void append_string(struct gguf_writer *writer, struct slice text)
{
    uint64_t length = text.length;
    append(writer, &length, sizeof length);
    append(writer, text.bytes, text.length);
}

static void append_u32(struct gguf_writer *writer, uint32_t value)
{
    append(writer, &value, sizeof value);
}

/* Keeps the failure that a name is, if it is one; `what` it names. */
static void check_name(struct gguf_writer *writer, const char *what, struct slice name)
{
    if (name.length == 0 || name.length > GGUF_NAME_MOST)
        error_set(&writer->first, TRIB_INVALID, "%s: expected a name of 1 to %d bytes, found %zu",
                  what, GGUF_NAME_MOST, name.length);
}

static void stands_twice(struct gguf_writer *writer, const char *what, struct slice name)
{
    error_set(&writer->first, TRIB_INVALID, "%s %.*s stands twice", what,
              name.length < 100 ? (int)name.length : 100, name.bytes);
}

/* Begins an entry. */
static void put_key(struct gguf_writer *writer, struct slice key, enum gguf_type type)
{
    if (!works(writer))
        return;
    check_name(writer, "a metadata key", key);
    for (size_t i = 0; i < writer->value_count && works(writer); i++) {
        const uint8_t *at = writer->values.at + writer->keys[i];
        if (slice_equal(gguf_next_string(&at), key))
            stands_twice(writer, "metadata key", key);
    }
    writer->keys = grown(writer, writer->keys, writer->value_count, &writer->key_capacity,
                         sizeof *writer->keys);
    if (!works(writer))
        return;
    writer->keys[writer->value_count++] = writer->values.size;
    append_string(writer, key);
    append_u32(writer, type);
}

static void put_array_key(struct gguf_writer *writer, struct slice key, enum gguf_type element,
                          uint64_t count)
{
    put_key(writer, key, GGUF_ARRAY);
    if (!works(writer))
        return;
    append_u32(writer, element);
    append(writer, &count, sizeof count);
}

/* A value of fixed size. */
static void put_number(struct gguf_writer *writer, struct slice key, enum gguf_type type,
                       const void *value)
{
    put_key(writer, key, type);
    if (!works(writer))
        return;
    append(writer, value, gguf_type_size(type));
    if (!slice_is(key, "general.alignment"))
        return;
    uint32_t alignment = 0;
    if (type == GGUF_U32)
        memcpy(&alignment, value, sizeof alignment);
    if (alignment == 0 || alignment > GGUF_ALIGNMENT_MOST || (alignment & (alignment - 1)) != 0)
        error_set(&writer->first, TRIB_INVALID,
                  "general.alignment: expected a u32, a power of two up to %d, found %u of %s",
                  GGUF_ALIGNMENT_MOST, alignment, gguf_type_name(type));
    writer->alignment = alignment;
}

void gguf_put_u32(struct gguf_writer *writer, const char *key, uint32_t value)
{
    put_number(writer, slice_of(key), GGUF_U32, &value);
}

void gguf_put_i32(struct gguf_writer *writer, const char *key, int32_t value)
{
    put_number(writer, slice_of(key), GGUF_I32, &value);
}

void gguf_put_u64(struct gguf_writer *writer, const char *key, uint64_t value)
{
    put_number(writer, slice_of(key), GGUF_U64, &value);
}

void gguf_put_f32(struct gguf_writer *writer, const char *key, float value)
{
    put_number(writer, slice_of(key), GGUF_F32, &value);
}

void gguf_put_bool(struct gguf_writer *writer, const char *key, bool value)
{
    put_number(writer, slice_of(key), GGUF_BOOL, &(uint8_t){value});
}

void gguf_put_string(struct gguf_writer *writer, const char *key, struct slice value)
{
    put_key(writer, slice_of(key), GGUF_STRING);
    if (works(writer))
        append_string(writer, value);
}

void gguf_put_numbers(struct gguf_writer *writer, const char *key, enum gguf_type element,
                      const void *values, size_t count)
{
    uint64_t bytes = 0;
    put_array_key(writer, slice_of(key), element, count);
    if (!works(writer))
        return;
    if (gguf_type_size(element) == 0)
        error_set(&writer->first, TRIB_INVALID, "%s: expected numbers, found an array of %s", key,
                  gguf_type_name(element));
    else if (!size_mul(count, gguf_type_size(element), &bytes))
        error_no_memory(&writer->first, key, count);
    for (size_t i = 0; element == GGUF_BOOL && i < count; i++)
        if (((const uint8_t *)values)[i] > 1)
            error_set(&writer->first, TRIB_INVALID, "%s: expected bools of 0 or 1, found %u", key,
                      ((const uint8_t *)values)[i]);
    append(writer, values, bytes);
}

void gguf_put_strings(struct gguf_writer *writer, const char *key, const struct slice *strings,
                      size_t count)
{
    put_array_key(writer, slice_of(key), GGUF_STRING, count);
    for (size_t i = 0; i < count && works(writer); i++)
        append_string(writer, strings[i]);
}

void gguf_put_value(struct gguf_writer *writer, const struct gguf_value *value)
{
    if (value->type != GGUF_ARRAY && value->type != GGUF_STRING) {
        put_number(writer, value->key, value->type, value->data);
        return;
    }
    if (value->type == GGUF_ARRAY)
        put_array_key(writer, value->key, value->element, value->count);
    else
        put_key(writer, value->key, value->type);
    if (works(writer))
        append(writer, value->data, gguf_value_size(value));
}

/* ---- Tensors ---- */

/* Elements and bytes of a shape, where it is one that a file may have. */
static bool measure(struct tensor *t)
{
    const struct dtype_info *info = dtype_info(t->type);
    t->elements = 1;
    if (!info || t->dims < 1 || t->dims > GGUF_MAX_DIMS)
        return false;
    for (uint32_t d = 0; d < t->dims; d++)
        if (t->shape[d] == 0 || !size_mul(t->elements, t->shape[d], &t->elements))
            return false;
    return t->shape[0] % info->block == 0 &&
           size_mul(t->elements / info->block, info->bytes, &t->bytes);
}

static void put_tensor(struct gguf_writer *writer, struct tensor t, const char *name,
                       const uint64_t *shape)
{
    if (!works(writer))
        return;
    check_name(writer, "a tensor", slice_of(name));
    for (size_t i = 0; i < writer->tensor_count && works(writer); i++)
        if (strcmp(writer->tensors[i].name, name) == 0)
            stands_twice(writer, "tensor", slice_of(name));
    for (uint32_t d = 0; d < t.dims && d < GGUF_MAX_DIMS; d++)
        t.shape[d] = shape[d];
    if (works(writer) && !measure(&t))
        error_set(&writer->first, TRIB_INVALID,
                  "tensor %.100s: expected a known type and 1 to %d dimensions that suit it", name,
                  GGUF_MAX_DIMS);
    writer->tensors = grown(writer, writer->tensors, writer->tensor_count, &writer->tensor_capacity,
                            sizeof *writer->tensors);
    if (!works(writer))
        return;
    t.name = strdup(name);
    if (t.name)
        writer->tensors[writer->tensor_count++] = t;
    else
        error_no_memory(&writer->first, "a tensor", strlen(name));
}

void gguf_put_tensor(struct gguf_writer *writer, const char *name, enum dtype type, uint32_t dims,
                     const uint64_t *shape, const void *data)
{
    put_tensor(writer, (struct tensor){.type = type, .dims = dims, .data = data}, name, shape);
}

void gguf_put_tensor_from(struct gguf_writer *writer, const char *name, enum dtype type,
                          uint32_t dims, const uint64_t *shape, gguf_source *source, void *context)
{
    put_tensor(writer,
               (struct tensor){.type = type, .dims = dims, .source = source, .context = context},
               name, shape);
}

/* ---- Saving ---- */

/* Where the bytes go: to a file, or to memory, or nowhere, when they are only counted. */
struct sink {
    struct atomic_file *file;
    uint8_t *memory;
    uint64_t size; /* bytes so far */
};

static trib_status give(struct sink *sink, const void *bytes, size_t size, trib_error *error)
{
    if (sink->memory && size)
        memcpy(sink->memory + sink->size, bytes, size);
    sink->size += size;
    return sink->file ? atomic_write(sink->file, bytes, size, error) : TRIB_OK;
}

static trib_status pad(struct sink *sink, uint32_t alignment, trib_error *error)
{
    static const uint8_t zeros[GGUF_ALIGNMENT_MOST];
    return give(sink, zeros, (size_t)(-sink->size & (alignment - 1)), error);
}

/* Header, metadata and tensor table, which are put together behind the metadata for the purpose. */
static trib_status give_head(struct gguf_writer *writer, struct sink *sink, trib_error *error)
{
    uint32_t version = VERSION;
    uint64_t tensors = writer->tensor_count, values = writer->value_count, offset = 0;
    uint8_t header[24];
    size_t metadata = writer->values.size;
    memcpy(header, "GGUF", 4);
    memcpy(header + 4, &version, sizeof version);
    memcpy(header + 8, &tensors, sizeof tensors);
    memcpy(header + 16, &values, sizeof values);
    for (size_t i = 0; i < writer->tensor_count; i++) {
        const struct tensor *t = &writer->tensors[i];
        append_string(writer, slice_of(t->name));
        append_u32(writer, t->dims);
        append(writer, t->shape, t->dims * sizeof t->shape[0]);
        append_u32(writer, t->type);
        append(writer, &offset, sizeof offset);
        if (!size_add(offset, t->bytes, &offset) || !size_align(offset, writer->alignment, &offset))
            error_set(&writer->first, TRIB_INVALID, "the tensors are larger than any file");
    }
    size_t size = writer->values.size;
    writer->values.size = metadata;
    if (!works(writer))
        return error_set(error, writer->first.status, "%s", writer->first.message);
    trib_status status = give(sink, header, sizeof header, error);
    if (status == TRIB_OK)
        status = give(sink, writer->values.at, size, error);
    return status == TRIB_OK && tensors > 0 ? pad(sink, writer->alignment, error) : status;
}

/* The data of a tensor that is made now, or of zeros, in pieces. */
static trib_status give_made(const struct tensor *t, struct sink *sink, trib_error *error)
{
    uint64_t most = t->elements < CHUNK ? t->elements : CHUNK;
    trib_status status = TRIB_OK;
    uint8_t *piece = calloc(1, dtype_size(t->type, (size_t)most));
    if (!piece)
        return error_no_memory(error, t->name, dtype_size(t->type, (size_t)most));
    for (uint64_t first = 0; first < t->elements && status == TRIB_OK; first += most) {
        if (t->elements - first < most)
            most = t->elements - first;
        if (t->source)
            status = t->source(t->context, first, (size_t)most, piece, error);
        if (status == TRIB_OK)
            status = give(sink, piece, dtype_size(t->type, (size_t)most), error);
    }
    free(piece);
    return status;
}

static trib_status give_all(struct gguf_writer *writer, struct sink *sink, trib_error *error)
{
    trib_status status = give_head(writer, sink, error);
    for (size_t i = 0; i < writer->tensor_count && status == TRIB_OK; i++) {
        const struct tensor *t = &writer->tensors[i];
        status = t->data ? give(sink, t->data, t->bytes, error) : give_made(t, sink, error);
        if (status == TRIB_OK)
            status = pad(sink, writer->alignment, error);
    }
    return status;
}

static trib_status check_works(const struct gguf_writer *writer, trib_error *error)
{
    if (!writer)
        return error_no_memory(error, "a file in the making", sizeof *writer);
    if (!works(writer))
        return error_set(error, writer->first.status, "%s", writer->first.message);
    return TRIB_OK;
}

trib_status gguf_writer_save(struct gguf_writer *writer, const char *path, trib_error *error)
{
    struct atomic_file file;
    trib_status status = check_works(writer, error);
    if (status == TRIB_OK)
        status = atomic_open(&file, path, error);
    if (status != TRIB_OK)
        return status;
    status = give_all(writer, &(struct sink){.file = &file}, error);
    if (status == TRIB_OK)
        status = atomic_commit(&file, error);
    atomic_abandon(&file);
    return status;
}

trib_status gguf_writer_bytes(struct gguf_writer *writer, uint8_t **bytes, size_t *size,
                              trib_error *error)
{
    struct sink sink = {0};
    *bytes = NULL;
    *size = 0;
    trib_status status = check_works(writer, error);
    if (status == TRIB_OK)
        status = give_head(writer, &sink, error);
    for (size_t i = 0; status == TRIB_OK && i < writer->tensor_count; i++)
        if (!size_add(sink.size, writer->tensors[i].bytes, &sink.size) ||
            !size_align(sink.size, writer->alignment, &sink.size))
            return error_set(error, TRIB_INVALID, "the tensors are larger than any memory");
    if (status != TRIB_OK)
        return status;
    uint64_t whole = sink.size;
    sink = (struct sink){.memory = malloc(whole)};
    if (!sink.memory)
        return error_no_memory(error, "a file", whole);
    status = give_all(writer, &sink, error);
    if (status != TRIB_OK) {
        free(sink.memory);
        return status;
    }
    *bytes = sink.memory;
    *size = whole;
    return TRIB_OK;
}
