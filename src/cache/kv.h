/* The keys and values of one sequence: pages of one chunk, all layers.
 *
 * A page holds CHUNK positions: [L] x {keys [G][CHUNK][D], values [G][CHUNK][D]} of one element
 * type. The cache knows no model, only shapes. Invariant: the first `length` positions are stored
 * in every layer once a forward pass is over; what lies past them is zero or stale, and never read.
 */
#ifndef CACHE_KV_H
#define CACHE_KV_H

#include "cache/shape.h"
#include "tributary/attention.h"

struct kv_cache {
    struct kv_shape shape;
    size_t length; /* positions stored */
    size_t limit;  /* positions at most */
    size_t page_count, page_capacity;
    void **pages;         /* [page_count] */
    const void **k_pages; /* [L][page_capacity] where each layer's keys begin in each page */
    const void **v_pages; /* [L][page_capacity] and its values */
};

/* An empty cache of up to `limit` positions; allocates nothing. */
struct kv_cache kv_open(struct kv_shape shape, size_t limit);
void kv_close(struct kv_cache *cache);

/* Makes room for `count` more positions. TRIB_FULL past the limit, TRIB_NO_MEMORY; the cache is
 * then as it was, apart from pages it may have gained. */
trib_status kv_reserve(struct kv_cache *cache, size_t count, trib_error *error);

/* Stores the keys and values [G][D] of one position, reserved before, in one layer. */
void kv_store(struct kv_cache *cache, size_t layer, size_t position, const float *k,
              const float *v);

/* The first `length` positions of a layer; valid until the next reserve. */
trib_segment kv_segment(const struct kv_cache *cache, size_t layer, size_t length);

#endif
