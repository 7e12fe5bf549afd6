/* Learning a byte-level BPE vocabulary from texts: the equation stands above bpe_train.c. */
#ifndef TEXT_BPE_TRAIN_H
#define TEXT_BPE_TRAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "text/pretokenizer.h"
#include "tributary/status.h"

enum { BPE_VOCABULARY_MOST = 1 << 24 };

struct bpe_train_options {
    const struct pretokenizer_kind *kind;
    size_t vocabulary;      /* tokens at most */
    uint64_t min_frequency; /* a pair that occurs less often is not merged */
    const struct slice *special;
    size_t special_count;
};

/* What was learned. Tokens: the special ones as they were given, then the 256 characters of the
 * alphabet by code point, then what was merged, as characters of the alphabet. */
struct bpe_learned {
    size_t count, special_count; /* tokens in all, and special ones */
    char *bytes;                 /* the texts, one after the other */
    size_t *starts;              /* [count + 1] */
    size_t merge_count;
    struct bpe_pair {
        int32_t left, right; /* tokens */
    } * merges;              /* [merge_count] by rank */
    uint64_t words, distinct_words;
};

/* Learns from texts of at most ENCODE_LIMIT bytes each; words do not reach over from one text to
 * the next. A special token that stands twice counts once. Fails with TRIB_INVALID where the
 * options allow no vocabulary (too few tokens for special ones and alphabet; a special token that
 * is empty, longer than TOKEN_LONGEST or a character of the alphabet), TRIB_NO_MEMORY, or as
 * pretokenizer_split does. bpe_learned_free releases *out, also after a failure. */
trib_status bpe_train(struct bpe_learned *out, const struct slice *texts, size_t text_count,
                      const struct bpe_train_options *options, trib_error *error);
void bpe_learned_free(struct bpe_learned *learned);

static inline struct slice bpe_learned_text(const struct bpe_learned *learned, size_t id)
{
    return (struct slice){learned->bytes + learned->starts[id],
                          learned->starts[id + 1] - learned->starts[id]};
}

#endif
