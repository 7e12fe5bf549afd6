/* What the fuzz targets of tokenizers share: reading the input, and checks that hold of any
 * tokenizer: decoding stays within its bounds, and ids give their text back. */
#ifndef TOKENIZER_CHECKS_H
#define TOKENIZER_CHECKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

/* Not assert: it shall hold in every build. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

enum { CHECKED = 32 };

struct input {
    const uint8_t *bytes;
    size_t size;
};

static inline uint8_t take(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->bytes++;
}

/* Up to `length` bytes. */
static inline struct slice take_slice(struct input *in, size_t length)
{
    struct slice taken = {(const char *)in->bytes, length < in->size ? length : in->size};
    in->bytes += taken.length;
    in->size -= taken.length;
    return taken;
}

/* Opening gave a tokenizer, or one line that says why not. */
static inline void check_opened(trib_status status, const struct tokenizer *tokenizer,
                                const trib_error *error)
{
    CHECK(status == error->status && (status == TRIB_OK) == (tokenizer != NULL));
    CHECK(strlen(error->message) > 0 || status == TRIB_OK);
    CHECK(!strchr(error->message, '\n'));
}

/* Decodes one token into memory of exactly `capacity` bytes, where the sanitizer sees its ends. */
static inline size_t decode_into(const struct tokenizer *tokenizer, int32_t id, bool first,
                                 bool special, size_t capacity)
{
    char *out = malloc(capacity ? capacity : 1);
    CHECK(out);
    size_t length =
        tokenizer_decode(tokenizer, id, first, special, capacity ? out : NULL, capacity);
    CHECK(length <= tokenizer_longest(tokenizer));
    free(out);
    return length;
}

static inline void check_decoding(const struct tokenizer *tokenizer, int32_t id)
{
    for (int mode = 0; mode < 4; mode++) {
        bool first = mode & 1, special = mode & 2;
        size_t length = decode_into(tokenizer, id, first, special, tokenizer_longest(tokenizer));
        CHECK(decode_into(tokenizer, id, first, special, 0) == length);
        CHECK(decode_into(tokenizer, id, first, special, length / 2) == length);
        CHECK(decode_into(tokenizer, id, first, special, length) == length);
    }
}

/* The first ids exist and decode, and so do the first tokens. */
static inline void check_ids(const struct tokenizer *tokenizer, const int32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CHECK(ids[i] >= 0 && (size_t)ids[i] < tokenizer_count(tokenizer));
        if (i < CHECKED)
            check_decoding(tokenizer, ids[i]);
    }
    for (int32_t id = 0; id < CHECKED && (size_t)id < tokenizer_count(tokenizer); id++)
        check_decoding(tokenizer, id);
}

/* What the rest of the input is encoded to; ids are the caller's to free. */
struct encoded {
    struct slice text;
    trib_status status;
    int32_t *ids;
    size_t count;
};

static inline struct encoded encode_rest(const struct tokenizer *tokenizer, const struct input *in,
                                         struct tokenize_options how)
{
    struct encoded e = {.text = {(const char *)in->bytes, in->size}};
    size_t capacity = 0;
    e.status = tokenizer_encode(tokenizer, e.text, how, &e.ids, &e.count, &capacity, NULL);
    check_ids(tokenizer, e.ids, e.count);
    return e;
}

static inline void check_round_trip(const struct tokenizer *tokenizer, struct slice text,
                                    const int32_t *ids, size_t count)
{
    size_t capacity = text.length + tokenizer_longest(tokenizer), length = 0;
    char *back = malloc(capacity ? capacity : 1);
    CHECK(back);
    for (size_t i = 0; i < count; i++) {
        length +=
            tokenizer_decode(tokenizer, ids[i], i == 0, false, back + length, capacity - length);
        CHECK(length <= text.length);
    }
    CHECK(length == text.length && (length == 0 || memcmp(back, text.bytes, length) == 0));
    free(back);
}

#endif
