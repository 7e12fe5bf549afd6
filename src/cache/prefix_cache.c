/* Sequences over the prefix tree. */
#include "cache/prefix_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"

enum { FEW_OWN = 2 }; /* the partial page and the one that is reserved while decoding */

struct prefix_cache {
    struct page_pool *pool;
    struct prefix_tree *tree;
    struct segment_store *store; /* NULL: nothing on disk */
    size_t sequences;
};

trib_status prefix_cache_open(struct prefix_cache **out, const struct prefix_cache_options *options,
                              trib_error *error)
{
    struct prefix_cache *cache = calloc(1, sizeof *cache);
    *out = NULL;
    if (!cache)
        return error_no_memory(error, "a KV cache", sizeof *cache);
    struct segment_origin origin = segment_origin_of(&options->disk, &options->shape);
    trib_status status = page_pool_open(&cache->pool, &options->shape, options->budget, error);
    if (status == TRIB_OK)
        status = tree_open(&cache->tree, cache->pool, segment_root_key(&origin), error);
    if (status == TRIB_OK && options->disk.folder)
        status = segment_store_open(&cache->store, &options->disk, &origin, cache->pool,
                                    cache->tree, error);
    if (status == TRIB_OK)
        *out = cache;
    else
        prefix_cache_close(cache);
    return status;
}

void prefix_cache_close(struct prefix_cache *cache)
{
    if (!cache)
        return;
    assert(cache->sequences == 0);
    segment_store_stop(cache->store); /* which holds pages, */
    tree_close(cache->tree);          /* and the tree some that lie in its files */
    segment_store_close(cache->store);
    page_pool_close(cache->pool);
    free(cache);
}

const struct kv_shape *prefix_cache_shape(const struct prefix_cache *cache)
{
    return page_pool_shape(cache->pool);
}

struct prefix_cache_counts prefix_cache_counts(const struct prefix_cache *cache)
{
    struct page_counts pages = page_pool_counts(cache->pool);
    size_t cached = tree_pages(cache->tree), own = pages.in_use + pages.wrapped - cached;
    return (struct prefix_cache_counts){pages, cached, own + tree_held(cache->tree),
                                        cache->sequences};
}

trib_status prefix_cache_write(struct prefix_cache *cache, size_t bytes, bool all, bool *more,
                               trib_error *error)
{
    if (more)
        *more = false;
    return cache->store ? segment_store_write(cache->store, bytes, all, more, error) : TRIB_OK;
}

void prefix_cache_clear(struct prefix_cache *cache)
{
    segment_store_stop(cache->store); /* which holds pages */
    while (tree_evict(cache->tree))
        continue;
}

/* ---- Opening and closing ---- */

static struct sequence *sequence_new(struct prefix_cache *cache)
{
    struct sequence *sequence = calloc(1, sizeof *sequence);
    struct page **own = malloc(FEW_OWN * sizeof(struct page *));
    if (!sequence || !own) {
        free(sequence);
        free(own);
        return NULL;
    }
    sequence->cache = cache;
    sequence->own = own;
    sequence->own_capacity = FEW_OWN;
    cache->sequences++;
    return sequence;
}

/* Takes pages of ids [count][CHUNK], which follow the sequence, from disk into the tree, as far as
 * they are there. */
static trib_status restore(struct sequence *sequence, const int32_t *ids, size_t count,
                           trib_error *error)
{
    struct prefix_cache *cache = sequence->cache;
    size_t first = sequence->place.pages, end = first + count, found = 0;
    struct page **pages = malloc(count * sizeof(struct page *));
    int32_t *path = malloc(end * CHUNK * sizeof *path);
    trib_status status =
        pages && path ? TRIB_OK
                      : error_no_memory(error, "pages from disk", end * CHUNK * sizeof *path);
    if (status == TRIB_OK) {
        tree_path_ids(sequence->place.node, 0, first, path);
        memcpy(path + first * CHUNK, ids, count * CHUNK * sizeof *path);
        status = segment_store_load(cache->store, path, first, end,
                                    tree_key(cache->tree, &sequence->place), pages, &found, error);
    }
    for (size_t i = 0; i < found; i++) {
        if (status == TRIB_OK)
            status = tree_add(cache->tree, &sequence->place, ids + i * CHUNK, pages[i], error);
        if (status != TRIB_OK) /* then the tree did not take it */
            page_drop(cache->pool, pages[i]);
    }
    free(path);
    free(pages);
    return status;
}

