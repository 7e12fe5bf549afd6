/* Small vocabularies for tests: a list of tokens becomes a GGUF file in memory and that a
 * tokenizer: SentencePiece, or byte-level BPE where there are merges. */
#ifndef VOCAB_BUILD_H
#define VOCAB_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf_build.h"
#include "text/tokenizer.h"

struct vocab_entry {
    const char *bytes;
    size_t length;
    int32_t kind; /* enum token_kind, or what else the file shall say */
    float score;
};

#define VOCAB_ENTRY(text, kind, score)                                                             \
    {                                                                                              \
        (text), sizeof(text) - 1, (kind), (score)                                                  \
    }

struct vocab_options {
    const char *name;  /* general.name, or NULL */
    const char *model; /* tokenizer.ggml.model; NULL: "llama", or "gpt2" where there are merges */
    bool no_kinds, no_scores, no_space_prefix;
    const struct slice *merges;
    size_t merge_count;
    const char *pre; /* tokenizer.ggml.pre, or NULL */
};

static inline void vocab_put(struct gguf_build *b, const struct vocab_entry *entries, size_t count,
                             struct vocab_options options)
{
    const char *usual = options.merges ? "gpt2" : "llama";
    gguf_build_string(b, "tokenizer.ggml.model", options.model ? options.model : usual);
    if (options.pre)
        gguf_build_string(b, "tokenizer.ggml.pre", options.pre);
    if (options.merges)
        gguf_build_array(b, "tokenizer.ggml.merges", GGUF_STRING, options.merge_count);
    for (size_t i = 0; i < options.merge_count; i++)
        put_slice(&b->values, options.merges[i].bytes, options.merges[i].length);
    if (options.name)
        gguf_build_string(b, "general.name", options.name);
    if (options.no_space_prefix)
        gguf_build_bool(b, "tokenizer.ggml.add_space_prefix", false);
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, count);
    for (size_t i = 0; i < count; i++)
        put_slice(&b->values, entries[i].bytes, entries[i].length);
    if (!options.no_kinds)
        gguf_build_array(b, "tokenizer.ggml.token_type", GGUF_I32, count);
    for (size_t i = 0; i < count && !options.no_kinds; i++)
        put_u32(&b->values, (uint32_t)entries[i].kind);
    if (!options.no_scores)
        gguf_build_array(b, "tokenizer.ggml.scores", GGUF_F32, count);
    for (size_t i = 0; i < count && !options.no_scores; i++)
        put_f32(&b->values, entries[i].score);
}

/* Opens the tokenizer of a file whose values have been put, and closes the file. */
static inline trib_status vocab_finish(struct gguf_build *b, struct tokenizer **out,
                                       trib_error *error)
{
    struct gguf *file;
    *out = NULL;
    gguf_build_finish(b);
    trib_status status = gguf_parse(&file, b->file.bytes, b->file.size, "test.gguf", error);
    if (status == TRIB_OK)
        status = tokenizer_open(out, file, error);
    gguf_close(file);
    gguf_build_close(b);
    return status;
}

static inline trib_status vocab_open(struct tokenizer **out, const struct vocab_entry *entries,
                                     size_t count, struct vocab_options options, trib_error *error)
{
    struct gguf_build b;
    gguf_build_open(&b);
    vocab_put(&b, entries, count, options);
    return vocab_finish(&b, out, error);
}

#endif
