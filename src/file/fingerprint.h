/* The fingerprint of a model: 128 bits that tell models apart whose keys and values differ.
 *
 * It is a chain over what is added, in that order, so callers add in an order of their own that
 * does not change: metadata, then each tensor as it is loaded.
 *
 *     f_0 = 0        f_n = H(f_{n-1}, H(what is added))        H: XXH3-128
 *
 * All bytes count: two models of one shape may differ in a single weight, and whoever took one for
 * the other would get wrong keys. Where they lie does not: a file, its parts and a folder with the
 * same metadata and tensors are the same model. The hash is fast and not proof against people who
 * look for collisions. */
#ifndef FILE_FINGERPRINT_H
#define FILE_FINGERPRINT_H

#include "file/gguf.h"

struct fingerprint {
    uint64_t low, high;
};

enum { FINGERPRINT_TEXT = 33 }; /* bytes of one in hexadecimal digits, terminated */

void fingerprint_add(struct fingerprint *f, const void *bytes, size_t size);

/* All keys and values but general.name, which a folder takes from its own name, and those of parts.
 */
void fingerprint_metadata(struct fingerprint *f, const struct gguf *file);

/* Name, type, shape and data, which lie in order, read by `threads` threads; their number changes
 * nothing. */
void fingerprint_tensor(struct fingerprint *f, const struct gguf_tensor *tensor, int threads);

/* Its bytes, in the order in which they lie in memory and in files. */
void fingerprint_print(char text[FINGERPRINT_TEXT], const struct fingerprint *f);

#endif
