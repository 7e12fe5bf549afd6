/* Writing GGUF files, version 3: metadata and tensors are collected, then saved in one go.
 *
 *     struct gguf_writer *w = gguf_writer_open();
 *     gguf_put_string(w, "general.architecture", slice_of("llama"));
 *     gguf_put_numbers(w, "some.scores", GGUF_F32, scores, count);
 *     gguf_put_tensor(w, "token_embd.weight", DTYPE_F32, 2, (uint64_t[]){E, V}, data);
 *     status = gguf_writer_save(w, path, error);
 *     gguf_writer_close(w);
 *
 * The functions that put cannot fail by themselves: the first thing that goes wrong (memory, a name
 * that stands twice, a shape that no file may have) is kept, what is put after it is dropped, and
 * saving reports it. A writer that could not be had (NULL) is allowed everywhere and fails the same
 * way. So whatever is saved, gguf_open reads.
 *
 * Metadata is copied when it is put. Tensors' data is not: it must stay until the file is saved. */
#ifndef FILE_GGUF_WRITE_H
#define FILE_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/slice.h"
#include "file/gguf.h"
#include "tributary/status.h"

struct gguf_writer;

struct gguf_writer *gguf_writer_open(void);
void gguf_writer_close(struct gguf_writer *writer);

/* One metadata entry each. `general.alignment`, a u32, is heeded wherever it is put; without it
 * tensors are aligned to 32 bytes. */
void gguf_put_u32(struct gguf_writer *writer, const char *key, uint32_t value);
void gguf_put_i32(struct gguf_writer *writer, const char *key, int32_t value);
void gguf_put_u64(struct gguf_writer *writer, const char *key, uint64_t value);
void gguf_put_f32(struct gguf_writer *writer, const char *key, float value);
void gguf_put_bool(struct gguf_writer *writer, const char *key, bool value);
void gguf_put_string(struct gguf_writer *writer, const char *key, struct slice value);

/* An array of numbers (`element` is any type of fixed size, `values` [count] of the C type that
 * belongs to it; bools are bytes of 0 or 1), and one of strings. */
void gguf_put_numbers(struct gguf_writer *writer, const char *key, enum gguf_type element,
                      const void *values, size_t count);
void gguf_put_strings(struct gguf_writer *writer, const char *key, const struct slice *strings,
                      size_t count);

/* An entry of another file as it stands there, of any type: to carry a vocabulary over, say. */
void gguf_put_value(struct gguf_writer *writer, const struct gguf_value *value);

/* A tensor whose data lies in memory as the file will have it. shape[0] varies fastest. */
void gguf_put_tensor(struct gguf_writer *writer, const char *name, enum dtype type, uint32_t dims,
                     const uint64_t *shape, const void *data);

/* A tensor whose data is made while the file is written: elements first to first + count go to
 * `out`, as the file will have them. Both numbers are multiples of the type's block. A failure
 * fails the saving. */
typedef trib_status gguf_source(void *context, uint64_t first, size_t count, void *out,
                                trib_error *error);
void gguf_put_tensor_from(struct gguf_writer *writer, const char *name, enum dtype type,
                          uint32_t dims, const uint64_t *shape, gguf_source *source, void *context);

/* Writes the file, whole or not at all (file/atomic.h). */
trib_status gguf_writer_save(struct gguf_writer *writer, const char *path, trib_error *error);

/* The same into memory, which the caller frees; on failure *bytes is NULL. */
trib_status gguf_writer_bytes(struct gguf_writer *writer, uint8_t **bytes, size_t *size,
                              trib_error *error);

#endif
