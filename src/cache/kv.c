/* Pages of keys and values for one sequence. */
#include "cache/kv.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"

static size_t layer_bytes(const struct kv_shape *shape)
{
    return shape->kv_heads * segment_head_bytes(shape->type, shape->head_dim);
}

size_t kv_page_bytes(const struct kv_shape *shape)
{
    return shape->layers * layer_bytes(shape);
}

struct kv_cache kv_open(struct kv_shape shape, size_t limit)
{
    return (struct kv_cache){.shape = shape, .limit = limit};
}

void kv_close(struct kv_cache *cache)
{
    for (size_t i = 0; i < cache->page_count; i++)
        free(cache->pages[i]);
    free(cache->pages);
    *cache = (struct kv_cache){0};
}

static trib_status grow_table(struct kv_cache *cache, size_t pages, trib_error *error)
{
    if (pages <= cache->page_capacity)
        return TRIB_OK;
    size_t capacity = cache->page_capacity * 2 > pages ? cache->page_capacity * 2 : pages;
    void **table = realloc(cache->pages, capacity * sizeof *table);
    if (!table)
        return error_no_memory(error, "the table of KV pages", capacity * sizeof *table);
    cache->pages = table;
    cache->page_capacity = capacity;
    return TRIB_OK;
}

trib_status kv_reserve(struct kv_cache *cache, size_t count, trib_error *error)
{
    if (count > cache->limit - cache->length)
        return error_set(error, TRIB_FULL,
                         "%zu more tokens after %zu do not fit in the context of %zu", count,
                         cache->length, cache->limit);
    size_t pages = size_ceil_div(cache->length + count, CHUNK);
    trib_status status = grow_table(cache, pages, error);
    while (status == TRIB_OK && cache->page_count < pages) {
        size_t bytes = kv_page_bytes(&cache->shape);
        void *page = memory_zeroed(bytes);
        if (!page)
            return error_no_memory(error, "a KV page", bytes);
        cache->pages[cache->page_count++] = page;
    }
    return status;
}

/* Column j of K [D][CHUNK] becomes the D packed elements of `from`. */
static void scatter(char *k, size_t j, const char *from, size_t D, size_t element)
{
    for (size_t d = 0; d < D; d++)
        memcpy(k + (d * CHUNK + j) * element, from + d * element, element);
}

void kv_store(struct kv_cache *cache, const struct kernels *kernels, size_t layer, size_t position,
              const float *k, const float *v)
{
    const struct kv_shape *shape = &cache->shape;
    size_t D = shape->head_dim, j = position % CHUNK, element = dtype_size(shape->type, 1);
    char *head = (char *)cache->pages[position / CHUNK] + layer * layer_bytes(shape);
    for (size_t g = 0; g < shape->kv_heads; g++) {
        /* The value's place in the page also serves as scratch to pack the key. */
        char *value = head + segment_key_bytes(shape->type, D) + j * value_stride(D) * element;
        kernels->pack(shape->type, value, k + g * D, D);
        scatter(head, j, value, D, element);
        kernels->pack(shape->type, value, v + g * D, D);
        head += segment_head_bytes(shape->type, D);
    }
}

struct segment kv_segment(const struct kv_cache *cache, size_t layer, size_t length)
{
    return (struct segment){.type = cache->shape.type,
                            .kv_heads = cache->shape.kv_heads,
                            .head_dim = cache->shape.head_dim,
                            .length = length,
                            .chunks = cache->pages,
                            .offset = layer * layer_bytes(&cache->shape)};
}
