/* Tokenizers on small vocabularies: what each rule does, and what malformed vocabularies get. */
#include <math.h>
#include <stdbool.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "test.h"
#include "text/tokenizer.h"
#include "vocab_build.h"

#define SP           "\xe2\x96\x81" /* U+2581, a space */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { PLAIN = 0, ADD = 1, PARSE = 2 };

struct ids {
    int32_t *ids;
    size_t count, capacity;
};

/* A text and the ids it must give, ended by -1. */
struct encoding {
    const char *text;
    int mode;
    int32_t ids[12];
};

static struct tokenizer *open_vocab(const struct vocab_entry *entries, size_t count,
                                    struct vocab_options options)
{
    struct tokenizer *tokenizer;
    trib_error error;
    if (vocab_open(&tokenizer, entries, count, options, &error))
        fail_msg("%s", error.message);
    return tokenizer;
}

static void encode(const struct tokenizer *tokenizer, struct slice text, int mode, struct ids *out)
{
    struct tokenize_options options = {.add_special = mode & ADD, .parse_special = mode & PARSE};
    trib_error error;
    out->count = 0;
    if (tokenizer_encode(tokenizer, text, options, &out->ids, &out->count, &out->capacity, &error))
        fail_msg("%s", error.message);
}

static void assert_encodings(const struct tokenizer *tokenizer, const struct encoding *cases,
                             size_t count)
{
    struct ids ids = {0};
    for (size_t i = 0; i < count; i++) {
        size_t n = 0;
        encode(tokenizer, slice_of(cases[i].text), cases[i].mode, &ids);
        for (; cases[i].ids[n] >= 0; n++)
            if (n >= ids.count || ids.ids[n] != cases[i].ids[n])
                fail_msg("\"%s\": id %zu is %d, expected %d", cases[i].text, n,
                         n < ids.count ? ids.ids[n] : TOKEN_NONE, cases[i].ids[n]);
        if (n != ids.count)
            fail_msg("\"%s\": %zu ids, expected %zu", cases[i].text, ids.count, n);
    }
    free(ids.ids);
}

/* The bytes of ids, decoded as a caller does; at most `capacity`. */
static size_t decode(const struct tokenizer *tokenizer, const struct ids *ids, char *out,
                     size_t capacity)
{
    size_t length = 0;
    bool first = true;
    for (size_t i = 0; i < ids->count; i++) {
        size_t room = length < capacity ? capacity - length : 0;
        enum token_kind kind = tokenizer_kind(tokenizer, ids->ids[i]);
        length += tokenizer_decode(tokenizer, ids->ids[i], first, false, out + length, room);
        first = first && (kind == TOKEN_CONTROL || kind == TOKEN_UNKNOWN);
    }
    return length;
}

#define HEAD                                                                                       \
    VOCAB_ENTRY("<unk>", TOKEN_UNKNOWN, 0), VOCAB_ENTRY("<s>", TOKEN_CONTROL, 0),                  \
        VOCAB_ENTRY("</s>", TOKEN_CONTROL, 0)

