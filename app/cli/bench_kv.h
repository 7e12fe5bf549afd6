/* Random keys and values to attend over, more of them than caches hold.
 *
 * They are one run of chunks of 64 positions. Any part of it that begins at a chunk is a segment
 * of its own: a set. Sets taken in turn are read from memory, not from a cache. */
#ifndef CLI_BENCH_KV_H
#define CLI_BENCH_KV_H

#include "tributary/attention.h"

/* How they lie: rows [S][G][D]; the same in pages of 16 keys, the last page first; chunks of all
 * heads together, as a KV cache has them; chunks of one head together. */
enum bench_layout { BENCH_ROWS, BENCH_PAGES, BENCH_CHUNKS, BENCH_HEADS, BENCH_LAYOUTS };
extern const char *const bench_layout_names[BENCH_LAYOUTS];

struct bench_kv {
    trib_kv_type type;
    enum bench_layout layout;
    size_t D, G;
    size_t chunks;
    char *memory;
    size_t bytes;
    const void **pages; /* of BENCH_PAGES, [2][S / 16]: of the keys, of the values */
};

/* The name of a type, "f16", and the types in the order of the names. */
enum { BENCH_KV_TYPES = 4 };
extern const char *const bench_kv_names[BENCH_KV_TYPES];
extern const trib_kv_type bench_kv_types[BENCH_KV_TYPES];

/* Bytes that one key, or one value, of one head takes as stored. */
double bench_kv_row_bytes(trib_kv_type type, size_t D);

/* At least `keys` positions and `bytes` bytes; false when there is no memory. bench_kv_bytes says
 * how much it takes. */
double bench_kv_bytes(const struct bench_kv *kv, size_t keys, size_t bytes);
bool bench_kv_open(struct bench_kv *kv, size_t keys, size_t bytes, int threads);
void bench_kv_close(struct bench_kv *kv);

/* How many sets of `keys` positions there are, and one of them. */
size_t bench_kv_sets(const struct bench_kv *kv, size_t keys);
trib_segment bench_kv_segment(const struct bench_kv *kv, size_t keys, size_t set);

/* The keys and values of a set as dense elements, [G][keys][D]; not of Q8_0. */
void bench_kv_dense(const struct bench_kv *kv, size_t keys, size_t set, char *k, char *v,
                    int threads);

/* Number i of a sequence of random ones: of variance 1, the same everywhere. */
float bench_random(uint64_t seed, uint64_t i);

#endif
