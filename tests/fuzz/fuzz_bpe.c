/* Fuzz target: byte-level vocabularies and texts, both hostile.
 *
 * The input begins with the options, the way of cutting words, tokens and merges; the rest is the
 * text. Most merges name tokens by number, so that they make sense; one may be any bytes. Whatever
 * the vocabulary, opening it fails with one line or gives a tokenizer whose ids exist, whose
 * decoding stays within its bounds, and which gives every text back where it knows all bytes. */
#include "bpe_build.h"
#include "tokenizer_checks.h"

enum option {
    PARSE_SPECIAL = 1,
    ADD_SPECIAL = 2,
    SOME_BYTES = 4, /* every seventh byte has no token */
    NO_KINDS = 8,
    OWN_IDS = 16,   /* two more bytes: the ids of BOS and of the unknown token */
    RAW_MERGE = 32, /* one merge is any bytes */
};

enum { MADE_LIMIT = 100, MADE_LONGEST = 64 };

static const char *const ways[] = {"gpt-2",          "default",      "llama-bpe",   "qwen2",
                                   "gpt-4o",         "tekken",       "starcoder",   "falcon",
                                   "deepseek-coder", "deepseek-llm", "deepseek-v3", "none such"};

static void take_tokens(struct input *in, struct bpe_build *v)
{
    for (size_t count = take(in) % 64; count > 0; count--) {
        uint8_t kind = take(in);
        struct slice text = take_slice(in, take(in) % 16);
        v->entries[v->count++] =
            (struct vocab_entry){text.bytes, text.length, kind < 64 ? kind % 8 : TOKEN_NORMAL, 0};
    }
}

/* Merges of two tokens by their numbers, whose result becomes a token. */
static void take_merges(struct input *in, struct bpe_build *v)
{
    static char made[MADE_LIMIT][MADE_LONGEST], merges[MADE_LIMIT][MADE_LONGEST + 1];
    size_t count = take(in) % MADE_LIMIT;
    for (size_t i = 0; i < count; i++) {
        size_t left = (take(in) | (size_t)take(in) << 8) % v->count;
        size_t right = (take(in) | (size_t)take(in) << 8) % v->count;
        struct vocab_entry a = v->entries[left], b = v->entries[right];
        if (a.length + b.length > MADE_LONGEST)
            continue;
        memcpy(made[i], a.bytes, a.length);
        memcpy(made[i] + a.length, b.bytes, b.length);
        memcpy(merges[i], a.bytes, a.length);
        merges[i][a.length] = ' ';
        memcpy(merges[i] + a.length + 1, b.bytes, b.length);
        v->entries[v->count++] =
            (struct vocab_entry){made[i], a.length + b.length, TOKEN_NORMAL, 0};
        v->merges[v->options.merge_count++] = (struct slice){merges[i], a.length + b.length + 1};
    }
}

static struct tokenizer *open_tokenizer(struct input *in, unsigned options)
{
    struct bpe_build v;
    struct gguf_build b;
    struct tokenizer *tokenizer;
    trib_error error = {0};
    bpe_build_open(&v, ways[take(in) % (sizeof ways / sizeof ways[0])]);
    v.options.no_kinds = options & NO_KINDS;
    for (size_t byte = 0; (options & SOME_BYTES) && byte < BPE_BYTES; byte += 7)
        v.entries[byte] = (struct vocab_entry)VOCAB_ENTRY("no byte", TOKEN_NORMAL, 0);
    gguf_build_open(&b);
    if (options & OWN_IDS) {
        gguf_build_u32(&b, "tokenizer.ggml.bos_token_id", take(in));
        gguf_build_u32(&b, "tokenizer.ggml.unknown_token_id", take(in));
    }
    take_tokens(in, &v);
    take_merges(in, &v);
    if (options & RAW_MERGE)
        v.merges[v.options.merge_count++] = take_slice(in, take(in) % 16);
    vocab_put(&b, v.entries, v.count, v.options);
    check_opened(vocab_finish(&b, &tokenizer, &error), tokenizer, &error);
    return tokenizer;
}

/* True when the ids must decode to the text: no special tokens in it. */
static bool must_come_back(const struct tokenizer *tokenizer, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        enum token_kind kind = tokenizer_kind(tokenizer, ids[i]);
        if (kind != TOKEN_NORMAL && kind != TOKEN_UNUSED && kind != TOKEN_BYTE)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    unsigned options = take(&in);
    bool whole = !(options & (SOME_BYTES | OWN_IDS));
    struct tokenizer *tokenizer = open_tokenizer(&in, options);
    if (!tokenizer)
        return 0;
    struct tokenize_options how = {.add_special = options & ADD_SPECIAL,
                                   .parse_special = options & PARSE_SPECIAL};
    struct encoded e = encode_rest(tokenizer, &in, how);
    CHECK(e.status == TRIB_OK || (e.status == TRIB_UNSUPPORTED && !whole && e.count == 0));
    if (whole && must_come_back(tokenizer, e.ids, e.count))
        check_round_trip(tokenizer, e.text, e.ids, e.count);
    free(e.ids);
    tokenizer_close(tokenizer);
    return 0;
}
