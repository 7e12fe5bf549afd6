/* The pool of pages. Memory comes from the system in slabs of many pages, aligned so that it can be
 * had in huge pages: a decode step reads all of a cache, and with small ones it would miss the
 * translation of addresses at every second row. */
#include "cache/page.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"

enum {
    HUGE_PAGE = 2 << 20,
    SLAB = 32 << 20, /* bytes asked for at a time, at least one page */
};

struct slab {
    void *mapped; /* as the system gave it */
    size_t mapped_bytes;
    struct page *pages; /* [count] */
    struct slab *next;
};

struct page_pool {
    struct kv_shape shape;
    size_t page_bytes;
    struct page_counts counts;
    struct slab *slabs;
    struct page *free; /* list */
};

/* ---- The pool ---- */

trib_status page_pool_open(struct page_pool **out, const struct kv_shape *shape, size_t budget,
                           trib_error *error)
{
    *out = NULL;
    if (trib_chunk_bytes((trib_kv_type)shape->type, shape->head_dim) == 0 || shape->layers == 0 ||
        shape->kv_heads == 0)
        return error_set(error, TRIB_INVALID,
                         "KV pages of type %u with %zu layers, %zu heads of %zu: there are none",
                         (unsigned)shape->type, shape->layers, shape->kv_heads, shape->head_dim);
    size_t page_bytes = kv_page_bytes(shape);
    if (budget < page_bytes)
        return error_set(error, TRIB_INVALID,
                         "KV budget: expected at least one page of %zu bytes, found %zu",
                         page_bytes, budget);
    struct page_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return error_no_memory(error, "a pool of KV pages", sizeof *pool);
    pool->shape = *shape;
    pool->page_bytes = page_bytes;
    pool->counts.limit = budget / page_bytes;
    *out = pool;
    return TRIB_OK;
}

void page_pool_close(struct page_pool *pool)
{
    if (!pool)
        return;
    assert(pool->counts.in_use == 0 && pool->counts.wrapped == 0);
    for (struct slab *slab = pool->slabs, *next; slab; slab = next) {
        next = slab->next;
        munmap(slab->mapped, slab->mapped_bytes);
        free(slab->pages);
        free(slab);
    }
    free(pool);
}

const struct kv_shape *page_pool_shape(const struct page_pool *pool)
{
    return &pool->shape;
}

struct page_counts page_pool_counts(const struct page_pool *pool)
{
    return pool->counts;
}

/* Fresh memory of the system, which is zero and has room for alignment in front. */
static bool slab_map(struct slab *slab, size_t bytes)
{
    slab->mapped_bytes = bytes + HUGE_PAGE;
    slab->mapped =
        mmap(NULL, slab->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return slab->mapped != MAP_FAILED;
}

static trib_status grow(struct page_pool *pool, trib_error *error)
{
    size_t count = SLAB / pool->page_bytes, left = pool->counts.limit - pool->counts.allocated;
    count = count == 0 ? 1 : count < left ? count : left;
    size_t bytes = count * pool->page_bytes;
    struct slab *slab = calloc(1, sizeof *slab);
    struct page *pages = calloc(count, sizeof *pages);
    if (!slab || !pages || !slab_map(slab, bytes)) {
        free(slab);
        free(pages);
        return error_no_memory(error, "KV pages", bytes);
    }
    char *memory = slab->mapped;
    memory += (HUGE_PAGE - (uintptr_t)memory % HUGE_PAGE) % HUGE_PAGE;
    (void)madvise(memory, bytes, MADV_HUGEPAGE); /* a mere wish */
    for (size_t i = count; i-- > 0;) {
        pages[i] = (struct page){
            .memory = memory + i * pool->page_bytes, .fresh = true, .next = pool->free};
        pool->free = &pages[i];
    }
    slab->pages = pages;
    slab->next = pool->slabs;
    pool->slabs = slab;
    pool->counts.allocated += count;
    return TRIB_OK;
}

/* ---- References ---- */

trib_status page_take(struct page_pool *pool, struct page **page, trib_error *error)
{
    *page = NULL;
    if (!pool->free) {
        if (pool->counts.allocated == pool->counts.limit)
            return error_set(error, TRIB_FULL,
                             "the KV cache is full: all %zu pages of %zu bytes are in use",
                             pool->counts.limit, pool->page_bytes);
        trib_status status = grow(pool, error);
        if (status != TRIB_OK)
            return status;
    }
    struct page *taken = pool->free;
    pool->free = taken->next;
    if (!taken->fresh)
        memset(taken->memory, 0, pool->page_bytes);
    *taken = (struct page){.memory = taken->memory, .references = 1};
    pool->counts.in_use++;
    *page = taken;
    return TRIB_OK;
}

struct page *page_wrap(struct page_pool *pool, const void *memory, struct page_backing *backing)
{
    struct page *page = malloc(sizeof *page);
    if (!page)
        return NULL;
    *page = (struct page){
        .memory = (char *)(uintptr_t)memory, .references = 1, .saved = true, .backing = backing};
    backing->pages++;
    pool->counts.wrapped++;
    return page;
}

void page_hold(struct page *page)
{
    assert(page->references > 0);
    page->references++;
}

void page_drop(struct page_pool *pool, struct page *page)
{
    assert(page->references > 0);
    if (--page->references > 0)
        return;
    if (page->backing) {
        pool->counts.wrapped--;
        if (--page->backing->pages == 0)
            page->backing->unused(page->backing);
        free(page);
        return;
    }
    pool->counts.in_use--;
    page->next = pool->free;
    pool->free = page;
}

bool page_is_writable(const struct page *page)
{
    return page->references == 1 && !page->backing;
}

/* ---- Contents ---- */

void page_copy(const struct kv_shape *shape, struct page *to, const struct page *from, size_t count)
{
    size_t side = kv_side_bytes(shape);
    assert(page_is_writable(to) && count <= CHUNK);
    for (size_t k = 0; k < kv_page_bytes(shape); k += 2 * side)
        chunk_copy(shape->type, shape->head_dim, to->memory + k, to->memory + k + side,
                   from->memory + k, from->memory + k + side, count);
}

void page_store(const struct kv_shape *shape, struct page *page, size_t layer, size_t slot,
                const float *k, const float *v)
{
    size_t D = shape->head_dim, side = kv_side_bytes(shape);
    char *keys = page->memory + kv_layer_at(shape, layer);
    for (size_t g = 0; g < shape->kv_heads; g++, keys += 2 * side)
        chunk_store(shape->type, D, keys, keys + side, slot, k + g * D, v + g * D);
}

trib_segment page_segment(const struct kv_shape *shape, size_t layer, struct page *const *pages,
                          size_t count, size_t first, size_t length, const void **k, const void **v)
{
    size_t side = kv_side_bytes(shape);
    for (size_t i = 0; i < count; i++) {
        k[i] = pages[i]->memory + kv_layer_at(shape, layer);
        v[i] = (const char *)k[i] + side;
    }
    return (trib_segment){.type = (trib_kv_type)shape->type,
                          .layout = TRIB_KV_CHUNKS,
                          .length = length,
                          .first = first * CHUNK,
                          .head_stride = 2 * side,
                          .k_pages = k,
                          .v_pages = v,
                          .page_keys = CHUNK};
}
