/* Writes GGUF files into memory, for tests that need a small model or a broken file.
 *
 *     struct gguf_build b;
 *     gguf_build_open(&b);
 *     gguf_build_string(&b, "general.architecture", "llama");
 *     gguf_build_array(&b, "some.numbers", GGUF_U32, 2); then put_u32(&b.values, 7) twice
 *     gguf_build_tensor(&b, "token_embd.weight", DTYPE_F32, 2, (uint64_t[]){64, 512}, data);
 *     gguf_build_finish(&b);             the file is b.file.bytes, b.file.size bytes
 *     gguf_build_close(&b);
 *
 * Nothing is checked: whatever is put stands in the file. Memory that cannot be had ends the
 * program. */
#ifndef GGUF_BUILD_H
#define GGUF_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "file/gguf.h"

struct buffer {
    uint8_t *bytes;
    size_t size, capacity;
};

/* Each appends to a buffer. */
void put_bytes(struct buffer *buffer, const void *bytes, size_t size);
void put_zeros(struct buffer *buffer, size_t size);
void put_u8(struct buffer *buffer, uint8_t value);
void put_u16(struct buffer *buffer, uint16_t value);
void put_u32(struct buffer *buffer, uint32_t value);
void put_u64(struct buffer *buffer, uint64_t value);
void put_f32(struct buffer *buffer, float value);
void put_f64(struct buffer *buffer, double value);
void put_string(struct buffer *buffer, const char *text);
void put_slice(struct buffer *buffer, const void *bytes, size_t size); /* a string with any bytes */

/* A file in the making. The counts go into the header as they stand at gguf_build_finish. */
struct gguf_build {
    uint32_t version;   /* 3 unless set before gguf_build_finish */
    uint32_t alignment; /* 32 unless set before the first tensor */
    uint64_t value_count, tensor_count;
    struct buffer values;     /* the metadata */
    struct buffer infos;      /* the tensor table */
    struct buffer data;       /* the tensors, each padded to the alignment */
    struct buffer file;       /* all of it, after gguf_build_finish */
    size_t infos_at, data_at; /* where in `file` they begin */
};

void gguf_build_open(struct gguf_build *b);
void gguf_build_close(struct gguf_build *b);

/* One metadata entry each. After _key and _array the caller puts the value, or the elements, into
 * b->values; the types are numbers, so that there are wrong ones. */
void gguf_build_key(struct gguf_build *b, const char *key, uint32_t type);
void gguf_build_array(struct gguf_build *b, const char *key, uint32_t element, uint64_t count);
void gguf_build_u32(struct gguf_build *b, const char *key, uint32_t value);
void gguf_build_f32(struct gguf_build *b, const char *key, float value);
void gguf_build_bool(struct gguf_build *b, const char *key, bool value);
void gguf_build_string(struct gguf_build *b, const char *key, const char *value);

/* A tensor with its data: as many bytes as the shape needs; NULL stands for zeros. */
void gguf_build_tensor(struct gguf_build *b, const char *name, enum dtype type, uint32_t dims,
                       const uint64_t *shape, const void *data);

/* An entry of the tensor table without data. */
void gguf_build_info(struct gguf_build *b, const char *name, uint32_t type, uint32_t dims,
                     const uint64_t *shape, uint64_t offset);

/* Puts the file together; to be called once. */
void gguf_build_finish(struct gguf_build *b);

/* Writes the finished file; false when that failed. */
bool gguf_build_write(const struct gguf_build *b, const char *path);

#endif
