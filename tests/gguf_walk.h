/* Touches everything of an open GGUF file that a program can reach, and compares what can be had in
 * two ways. Under a sanitizer, or before a guard page, a walk that comes back proves that the
 * reader let nothing through that points out of the file. */
#ifndef GGUF_WALK_H
#define GGUF_WALK_H

#include <stdlib.h>
#include <string.h>

#include "file/gguf.h"

/* What has been found wrong; later findings do not replace the first. */
struct gguf_walk {
    const struct gguf *file;
    const uint8_t *bytes; /* the file in memory, or NULL where that is not known */
    uint64_t sum;         /* of all bytes touched, so that no read can be left out */
    const char *wrong;
};

static inline void walk_expect(struct gguf_walk *w, bool holds, const char *otherwise)
{
    if (!holds && !w->wrong)
        w->wrong = otherwise;
}

static inline void walk_bytes(struct gguf_walk *w, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    if (w->bytes)
        walk_expect(w, p >= w->bytes && size <= w->file->size - (size_t)(p - w->bytes),
                    "bytes outside the file");
    for (size_t i = 0; i < size && !w->wrong; i++)
        w->sum += p[i];
}

static inline bool has_control_bytes(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 32 || *text == 127)
            return true;
    return false;
}

/* A message is one line that begins with the file's name and holds no control bytes. */
static inline bool message_is_clean(const char *message, const char *name)
{
    size_t length = strlen(name);
    return strncmp(message, name, length) == 0 && strncmp(message + length, ": ", 2) == 0 &&
           message[length + 2] != 0 && !has_control_bytes(message);
}

/* A getter succeeds for its own kind alone, and says of another what is wrong. */
static inline void walk_outcome(struct gguf_walk *w, trib_status status, bool own,
                                const trib_error *error)
{
    walk_expect(w, status == (own ? TRIB_OK : TRIB_FORMAT), "a getter took the wrong kind");
    if (status != TRIB_OK)
        walk_expect(w, message_is_clean(error->message, w->file->name), "an unfit message");
}

static inline void walk_getters(struct gguf_walk *w, const struct gguf_value *v, const char *key)
{
    const struct gguf *file = w->file;
    bool is_integer = v->type <= GGUF_I32 || v->type == GGUF_U64 || v->type == GGUF_I64;
    bool is_float = v->type == GGUF_F32 || v->type == GGUF_F64, found = false, truth;
    double number = is_integer ? gguf_number(v, 0) : -1;
    uint32_t natural;
    float real;
    struct slice text = {0};
    trib_error error;
    walk_outcome(w, gguf_get_u32(file, key, &natural, NULL, &error),
                 number >= 0 && number <= UINT32_MAX, &error);
    walk_outcome(w, gguf_get_f32(file, key, &real, NULL, &error), is_float, &error);
    walk_outcome(w, gguf_get_bool(file, key, &truth, NULL, &error), v->type == GGUF_BOOL, &error);
    walk_outcome(w, gguf_get_string(file, key, &text, &found, &error), v->type == GGUF_STRING,
                 &error);
    walk_expect(w, found, "a key that is there is not found");
    if (text.bytes)
        walk_bytes(w, text.bytes, text.length);
#define WALK_ARRAY(name, number, text, bytes)                                                      \
    {                                                                                              \
        const struct gguf_value *array = NULL;                                                     \
        bool own = v->type == GGUF_ARRAY && v->element == GGUF_##name;                             \
        walk_outcome(w, gguf_get_array(file, key, GGUF_##name, &array, NULL, &error), own,         \
                     &error);                                                                      \
        walk_expect(w, array == (own ? v : NULL), "another array");                                \
    }
    GGUF_TYPE_LIST(WALK_ARRAY)
#undef WALK_ARRAY
}

static inline void walk_value(struct gguf_walk *w, const struct gguf_value *v)
{
    char *key = calloc(1, v->key.length + 1);
    if (!key)
        return;
    walk_bytes(w, v->key.bytes, v->key.length);
    memcpy(key, v->key.bytes, v->key.length);
    if (!memchr(key, 0, v->key.length)) { /* keys with a NUL byte cannot be asked for */
        walk_expect(w, gguf_find(w->file, key) == v, "a key leads elsewhere");
        if (!has_control_bytes(key)) /* a message shows the key as the caller wrote it */
            walk_getters(w, v, key);
    }
    free(key);
    walk_expect(w, strcmp(gguf_type_name(v->type), "?") != 0, "a type without a name");
    walk_expect(w, v->type == GGUF_ARRAY || (v->count == 1 && v->element == v->type),
                "a single value that is not single");
    walk_bytes(w, v->data, 0);
    const uint8_t *cursor = v->data;
    for (uint64_t i = 0; i < v->count && !w->wrong; i++) {
        if (v->element == GGUF_STRING) {
            struct slice text = gguf_next_string(&cursor);
            walk_bytes(w, text.bytes, text.length);
        } else {
            w->sum += gguf_number(v, i) > 0;
        }
    }
}

static inline void walk_tensor(struct gguf_walk *w, const struct gguf_tensor *t)
{
    const struct dtype_info *info = dtype_info(t->type);
    uint64_t elements = 1;
    char *name = calloc(1, t->name.length + 1);
    if (!name)
        return;
    walk_bytes(w, t->name.bytes, t->name.length);
    memcpy(name, t->name.bytes, t->name.length);
    if (!memchr(name, 0, t->name.length))
        walk_expect(w, gguf_find_tensor(w->file, name) == t, "a name leads elsewhere");
    free(name);
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++) {
        elements *= t->shape[d];
        walk_expect(w, d < t->dims || t->shape[d] == 1, "an unused dimension that is not 1");
    }
    walk_expect(w, info != NULL, "a tensor without a type");
    walk_expect(w, elements == t->elements && elements > 0, "a wrong count of elements");
    walk_expect(w, info && t->shape[0] % info->block == 0, "rows of no whole blocks");
    walk_expect(w, info && t->elements / info->block * info->bytes == t->bytes, "a wrong size");
    walk_bytes(w, t->data, t->bytes);
}

/* NULL when everything agrees; otherwise what does not. `bytes` is the file in memory, or NULL. */
static inline const char *gguf_walk(const struct gguf *file, const void *bytes)
{
    struct gguf_walk w = {.file = file, .bytes = bytes};
    for (size_t i = 0; i < file->value_count; i++)
        walk_value(&w, &file->values[i]);
    for (size_t i = 0; i < file->tensor_count; i++)
        walk_tensor(&w, &file->tensors[i]);
    volatile uint64_t sum = w.sum;
    (void)sum;
    return w.wrong;
}

#endif