static void best_pair_first_then_leftmost(void **state)
{
    static const struct vocab_entry entries[] = {
        HEAD,
        VOCAB_ENTRY("a", TOKEN_NORMAL, -9),      /* 3 */
        VOCAB_ENTRY("b", TOKEN_NORMAL, -9),      /* 4 */
        VOCAB_ENTRY("c", TOKEN_NORMAL, -9),      /* 5 */
        VOCAB_ENTRY("ab", TOKEN_NORMAL, -2),     /* 6 */
        VOCAB_ENTRY("bc", TOKEN_NORMAL, -1),     /* 7 */
        VOCAB_ENTRY("aa", TOKEN_NORMAL, 0.0f),   /* 8 */
        VOCAB_ENTRY("ca", TOKEN_NORMAL, -0.0f),  /* 9 */
        VOCAB_ENTRY("caa", TOKEN_NORMAL, 3),     /* 10 */
        VOCAB_ENTRY("cc", TOKEN_NORMAL, 1e30f),  /* 11 */
        VOCAB_ENTRY("ac", TOKEN_NORMAL, -1e30f), /* 12 */
    };
    static const struct encoding cases[] = {
        {"", PLAIN, {-1}},
        {"ab", PLAIN, {6, -1}},
        {"abc", PLAIN, {3, 7, -1}}, /* the better pair, though it is the right one */
        {"aaa", PLAIN, {8, 3, -1}}, /* the leftmost of equals */
        {"aca", PLAIN, {3, 9, -1}},
        {"caa", PLAIN, {10, -1}},     /* -0 is no worse than 0; merges of merges */
        {"acc", PLAIN, {3, 11, -1}},  /* positive before negative */
        {"abac", PLAIN, {6, 12, -1}}, /* the worst score still merges */
        {"cbabab", PLAIN, {5, 4, 6, 6, -1}},
    };
    (void)state;
    struct tokenizer *tokenizer =
        open_vocab(entries, COUNT(entries), (struct vocab_options){.no_space_prefix = true});
    assert_string_equal(tokenizer_model(tokenizer), "llama");
    assert_int_equal(tokenizer_count(tokenizer), COUNT(entries));
    assert_encodings(tokenizer, cases, COUNT(cases));
    tokenizer_close(tokenizer);
}

static void spaces_and_bytes(void **state)
{
    static const struct vocab_entry entries[] = {
        HEAD,
        VOCAB_ENTRY(SP, TOKEN_NORMAL, -9),                /* 3 */
        VOCAB_ENTRY("a", TOKEN_NORMAL, -9),               /* 4 */
        VOCAB_ENTRY(SP "a", TOKEN_NORMAL, -1),            /* 5 */
        VOCAB_ENTRY("<0xC3>", TOKEN_BYTE, 0),             /* 6 */
        VOCAB_ENTRY("<0xa9>", TOKEN_BYTE, 0),             /* 7 */
        VOCAB_ENTRY("<0x00>", TOKEN_BYTE, 0),             /* 8 */
        VOCAB_ENTRY("\xe9", TOKEN_NORMAL, 0),             /* 9 */
        VOCAB_ENTRY("<0xC3>", TOKEN_BYTE, 0),             /* 10: of equals the first counts */
        VOCAB_ENTRY("a", TOKEN_NORMAL, 9),                /* 11 */
        VOCAB_ENTRY("", TOKEN_NORMAL, 0),                 /* 12 */
        VOCAB_ENTRY("\xc3\xa9\xc3\xa9", TOKEN_NORMAL, 0), /* 13 */
    };
    static const struct encoding cases[] = {
        {"", ADD, {1, -1}},
        {"a", PLAIN, {5, -1}},
        {" a", PLAIN, {3, 5, -1}},
        {"a a", ADD, {1, 5, 5, -1}},
        {"  ", PLAIN, {3, 3, 3, -1}},
        {"\xc3\xa9", PLAIN, {3, 6, 7, -1}},       /* a character without a token: its bytes */
        {"\xc3\xa9\xc3\xa9", PLAIN, {3, 13, -1}}, /* but two together have one */
        {"\xc3", PLAIN, {3, 6, -1}},              /* a byte that belongs to no character */
        {"\xc3 a", PLAIN, {3, 6, 5, -1}},         /* leaves the next ones whole */
        {"\xe9", PLAIN, {3, 9, -1}},              /* a token of one raw byte */
        {"\xc3\xa8", PLAIN, {3, 0, -1}},          /* one byte has no token: unknown, once */
        {"b\xf0\x9f\xa6\x99", PLAIN, {3, 0, -1}}, /* and once for all in a row */
        {"bbab", PLAIN, {3, 0, 4, 0, -1}},
        {"b b", PLAIN, {3, 0, 3, 0, -1}},
        {"b<unk>b", PARSE, {3, 0, 0, 3, 0, -1}}, /* but not for one that is spelled */
        {"<0x00>", PLAIN, {3, 0, -1}},           /* text cannot pass for a byte token */
    };
    (void)state;
    struct ids ids = {0};
    char text[16];
    struct tokenizer *tokenizer = open_vocab(entries, COUNT(entries), (struct vocab_options){0});
    assert_encodings(tokenizer, cases, COUNT(cases));
    encode(tokenizer, (struct slice){"\0a\0", 3}, PLAIN, &ids);
    assert_int_equal(decode(tokenizer, &ids, text, sizeof text), 3);
    assert_memory_equal(text, "\0a\0", 3);
    free(ids.ids);
    tokenizer_close(tokenizer);
}

