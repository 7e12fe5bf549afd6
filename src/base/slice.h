/* A length-delimited run of bytes that somebody else owns. Strings from files are slices: they may
 * hold NUL bytes and are never terminated. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *bytes;
    size_t length;
};

static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static inline bool slice_is(struct slice s, const char *text)
{
    return s.length == strlen(text) && memcmp(s.bytes, text, s.length) == 0;
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

#endif
