/* Reading JSON files and their fields. */
#include "file/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "file/map.h"

static void set_name(struct json_file *file, const char *name)
{
    size_t length = strlen(name), room = sizeof file->name - 1;
    snprintf(file->name, sizeof file->name, "%s%s", length > room ? "..." : "",
             length > room ? name + length - room + 3 : name);
}

static trib_status parse(struct json_file *file, const void *bytes, size_t size, json_type type,
                         size_t flags, trib_error *error)
{
    json_error_t reason;
    json_t *root = json_loadb(bytes, size, flags, &reason);
    if (!root)
        return error_set(error,
                         json_error_code(&reason) == json_error_out_of_memory ? TRIB_NO_MEMORY
                                                                              : TRIB_FORMAT,
                         "%s: JSON: line %d: %.100s", file->name, reason.line, reason.text);
    if (json_typeof(root) != type) {
        error_set(error, TRIB_FORMAT, "%s: JSON: expected %s, found %s", file->name,
                  type == JSON_ARRAY ? "an array" : "an object", json_kind(root));
        json_decref(root);
        return TRIB_FORMAT;
    }
    file->root = root;
    return TRIB_OK;
}

trib_status json_file_parse(struct json_file *file, const void *bytes, size_t size,
                            const char *name, bool strict, trib_error *error)
{
    file->root = NULL;
    set_name(file, name);
    return parse(file, bytes, size, JSON_OBJECT, strict ? JSON_REJECT_DUPLICATES : 0, error);
}

trib_status json_file_open(struct json_file *file, const char *path, json_type type, size_t most,
                           bool required, trib_error *error)
{
    struct file_map map;
    struct stat info;
    *file = (struct json_file){0};
    set_name(file, path);
    if (!required && stat(path, &info) != 0)
        return TRIB_OK;
    trib_status status = file_map_open(&map, path, error);
    if (status != TRIB_OK)
        return status;
    if (map.size > most)
        status = error_set(error, TRIB_FORMAT, "%s: expected at most %zu bytes, found %zu",
                           file->name, most, map.size);
    else
        status = parse(file, map.bytes, map.size, type, 0, error);
    file_map_close(&map);
    return status;
}

void json_file_close(struct json_file *file)
{
    json_decref(file->root);
    file->root = NULL;
}

const char *json_kind(const json_t *value)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null",
    };
    return value ? kinds[json_typeof(value)] : "nothing";
}

const json_t *json_field(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value && !json_is_null(value) ? value : NULL;
}

static trib_status expected(const struct json_file *file, const char *key, const char *what,
                            const json_t *found, trib_error *error)
{
    return error_set(error, TRIB_FORMAT, "%s: %s: expected %s, found %s", file->name, key, what,
                     json_kind(found));
}

trib_status json_get_count(const struct json_file *file, const json_t *object, const char *key,
                           uint64_t least, uint64_t most, uint64_t *out, trib_error *error)
{
    const json_t *value = json_field(object, key);
    if (!value)
        return TRIB_OK;
    if (!json_is_integer(value))
        return expected(file, key, "an integer", value, error);
    json_int_t number = json_integer_value(value);
    if (number < 0 || (uint64_t)number < least || (uint64_t)number > most)
        return error_set(error, TRIB_FORMAT, "%s: %s: expected %llu to %llu, found %lld",
                         file->name, key, (unsigned long long)least, (unsigned long long)most,
                         (long long)number);
    *out = (uint64_t)number;
    return TRIB_OK;
}

trib_status json_get_number(const struct json_file *file, const json_t *object, const char *key,
                            double *out, trib_error *error)
{
    const json_t *value = json_field(object, key);
    if (!value)
        return TRIB_OK;
    if (!json_is_number(value))
        return expected(file, key, "a number", value, error);
    *out = json_number_value(value);
    return TRIB_OK;
}

trib_status json_get_bool(const struct json_file *file, const json_t *object, const char *key,
                          bool *out, trib_error *error)
{
    const json_t *value = json_field(object, key);
    if (!value)
        return TRIB_OK;
    if (!json_is_boolean(value))
        return expected(file, key, "true or false", value, error);
    *out = json_is_true(value);
    return TRIB_OK;
}

trib_status json_get_string(const struct json_file *file, const json_t *object, const char *key,
                            struct slice *out, trib_error *error)
{
    const json_t *value = json_field(object, key);
    if (!value)
        return TRIB_OK;
    if (!json_is_string(value))
        return expected(file, key, "a string", value, error);
    *out = json_slice(value);
    return TRIB_OK;
}

trib_status json_get_object(const struct json_file *file, const json_t *object, const char *key,
                            const json_t **out, trib_error *error)
{
    const json_t *value = json_field(object, key);
    if (!value)
        return TRIB_OK;
    if (!json_is_object(value))
        return expected(file, key, "an object", value, error);
    *out = value;
    return TRIB_OK;
}

trib_status json_get_array(const struct json_file *file, const json_t *object, const char *key,
                           const json_t **out, trib_error *error)
{
    const json_t *value = json_field(object, key);
    if (!value)
        return TRIB_OK;
    if (!json_is_array(value))
        return expected(file, key, "an array", value, error);
    *out = value;
    return TRIB_OK;
}

bool json_next(const json_t *object, void **at, struct slice *key, const json_t **value)
{
    json_t *walked = (json_t *)(uintptr_t)object; /* Jansson's interface has no const */
    *at = *at ? json_object_iter_next(walked, *at) : json_object_iter(walked);
    if (!*at)
        return false;
    *key = (struct slice){json_object_iter_key(*at), json_object_iter_key_len(*at)};
    *value = json_object_iter_value(*at);
    return true;
}
