/* Names of prefixes: a chain of hashes, one link for each page of TRIB_CHUNK token ids.
 *
 *     key_0 = H(what the bits of keys and values depend on besides the tokens)
 *     key_n = H(key_{n-1}, ids of page n)
 *
 * H is XXH3-128. So the key behind a page names all ids up to there. The hash is fast and not
 * proof against people who look for collisions: a key finds, and the ids, compared, decide. */
#ifndef BASE_PREFIX_KEY_H
#define BASE_PREFIX_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tributary/attention.h"

struct prefix_key {
    uint64_t low, high;
};

enum { PREFIX_KEY_TEXT = 33 }; /* bytes of a key in hexadecimal, with the end */

/* The key of the empty prefix. */
struct prefix_key prefix_key_root(const void *bytes, size_t size);

/* The key behind one more page. */
struct prefix_key prefix_key_next(struct prefix_key key, const int32_t ids[TRIB_CHUNK]);

static inline bool prefix_key_equal(struct prefix_key a, struct prefix_key b)
{
    return a.low == b.low && a.high == b.high;
}

void prefix_key_text(struct prefix_key key, char text[PREFIX_KEY_TEXT]);

#endif
