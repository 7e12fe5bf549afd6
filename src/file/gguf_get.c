/* Typed access to the metadata of a checked GGUF file. */
#include <math.h>

#include "base/error.h"
#include "file/gguf.h"

/* Finds a key for a getter. *value is NULL, and the status OK, where an optional one is absent. */
static trib_status find(const struct gguf *file, const char *key, bool *found,
                        const struct gguf_value **value, trib_error *error)
{
    *value = gguf_find(file, key);
    if (found)
        *found = *value != NULL;
    if (!*value && !found)
        return error_set(error, TRIB_FORMAT, "%s: metadata key %s is missing", file->name, key);
    return TRIB_OK;
}

static trib_status wrong_kind(const struct gguf *file, const char *key, const char *expected,
                              const struct gguf_value *value, trib_error *error)
{
    if (value->type == GGUF_ARRAY)
        return error_set(error, TRIB_FORMAT, "%s: %s: expected %s, found an array of %s",
                         file->name, key, expected, gguf_type_name(value->element));
    return error_set(error, TRIB_FORMAT, "%s: %s: expected %s, found a value of type %s",
                     file->name, key, expected, gguf_type_name(value->type));
}

static bool is_integer(enum gguf_type type)
{
    return type == GGUF_U8 || type == GGUF_I8 || type == GGUF_U16 || type == GGUF_I16 ||
           type == GGUF_U32 || type == GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

trib_status gguf_get_u32(const struct gguf *file, const char *key, uint32_t *out, bool *found,
                         trib_error *error)
{
    const struct gguf_value *value;
    trib_status status = find(file, key, found, &value, error);
    if (status != TRIB_OK || !value)
        return status;
    if (!is_integer(value->type))
        return wrong_kind(file, key, "an integer", value, error);
    double number = gguf_number(value, 0); /* exact up to 2^53, and far above UINT32_MAX beyond */
    if (number < 0 || number > UINT32_MAX)
        return error_set(error, TRIB_FORMAT, "%s: %s: expected 0 to %u, found %.0f", file->name,
                         key, UINT32_MAX, number);
    *out = (uint32_t)number;
    return TRIB_OK;
}

trib_status gguf_get_f32(const struct gguf *file, const char *key, float *out, bool *found,
                         trib_error *error)
{
    const struct gguf_value *value;
    trib_status status = find(file, key, found, &value, error);
    if (status != TRIB_OK || !value)
        return status;
    if (value->type != GGUF_F32 && value->type != GGUF_F64)
        return wrong_kind(file, key, "a float", value, error);
    double number = gguf_number(value, 0);
    *out = fabs(number) <= (double)__FLT_MAX__ || isnan(number) ? (float)number
                                                                : (float)copysign(INFINITY, number);
    return TRIB_OK;
}

trib_status gguf_get_bool(const struct gguf *file, const char *key, bool *out, bool *found,
                          trib_error *error)
{
    const struct gguf_value *value;
    trib_status status = find(file, key, found, &value, error);
    if (status != TRIB_OK || !value)
        return status;
    if (value->type != GGUF_BOOL)
        return wrong_kind(file, key, "a bool", value, error);
    *out = value->data[0] != 0;
    return TRIB_OK;
}

trib_status gguf_get_string(const struct gguf *file, const char *key, struct slice *out,
                            bool *found, trib_error *error)
{
    const struct gguf_value *value;
    trib_status status = find(file, key, found, &value, error);
    if (status != TRIB_OK || !value)
        return status;
    if (value->type != GGUF_STRING)
        return wrong_kind(file, key, "a string", value, error);
    const uint8_t *cursor = value->data;
    *out = gguf_next_string(&cursor);
    return TRIB_OK;
}

trib_status gguf_get_array(const struct gguf *file, const char *key, enum gguf_type element,
                           const struct gguf_value **out, bool *found, trib_error *error)
{
    const struct gguf_value *value;
    trib_status status = find(file, key, found, &value, error);
    if (status != TRIB_OK || !value)
        return status;
    if (value->type != GGUF_ARRAY || value->element != element) {
        char expected[32] = "an array of ";
        strcat(expected, gguf_type_name(element));
        return wrong_kind(file, key, expected, value, error);
    }
    *out = value;
    return TRIB_OK;
}

struct slice gguf_next_string(const uint8_t **cursor)
{
    uint64_t length;
    memcpy(&length, *cursor, sizeof length);
    struct slice s = {(const char *)*cursor + sizeof length, (size_t)length};
    *cursor += sizeof length + length;
    return s;
}

size_t gguf_value_size(const struct gguf_value *value)
{
    if (value->element != GGUF_STRING)
        return (size_t)value->count * gguf_type_size(value->element);
    const uint8_t *end = value->data;
    for (uint64_t i = 0; i < value->count; i++)
        (void)gguf_next_string(&end);
    return (size_t)(end - value->data);
}

/* Reads element i of the C type `type`. */
#define ELEMENT(type)                                                                              \
    do {                                                                                           \
        type element;                                                                              \
        memcpy(&element, value->data + i * sizeof element, sizeof element);                        \
        return (double)element;                                                                    \
    } while (0)

double gguf_number(const struct gguf_value *value, uint64_t i)
{
    switch (value->element) {
    case GGUF_U8:
    case GGUF_BOOL:
        ELEMENT(uint8_t);
    case GGUF_I8:
        ELEMENT(int8_t);
    case GGUF_U16:
        ELEMENT(uint16_t);
    case GGUF_I16:
        ELEMENT(int16_t);
    case GGUF_U32:
        ELEMENT(uint32_t);
    case GGUF_I32:
        ELEMENT(int32_t);
    case GGUF_U64:
        ELEMENT(uint64_t);
    case GGUF_I64:
        ELEMENT(int64_t);
    case GGUF_F32:
        ELEMENT(float);
    case GGUF_F64:
        ELEMENT(double);
    case GGUF_STRING:
    case GGUF_ARRAY:
        break;
    }
    return 0;
}
