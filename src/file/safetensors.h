/* Safetensors files: a JSON table of tensors, then their data, checked whole before use.
 *
 * Format: github.com/huggingface/safetensors, README. Tensors lie in the data without gaps or
 * overlaps, from its first byte to the file's last.
 *
 * Names belong to the table, data points into the mapped file; both are valid until
 * safetensors_close. Invariant: after a successful open every size and offset has been checked
 * against the file. The format aligns nothing, so data may lie at any address. */
#ifndef FILE_SAFETENSORS_H
#define FILE_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "file/map.h"
#include "tributary/status.h"

enum {
    SAFETENSORS_MAX_DIMS = 8,
    SAFETENSORS_HEADER_MOST = 100000000, /* bytes of the table, as in the original */
};

struct safetensors_tensor {
    struct slice name;
    const char *type;                     /* "F32", "BF16", ...; static storage */
    uint32_t dims;                        /* 0: a single number */
    uint64_t shape[SAFETENSORS_MAX_DIMS]; /* the last one varies fastest */
    uint64_t elements;                    /* may be 0 */
    uint64_t offset, bytes;               /* within the data */
    const uint8_t *data;
};

struct safetensors {
    const char *name; /* for messages: the path */
    size_t count;
    struct safetensors_tensor *tensors; /* in the order of their data */
    struct safetensors_index *index;    /* private */
};

/* Opens and checks a file. On failure *out is NULL and nothing is held. */
trib_status safetensors_open(struct safetensors **out, const char *path, trib_error *error);

/* The same for bytes in memory, which stay the caller's and must outlive the result. */
trib_status safetensors_parse(struct safetensors **out, const void *bytes, size_t size,
                              const char *name, trib_error *error);

/* Closes; NULL is allowed. */
void safetensors_close(struct safetensors *file);

/* Where the file is mapped; without bytes where it was parsed in memory. */
const struct file_map *safetensors_map(const struct safetensors *file);

/* Whether there is a tensor of this name. */
bool safetensors_has(const struct safetensors *file, struct slice name);

/* Names from files, fit for a message: cut, and without bytes that disturb a terminal. */
struct safetensors_shown {
    char text[80];
};
struct safetensors_shown safetensors_show(struct slice name);

#endif