static const struct vocab_entry special_entries[] = {
    HEAD,
    VOCAB_ENTRY(SP, TOKEN_NORMAL, -9),          /* 3 */
    VOCAB_ENTRY("a", TOKEN_NORMAL, -9),         /* 4 */
    VOCAB_ENTRY("b", TOKEN_NORMAL, -9),         /* 5 */
    VOCAB_ENTRY(SP "a", TOKEN_NORMAL, -1),      /* 6 */
    VOCAB_ENTRY("[xy]", TOKEN_USER_DEFINED, 0), /* 7 */
    VOCAB_ENTRY("a[x", TOKEN_USER_DEFINED, 0),  /* 8 */
    VOCAB_ENTRY("<|end|>", TOKEN_CONTROL, 0),   /* 9 */
    VOCAB_ENTRY("<", TOKEN_NORMAL, 0),          /* 10 */
    VOCAB_ENTRY("s", TOKEN_NORMAL, 0),          /* 11 */
    VOCAB_ENTRY(">", TOKEN_NORMAL, 0),          /* 12 */
    VOCAB_ENTRY("<s", TOKEN_NORMAL, 0),         /* 13 */
    VOCAB_ENTRY("[x]", TOKEN_USER_DEFINED, 0),  /* 14 */
    VOCAB_ENTRY("[xy", TOKEN_CONTROL, 0),       /* 15 */
    VOCAB_ENTRY("[x]", TOKEN_USER_DEFINED, 0),  /* 16 */
    VOCAB_ENTRY("gone", TOKEN_UNUSED, 0),       /* 17 */
    VOCAB_ENTRY(SP "u", TOKEN_USER_DEFINED, 0), /* 18 */
};

static void special_tokens_in_text(void **state)
{
    static const struct encoding cases[] = {
        {"a[x]b", PLAIN, {8, 3, 0, 5, -1}}, /* of equally long ones the leftmost */
        {"[x]", PLAIN, {14, -1}},
        {"a[xy]", PLAIN, {6, 7, -1}}, /* the longer, though it begins later */
        {"a[xyb", PLAIN, {8, 3, 0, 5, -1}},
        {"b[xyb", PARSE, {3, 5, 15, 3, 5, -1}}, /* a control token only when asked for */
        {"a[x]", PARSE, {8, 3, 0, -1}},
        {"<s>", PLAIN, {3, 13, 12, -1}}, /* and never by merging */
        {"<s>", PARSE, {1, -1}},
        {"<s>a", PARSE, {1, 6, -1}}, /* a space after each */
        {"a<s> a", ADD | PARSE, {1, 6, 1, 3, 6, -1}},
        {"<unk>", PARSE, {0, -1}},
        {"<|end|>\n b", PARSE, {9, 3, 0, 3, 5, -1}},
    };
    static const struct encoding strips[] = {
        {"<|end|> \t\r\n\v\f a", PARSE, {9, 6, -1}}, /* white space after it is its own */
        {"<|end|>\n", PARSE, {9, -1}},
        {"<|end|>\n[x] \n<|end|>", PARSE, {9, 14, 9, -1}},
        {"<s> a", PARSE, {1, 3, 6, -1}}, /* but not after this one */
        {"[x] a", PLAIN, {14, 6, -1}},
    };
    (void)state;
    struct tokenizer *tokenizer =
        open_vocab(special_entries, COUNT(special_entries), (struct vocab_options){0});
    assert_encodings(tokenizer, cases, COUNT(cases));
    tokenizer_close(tokenizer);
    tokenizer = open_vocab(special_entries, COUNT(special_entries),
                           (struct vocab_options){.name = "My PHI-3 mini"});
    assert_encodings(tokenizer, strips, COUNT(strips));
    tokenizer_close(tokenizer);
}