/* Drops own pages from number `count` on. */
static void drop_own(struct sequence *sequence, size_t count)
{
    while (sequence->own_count > count)
        page_drop(sequence->cache->pool, sequence->own[--sequence->own_count]);
}

trib_status sequence_find(struct sequence *sequence, const int32_t *ids, size_t count,
                          trib_error *error)
{
    struct prefix_cache *cache = sequence->cache;
    struct place *place = &sequence->place;
    size_t pages = count / CHUNK, found = 0;
    trib_status status = TRIB_OK;
    if (sequence->length % CHUNK != 0 || pages == 0)
        return TRIB_OK;
    drop_own(sequence, 0);
    while (found < pages && tree_next(cache->tree, place, ids + found * CHUNK))
        found++;
    if (cache->store && found < pages)
        status = restore(sequence, ids + found * CHUNK, pages - found, error);
    sequence->length = place->pages * CHUNK;
    return status;
}

trib_status sequence_open(struct sequence **out, struct prefix_cache *cache, const int32_t *ids,
                          size_t count, trib_error *error)
{
    struct sequence *sequence = sequence_new(cache);
    *out = NULL;
    if (!sequence)
        return error_no_memory(error, "a sequence", sizeof *sequence);
    tree_enter(cache->tree, &sequence->place);
    trib_status status = sequence_find(sequence, ids, count, error);
    if (status == TRIB_OK)
        *out = sequence;
    else
        sequence_close(sequence);
    return status;
}

void sequence_close(struct sequence *sequence)
{
    if (!sequence)
        return;
    drop_own(sequence, 0);
    tree_leave(sequence->cache->tree, &sequence->place);
    sequence->cache->sequences--;
    free(sequence->own);
    free(sequence);
}

trib_status sequence_fork(struct sequence **out, struct sequence *sequence, trib_error *error)
{
    struct sequence *fork = *out = sequence_new(sequence->cache);
    if (!fork)
        return error_no_memory(error, "a sequence", sizeof *fork);
    tree_enter_at(&fork->place, &sequence->place);
    fork->length = sequence->length;
    size_t filled = fork->length % CHUNK;
    if (filled) {
        page_hold(sequence->own[0]);
        fork->own[fork->own_count++] = sequence->own[0];
        memcpy(fork->tail, sequence->tail, filled * sizeof *fork->tail);
    }
    return TRIB_OK;
}

/* ---- Appending ---- */

/* A page, for which others that no sequence holds are given up, and at last what is written. */
static trib_status take_page(struct prefix_cache *cache, struct page **page, trib_error *error)
{
    trib_status status = page_take(cache->pool, page, error);
    while (status == TRIB_FULL && (tree_evict(cache->tree) || segment_store_stop(cache->store)))
        status = page_take(cache->pool, page, error);
    return status;
}

static trib_status grow_own(struct sequence *sequence, size_t count, trib_error *error)
{
    if (count <= sequence->own_capacity)
        return TRIB_OK;
    size_t capacity = 2 * sequence->own_capacity > count ? 2 * sequence->own_capacity : count;
    struct page **own = realloc(sequence->own, capacity * sizeof(struct page *));
    if (!own)
        return error_no_memory(error, "the pages of a sequence", capacity * sizeof(struct page *));
    sequence->own = own;
    sequence->own_capacity = capacity;
    return TRIB_OK;
}

