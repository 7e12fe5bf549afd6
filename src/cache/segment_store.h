/* Pages on disk: found by their prefix, mapped, verified and attended in place; written behind.
 *
 * The folder is the truth; this is an index of it for one origin: from the key behind each page to
 * the file that has it. The index is brought up to date when the folder has changed since. So a
 * page is found whichever file of whichever process holds it, in the middle of a run as well.
 *
 * Nothing is believed: a file's header is checked when it enters the index and again when it is
 * mapped, its ids are compared with those asked for, and each page's checksum before the page's
 * first use (in parallel; kept as long as the file stays mapped). What does not pass is reported,
 * forgotten, and computed again. Files of other origins are none of our business.
 *
 * A file that is truncated by somebody while it is mapped ends the program (file/map.h); nothing
 * here truncates or changes one.
 *
 * Threads: a store belongs to the thread of its tree; loading uses as many as the options say. */
#ifndef CACHE_SEGMENT_STORE_H
#define CACHE_SEGMENT_STORE_H

#include "cache/prefix_tree.h"
#include "cache/segment_folder.h"

/* Where messages about files go that are passed over; `message` is valid during the call. */
struct segment_report {
    void (*say)(void *context, const char *message); /* NULL: nobody listens */
    void *context;
};

struct segment_options {
    const char *folder; /* NULL: nothing on disk */
    uint64_t budget;    /* bytes on disk, of all origins together; 0: segment_folder_half */
    uint8_t model[SEGMENT_MODEL]; /* fingerprint of weights and of all options that matter */
    const char *kernels;          /* the name of all code whose choice decides bits */
    int threads;                  /* for verifying; at least 1 */
    struct segment_report report;
};

struct segment_store;

/* The origin of pages of this shape that this program computes. */
struct segment_origin segment_origin_of(const struct segment_options *options,
                                        const struct kv_shape *shape);

/* Opens a folder, which is made if need be, and removes parts of killed writers. Pool and tree must
 * outlive the store. TRIB_IO, TRIB_NO_MEMORY; then *out is NULL. */
trib_status segment_store_open(struct segment_store **out, const struct segment_options *options,
                               const struct segment_origin *origin, struct page_pool *pool,
                               struct prefix_tree *tree, trib_error *error);

/* Abandons the run that is being written, so that the store holds no page; whether there was one.
 * What of it the tree still has waits to be written as before. NULL is allowed. */
bool segment_store_stop(struct segment_store *store);

/* Stops and closes; NULL is allowed. Pages that lie in its files must have been dropped before. */
void segment_store_close(struct segment_store *store);

/* Finds pages first to end - 1 of ids [end][CHUNK], which begin at the start of the sequence; `key`
 * is the one behind page first - 1. pages[0] to pages[*found - 1] are then wrapped pages with one
 * reference each, verified; they end where the first one is missing. What is wrong with files is
 * reported, not returned: TRIB_NO_MEMORY is all that fails. */
trib_status segment_store_load(struct segment_store *store, const int32_t *ids, size_t first,
                               size_t end, struct prefix_key key, struct page **pages,
                               size_t *found, trib_error *error);

/* Writes about `bytes` more of the tree's unsaved pages, as prefix_cache_write says. Room is made
 * beforehand by removing the files used longest ago. */
trib_status segment_store_write(struct segment_store *store, size_t bytes, bool all, bool *more,
                                trib_error *error);

#endif