static void decodes_each_kind(void **state)
{
    static const struct {
        int32_t id;
        bool first, special;
        const char *text;
    } cases[] = {
        {6, false, false, " a"},    {6, true, false, "a"},       {3, true, false, ""},
        {3, false, false, " "},     {1, false, false, ""},       {1, true, true, "<s>"},
        {0, false, false, ""},      {0, false, true, "<unk>"},   {7, true, false, "[xy]"},
        {17, false, false, "gone"}, {9, false, true, "<|end|>"}, {18, false, false, " u"},
    };
    (void)state;
    struct tokenizer *tokenizer =
        open_vocab(special_entries, COUNT(special_entries), (struct vocab_options){0});
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t length = strlen(cases[i].text);
        assert_true(length <= tokenizer_longest(tokenizer));
        for (size_t capacity = 0; capacity <= length + 1; capacity++) {
            char out[16];
            memset(out, '#', sizeof out);
            assert_int_equal(tokenizer_decode(tokenizer, cases[i].id, cases[i].first,
                                              cases[i].special, out, capacity),
                             length);
            size_t written = capacity < length ? capacity : length;
            assert_memory_equal(out, cases[i].text, written);
            assert_int_equal(out[written], '#');
        }
    }
    tokenizer_close(tokenizer);
}

/* What a file without types, scores and ids is taken for. */
static void defaults(void **state)
{
    static const struct vocab_entry entries[] = {
        VOCAB_ENTRY("?", 0, 0),      VOCAB_ENTRY("B", 0, 0),     VOCAB_ENTRY("E", 0, 0),
        VOCAB_ENTRY("<0x41>", 0, 0), VOCAB_ENTRY("<0x4>", 0, 0), VOCAB_ENTRY(SP, 0, 0),
        VOCAB_ENTRY("bc", 0, 0),     VOCAB_ENTRY("cb", 0, 0),
    };
    static const enum token_kind kinds[] = {
        TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_CONTROL, TOKEN_BYTE,
        TOKEN_NORMAL,  TOKEN_NORMAL,  TOKEN_NORMAL,  TOKEN_NORMAL,
    };
    static const struct encoding cases[] = {
        {"A", ADD, {1, 5, 3, -1}},
        {"bcb", PLAIN, {5, 6, 0, -1}},
        {"B", PLAIN, {5, 0, -1}},
    };
    (void)state;
    struct vocab_options options = {.no_kinds = true, .no_scores = true};
    struct tokenizer *tokenizer = open_vocab(entries, COUNT(entries), options);
    for (size_t i = 0; i < COUNT(entries); i++) {
        assert_int_equal(tokenizer_kind(tokenizer, (int32_t)i), kinds[i]);
        assert_int_equal(tokenizer_is_end(tokenizer, (int32_t)i), i == 2);
    }
    assert_true(slice_is(tokenizer_text(tokenizer, 3), "<0x41>"));
    assert_int_equal(tokenizer_bos(tokenizer), 1);
    assert_int_equal(tokenizer_eos(tokenizer), 2);
    assert_encodings(tokenizer, cases, COUNT(cases));
    tokenizer_close(tokenizer);
    /* Too short for the default ids: none, and nothing is added. */
    static const struct encoding alone[] = {{"A", ADD, {0, -1}}, {"", ADD, {-1}}};
    options.no_space_prefix = true;
    tokenizer = open_vocab(entries, 1, options);
    assert_int_equal(tokenizer_bos(tokenizer), TOKEN_NONE);
    assert_int_equal(tokenizer_eos(tokenizer), TOKEN_NONE);
    assert_encodings(tokenizer, alone, COUNT(alone));
    tokenizer_close(tokenizer);
}

