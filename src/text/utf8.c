/* UTF-8 after RFC 3629, table 3-7 of the Unicode standard: which second bytes a first byte allows.
 *
 * The one function that knows the ranges is lead_of; a character is valid when its second byte is
 * in the range of its first and all later ones are 0x80 to 0xBF. That excludes overlong forms,
 * surrogates and everything above U+10FFFF, so no code point is compared anywhere. */
#include "text/utf8.h"

#include <stdbool.h>
#include <string.h>

struct lead {
    unsigned char length;    /* bytes of the character; 0: no character begins with this byte */
    unsigned char low, high; /* the range of its second byte */
};

static struct lead lead_of(unsigned char byte)
{
    if (byte < 0x80)
        return (struct lead){1, 0, 0};
    if (byte < 0xc2 || byte > 0xf4)
        return (struct lead){0, 0, 0};
    if (byte < 0xe0)
        return (struct lead){2, 0x80, 0xbf};
    if (byte < 0xf0)
        return (struct lead){3, byte == 0xe0 ? 0xa0 : 0x80, byte == 0xed ? 0x9f : 0xbf};
    return (struct lead){4, byte == 0xf0 ? 0x90 : 0x80, byte == 0xf4 ? 0x8f : 0xbf};
}

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t utf8_decode(const char *text, size_t length, uint32_t *code)
{
    const unsigned char *bytes = (const unsigned char *)text;
    struct lead lead = lead_of(bytes[0]);
    if (lead.length == 1) {
        *code = bytes[0];
        return 1;
    }
    if (lead.length == 0 || length < lead.length || bytes[1] < lead.low || bytes[1] > lead.high)
        return 0;
    uint32_t value = bytes[0] & (0x7fu >> lead.length);
    for (size_t i = 1; i < lead.length; i++) {
        if (!is_continuation(bytes[i]))
            return 0;
        value = value << 6 | (bytes[i] & 0x3fu);
    }
    *code = value;
    return lead.length;
}

size_t utf8_valid(const char *text, size_t length)
{
    size_t valid = 0;
    while (valid < length) {
        uint64_t eight;
        if (length - valid >= sizeof eight) {
            memcpy(&eight, text + valid, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                valid += sizeof eight;
                continue;
            }
        }
        uint32_t code;
        size_t bytes = utf8_decode(text + valid, length - valid, &code);
        if (bytes == 0)
            break;
        valid += bytes;
    }
    return valid;
}

size_t utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)((0xf00u >> length & 0xf0u) | code);
    return length;
}

size_t utf8_incomplete_tail(const char *text, size_t length)
{
    const unsigned char *end = (const unsigned char *)text + length;
    for (size_t tail = 1; tail <= 3 && tail <= length; tail++) {
        unsigned char byte = *(end - tail);
        if (is_continuation(byte))
            continue;
        struct lead lead = lead_of(byte);
        if (lead.length <= tail)
            return 0;
        if (tail > 1 && (*(end - tail + 1) < lead.low || *(end - tail + 1) > lead.high))
            return 0;
        return tail;
    }
    return 0;
}
