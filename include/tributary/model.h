/* Tributary: model files. What is in one, its tokenizer, and writing it anew.
 *
 *     trib_model *model;
 *     trib_error error;
 *     if (trib_model_open(&model, "model.gguf", &error) != TRIB_OK)
 *         fprintf(stderr, "%s\n", error.message);
 *     ...
 *     trib_model_close(model);
 *
 * A model file is opened, checked and described here; engine.h runs it. Files are GGUF, versions 2
 * and 3 (github.com/ggml-org/ggml, docs/gguf.md), or folders as downloaded from Hugging Face
 * (config.json, safetensors files, tokenizer), which are seen as the GGUF files that llama.cpp's
 * converter makes of them. They are mapped, not read, and must not be shortened while open.
 *
 * Threads: an open model does not change, so any number of threads may use it; a decoder belongs to
 * one thread at a time.
 */
#ifndef TRIBUTARY_MODEL_H
#define TRIBUTARY_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct trib_model trib_model;

/* Opens and checks a file or a folder. A file need not be one that this build can run: any
 * well-formed one can be described, and any known vocabulary used. On failure *out is NULL: TRIB_IO
 * (missing, unreadable), TRIB_FORMAT (not GGUF, or malformed), TRIB_UNSUPPORTED (another version; a
 * folder whose architecture, tokenizer or settings are not known). */
trib_status trib_model_open(trib_model **out, const char *path, trib_error *error);

/* What one should be told of the model, in one line: that a part of the folder is not used, such as
 * what sees images. NULL: nothing. Valid until the model is closed. */
const char *trib_model_note(const trib_model *model);

/* NULL is allowed. Engines and decoders of the model must be closed before. */
void trib_model_close(trib_model *model);

/* ---- Description. Strings are valid until the model is closed; they are length-delimited, may
 * hold any bytes, and are not terminated. ---- */

typedef struct trib_text {
    const char *bytes;
    size_t length;
} trib_text;

typedef enum trib_value_kind {
    TRIB_VALUE_INTEGER,
    TRIB_VALUE_UNSIGNED,
    TRIB_VALUE_REAL,
    TRIB_VALUE_BOOL,
    TRIB_VALUE_STRING,
    TRIB_VALUE_ARRAY, /* its elements are counted, not shown */
} trib_value_kind;

/* One metadata entry. */
typedef struct trib_metadata {
    trib_text key;
    const char *type; /* "u32", "string", "array", ...; of an array see `element_type` */
    const char *element_type;
    uint64_t count; /* elements of an array, else 1 */
    trib_value_kind kind;
    union {
        int64_t integer;
        uint64_t natural;
        double real;
        bool boolean;
        trib_text string;
    } value;
} trib_metadata;

/* One tensor. shape[0] varies fastest; dimensions past `dims` are 1. */
typedef struct trib_tensor {
    trib_text name;
    const char *type; /* "F32", "Q8_0", ... */
    uint32_t dims;
    uint64_t shape[4];
    uint64_t bytes;
} trib_tensor;

uint32_t trib_model_version(const trib_model *model);   /* of the format; 0: a folder */
uint64_t trib_model_file_size(const trib_model *model); /* bytes */

size_t trib_model_metadata_count(const trib_model *model);
trib_metadata trib_model_metadata(const trib_model *model, size_t i); /* i below the count */

size_t trib_model_tensor_count(const trib_model *model);
trib_tensor trib_model_tensor(const trib_model *model, size_t i); /* i below the count */

/* The shape of a model that can be run; letters as in the design: L layers, E width, H query heads,
 * G KV heads, D head_dim, F FFN width, V vocabulary. What a predictor does not have is 0. */
typedef struct trib_model_shape {
    size_t layers, width, heads, kv_heads, head_dim, ffn, vocabulary, context;
    uint64_t parameters;
} trib_model_shape;

/* TRIB_OK where this build can run the model; otherwise says why not. */
trib_status trib_model_describe(const trib_model *model, trib_model_shape *out, trib_error *error);

/* ---- Writing ---- */

/* Called while a model is written with the bytes of weights done and all of them; false stops. */
typedef bool trib_convert_progress(void *context, uint64_t done, uint64_t total);

/* Writes the model as a GGUF file, whole or not at all, that llama.cpp reads too. `type` is that of
 * the matrices: "f32", "f16", "bf16", "q8_0" (rows that are no multiple of 32 become f16), or NULL:
 * each as it is. What has one dimension is f32. `progress` may be NULL. On failure: TRIB_INVALID
 * (no such type; a weight that is no number or beyond 65,504, for f16 and q8_0: the tensor is
 * named), TRIB_UNSUPPORTED (a name of 128 bytes or more), TRIB_IO, TRIB_NO_MEMORY,
 * TRIB_STOPPED. */
