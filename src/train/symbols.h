/* Vocabularies made for a text: its bytes, or its characters.
 *
 * Both are byte-level vocabularies as GPT-2 has them, so that every program that reads those can
 * use the model. `bytes` are the 256 bytes, id = value. `chars` are the characters of the text in
 * the order of their bytes; since byte-level BPE builds a character of several bytes from the left,
 * its bytes and beginnings are tokens too, and merges. Last comes one token that ends a text: where
 * a file names none, readers take id 11 for it.
 */
#ifndef TRAIN_SYMBOLS_H
#define TRAIN_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "tributary/status.h"

/* One character, or the beginning of one. */
struct symbol {
    unsigned char bytes[4];
    unsigned char length; /* 1 to 4 */
};

struct symbols {
    struct symbol *list; /* [count] ascending by bytes */
    size_t count;
    bool end; /* id `count` ends a text: it is no symbol */
};

/* TRIB_INVALID, naming `name` and the place, where the text has bytes that are no UTF-8. Appends
 * the characters of a text that are not there yet. */
trib_status symbols_add_text(struct symbols *s, struct slice text, const char *name,
                             trib_error *error);

/* The 256 bytes. */
trib_status symbols_bytes(struct symbols *s, trib_error *error);
void symbols_close(struct symbols *s);

/* Tokens, the end included. */
size_t symbols_vocabulary(const struct symbols *s);

/* The id of the symbol of these bytes, or -1. */
int32_t symbols_find(const struct symbols *s, const unsigned char *bytes, size_t length);

/* The text of a symbol as GPT-2's vocabularies spell bytes: printable characters of Latin-1 as
 * themselves, the other bytes as U+0100 and on. Writes at most 8 bytes; returns how many. */
size_t symbols_spell(const struct symbol *symbol, char out[8]);

#endif
