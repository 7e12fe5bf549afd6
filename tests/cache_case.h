/* Sequences whose keys and values tell where they belong: those of a position are a function of all
 * ids up to it, so a page that is shared wrongly, or written twice, shows. */
#ifndef CACHE_CASE_H
#define CACHE_CASE_H

#include "base/rng.h"
#include "cache/prefix_cache.h"
#include "test.h"

/* A hash of all ids up to a position, from the one before it. */
static inline uint64_t case_hash(uint64_t before, int32_t id)
{
    return rng_bits(before, (uint64_t)id + 1);
}

/* Key and value [G][D] of the position with this hash in one layer. */
static inline void case_rows(const struct kv_shape *shape, uint64_t hash, size_t layer, float *k,
                             float *v)
{
    size_t n = shape->kv_heads * shape->head_dim;
    for (size_t i = 0; i < 2 * n; i++) {
        float x = (float)rng_uniform(hash, layer * 2 * n + i) - 0.5f;
        *(i < n ? k + i : v + i - n) = x;
    }
}

enum { CASE_ROW_MOST = 512 }; /* floats of G D at most */

/* The expected content of page `page` of a sequence with hashes [length], as far as it goes. */
static inline void case_page(const struct kv_shape *shape, struct page *out, const uint64_t *hashes,
                             size_t length, size_t page)
{
    float k[CASE_ROW_MOST], v[CASE_ROW_MOST];
    memset(out->memory, 0, kv_page_bytes(shape));
    for (size_t i = page * CHUNK; i < length && i < (page + 1) * CHUNK; i++)
        for (size_t layer = 0; layer < shape->layers; layer++) {
            case_rows(shape, hashes[i], layer, k, v);
            page_store(shape, out, layer, i % CHUNK, k, v);
        }
}

/* What a forward pass does: room, rows in every layer, commit. `hashes` are those of the ids. */
static inline trib_status case_append(const struct kv_shape *shape, struct sequence *s,
                                      const int32_t *ids, const uint64_t *hashes, size_t count,
                                      trib_error *error)
{
    float k[CASE_ROW_MOST], v[CASE_ROW_MOST];
    size_t length = sequence_length(s);
    trib_status status = sequence_reserve(s, count, error);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        for (size_t layer = 0; layer < shape->layers; layer++) {
            case_rows(shape, hashes[i], layer, k, v);
            sequence_store(s, layer, length + i, k, v);
        }
    return sequence_commit(s, ids, count, error);
}

/* Whether pages [from, end of the sequence) hold what they should. `pool` has room for two pages.
 */
static inline bool case_holds(const struct kv_shape *shape, struct page_pool *pool,
                              const struct sequence *s, const uint64_t *hashes, size_t from)
{
    size_t length = sequence_length(s), bytes = kv_page_bytes(shape);
    struct page *expected, *found, *page;
    bool good = true;
    assert_int_equal(page_take(pool, &expected, NULL), TRIB_OK);
    assert_int_equal(page_take(pool, &found, NULL), TRIB_OK);
    for (size_t i = from; i * CHUNK < length; i++) {
        size_t filled = length - i * CHUNK < CHUNK ? length - i * CHUNK : CHUNK;
        sequence_pages(s, i, i + 1, &page);
        case_page(shape, expected, hashes, length, i);
        memset(found->memory, 0, bytes);
        page_copy(shape, found, page, filled);
        good = good && memcmp(found->memory, expected->memory, bytes) == 0 &&
               (filled < CHUNK || memcmp(page->memory, expected->memory, bytes) == 0);
    }
    page_drop(pool, expected);
    page_drop(pool, found);
    return good;
}

#endif
