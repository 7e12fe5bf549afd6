/* Pages of keys and values: CHUNK positions of all layers (cache/shape.h), counted by reference.
 *
 * A pool hands out pages of its own memory until its budget is used up, and wraps pages that lie in
 * somebody else's, such as a mapped file; those cost the pool nothing and are never written.
 *
 * Ownership: whoever takes, wraps or holds a page drops it once. The last drop of a pool's page
 * puts it on the free list; its memory goes back to the system when the pool is closed. The first
 * holder alone may write (page_is_writable); a page that others hold is first copied (page_copy).
 *
 * Threads: a pool and its pages' references belong to one thread at a time. Any number of threads
 * may read pages, and store different positions or layers of a page that is writable. */
#ifndef CACHE_PAGE_H
#define CACHE_PAGE_H

#include <stdbool.h>

#include "cache/shape.h"
#include "tributary/attention.h"

/* Memory that wrapped pages lie in; kept by whoever wraps. */
struct page_backing {
    size_t pages;                                 /* how many wrapped pages lie in it now */
    void (*unused)(struct page_backing *backing); /* called when the last one is dropped */
};

struct page {
    char *memory; /* kv_page_bytes, aligned to 64 */
    uint32_t references;
    bool fresh;                   /* zero, because nobody ever took it */
    bool saved;                   /* on disk, or given up there: nobody needs to write it */
    struct page_backing *backing; /* NULL: the pool's own */
    struct page *next;            /* of the free list */
};

struct page_counts {
    size_t limit;     /* pages that the budget allows */
    size_t allocated; /* that memory was had for */
    size_t in_use;    /* of those, held by somebody */
    size_t wrapped;   /* in other memory */
};

struct page_pool;

/* A pool of up to `budget` bytes of pages; allocates none yet. TRIB_INVALID where the type cannot
 * have such heads or not one page fits the budget, TRIB_NO_MEMORY; then *out is NULL. */
trib_status page_pool_open(struct page_pool **out, const struct kv_shape *shape, size_t budget,
                           trib_error *error);

/* NULL is allowed. Every page must have been dropped. */
void page_pool_close(struct page_pool *pool);

const struct kv_shape *page_pool_shape(const struct page_pool *pool);
struct page_counts page_pool_counts(const struct page_pool *pool);

/* A zeroed page with one reference. TRIB_FULL when the budget is used up, TRIB_NO_MEMORY; then
 * *page is NULL and nothing else has changed. */
trib_status page_take(struct page_pool *pool, struct page **page, trib_error *error);

/* A page with one reference in memory of somebody else, which must not change and stays readable
 * until `backing` is unused. NULL when there is no memory. */
struct page *page_wrap(struct page_pool *pool, const void *memory, struct page_backing *backing);

void page_hold(struct page *page);
void page_drop(struct page_pool *pool, struct page *page);

/* Whether its one holder may store into it. */
bool page_is_writable(const struct page *page);

/* Copies positions 0 to count - 1 of a page into a writable one. */
void page_copy(const struct kv_shape *shape, struct page *to, const struct page *from,
               size_t count);

/* Stores the key and value [G][D] of one position (0 to CHUNK - 1) in one layer, rounded. */
void page_store(const struct kv_shape *shape, struct page *page, size_t layer, size_t slot,
                const float *k, const float *v);

/* The segment of one layer over consecutive pages, the first of which is page `first` of its
 * sequence: `length` positions, at most count * CHUNK. k and v [count] are the caller's; they are
 * filled and the segment points to them. */
trib_segment page_segment(const struct kv_shape *shape, size_t layer, struct page *const *pages,
                          size_t count, size_t first, size_t length, const void **k,
                          const void **v);

#endif