trib_status trib_model_convert(const trib_model *model, const char *path, const char *type,
                               trib_convert_progress *progress, void *context, trib_error *error);

/* ---- Tokenizer ---- */

enum {
    TRIB_TOKENIZE_SPECIAL = 1, /* add BOS and EOS where the vocabulary asks for them */
    TRIB_TOKENIZE_PARSE = 2,   /* text that spells a control token becomes that token */
};

/* Turns `length` bytes of any text into ids, allocated for the caller, who gives them to trib_free.
 * On failure *ids is NULL and *count 0: TRIB_UNSUPPORTED (a vocabulary of an unknown kind),
 * TRIB_FORMAT (none, or malformed), TRIB_NO_MEMORY. */
trib_status trib_tokenize(const trib_model *model, const char *text, size_t length, unsigned flags,
                          int32_t **ids, size_t *count, trib_error *error);

/* Frees what the library allocated for the caller; NULL is allowed. */
void trib_free(void *memory);

/* Tokens in the vocabulary; 0 when there is no usable one. */
size_t trib_vocabulary_size(const trib_model *model);

/* True for a token that ends a text (EOS, end of turn). False for ids outside the vocabulary. */
bool trib_token_is_end(const trib_model *model, int32_t id);

/* Turns ids back into text, one at a time, never splitting a UTF-8 character: bytes of a character
 * whose rest has not come yet are held back. */
typedef struct trib_decoder trib_decoder;

/* `continues`: the text goes on from text before it, so that the space before its first word stays.
 * With `special` control tokens are written as their text. Fails as trib_tokenize does. */
trib_status trib_decoder_open(trib_decoder **out, const trib_model *model, bool continues,
                              bool special, trib_error *error);
void trib_decoder_close(trib_decoder *decoder);

/* The text that token `id` completes; empty for an id outside the vocabulary. Valid until the next
 * call. trib_decoder_rest gives what is still held back when no more tokens come. */
trib_text trib_decoder_next(trib_decoder *decoder, int32_t id);
trib_text trib_decoder_rest(trib_decoder *decoder);

/* ---- Conversations ----
 *
 *     trib_chat *chat;    trib_chat_open(&chat, model, NULL, &error);
 *     trib_chat_render(chat, messages, 1, 0, &ids, &count, &error);    append, generate an answer
 *     messages[1] = the answer; messages[2] = what the user says next
 *     trib_chat_render(chat, messages, 3, 2, &ids, &count, &error);    only what is new
 */

typedef enum trib_role { TRIB_ROLE_SYSTEM, TRIB_ROLE_USER, TRIB_ROLE_ASSISTANT } trib_role;

typedef struct trib_message {
    trib_role role;
    trib_text text;
} trib_message;

/* A chat template, and the model whose tokens it is written with. It does not change once open, so
 * any number of threads may use it. */
typedef struct trib_chat trib_chat;

/* `name`: of a template; NULL: the one that the file's tokenizer.chat_template is recognised as.
 * The model must stay open longer. On failure *out is NULL: TRIB_UNSUPPORTED (the file has no
 * template or one that is not known), TRIB_INVALID (an unknown name), TRIB_NO_MEMORY, or as
 * trib_tokenize. */
trib_status trib_chat_open(trib_chat **out, const trib_model *model, const char *name,
                           trib_error *error);
void trib_chat_close(trib_chat *chat); /* NULL is allowed */

/* "chatml"; and the names there are, NULL behind the last. Static storage. */
const char *trib_chat_template(const trib_chat *chat);
const char *trib_chat_name(size_t i);

/* Text i that ends an answer where the model spells it instead of giving the token; NULL behind the
 * last. Static storage. */
const char *trib_chat_stop(const trib_chat *chat, size_t i);

/* The tokens of messages `had` to count - 1 of a conversation: at most one of the system, then the
 * user's and the assistant's in turn. The `had` messages before are computed already, the last of
 * them an answer up to, but not with, the token that ended it. Behind a last message of the user
 * stands the begin of an answer; a last one of the assistant stays without its end.
 *
 * Messages are plain text: what spells a control token in them stays text. *ids is allocated for
 * the caller, who gives it to trib_free. On failure *ids is NULL and *n 0: TRIB_INVALID (the order,
 * `had`), or as trib_tokenize. */
trib_status trib_chat_render(const trib_chat *chat, const trib_message *messages, size_t count,
                             size_t had, int32_t **ids, size_t *n, trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
