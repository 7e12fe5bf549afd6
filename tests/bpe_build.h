/* Small byte-level vocabularies for tests: the tokens of all bytes, whose ids are the bytes, and
 * what else a test wants behind them, with merges. */
#ifndef BPE_BUILD_H
#define BPE_BUILD_H

#include "text/alphabet.h"
#include "vocab_build.h"

enum { BPE_BYTES = 256, BPE_ENTRIES = 512 };

struct bpe_build {
    struct vocab_entry entries[BPE_ENTRIES];
    char texts[BPE_BYTES][ALPHABET_ROOM(1)];
    size_t count;
    struct slice merges[BPE_ENTRIES];
    struct vocab_options options;
};

static inline void bpe_build_open(struct bpe_build *v, const char *pre)
{
    *v = (struct bpe_build){.count = BPE_BYTES};
    v->options = (struct vocab_options){.merges = v->merges, .pre = pre, .no_scores = true};
    for (int byte = 0; byte < BPE_BYTES; byte++) {
        size_t length = alphabet_write(&(char){(char)byte}, 1, v->texts[byte]);
        v->entries[byte] = (struct vocab_entry){v->texts[byte], length, TOKEN_NORMAL, 0};
    }
}

/* A token; its id is returned. The text must stay. */
static inline int32_t bpe_build_token(struct bpe_build *v, const char *text, int32_t kind)
{
    v->entries[v->count] = (struct vocab_entry){text, strlen(text), kind, 0};
    return (int32_t)v->count++;
}

/* The next merge, "left right". */
static inline void bpe_build_merge(struct bpe_build *v, const char *text)
{
    v->merges[v->options.merge_count++] = slice_of(text);
}

static inline trib_status bpe_build_finish(const struct bpe_build *v, struct tokenizer **out,
                                           trib_error *error)
{
    return vocab_open(out, v->entries, v->count, v->options, error);
}

#endif