static void appends_to_ids(void **state)
{
    (void)state;
    struct ids ids = {malloc(sizeof *ids.ids), 1, 1};
    trib_error error;
    struct tokenizer *tokenizer =
        open_vocab(special_entries, COUNT(special_entries), (struct vocab_options){0});
    ids.ids[0] = 77;
    assert_int_equal(tokenizer_encode(tokenizer, slice_of("a"), (struct tokenize_options){0},
                                      &ids.ids, &ids.count, &ids.capacity, &error),
                     TRIB_OK);
    assert_int_equal(ids.count, 2);
    assert_int_equal(ids.ids[0], 77);
    assert_int_equal(ids.ids[1], 6);
    struct slice huge = {"", (size_t)-1};
    assert_int_equal(tokenizer_encode(tokenizer, huge, (struct tokenize_options){0}, &ids.ids,
                                      &ids.count, &ids.capacity, &error),
                     TRIB_INVALID);
    assert_int_equal(ids.count, 2);
    free(ids.ids);
    tokenizer_close(tokenizer);
}

/* A sound file but for the key `skip` ("vocabulary": tokens and types), in place of which `put`
 * writes what it will. */
struct damage {
    const char *what, *skip;
    void (*put)(struct gguf_build *b);
    trib_status status;
    const char *message; /* a part of it */
};

enum { DAMAGE_COUNT = 4 };

static void put_sound(struct gguf_build *b, const char *skip)
{
    static const char *const texts[DAMAGE_COUNT] = {"<unk>", "<s>", "</s>", "<0x41>"};
    static const uint32_t kinds[DAMAGE_COUNT] = {TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_CONTROL,
                                                 TOKEN_BYTE};
    if (strcmp(skip, "model") != 0)
        gguf_build_string(b, "tokenizer.ggml.model", "llama");
    if (strcmp(skip, "vocabulary") == 0)
        return;
    if (strcmp(skip, "tokens") != 0) {
        gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, DAMAGE_COUNT);
        for (size_t i = 0; i < DAMAGE_COUNT; i++)
            put_string(&b->values, texts[i]);
    }
    if (strcmp(skip, "token_type") != 0) {
        gguf_build_array(b, "tokenizer.ggml.token_type", GGUF_I32, DAMAGE_COUNT);
        for (size_t i = 0; i < DAMAGE_COUNT; i++)
            put_u32(&b->values, kinds[i]);
    }
}

static void put_nothing(struct gguf_build *b)
{
    (void)b;
}

static void put_model_number(struct gguf_build *b)
{
    gguf_build_u32(b, "tokenizer.ggml.model", 1);
}

static void put_no_vocab(struct gguf_build *b)
{
    gguf_build_string(b, "tokenizer.ggml.model", "no_vocab");
}

static void put_strange_model(struct gguf_build *b)
{
    gguf_build_string(b, "tokenizer.ggml.model",
                      "new\n\x1b[31m and much longer than a message can be, on and on and on");
}

static void put_no_tokens(struct gguf_build *b)
{
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, 0);
}

static void put_token_numbers(struct gguf_build *b)
{
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_U32, 1);
    put_u32(&b->values, 5);
}

static void put_single_token(struct gguf_build *b)
{
    gguf_build_string(b, "tokenizer.ggml.tokens", "a");
}

static void put_long_token(struct gguf_build *b)
{
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, DAMAGE_COUNT);
    for (int i = 1; i < DAMAGE_COUNT; i++)
        put_string(&b->values, "a");
    put_u64(&b->values, 100000);
    put_zeros(&b->values, 100000);
}

/* Texts that all belong into the same slot of the table. */
static void put_colliding_tokens(struct gguf_build *b)
{
    enum { TOKENS = 400, SLOTS = 1024 };
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, TOKENS);
    for (uint32_t text = 0, found = 0; found < TOKENS; text++)
        if (XXH3_64bits(&text, sizeof text) % SLOTS == 7) {
            put_slice(&b->values, &text, sizeof text);
            found++;
        }
    gguf_build_array(b, "tokenizer.ggml.token_type", GGUF_I32, TOKENS);
    for (int i = 0; i < TOKENS; i++)
        put_u32(&b->values, TOKEN_NORMAL);
}

