/* The cache of keys and values for many sequences that share prefixes: what the engine talks to.
 *
 *     struct sequence *s;
 *     sequence_open(&s, cache, ids, count - 1, &error);         finds what is cached, on disk too
 *     sequence_reserve(s, n, &error);                           room for n new positions
 *     sequence_store(s, layer, position, k, v);                 in every layer, by any thread
 *     sequence_commit(s, ids + sequence_length(s), n, &error);  now they are in it, full pages for
 * all sequence_close(s);                                        what it computed stays cached
 *
 * A sequence holds the pages of its path in the prefix tree by standing there, and pages of its own
 * behind them: the one partly filled, and what is reserved. Full pages go into the tree when they
 * are committed; where another sequence was first, its page is taken and the own one dropped, which
 * changes no bit. A fork shares everything; the first of the two that writes into the shared
 * partial page copies what is filled of it.
 *
 * Ownership: the cache owns pages and tree; sequences are the caller's to close, before the cache.
 * Failure: TRIB_FULL, when the budget is used up by what sequences hold, and TRIB_NO_MEMORY leave
 * every sequence as it was; the caller may close or rewind some and try again.
 * Threads: a cache and its sequences belong to one thread at a time, but for sequence_store, which
 * any number of threads may call at once for different positions or layers. */
#ifndef CACHE_PREFIX_CACHE_H
#define CACHE_PREFIX_CACHE_H

#include "cache/prefix_tree.h"
#include "cache/segment_store.h"

struct prefix_cache_options {
    struct kv_shape shape;
    size_t budget; /* bytes of pages in memory; at least one page */
    struct segment_options disk;
};

struct prefix_cache_counts {
    struct page_counts pages;
    size_t cached;    /* pages in the tree, held by sequences or not */
    size_t held;      /* pages that sequences hold, in the tree or not, or that are being written */
    size_t sequences; /* open */
};

struct prefix_cache;

struct sequence {
    struct prefix_cache *cache;
    struct place place; /* the full pages: positions 0 to place.pages * CHUNK - 1 */
    size_t length;      /* positions committed */
    size_t own_count, own_capacity;
    struct page **own;   /* pages place.pages and on; own[0] may be shared while it is partial */
    int32_t tail[CHUNK]; /* ids of the positions behind the full pages */
};

/* Opens; `options` is copied but for what disk.folder and disk.report.context point to. */
trib_status prefix_cache_open(struct prefix_cache **out, const struct prefix_cache_options *options,
                              trib_error *error);

/* Closes; NULL is allowed. What waits to be written is not: prefix_cache_write with `all` does. */
void prefix_cache_close(struct prefix_cache *cache);

/* The shape of its pages; valid as long as the cache. */
const struct kv_shape *prefix_cache_shape(const struct prefix_cache *cache);

struct prefix_cache_counts prefix_cache_counts(const struct prefix_cache *cache);

/* Writes pages to disk that are not there yet, about `bytes` of them, and says in *more (may be
 * NULL) whether there are others: to be called between steps. Without `all`, runs of pages that a
 * sequence may yet make longer wait. A failure costs the run of pages that it happened to, on disk
 * only. Without a folder it does nothing. */
trib_status prefix_cache_write(struct prefix_cache *cache, size_t bytes, bool all, bool *more,
                               trib_error *error);

/* Gives up every page that no sequence holds. */
void prefix_cache_clear(struct prefix_cache *cache);

/* ---- Sequences ---- */

/* A sequence that begins with as many whole pages of ids [count] as are cached, in memory or on
 * disk: sequence_length says how many positions; the caller computes the rest. Whoever wants the
 * logits of the last id asks for one id less. On failure *out is NULL. */
trib_status sequence_open(struct sequence **out, struct prefix_cache *cache, const int32_t *ids,
                          size_t count, trib_error *error);

/* Where a sequence ends with a whole page: appends as many whole pages of ids [count] as are
 * cached. Reserved pages are given back. On failure some may have been appended. */
trib_status sequence_find(struct sequence *sequence, const int32_t *ids, size_t count,
                          trib_error *error);

/* Closes; NULL is allowed. */
void sequence_close(struct sequence *sequence);

static inline size_t sequence_length(const struct sequence *sequence)
{
    return sequence->length;
}

/* Makes room for `count` more positions, giving up pages that no sequence holds. */
trib_status sequence_reserve(struct sequence *sequence, size_t count, trib_error *error);

/* Stores the key and value [G][D] of a position that is reserved and not committed. */
void sequence_store(const struct sequence *sequence, size_t layer, size_t position, const float *k,
                    const float *v);

/* Appends `count` positions that are stored in every layer. TRIB_NO_MEMORY, which only a page that
 * begins a branch of the tree can meet: then sequence_length says what was appended. */
trib_status sequence_commit(struct sequence *sequence, const int32_t *ids, size_t count,
                            trib_error *error);

/* Another sequence with the same positions; copies no keys and values. On failure *out is NULL. */
trib_status sequence_fork(struct sequence **out, struct sequence *sequence, trib_error *error);

/* Shortens to `length` positions, at most as many as there are. What is taken away stays cached as
 * far as it is in the tree. */
void sequence_rewind(struct sequence *sequence, size_t length);

/* The ids [length] of all positions. */
void sequence_ids(const struct sequence *sequence, int32_t *ids);

/* Pages first to end - 1 of the sequence, reserved ones included. */
void sequence_pages(const struct sequence *sequence, size_t first, size_t end, struct page **pages);

#endif
