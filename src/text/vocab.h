/* The vocabulary: what every model family knows of its tokens, read from a GGUF file and checked.
 *
 * Invariants after vocab_load: count is 1 to INT32_MAX; no text is longer than TOKEN_LONGEST bytes;
 * every kind is one of enum token_kind; no score is NaN; every id in `special` is TOKEN_NONE or
 * below count; the ids that add_bos and add_eos call for exist. */
#ifndef TEXT_VOCAB_H
#define TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "file/gguf.h"
#include "text/tokenizer.h"
#include "tributary/status.h"

/* A bound that real vocabularies stay far below (the longest known are some hundred bytes). It
 * bounds what one byte of text can cost in look-ups, whatever the file says. */
enum { TOKEN_LONGEST = 4096 };

/* Tokens that metadata names; keys that nothing uses (padding, separator) are not read, as files
 * with ids out of range in them are common. */
enum special {
    SPECIAL_BOS,
    SPECIAL_EOS,
    SPECIAL_UNKNOWN,
    SPECIAL_END_OF_TURN,
    SPECIAL_END_OF_MESSAGE,
    SPECIAL_COUNT
};

/* What holds where the file is silent; an id that is not below the count of tokens is then none. */
struct vocab_defaults {
    int32_t special[SPECIAL_COUNT];
    bool add_bos, add_eos, add_space_prefix;
};

enum token_flag {
    TOKEN_ENDS = 1,        /* ends a generation */
    TOKEN_STRIPS_RIGHT = 2 /* white space after this token in a text belongs to it */
};

struct vocab {
    size_t count;
    size_t longest; /* bytes of the longest text */
    char *bytes;    /* the texts, one after the other */
    size_t *starts; /* [count + 1] */
    uint8_t *kinds; /* [count] enum token_kind */
    uint8_t *flags; /* [count] enum token_flag */
    float *scores;  /* [count] */
    struct vocab_slot *slots;
    size_t slot_mask;
    int32_t special[SPECIAL_COUNT];
    bool add_bos, add_eos, add_space_prefix;
};

/* Fills *vocab, which vocab_free releases, also after a failure. */
trib_status vocab_load(struct vocab *vocab, const struct gguf *file,
                       const struct vocab_defaults *defaults, trib_error *error);
void vocab_free(struct vocab *vocab);

static inline struct slice vocab_text(const struct vocab *vocab, int32_t id)
{
    return (struct slice){vocab->bytes + vocab->starts[id],
                          vocab->starts[id + 1] - vocab->starts[id]};
}

/* The token that plain text spells, or TOKEN_NONE: a normal, user-defined or unused one, and of
 * several with the same text the first. Control, unknown and byte tokens are never found, so that
 * no text can pass for one. */
int32_t vocab_find(const struct vocab *vocab, const char *bytes, size_t length);

/* The value of a byte token's text, "<0x00>" to "<0xFF>", or -1 for any other text. */
int vocab_byte(struct slice text);

/* Text from a file for use in a message: one printable line, cut to fit. */
struct vocab_quote {
    char text[48];
};
struct vocab_quote vocab_quote(struct slice text);

#endif
