/* GGUF files, versions 2 and 3, little-endian: metadata and tensors, checked whole before use.
 *
 * Format: the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md).
 *
 * Nothing is copied but the indexes: keys, values and tensor data point into the mapped file and
 * are valid until gguf_close. Invariant: after a successful open every offset, length and count
 * that can be reached through this header has been checked against the file, so no caller checks
 * bounds again. A value's bytes are as the file has them: unaligned, which is why the getters copy.
 */
#ifndef FILE_GGUF_H
#define FILE_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/slice.h"
#include "file/map.h"
#include "tributary/status.h"

/* Value types of metadata. X(NAME, number, "name", bytes of one; 0: variable) */
#define GGUF_TYPE_LIST(X)                                                                          \
    X(U8, 0, "u8", 1)                                                                              \
    X(I8, 1, "i8", 1)                                                                              \
    X(U16, 2, "u16", 2)                                                                            \
    X(I16, 3, "i16", 2)                                                                            \
    X(U32, 4, "u32", 4)                                                                            \
    X(I32, 5, "i32", 4)                                                                            \
    X(F32, 6, "f32", 4)                                                                            \
    X(BOOL, 7, "bool", 1)                                                                          \
    X(STRING, 8, "string", 0)                                                                      \
    X(ARRAY, 9, "array", 0)                                                                        \
    X(U64, 10, "u64", 8)                                                                           \
    X(I64, 11, "i64", 8)                                                                           \
    X(F64, 12, "f64", 8)

enum gguf_type {
#define GGUF_TYPE_ENUM(name, number, text, bytes) GGUF_##name = (number),
    GGUF_TYPE_LIST(GGUF_TYPE_ENUM)
#undef GGUF_TYPE_ENUM
};

enum {
    GGUF_MAX_DIMS = 4,
    GGUF_NAME_MOST = 65535, /* bytes of a key or a tensor's name */
    GGUF_ALIGNMENT = 32,    /* of tensors where general.alignment says nothing */
    GGUF_ALIGNMENT_MOST = 65536,
};

/* One metadata entry. */
struct gguf_value {
    struct slice key;
    enum gguf_type type;
    enum gguf_type element; /* of an array; otherwise equal to `type` */
    uint64_t count;         /* elements of an array; otherwise 1 */
    const uint8_t *data;    /* the first element as the file has it */
};

/* How the elements of a tensor lie. In files all are in order; assembled ones have what other
 * formats keep otherwise, of plain types and two dimensions. */
enum gguf_order {
    GGUF_IN_ORDER,
    GGUF_HALVES, /* of each of `heads` heads of D rows, rows j and D / 2 + j stand for 2 j and 2 j +
                    1 */
    GGUF_ACROSS, /* column by column */
};

/* One tensor. shape[0] is the fastest-varying dimension, as in the file: a matrix of `out` rows of
 * `in` elements has shape {in, out}. Unused dimensions are 1. */
struct gguf_tensor {
    struct slice name;
    enum dtype type;
    uint32_t dims;
    uint64_t shape[GGUF_MAX_DIMS];
    uint64_t elements;
    uint64_t bytes;
    const uint8_t *data; /* aligned to the file's alignment within the file */
    enum gguf_order order;
    uint64_t heads; /* of GGUF_HALVES; divides shape[1] into even numbers */
};

struct gguf {
    const char *name; /* for messages: the path */
    const char *note; /* what whoever opens it should be told, one line; NULL: nothing */
    uint32_t version; /* 0: assembled */
    uint64_t size;    /* of the file, or of all parts, bytes */
    size_t value_count;
    const struct gguf_value *values; /* in the order of the file */
    size_t tensor_count;
    const struct gguf_tensor *tensors; /* in the order of the file */
    struct gguf_index *index;          /* private: lookup by key and by name, storage */
};

