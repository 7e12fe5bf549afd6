/* Tokenizers: text to token ids and back, as the vocabulary of a GGUF file defines them.
 *
 * A tokenizer copies what it needs and is independent of the file afterwards. It does not change
 * once made, so any number of threads may use one at a time. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "file/gguf.h"
#include "tributary/status.h"

/* What a token is; the numbers are those of `tokenizer.ggml.token_type`. */
enum token_kind {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6,
};

enum { TOKEN_NONE = -1 };

struct tokenizer;

/* Builds the tokenizer of a file. A model family that is not known is TRIB_UNSUPPORTED, naming it;
 * missing or malformed vocabularies are TRIB_FORMAT. On failure *out is NULL. */
trib_status tokenizer_open(struct tokenizer **out, const struct gguf *file, trib_error *error);
void tokenizer_close(struct tokenizer *tokenizer);

/* "llama" and so on, as `tokenizer.ggml.model` has it. Owned by the tokenizer. */
const char *tokenizer_model(const struct tokenizer *tokenizer);

size_t tokenizer_count(const struct tokenizer *tokenizer);

/* The token's text as the vocabulary has it, and its kind; id must be below the count. */
struct slice tokenizer_text(const struct tokenizer *tokenizer, int32_t id);
enum token_kind tokenizer_kind(const struct tokenizer *tokenizer, int32_t id);

/* Ids of the special tokens, TOKEN_NONE where the vocabulary has none. */
int32_t tokenizer_bos(const struct tokenizer *tokenizer);
int32_t tokenizer_eos(const struct tokenizer *tokenizer);

/* Whether texts begin with BOS where special tokens are added. */
bool tokenizer_adds_bos(const struct tokenizer *tokenizer);

/* True for tokens that end a generation: EOS, and the end-of-turn tokens the vocabulary names. */
bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id);

struct tokenize_options {
    bool add_special;   /* add BOS and EOS where the vocabulary's metadata asks for them */
    bool parse_special; /* text that spells a control token becomes that token */
};

/* Encodes `text` (any bytes, at most 1 GiB) and appends to *ids, which holds *count ids of
 * *capacity allocated by malloc (all zero to begin with) and grows as needed; the caller frees it,
 * also after a failure.
 */
trib_status tokenizer_encode(const struct tokenizer *tokenizer, struct slice text,
                             struct tokenize_options options, int32_t **ids, size_t *count,
                             size_t *capacity, trib_error *error);

/* A part of a text, `length` bytes of it: with `parse` control tokens may be spelled in it; with an
 * id it is that token, whatever its text. */
struct text_part {
    size_t length;
    bool parse;
    int32_t id; /* TOKEN_NONE: none */
};

/* The same for a text in parts that follow one another without a gap, and without BOS and EOS.
 * Special tokens are looked for in each part by itself; what is left between them is encoded as
 * one, across the borders of parts. */
trib_status tokenizer_encode_parts(const struct tokenizer *tokenizer, const char *text,
                                   const struct text_part *parts, size_t part_count, int32_t **ids,
                                   size_t *count, size_t *capacity, trib_error *error);

/* The bytes that one token stands for. `first`: only control and unknown tokens came before it, so
 * that the space a SentencePiece vocabulary puts before the text is taken off again (a token that
 * gave no bytes because of that was the first nevertheless). Control and unknown tokens stand for
 * nothing unless `special`. Writes at most `capacity` bytes and returns how many the token has;
 * never more than tokenizer_longest. */
size_t tokenizer_decode(const struct tokenizer *tokenizer, int32_t id, bool first, bool special,
                        char *out, size_t capacity);

/* The longest result tokenizer_decode can have, bytes. */
size_t tokenizer_longest(const struct tokenizer *tokenizer);

#endif
