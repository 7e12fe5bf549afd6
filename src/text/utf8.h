/* UTF-8: decoding with strict validation, encoding, and cutting streams at character borders. */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length in bytes (1 to 4) of the valid character that starts at text[0], whose code point goes to
 * *code; 0 when the bytes there are no valid character (overlong, surrogate, above U+10FFFF,
 * truncated). `length` is the number of bytes readable and at least 1. */
size_t utf8_decode(const char *text, size_t length, uint32_t *code);

/* How many bytes at the start of text[0..length) are whole valid characters. */
size_t utf8_valid(const char *text, size_t length);

/* Writes a code point (at most U+10FFFF) as 1 to 4 bytes; returns how many. */
size_t utf8_encode(uint32_t code, char out[4]);

/* How many bytes at the end of text[0..length) are the beginning of a character whose rest has not
 * come yet: 0 to 3. Bytes that can no longer become a valid character are not counted. */
size_t utf8_incomplete_tail(const char *text, size_t length);

#endif
