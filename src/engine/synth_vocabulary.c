/* Pieces that are counted out: a, b, ..., z, aa, ab, ... */
#include "engine/synth_vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum {
    LETTERS = 26,
    SPECIAL = 3,
    BYTES = 256,
    PIECE_MOST = 16, /* bytes of a piece: a space of three and up to seven letters */
};

/* Kinds of tokens, as the format numbers them. */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, BYTE = 6 };

static const char space[] = "\xe2\x96\x81"; /* U+2581 */

/* Word number i, counted without a zero: z is followed by aa. Returns its length. */
static size_t write_word(char *out, size_t i)
{
    char reversed[PIECE_MOST];
    size_t length = 0;
    for (size_t n = i + 1; n > 0; n = (n - 1) / LETTERS)
        reversed[length++] = (char)('a' + (n - 1) % LETTERS);
    for (size_t j = 0; j < length; j++)
        out[j] = reversed[length - 1 - j];
    return length;
}

static struct slice write_token(char *out, size_t id, int32_t *kind)
{
    static const char *const special[SPECIAL] = {"<unk>", "<s>", "</s>"};
    size_t length;
    *kind = id == 0 ? UNKNOWN : id < SPECIAL ? CONTROL : id < SPECIAL + BYTES ? BYTE : NORMAL;
    if (id < SPECIAL)
        return slice_of(special[id]);
    if (id < SPECIAL + BYTES) {
        length = (size_t)snprintf(out, PIECE_MOST, "<0x%02X>", (unsigned)(id - SPECIAL));
        return (struct slice){out, length};
    }
    size_t i = id - SPECIAL - BYTES; /* the space alone, then two pieces for each word */
    length = i % 2 == 0 ? sizeof space - 1 : 0;
    memcpy(out, space, length);
    if (i > 0)
        length += write_word(out + length, (i - 1) / 2);
    return (struct slice){out, length};
}

trib_status synth_put_vocabulary(struct gguf_writer *writer, size_t count, trib_error *error)
{
    char(*texts)[PIECE_MOST] = calloc(count, sizeof *texts);
    struct slice *tokens = calloc(count, sizeof *tokens);
    float *scores = calloc(count, sizeof *scores);
    int32_t *kinds = calloc(count, sizeof *kinds);
    trib_status status = TRIB_OK;
    if (!texts || !tokens || !scores || !kinds) {
        status = error_no_memory(error, "a vocabulary", count * sizeof *texts);
        goto done;
    }
    for (size_t id = 0; id < count; id++) {
        tokens[id] = write_token(texts[id], id, &kinds[id]);
        scores[id] = id < SPECIAL + BYTES ? 0 : -(float)(id - SPECIAL - BYTES);
    }
    gguf_put_string(writer, "tokenizer.ggml.model", slice_of("llama"));
    gguf_put_string(writer, "tokenizer.ggml.pre", slice_of("default"));
    gguf_put_strings(writer, "tokenizer.ggml.tokens", tokens, count);
    gguf_put_numbers(writer, "tokenizer.ggml.scores", GGUF_F32, scores, count);
    gguf_put_numbers(writer, "tokenizer.ggml.token_type", GGUF_I32, kinds, count);
    gguf_put_u32(writer, "tokenizer.ggml.unknown_token_id", 0);
    gguf_put_u32(writer, "tokenizer.ggml.bos_token_id", 1);
    gguf_put_u32(writer, "tokenizer.ggml.eos_token_id", 2);
    gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", true);
    gguf_put_bool(writer, "tokenizer.ggml.add_eos_token", false);
done:
    free(texts);
    free(tokens);
    free(scores);
    free(kinds);
    return status;
}
