/* What a model family of tokenizers gives to the common part: its defaults, and how it encodes a
 * stretch of plain text and decodes a token. A new family is one file and one row in tokenizer.c.
 */
#ifndef TEXT_FAMILY_H
#define TEXT_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/slice.h"
#include "file/gguf.h"
#include "text/vocab.h"
#include "tributary/status.h"

/* The longest text, bytes: positions in it fit 32 bits, also after each space became three bytes.
 */
#define ENCODE_LIMIT ((size_t)1 << 30)

/* Ids that grow as they are appended; the memory is malloc's. */
struct id_list {
    int32_t *ids;
    size_t count, capacity;
};

/* False when there is no memory. */
static inline bool id_list_append(struct id_list *list, int32_t id)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        int32_t *ids = realloc(list->ids, capacity * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return true;
}

struct family {
    const char *model; /* as tokenizer.ggml.model has it */
    struct vocab_defaults defaults;

    /* Makes the family's own tables; *state is NULL before, and goes to `close` also on failure.
     * The vocabulary outlives the state; what the file is silent about may be set in it. */
    trib_status (*open)(void **state, struct vocab *vocab, const struct gguf *file,
                        trib_error *error);
    void (*close)(void *state);

    /* Appends the ids of a text that is not empty and at most ENCODE_LIMIT bytes long: a whole
     * text, or what is left of one before, between or after its special tokens. */
    trib_status (*encode)(const void *state, struct slice text, struct id_list *ids,
                          trib_error *error);

    /* As tokenizer_decode, of tokens that are neither control nor unknown. */
    size_t (*decode)(const void *state, int32_t id, bool first, char *out, size_t capacity);
};

#endif
