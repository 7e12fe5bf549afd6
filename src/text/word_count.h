/* The distinct words of texts, and how often each occurs: what learning a vocabulary starts from.
 */
#ifndef TEXT_WORD_COUNT_H
#define TEXT_WORD_COUNT_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "text/pretokenizer.h"
#include "tributary/status.h"

struct counted_word {
    const char *bytes; /* in the text where the word was first seen */
    uint32_t length;   /* at least 1 */
    uint64_t count;
};

/* A zeroed struct is an empty set. The words are in the order in which they were first seen. */
struct word_set {
    struct counted_word *words;
    size_t count, capacity;
    uint64_t total; /* words seen, equal ones included */
    uint32_t *slots;
    size_t slot_count;
};

/* Cuts a text of at most ENCODE_LIMIT bytes, which must stay where it is, and counts its words. */
trib_status word_set_add(struct word_set *set, const struct pretokenizer *pre, struct slice text,
                         trib_error *error);
void word_set_free(struct word_set *set);

#endif
