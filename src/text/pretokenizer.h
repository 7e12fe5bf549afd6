/* Pre-tokenizers: how a byte-level vocabulary cuts a text into words before it merges anything.
 *
 * A kind is a list of regular expressions. The first cuts the text into its matches and what is
 * between them; the next cuts each of those pieces, alone, and so on. Every model was trained with
 * one of them and knows nothing of words cut otherwise, so `tokenizer.ggml.pre` names the kind.
 *
 * The expressions run under PCRE2 with Unicode classes. They see valid UTF-8 only: each byte that
 * belongs to no character is a word of its own, and what is between such bytes is cut by itself.
 * All of them are linear: no expression of the table looks at a character more than a few times.
 *
 * A pre-tokenizer does not change once made; any number of threads may use one. */
#ifndef TEXT_PRETOKENIZER_H
#define TEXT_PRETOKENIZER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "tributary/status.h"

enum { PRETOKENIZER_NAMES = 10, PRETOKENIZER_EXPRESSIONS = 6 };

struct pretokenizer_kind {
    const char *names[PRETOKENIZER_NAMES];             /* up to the first NULL */
    const char *expressions[PRETOKENIZER_EXPRESSIONS]; /* in the order they apply; up to NULL */
    bool whole_words; /* a word that is a token is that token, whatever the merges say */
    bool add_bos;     /* where the file is silent */
};

/* The kind that a file calls `name`, or NULL. */
const struct pretokenizer_kind *pretokenizer_find(struct slice name);

struct pretokenizer;

/* Fails with TRIB_NO_MEMORY, or TRIB_UNSUPPORTED where the PCRE2 at hand lacks something. */
trib_status pretokenizer_open(struct pretokenizer **out, const struct pretokenizer_kind *kind,
                              trib_error *error);
void pretokenizer_close(struct pretokenizer *pre);

/* Takes one word, which is never empty and points into the text. A failure ends the cutting. */
typedef trib_status pretokenizer_word(void *context, struct slice word);

/* Gives every word of the text in turn; one after the other they are the text. Fails as `word`
 * does, with TRIB_NO_MEMORY, or with TRIB_UNSUPPORTED where PCRE2's limits are met. */
trib_status pretokenizer_split(const struct pretokenizer *pre, struct slice text,
                               pretokenizer_word *word, void *context, trib_error *error);

#endif
