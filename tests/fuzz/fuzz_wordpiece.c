/* Fuzz target: WordPiece vocabularies and texts, both hostile.
 *
 * The input begins with the options and a list of tokens; the rest is the text. Opening fails with
 * one line or gives a tokenizer whose ids exist and whose decoding stays within its bounds. */
#include "tokenizer_checks.h"
#include "vocab_build.h"

enum option {
    PARSE_SPECIAL = 1,
    ADD_SPECIAL = 2,
    OWN_IDS = 4, /* three more bytes: the ids of the unknown token, [CLS] and [SEP] */
    CASED = 8,
    ACCENTED = 16,
};

static struct tokenizer *open_tokenizer(struct input *in, unsigned options)
{
    struct vocab_entry entries[256];
    struct gguf_build b;
    struct tokenizer *tokenizer;
    trib_error error = {0};
    gguf_build_open(&b);
    if (options & OWN_IDS) {
        gguf_build_u32(&b, "tokenizer.ggml.unknown_token_id", take(in));
        gguf_build_u32(&b, "tokenizer.ggml.cls_token_id", take(in));
        gguf_build_u32(&b, "tokenizer.ggml.seperator_token_id", take(in));
    }
    gguf_build_bool(&b, "tokenizer.ggml.normalizer.lowercase", !(options & CASED));
    gguf_build_bool(&b, "tokenizer.ggml.normalizer.strip_accents", !(options & ACCENTED));
    size_t count = take(in);
    for (size_t i = 0; i < count; i++) {
        uint8_t kind = take(in);
        struct slice text = take_slice(in, take(in) % 32);
        entries[i] =
            (struct vocab_entry){text.bytes, text.length, kind < 64 ? kind % 8 : TOKEN_NORMAL, 0};
    }
    vocab_put(&b, entries, count, (struct vocab_options){.model = "bert", .no_scores = true});
    check_opened(vocab_finish(&b, &tokenizer, &error), tokenizer, &error);
    return tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    unsigned options = take(&in);
    struct tokenizer *tokenizer = open_tokenizer(&in, options);
    if (!tokenizer)
        return 0;
    struct tokenize_options how = {.add_special = options & ADD_SPECIAL,
                                   .parse_special = options & PARSE_SPECIAL};
    struct encoded e = encode_rest(tokenizer, &in, how);
    CHECK(e.status == TRIB_OK || (e.status == TRIB_UNSUPPORTED && e.count == 0));
    free(e.ids);
    tokenizer_close(tokenizer);
    return 0;
}