/* Before the partial page is written into it must belong to this sequence alone. */
static trib_status own_partial(struct sequence *sequence, trib_error *error)
{
    struct prefix_cache *cache = sequence->cache;
    size_t filled = sequence->length % CHUNK;
    struct page *copy;
    if (filled == 0 || page_is_writable(sequence->own[0]))
        return TRIB_OK;
    trib_status status = take_page(cache, &copy, error);
    if (status != TRIB_OK) /* unless it was shared with the tree alone, which gave it up just now */
        return page_is_writable(sequence->own[0]) ? TRIB_OK : status;
    page_copy(page_pool_shape(cache->pool), copy, sequence->own[0], filled);
    page_drop(cache->pool, sequence->own[0]);
    sequence->own[0] = copy;
    return TRIB_OK;
}

/* Pages of its own that hold positions up to `length`. */
static size_t own_needed(const struct sequence *sequence, size_t length)
{
    return size_ceil_div(length, CHUNK) - sequence->place.pages;
}

trib_status sequence_reserve(struct sequence *sequence, size_t count, trib_error *error)
{
    if (count == 0)
        return TRIB_OK;
    size_t needed = own_needed(sequence, sequence->length + count), had = sequence->own_count;
    trib_status status = grow_own(sequence, needed, error);
    if (status == TRIB_OK)
        status = own_partial(sequence, error);
    while (status == TRIB_OK && sequence->own_count < needed) {
        status = take_page(sequence->cache, &sequence->own[sequence->own_count], error);
        sequence->own_count += status == TRIB_OK;
    }
    if (status != TRIB_OK)
        drop_own(sequence, had);
    return status;
}

void sequence_store(const struct sequence *sequence, size_t layer, size_t position, const float *k,
                    const float *v)
{
    size_t page = position / CHUNK - sequence->place.pages;
    assert(position >= sequence->length && page < sequence->own_count);
    page_store(page_pool_shape(sequence->cache->pool), sequence->own[page], layer, position % CHUNK,
               k, v);
}

trib_status sequence_commit(struct sequence *sequence, const int32_t *ids, size_t count,
                            trib_error *error)
{
    assert(own_needed(sequence, sequence->length + count) <= sequence->own_count);
    for (size_t i = 0; i < count; i++) {
        sequence->tail[sequence->length % CHUNK] = ids[i];
        if (sequence->length % CHUNK == CHUNK - 1) {
            sequence->own[0]->saved = false; /* what it was before may have been */
            trib_status status = tree_add(sequence->cache->tree, &sequence->place, sequence->tail,
                                          sequence->own[0], error);
            if (status != TRIB_OK)
                return status;
            sequence->own_count--;
            memmove(sequence->own, sequence->own + 1, sequence->own_count * sizeof(struct page *));
        }
        sequence->length++;
    }
    return TRIB_OK;
}

void sequence_rewind(struct sequence *sequence, size_t length)
{
    struct place *place = &sequence->place;
    size_t pages = length / CHUNK, filled = length % CHUNK;
    assert(length <= sequence->length);
    if (pages < place->pages) {
        drop_own(sequence, 0);
        if (filled) { /* the page that is cut stays in the tree, and is shared until written into */
            struct tree_page *cut = tree_page_at(place->node, pages);
            page_hold(cut->page);
            sequence->own[sequence->own_count++] = cut->page;
            memcpy(sequence->tail, cut->ids, filled * sizeof *sequence->tail);
        }
        tree_back(sequence->cache->tree, place, pages);
    }
    sequence->length = length;
    drop_own(sequence, own_needed(sequence, length));
}

void sequence_ids(const struct sequence *sequence, int32_t *ids)
{
    size_t pages = sequence->place.pages;
    tree_path_ids(sequence->place.node, 0, pages, ids);
    memcpy(ids + pages * CHUNK, sequence->tail, sequence->length % CHUNK * sizeof *ids);
}

void sequence_pages(const struct sequence *sequence, size_t first, size_t end, struct page **pages)
{
    size_t full = sequence->place.pages, shared = end < full ? end : full;
    if (first < shared)
        tree_path(sequence->place.node, first, shared, pages);
    for (size_t i = first > full ? first : full; i < end; i++)
        pages[i - first] = sequence->own[i - full];
}
