/* Special tokens in a text: finds where the text spells them, before it is encoded.
 *
 * Longer tokens are found first, and of equally long ones the leftmost: a shorter token never takes
 * bytes of a longer one, wherever they begin. What is left between them is plain text. */
#ifndef TEXT_SPECIAL_H
#define TEXT_SPECIAL_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "text/vocab.h"
#include "tributary/status.h"

/* The tokens to look for, in the order of their texts. */
struct special_set {
    struct special_entry *entries;
    size_t count;
    uint32_t first[257]; /* entries that begin with byte b: first[b] to first[b + 1] */
};

/* One found: bytes start to end of the text are the token's, with what it strips. */
struct special_match {
    uint32_t start, end;
    int32_t id;
};

/* Makes the set of all tokens whose kind is a bit of `kinds` (1 << TOKEN_CONTROL, ...). It points
 * into the vocabulary. special_set_free releases it, also after a failure. */
trib_status special_set_make(struct special_set *set, const struct vocab *vocab, unsigned kinds,
                             trib_error *error);
void special_set_free(struct special_set *set);

/* Finds the tokens in a text of at most UINT32_MAX bytes. *matches, in the order of the text, is
 * the caller's to free; NULL after a failure or when there are none. */
trib_status special_find(const struct special_set *set, const struct vocab *vocab,
                         struct slice text, struct special_match **matches, size_t *count,
                         trib_error *error);

#endif
