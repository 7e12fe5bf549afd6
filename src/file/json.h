/* JSON files of others: parsed by Jansson within bounds, and fields taken out of them with messages
 * that name the file and the field.
 *
 * A field that is missing or null leaves *out as it was and succeeds; so callers set the default
 * before and need no flag where there is one. */
#ifndef FILE_JSON_H
#define FILE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/slice.h"
#include "tributary/status.h"

struct json_file {
    char name[128]; /* for messages: the end of the path */
    json_t *root;   /* NULL: there is no such file */
};

/* Reads a file of at most `most` bytes, which is an object or an array as `type` says. Whether it
 * may be missing says `required`; then root is NULL. On failure nothing is held. */
trib_status json_file_open(struct json_file *file, const char *path, json_type type, size_t most,
                           bool required, trib_error *error);

/* The same for an object in memory; those with a key twice are refused where `strict`. */
trib_status json_file_parse(struct json_file *file, const void *bytes, size_t size,
                            const char *name, bool strict, trib_error *error);

/* Safe on a zeroed struct and when called twice. */
void json_file_close(struct json_file *file);

/* "a string", "an integer", ...; of NULL "nothing". */
const char *json_kind(const json_t *value);

/* The value of a field that is there and not null; else NULL. `object` may be NULL. */
const json_t *json_field(const json_t *object, const char *key);

/* Fields of `object`, which stands in the file. Counts are integers from `least` to `most`. */
trib_status json_get_count(const struct json_file *file, const json_t *object, const char *key,
                           uint64_t least, uint64_t most, uint64_t *out, trib_error *error);
trib_status json_get_number(const struct json_file *file, const json_t *object, const char *key,
                            double *out, trib_error *error);
trib_status json_get_bool(const struct json_file *file, const json_t *object, const char *key,
                          bool *out, trib_error *error);
trib_status json_get_string(const struct json_file *file, const json_t *object, const char *key,
                            struct slice *out, trib_error *error);
trib_status json_get_object(const struct json_file *file, const json_t *object, const char *key,
                            const json_t **out, trib_error *error);
trib_status json_get_array(const struct json_file *file, const json_t *object, const char *key,
                           const json_t **out, trib_error *error);

/* Walks an object, which may be NULL: false behind the last field. *at is NULL to begin with, and
 * again at the end. */
bool json_next(const json_t *object, void **at, struct slice *key, const json_t **value);

static inline struct slice json_slice(const json_t *string)
{
    return (struct slice){json_string_value(string), json_string_length(string)};
}

/* True for a string that is exactly this text; `value` may be NULL. */
static inline bool json_is(const json_t *value, const char *text)
{
    return value && json_is_string(value) && slice_is(json_slice(value), text);
}

#endif