static void put_kinds(struct gguf_build *b, uint64_t count, uint32_t last)
{
    gguf_build_array(b, "tokenizer.ggml.token_type", GGUF_I32, count);
    for (uint64_t i = 0; i + 1 < count; i++)
        put_u32(&b->values, TOKEN_NORMAL);
    put_u32(&b->values, last);
}

static void put_few_kinds(struct gguf_build *b)
{
    put_kinds(b, DAMAGE_COUNT - 1, TOKEN_NORMAL);
}

static void put_kind_0(struct gguf_build *b)
{
    put_kinds(b, DAMAGE_COUNT, 0);
}

static void put_kind_7(struct gguf_build *b)
{
    put_kinds(b, DAMAGE_COUNT, 7);
}

static void put_kind_negative(struct gguf_build *b)
{
    put_kinds(b, DAMAGE_COUNT, (uint32_t)-1);
}

static void put_kind_floats(struct gguf_build *b)
{
    gguf_build_array(b, "tokenizer.ggml.token_type", GGUF_F32, DAMAGE_COUNT);
    put_zeros(&b->values, DAMAGE_COUNT * sizeof(float));
}

static void put_byte_text(struct gguf_build *b, const char *text)
{
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, DAMAGE_COUNT);
    for (int i = 1; i < DAMAGE_COUNT; i++)
        put_string(&b->values, "a");
    put_string(&b->values, text);
}

static void put_byte_zz(struct gguf_build *b)
{
    put_byte_text(b, "<0xZZ>");
}

static void put_byte_short(struct gguf_build *b)
{
    put_byte_text(b, "<0x4>");
}

static void put_byte_empty(struct gguf_build *b)
{
    put_byte_text(b, "");
}

static void put_scores(struct gguf_build *b, uint64_t count, float last)
{
    gguf_build_array(b, "tokenizer.ggml.scores", GGUF_F32, count);
    for (uint64_t i = 0; i + 1 < count; i++)
        put_f32(&b->values, 0);
    put_f32(&b->values, last);
}

static void put_many_scores(struct gguf_build *b)
{
    put_scores(b, DAMAGE_COUNT + 1, 0);
}

static void put_score_nan(struct gguf_build *b)
{
    put_scores(b, DAMAGE_COUNT, NAN);
}

static void put_score_string(struct gguf_build *b)
{
    gguf_build_string(b, "tokenizer.ggml.scores", "high");
}

static void put_bos_beyond(struct gguf_build *b)
{
    gguf_build_u32(b, "tokenizer.ggml.bos_token_id", DAMAGE_COUNT);
}

static void put_eos_beyond(struct gguf_build *b)
{
    gguf_build_u32(b, "tokenizer.ggml.eos_token_id", UINT32_MAX);
}

static void put_unknown_negative(struct gguf_build *b)
{
    gguf_build_key(b, "tokenizer.ggml.unknown_token_id", GGUF_I32);
    put_u32(&b->values, (uint32_t)-1);
}

static void put_eot_string(struct gguf_build *b)
{
    gguf_build_string(b, "tokenizer.ggml.eot_token_id", "</s>");
}

static void put_add_bos_number(struct gguf_build *b)
{
    gguf_build_u32(b, "tokenizer.ggml.add_bos_token", 1);
}

static void put_add_eos_without(struct gguf_build *b)
{
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, 1);
    put_string(&b->values, "a");
    gguf_build_bool(b, "tokenizer.ggml.add_eos_token", true);
}

