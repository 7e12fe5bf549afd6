/* The vocabulary of a training: made for its text, or taken from a GGUF file; texts to ids, ids to
 * text, and its entries in the files that are saved. */
#ifndef TRAIN_VOCABULARY_H
#define TRAIN_VOCABULARY_H

#include "file/gguf_write.h"
#include "text/tokenizer.h"
#include "train/symbols.h"

enum vocabulary_kind { VOCABULARY_BYTES, VOCABULARY_CHARS, VOCABULARY_FILE };

struct vocabulary {
    enum vocabulary_kind kind;
    struct symbols symbols;  /* of bytes and characters */
    int32_t single[256];     /* the id of each character of one byte, -1: none */
    struct gguf *own;        /* the file that was opened for it, or NULL */
    const struct gguf *file; /* where the tokenizer comes from */
    struct tokenizer *tokenizer;
};

/* "bytes", "chars", or the path of a GGUF file. The characters come with the texts. */
trib_status vocabulary_open(struct vocabulary *v, const char *name, trib_error *error);

/* The vocabulary inside a file that is open already, and stays open longer. */
trib_status vocabulary_of_file(struct vocabulary *v, const struct gguf *file, trib_error *error);
void vocabulary_close(struct vocabulary *v);

/* Makes room for the characters of a text; to be called for all texts before the first encode. Does
 * nothing for the other kinds. */
trib_status vocabulary_add_text(struct vocabulary *v, struct slice text, const char *name,
                                trib_error *error);

size_t vocabulary_count(const struct vocabulary *v);

/* Bytes that a vocabulary of a file takes at most, while it is saved, too; of the others, which are
 * small, 0. */
size_t vocabulary_memory(const struct vocabulary *v);

/* Appends the ids of a text to *ids, as tokenizer_encode does. A character that was not added
 * before is TRIB_INVALID, with `name` in the message. */
trib_status vocabulary_encode(const struct vocabulary *v, struct slice text, const char *name,
                              int32_t **ids, size_t *count, size_t *capacity, trib_error *error);

/* The bytes of a token: at most `capacity` are written; returns how many there are. */
size_t vocabulary_decode(const struct vocabulary *v, int32_t id, bool first, char *out,
                         size_t capacity);
size_t vocabulary_longest(const struct vocabulary *v);

/* Whether an entry of a GGUF file is one of its tokenizer that a training takes over: all but those
 * that have BOS and EOS added to texts. */
bool vocabulary_has_entry(const struct gguf_value *value);

/* Puts the tokenizer.* entries of a GGUF file, by which nothing is added to a text: encode adds
 * nothing. */
trib_status vocabulary_put(const struct vocabulary *v, struct gguf_writer *writer,
                           trib_error *error);

#endif
