/* The alphabet of byte-level vocabularies: each byte is written as one printable character, so that
 * tokens of any bytes are text (Radford et al. 2019, github.com/openai/gpt-2, src/encoder.py).
 *
 * Bytes that Latin-1 prints stand for themselves; the others, in ascending order, are U+0100 and
 * the characters after it. A space is U+0120, a line feed U+010A. */
#ifndef TEXT_ALPHABET_H
#define TEXT_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/utf8.h"

/* Room for `bytes` as characters: two each, and what utf8_encode wants for the last. */
#define ALPHABET_ROOM(bytes) (2 * (bytes) + 2)

static inline bool alphabet_prints(uint32_t byte)
{
    return (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte < 0x100 && byte != 0xad);
}

/* The character of a byte. */
static inline uint32_t alphabet_code(unsigned char byte)
{
    if (alphabet_prints(byte))
        return byte;
    return 0x100u + (byte <= 0x20 ? byte : byte <= 0xa0 ? byte - 0x7fu + 0x21 : 0x43);
}

/* The byte of a character, or -1 for one outside the alphabet. */
static inline int alphabet_byte(uint32_t code)
{
    if (code < 0x100)
        return alphabet_prints(code) ? (int)code : -1;
    uint32_t n = code - 0x100;
    return n <= 0x20 ? (int)n : n <= 0x42 ? (int)n - 0x21 + 0x7f : n == 0x43 ? 0xad : -1;
}

/* Writes bytes as characters into ALPHABET_ROOM(length); returns how many bytes they took. */
static inline size_t alphabet_write(const char *bytes, size_t length, char *out)
{
    size_t written = 0;
    for (size_t i = 0; i < length; i++)
        written += utf8_encode(alphabet_code((unsigned char)bytes[i]), out + written);
    return written;
}

#endif
