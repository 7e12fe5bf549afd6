/* The made-up vocabulary of a synthetic model. */
#ifndef ENGINE_SYNTH_VOCABULARY_H
#define ENGINE_SYNTH_VOCABULARY_H

#include <stddef.h>

#include "file/gguf_write.h"

/* The fewest tokens: what is special, the bytes, single letters. */
enum { SYNTH_VOCABULARY_LEAST = 320, SYNTH_VOCABULARY_MOST = 1 << 20 };

/* Puts a SentencePiece vocabulary of `count` tokens: <unk>, <s>, </s>, the 256 bytes, and words of
 * letters, each with and without the space before it, the shorter ones first. All beginnings of a
 * piece are pieces, so merging letter by letter reaches every one. */
trib_status synth_put_vocabulary(struct gguf_writer *writer, size_t count, trib_error *error);

#endif
