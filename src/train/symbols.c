/* Collecting the characters of a text, and their spelling. */
#include "train/symbols.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/utf8.h"

static int compare(const struct symbol *a, const unsigned char *bytes, size_t length)
{
    size_t shorter = a->length < length ? a->length : length;
    int order = memcmp(a->bytes, bytes, shorter);
    return order ? order : (a->length > length) - (a->length < length);
}

/* The first symbol that is not below. */
static size_t place_of(const struct symbols *s, const unsigned char *bytes, size_t length)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(&s->list[middle], bytes, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int32_t symbols_find(const struct symbols *s, const unsigned char *bytes, size_t length)
{
    size_t at = place_of(s, bytes, length);
    return at < s->count && compare(&s->list[at], bytes, length) == 0 ? (int32_t)at : -1;
}

static trib_status add(struct symbols *s, const unsigned char *bytes, size_t length,
                       trib_error *error)
{
    size_t at = place_of(s, bytes, length);
    if (at < s->count && compare(&s->list[at], bytes, length) == 0)
        return TRIB_OK;
    if ((s->count & (s->count - 1)) == 0) { /* full: room for twice as many */
        size_t size = (s->count ? 2 * s->count : 1) * sizeof *s->list;
        struct symbol *larger = realloc(s->list, size);
        if (!larger)
            return error_no_memory(error, "the characters of a text", size);
        s->list = larger;
    }
    memmove(s->list + at + 1, s->list + at, (s->count - at) * sizeof *s->list);
    s->list[at] = (struct symbol){.length = (unsigned char)length};
    memcpy(s->list[at].bytes, bytes, length);
    s->count++;
    return TRIB_OK;
}

trib_status symbols_add_text(struct symbols *s, struct slice text, const char *name,
                             trib_error *error)
{
    const unsigned char *bytes = (const unsigned char *)text.bytes;
    bool seen[128] = {false}; /* of single bytes: nearly all there is */
    uint32_t last = 0, code;
    s->end = true;
    for (size_t i = 0, length; i < text.length; i += length) {
        if (bytes[i] < 128) {
            length = 1;
            if (seen[bytes[i]])
                continue;
            seen[bytes[i]] = true;
            code = bytes[i];
        } else {
            length = utf8_decode(text.bytes + i, text.length - i, &code);
            if (length == 0)
                return error_set(error, TRIB_INVALID,
                                 "%s: byte %zu: expected UTF-8, found 0x%02x: the vocabulary of "
                                 "bytes takes any text",
                                 name, i, bytes[i]);
            if (code == last)
                continue;
        }
        last = code;
        for (size_t n = 1; n <= length; n++) {
            trib_status status = add(s, bytes + i, n, error);
            if (status == TRIB_OK)
                status = add(s, bytes + i + n - 1, 1, error);
            if (status != TRIB_OK)
                return status;
        }
    }
    return TRIB_OK;
}

trib_status symbols_bytes(struct symbols *s, trib_error *error)
{
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        trib_status status = add(s, &byte, 1, error);
        if (status != TRIB_OK)
            return status;
    }
    return TRIB_OK;
}

void symbols_close(struct symbols *s)
{
    free(s->list);
    *s = (struct symbols){0};
}

size_t symbols_vocabulary(const struct symbols *s)
{
    return s->count + (s->end ? 1 : 0);
}

/* GPT-2's character for a byte (Radford et al. 2019, encoder.py, bytes_to_unicode). */
static uint32_t character_of(unsigned char byte)
{
    uint32_t others = 0; /* bytes below that are not printable */
    for (unsigned b = 0; b <= byte; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        if (b == byte && printable)
            return b;
        others += !printable;
    }
    return 255 + others;
}

size_t symbols_spell(const struct symbol *symbol, char out[8])
{
    size_t length = 0;
    for (size_t i = 0; i < symbol->length; i++) {
        char one[4];
        size_t n = utf8_encode(character_of(symbol->bytes[i]), one);
        memcpy(out + length, one, n);
        length += n;
    }
    return length;
}
