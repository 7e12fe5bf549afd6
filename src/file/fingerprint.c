/* Hashing models, block by block. */
#include "file/fingerprint.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Blocks are what one thread hashes at a time, and fill a second-level cache by no more than a
 * quarter; BLOCKS of them are hashed before their hashes are added. */
enum { BLOCK = 1 << 18, BLOCKS = 256 };

void fingerprint_add(struct fingerprint *f, const void *bytes, size_t size)
{
    XXH128_hash_t hash = XXH3_128bits(bytes, size);
    uint64_t link[4] = {f->low, f->high, hash.low64, hash.high64};
    hash = XXH3_128bits(link, sizeof link);
    *f = (struct fingerprint){hash.low64, hash.high64};
}

/* Of a key that says how the file is called, or which part it is, and nothing of the model. */
static bool is_of_the_file(struct slice key)
{
    static const char name[] = "general.name", part[] = "split.";
    return (key.length == sizeof name - 1 && memcmp(key.bytes, name, sizeof name - 1) == 0) ||
           (key.length >= sizeof part - 1 && memcmp(key.bytes, part, sizeof part - 1) == 0);
}

void fingerprint_metadata(struct fingerprint *f, const struct gguf *file)
{
    for (size_t i = 0; i < file->value_count; i++) {
        const struct gguf_value *v = &file->values[i];
        uint64_t kind[3] = {(uint64_t)v->type, (uint64_t)v->element, v->count};
        if (is_of_the_file(v->key))
            continue;
        fingerprint_add(f, v->key.bytes, v->key.length);
        fingerprint_add(f, kind, sizeof kind);
        fingerprint_add(f, v->data, gguf_value_size(v));
    }
}

void fingerprint_tensor(struct fingerprint *f, const struct gguf_tensor *t, int threads)
{
    XXH128_hash_t hashes[BLOCKS];
    uint64_t kind[2 + GGUF_MAX_DIMS] = {(uint64_t)t->type, t->dims};
    memcpy(kind + 2, t->shape, sizeof t->shape);
    fingerprint_add(f, t->name.bytes, t->name.length);
    fingerprint_add(f, kind, sizeof kind);
    for (uint64_t done = 0; done < t->bytes; done += (uint64_t)BLOCKS * BLOCK) {
        uint64_t left = t->bytes - done;
        size_t count =
            left < (uint64_t)BLOCKS * BLOCK ? (size_t)((left + BLOCK - 1) / BLOCK) : BLOCKS;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (count > 1)
        for (size_t i = 0; i < count; i++) {
            uint64_t from = done + (uint64_t)i * BLOCK;
            size_t size = t->bytes - from < BLOCK ? (size_t)(t->bytes - from) : BLOCK;
            hashes[i] = XXH3_128bits(t->data + from, size);
        }
        fingerprint_add(f, hashes, count * sizeof *hashes);
    }
}

void fingerprint_print(char text[FINGERPRINT_TEXT], const struct fingerprint *f)
{
    uint8_t bytes[sizeof *f];
    memcpy(bytes, f, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}