static const struct damage damages[] = {
    {"no model", "model", put_nothing, TRIB_FORMAT, "tokenizer.ggml.model"},
    {"a number for a model", "model", put_model_number, TRIB_FORMAT, "tokenizer.ggml.model"},
    {"no vocabulary", "model", put_no_vocab, TRIB_UNSUPPORTED, "has no vocabulary"},
    {"another model", "model", put_strange_model, TRIB_UNSUPPORTED, "is \"new??[31m and much"},
    {"no tokens key", "tokens", put_nothing, TRIB_FORMAT, "tokenizer.ggml.tokens"},
    {"0 tokens", "tokens", put_no_tokens, TRIB_FORMAT, "has 0 tokens"},
    {"tokens that are numbers", "tokens", put_token_numbers, TRIB_FORMAT, "array of string"},
    {"one string for tokens", "tokens", put_single_token, TRIB_FORMAT, "array of string"},
    {"a long token", "tokens", put_long_token, TRIB_UNSUPPORTED, "token 3 of "},
    {"too few types", "token_type", put_few_kinds, TRIB_FORMAT, "has 3 elements, expected 4"},
    {"type 0", "token_type", put_kind_0, TRIB_FORMAT, "type of token 3 is 0"},
    {"type 7", "token_type", put_kind_7, TRIB_FORMAT, "type of token 3 is 7"},
    {"type -1", "token_type", put_kind_negative, TRIB_FORMAT, "type of token 3 is -1"},
    {"types that are floats", "token_type", put_kind_floats, TRIB_FORMAT, "array of i32"},
    {"byte ZZ", "tokens", put_byte_zz, TRIB_FORMAT, "token 3 is a byte"},
    {"a short byte", "tokens", put_byte_short, TRIB_FORMAT, "found \"<0x4>\""},
    {"an empty byte", "tokens", put_byte_empty, TRIB_FORMAT, "found \"\""},
    {"too many scores", "", put_many_scores, TRIB_FORMAT, "has 5 elements, expected 4"},
    {"a NaN score", "", put_score_nan, TRIB_FORMAT, "score of token 3"},
    {"a string for scores", "", put_score_string, TRIB_FORMAT, "tokenizer.ggml.scores"},
    {"BOS beyond", "", put_bos_beyond, TRIB_FORMAT, "bos_token_id is 4"},
    {"EOS beyond", "", put_eos_beyond, TRIB_FORMAT, "eos_token_id is 4294967295"},
    {"a negative unknown id", "", put_unknown_negative, TRIB_FORMAT, "unknown_token_id"},
    {"a string for an id", "", put_eot_string, TRIB_FORMAT, "eot_token_id"},
    {"a number for a flag", "", put_add_bos_number, TRIB_FORMAT, "add_bos_token"},
    {"EOS to add, but none", "vocabulary", put_add_eos_without, TRIB_FORMAT, "is true, but"},
    {"one slot for all", "vocabulary", put_colliding_tokens, TRIB_UNSUPPORTED, "hash of token 256"},
};

static void damage_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(damages); i++) {
        struct gguf_build b;
        struct tokenizer *tokenizer;
        trib_error error = {0};
        gguf_build_open(&b);
        put_sound(&b, damages[i].skip);
        damages[i].put(&b);
        trib_status status = vocab_finish(&b, &tokenizer, &error);
        if (status != damages[i].status || error.status != status || tokenizer)
            fail_msg("%s: %s: %s", damages[i].what, trib_status_name(status), error.message);
        if (!strstr(error.message, damages[i].message) || !strstr(error.message, "test.gguf"))
            fail_msg("%s: %s", damages[i].what, error.message);
        for (const char *c = error.message; *c; c++)
            assert_in_range(*c, ' ', '~');
    }
}

/* What the damaged files above are made from opens, also with an id out of range that nobody uses.
 */
static void sound_file_opens(void **state)
{
    (void)state;
    struct gguf_build b;
    struct tokenizer *tokenizer;
    gguf_build_open(&b);
    put_sound(&b, "");
    gguf_build_u32(&b, "tokenizer.ggml.padding_token_id", 1000);
    assert_int_equal(vocab_finish(&b, &tokenizer, NULL), TRIB_OK);
    assert_int_equal(tokenizer_count(tokenizer), DAMAGE_COUNT);
    tokenizer_close(tokenizer);
    tokenizer_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_pair_first_then_leftmost),
        cmocka_unit_test(spaces_and_bytes),
        cmocka_unit_test(special_tokens_in_text),
        cmocka_unit_test(decodes_each_kind),
        cmocka_unit_test(defaults),
        cmocka_unit_test(appends_to_ids),
        cmocka_unit_test(sound_file_opens),
        cmocka_unit_test(damage_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
