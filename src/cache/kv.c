/* Pages of keys and values for one sequence. */
#include "cache/kv.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"

struct kv_cache kv_open(struct kv_shape shape, size_t limit)
{
    return (struct kv_cache){.shape = shape, .limit = limit};
}

void kv_close(struct kv_cache *cache)
{
    for (size_t i = 0; i < cache->page_count; i++)
        free(cache->pages[i]);
    free(cache->pages);
    free(cache->k_pages);
    free(cache->v_pages);
    *cache = (struct kv_cache){0};
}

/* Enters a page into the tables of every layer. */
static void enter_page(struct kv_cache *cache, size_t page)
{
    char *at = cache->pages[page];
    for (size_t layer = 0; layer < cache->shape.layers; layer++) {
        cache->k_pages[layer * cache->page_capacity + page] = at;
        at += kv_side_bytes(&cache->shape);
        cache->v_pages[layer * cache->page_capacity + page] = at;
        at += kv_side_bytes(&cache->shape);
    }
}

static trib_status grow_tables(struct kv_cache *cache, size_t pages, trib_error *error)
{
    if (pages <= cache->page_capacity)
        return TRIB_OK;
    struct kv_cache larger = *cache;
    larger.page_capacity = cache->page_capacity * 2 > pages ? cache->page_capacity * 2 : pages;
    size_t entries = cache->shape.layers * larger.page_capacity;
    larger.pages = malloc(larger.page_capacity * sizeof *larger.pages);
    larger.k_pages = malloc(entries * sizeof *larger.k_pages);
    larger.v_pages = malloc(entries * sizeof *larger.v_pages);
    if (!larger.pages || !larger.k_pages || !larger.v_pages) {
        free(larger.pages);
        free(larger.k_pages);
        free(larger.v_pages);
        return error_no_memory(error, "the tables of KV pages", 2 * entries * sizeof(void *));
    }
    for (size_t i = 0; i < cache->page_count; i++) {
        larger.pages[i] = cache->pages[i];
        enter_page(&larger, i);
    }
    free(cache->pages);
    free(cache->k_pages);
    free(cache->v_pages);
    *cache = larger;
    return TRIB_OK;
}

trib_status kv_reserve(struct kv_cache *cache, size_t count, trib_error *error)
{
    if (count > cache->limit - cache->length)
        return error_set(error, TRIB_FULL,
                         "%zu more tokens after %zu do not fit in the context of %zu", count,
                         cache->length, cache->limit);
    size_t pages = size_ceil_div(cache->length + count, CHUNK);
    trib_status status = grow_tables(cache, pages, error);
    while (status == TRIB_OK && cache->page_count < pages) {
        size_t bytes = kv_page_bytes(&cache->shape);
        void *page = memory_zeroed(bytes);
        if (!page)
            return error_no_memory(error, "a KV page", bytes);
        cache->pages[cache->page_count] = page;
        enter_page(cache, cache->page_count++);
    }
    return status;
}

void kv_store(struct kv_cache *cache, size_t layer, size_t position, const float *k, const float *v)
{
    const struct kv_shape *shape = &cache->shape;
    size_t D = shape->head_dim, bytes = chunk_bytes(shape->type, D);
    char *keys = (char *)cache->pages[position / CHUNK] + 2 * layer * kv_side_bytes(shape);
    char *values = keys + kv_side_bytes(shape);
    for (size_t g = 0; g < shape->kv_heads; g++)
        chunk_store(shape->type, D, keys + g * bytes, values + g * bytes, position % CHUNK,
                    k + g * D, v + g * D);
}

trib_segment kv_segment(const struct kv_cache *cache, size_t layer, size_t length)
{
    const struct kv_shape *shape = &cache->shape;
    return (trib_segment){.type = (trib_kv_type)shape->type,
                          .layout = TRIB_KV_CHUNKS,
                          .length = length,
                          .head_stride = chunk_bytes(shape->type, shape->head_dim),
                          .k_pages = cache->k_pages + layer * cache->page_capacity,
                          .v_pages = cache->v_pages + layer * cache->page_capacity,
                          .page_keys = CHUNK};
}
