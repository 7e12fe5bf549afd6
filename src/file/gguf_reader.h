/* What the readers of a GGUF file share, and no others see: the index behind an open file, the
 * place that is read, lookup by hash, and names made fit for messages. */
#ifndef FILE_GGUF_READER_H
#define FILE_GGUF_READER_H

#include "base/error.h"
#include "file/gguf.h"
#include "file/map.h"

/* An open-addressed table of positions plus one; 0 is a free slot. */
struct table {
    uint32_t *slots;
    size_t mask;
};

struct gguf_index {
    struct file_map map; /* empty when the bytes are the caller's, or in parts */
    struct gguf **parts; /* [part_count] of a model in several files, which hold maps and values */
    size_t part_count;
    char *name;
    struct gguf_value *values;
    struct gguf_tensor *tensors;
    struct table by_key, by_name;
    const struct file_map *const *maps; /* [map_count] of an assembled file's pieces */
    size_t map_count;
    void *owner; /* of the pieces */
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

static inline struct shown show(struct slice name)
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

static inline size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline trib_status truncated(const struct reader *r, const char *what, uint64_t bytes)
{
    return error_set(
        r->error, TRIB_FORMAT,
        "%s: %s: expected %llu bytes at offset %zu, found the end of the file after %zu",
        r->file->name, what, (unsigned long long)bytes, (size_t)(r->at - r->start), left(r));
}

static inline trib_status read_bytes(struct reader *r, const char *what, void *out, size_t n)
{
    if (left(r) < n)
        return truncated(r, what, n);
    memcpy(out, r->at, n);
    r->at += n;
    return TRIB_OK;
}

static inline trib_status skip_bytes(struct reader *r, const char *what, uint64_t n)
{
    if (left(r) < n)
        return truncated(r, what, n);
    r->at += n;
    return TRIB_OK;
}

static inline trib_status read_string(struct reader *r, const char *what, struct slice *out)
{
    uint64_t length = 0;
    trib_status status = read_bytes(r, what, &length, sizeof length);
    if (status != TRIB_OK)
        return status;
    *out = (struct slice){(const char *)r->at, (size_t)length};
    return skip_bytes(r, what, length);
}

/* A key or a tensor's name: a string of 1 to GGUF_NAME_MOST bytes. */
static inline trib_status read_name(struct reader *r, const char *what, struct slice *out)
{
    trib_status status = read_string(r, what, out);
    if (status == TRIB_OK && (out->length == 0 || out->length > GGUF_NAME_MOST))
        return error_set(r->error, TRIB_FORMAT, "%s: %s: expected 1 to %d bytes, found %zu",
                         r->file->name, what, GGUF_NAME_MOST, out->length);
    return status;
}

/* An empty table for `count` names. */
trib_status table_open(struct table *table, size_t count, trib_error *error);

/* The slot of a key or a name: free, or holding the position of the one that is equal, plus 1. */
uint32_t *value_slot(const struct gguf_index *index, struct slice key);
uint32_t *tensor_slot(const struct gguf_index *index, struct slice name);

/* Reads `count` metadata entries, or tensors and where their data lies (gguf_values.c,
 * gguf_tensors.c). */
trib_status read_values(struct reader *r, uint64_t count);
trib_status read_tensors(struct reader *r, uint64_t count);

/* Bytes of the shortest entries: a count is held against what they would take. */
enum { VALUE_LEAST = 8 + 1 + 4 + 1, TENSOR_LEAST = 8 + 1 + 4 + 8 + 4 + 8 };

/* An open file without contents, named for messages; NULL without memory. */
struct gguf *gguf_allocate(const char *name);

/* Opens one file, whatever it says of parts. */
trib_status gguf_open_one(struct gguf **out, const char *path, trib_error *error);

#endif
