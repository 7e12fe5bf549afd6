/* Fuzz target: hostile vocabularies and hostile texts.
 *
 * The input begins with the options and a list of tokens, which become a GGUF file in memory; the
 * rest is the text. Whatever the vocabulary, opening it fails with one line or gives a tokenizer
 * whose ids exist, whose decoding stays within its bounds, and which gives the text back where the
 * rules of spm.c promise it. */
#include "tokenizer_checks.h"
#include "vocab_build.h"

#define SP "\xe2\x96\x81" /* U+2581, a space */

enum option {
    PARSE_SPECIAL = 1,
    ADD_SPECIAL = 2,
    WHOLE = 4, /* the tokens of all bytes and of the space are in the vocabulary, too */
    NO_KINDS = 8,
    NO_SCORES = 16,
    STRIPS = 32,
    NO_SPACE_PREFIX = 64,
    OWN_IDS = 128, /* two more bytes: the ids of BOS and EOS */
};

enum { TOKENS_LIMIT = 255, BYTES = 256 };

static size_t take_entries(struct input *in, struct vocab_entry *entries)
{
    size_t count = take(in);
    for (size_t i = 0; i < count; i++) {
        uint8_t kind = take(in), score = take(in);
        struct slice text = take_slice(in, take(in) % 32);
        /* Mostly normal tokens; 0 and 7 are no kinds; a score of 255 is NaN. */
        entries[i] =
            (struct vocab_entry){text.bytes, text.length, kind < 64 ? kind % 8 : TOKEN_NORMAL,
                                 score == 255 ? __builtin_nanf("") : (int8_t)score / 8.0f};
    }
    return count;
}

static struct tokenizer *open_tokenizer(struct input *in, unsigned options)
{
    static char byte_texts[BYTES][8];
    struct vocab_entry entries[TOKENS_LIMIT + BYTES + 1];
    struct vocab_options vocab = {.name = options & STRIPS ? "phi-3" : NULL,
                                  .no_kinds = options & NO_KINDS,
                                  .no_scores = options & NO_SCORES,
                                  .no_space_prefix = options & NO_SPACE_PREFIX};
    struct gguf_build b;
    struct tokenizer *tokenizer;
    trib_error error = {0};
    gguf_build_open(&b);
    if (options & OWN_IDS) {
        gguf_build_u32(&b, "tokenizer.ggml.bos_token_id", take(in));
        gguf_build_u32(&b, "tokenizer.ggml.eos_token_id", take(in));
        gguf_build_bool(&b, "tokenizer.ggml.add_eos_token", true);
    }
    size_t count = take_entries(in, entries);
    for (int byte = 0; (options & WHOLE) && byte < BYTES; byte++) {
        static const char digits[] = "0123456789ABCDEF";
        memcpy(byte_texts[byte], "<0x00>", 7);
        byte_texts[byte][3] = digits[byte >> 4];
        byte_texts[byte][4] = digits[byte & 15];
        entries[count++] = (struct vocab_entry){byte_texts[byte], 6, TOKEN_BYTE, 0};
    }
    if (options & WHOLE)
        entries[count++] = (struct vocab_entry)VOCAB_ENTRY(SP, TOKEN_NORMAL, 0);
    vocab_put(&b, entries, count, vocab);
    check_opened(vocab_finish(&b, &tokenizer, &error), tokenizer, &error);
    return tokenizer;
}

/* True when the ids must decode to the text: no special token in it, no unknown one, a token for
 * the space, and no U+2581. */
static bool must_come_back(const struct tokenizer *tokenizer, struct slice text, const int32_t *ids,
                           size_t count)
{
    bool has_space = false;
    for (int32_t id = 0; (size_t)id < tokenizer_count(tokenizer); id++) {
        enum token_kind kind = tokenizer_kind(tokenizer, id);
        has_space = has_space || ((kind == TOKEN_NORMAL || kind == TOKEN_UNUSED) &&
                                  slice_is(tokenizer_text(tokenizer, id), SP));
        if (kind == TOKEN_USER_DEFINED)
            return false;
    }
    for (size_t i = 0; i < count; i++)
        if (ids[i] == 0 || tokenizer_kind(tokenizer, ids[i]) == TOKEN_UNKNOWN ||
            tokenizer_kind(tokenizer, ids[i]) == TOKEN_CONTROL)
            return false;
    for (size_t i = 0; i + 3 <= text.length; i++)
        if (memcmp(text.bytes + i, SP, 3) == 0)
            return false;
    return has_space;
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
    CHECK(e.status == TRIB_OK);
    if (!how.add_special && must_come_back(tokenizer, e.text, e.ids, e.count))
        check_round_trip(tokenizer, e.text, e.ids, e.count);
    free(e.ids);
    tokenizer_close(tokenizer);
    return 0;
}