/* Opens and checks a file. On failure *out is NULL and nothing is held. A part of a model in
 * several files, MODEL-0000N-of-0000M.gguf, opens the whole: the metadata of the first part, the
 * tensors of all. */
trib_status gguf_open(struct gguf **out, const char *path, trib_error *error);

/* The same for bytes in memory, which stay the caller's and must outlive the result. `name` is
 * copied and stands in messages. */
trib_status gguf_parse(struct gguf **out, const void *bytes, size_t size, const char *name,
                       trib_error *error);

/* out = `count` elements of a tensor from element `first` on, both whole blocks of its type, in the
 * order of the shape however they lie. */
void gguf_copy(const struct gguf_tensor *tensor, uint64_t first, size_t count, void *out);

/* Lets a tensor's pages go from memory, where its data lies in a mapped file; they come back when
 * touched. For tensors that have been copied into another form. */
void gguf_release(const struct gguf *file, const struct gguf_tensor *tensor);

/* Whether `path` is the file, or one of the parts or mapped pieces, that was opened. */
bool gguf_reads(const struct gguf *file, const char *path);

/* What an assembled file is made of. */
struct gguf_pieces {
    const void *bytes; /* [size]: a whole GGUF file without tensors, for the metadata */
    size_t size;
    const struct gguf_tensor *tensors; /* [tensor_count], names and data wherever they are */
    size_t tensor_count;
    const struct file_map *const *maps; /* [map_count]: files in which data may lie */
    size_t map_count;
    const char *note; /* or NULL */
    void *owner;      /* of all of the above but `tensors`, which are copied */
    void (*release)(void *owner);
};

/* A file whose parts lie apart. Types, shapes, sizes and orders of tensors are believed; a name
 * that stands twice is TRIB_FORMAT. The version becomes 0, the size that of metadata and data.
 * After success gguf_close calls release(owner), which frees what was given; after a failure nobody
 * does. */
trib_status gguf_assemble(struct gguf **out, const struct gguf_pieces *pieces, const char *name,
                          trib_error *error);

/* Closes; NULL is allowed. */
void gguf_close(struct gguf *file);

/* Lookups: NULL when there is none. Constant expected time. */
const struct gguf_value *gguf_find(const struct gguf *file, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *file, const char *name);

/* "u32", "string", "array"...; static storage. */
const char *gguf_type_name(enum gguf_type type);

/* Bytes of a value of this type; 0 where that varies. */
size_t gguf_type_size(enum gguf_type type);

/* Typed access by key. A missing key leaves *out as it was and succeeds with *found = false, unless
 * `found` is NULL: then the key is required and its absence is TRIB_FORMAT. A value of another
 * kind, or an integer that does not fit, is TRIB_FORMAT. The message names the file, the key, the
 * expected kind and what was found. Integer getters take every integer width, float getters both
 * floats. */
trib_status gguf_get_u32(const struct gguf *file, const char *key, uint32_t *out, bool *found,
                         trib_error *error);
trib_status gguf_get_f32(const struct gguf *file, const char *key, float *out, bool *found,
                         trib_error *error);
trib_status gguf_get_bool(const struct gguf *file, const char *key, bool *out, bool *found,
                          trib_error *error);
trib_status gguf_get_string(const struct gguf *file, const char *key, struct slice *out,
                            bool *found, trib_error *error);
/* An array of the element type given; *out stays NULL when not found. */
trib_status gguf_get_array(const struct gguf *file, const char *key, enum gguf_type element,
                           const struct gguf_value **out, bool *found, trib_error *error);

/* Walks an array of strings (or a single string): start with *cursor = value->data and call at most
 * value->count times. */
struct slice gguf_next_string(const uint8_t **cursor);

/* Bytes of a value in the file, from value->data on. */
size_t gguf_value_size(const struct gguf_value *value);

/* Element i of a value or array of numbers. The element type must be numeric or boolean. */
double gguf_number(const struct gguf_value *value, uint64_t i);

#endif
