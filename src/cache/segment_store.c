/* Loading pages from disk and writing them behind. */
#include "cache/segment_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/size.h"
#include "cache/segment_index.h"
#include "file/atomic.h"

enum {
    RUN_BYTES = 32 << 20, /* of a file at most: what a crash loses, and an fsync waits for */
    RUN_PAGES = 64,       /* in a file at most */
};

/* The run that is being written. */
struct job {
    bool active;
    struct atomic_file file;
    char name[SEGMENT_NAME_LENGTH + 1];
    struct page *pages[RUN_PAGES]; /* held */
    size_t count, written;
    int32_t *ids; /* [end][CHUNK] */
    size_t end;   /* pages from the start of the prefix to the end of the run */
};

struct segment_store {
    struct segment_index index;
    uint64_t budget;
    int threads;
    size_t run_pages; /* of a file at most */
    struct page_pool *pool;
    struct prefix_tree *tree;
    struct job job;
    char *folder;
};

struct segment_origin segment_origin_of(const struct segment_options *options,
                                        const struct kv_shape *shape)
{
    struct segment_origin origin = {.type = (uint32_t)shape->type,
                                    .layers = (uint32_t)shape->layers,
                                    .kv_heads = (uint32_t)shape->kv_heads,
                                    .head_dim = (uint32_t)shape->head_dim,
                                    .page_bytes = kv_page_bytes(shape)};
    const char *kernels = options->kernels ? options->kernels : "";
    assert(strlen(kernels) < SEGMENT_NAME);
    memcpy(origin.model, options->model, sizeof origin.model);
    memcpy(origin.kernels, kernels, strnlen(kernels, SEGMENT_NAME - 1));
    memcpy(origin.program, TRIB_VERSION, sizeof TRIB_VERSION);
    return origin;
}

trib_status segment_store_open(struct segment_store **out, const struct segment_options *options,
                               const struct segment_origin *origin, struct page_pool *pool,
                               struct prefix_tree *tree, trib_error *error)
{
    struct segment_store *store = calloc(1, sizeof *store);
    struct segment_pruned pruned;
    *out = NULL;
    if (store)
        store->folder = strdup(options->folder);
    if (!store || !store->folder) {
        free(store);
        return error_no_memory(error, "a store of KV segments", sizeof *store);
    }
    size_t run = RUN_BYTES / origin->page_bytes;
    store->index = (struct segment_index){.folder = store->folder,
                                          .origin = *origin,
                                          .root = segment_root_key(origin),
                                          .report = options->report};
    store->budget = options->budget;
    store->threads = options->threads > 1 ? options->threads : 1;
    store->run_pages = run == 0 ? 1 : run < RUN_PAGES ? run : RUN_PAGES;
    store->pool = pool;
    store->tree = tree;
    struct segment_prune strays = {.budget = UINT64_MAX, .stray_seconds = SEGMENT_STRAY_SECONDS};
    trib_status status = segment_folder_make(store->folder, error);
    if (status == TRIB_OK)
        status = segment_folder_prune(store->folder, &strays, &pruned, error);
    if (status == TRIB_OK && store->budget == 0)
        status = segment_folder_half(store->folder, pruned.left, &store->budget, error);
    if (status == TRIB_OK)
        *out = store;
    else
        segment_store_close(store);
    return status;
}

/* ---- Loading ---- */

/* A page that is wanted, and where it was found. */
struct found {
    struct segment_mapped *mapped;
    size_t page; /* in the file's run */
    bool whole;
};

static void let_go(struct segment_mapped *mapped)
{
    if (--mapped->backing.pages == 0)
        segment_mapped_release(mapped);
}

/* Whether the ids of the file are those that are wanted, up to the end of page `at` of its run.
 * Where the page before came from the same file, that one's were compared. */
static bool ids_agree(const struct segment *segment, const int32_t *ids, size_t at, bool follows)
{
    size_t first = follows ? segment->first + at : 0, end = segment->first + at + 1;
    return memcmp(segment->ids + first * CHUNK, ids + first * CHUNK,
                  (end - first) * CHUNK * sizeof *ids) == 0;
}

/* The page with this key, in a file that is mapped and agrees with the ids; it stays mapped until
 * let_go. */
static bool find_page(struct segment_store *store, struct prefix_key key, const int32_t *ids,
                      const struct found *before, struct found *found)
{
    const struct segment_page *page;
    while ((page = segment_index_find(&store->index, key))) {
        struct segment_file *file = page->file;
        size_t at = (size_t)(page - file->pages);
        trib_status status = file->mapped ? TRIB_OK : segment_index_map(&store->index, file);
        if (status == TRIB_NO_MEMORY)
            return false;
        if (status != TRIB_OK)
            continue;
        struct segment_mapped *mapped = file->mapped;
        *found = (struct found){mapped, at, mapped->verified[at]};
        mapped->backing.pages++;
        if (ids_agree(&mapped->segment, ids, at, before && before->mapped == mapped))
            return true;
        let_go(mapped);
        return false;
    }
    return false;
}

/* Asks for the pages' memory, which the disk can then bring in any order it likes. */
static void ask_for(const struct found *found, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct segment *s = &found[i].mapped->segment;
        if (!found[i].whole)
            (void)posix_madvise((void *)(uintptr_t)(s->pages + found[i].page * s->stride),
                                s->stride, POSIX_MADV_WILLNEED);
    }
}

/* Checks the pages that nobody has checked yet, and says how many from the first on are whole. */
static size_t verify(struct segment_store *store, struct found *found, size_t count)
{
    ask_for(found, count);
#pragma omp parallel for schedule(dynamic) num_threads(store->threads)
    for (size_t i = 0; i < count; i++)
        if (!found[i].whole)
            found[i].whole = segment_page_is_whole(&found[i].mapped->segment, found[i].page);
    size_t whole = 0;
    for (; whole < count && found[whole].whole; whole++)
        found[whole].mapped->verified[found[whole].page] = true;
    return whole;
}

/* Wraps the pages that are whole; how many could be. */
static size_t wrap(struct segment_store *store, const struct found *found, size_t count,
                   struct page **pages)
{
    for (size_t i = 0; i < count; i++) {
        struct segment_mapped *mapped = found[i].mapped;
        pages[i] =
            page_wrap(store->pool, mapped->segment.pages + found[i].page * mapped->segment.stride,
                      &mapped->backing);
        if (!pages[i])
            return i;
    }
    return count;
}

/* Says that the files which hold pages of ids [pages][CHUNK] were used: those behind others a
 * moment earlier, so that the ends of prefixes go before their beginnings. */
static void touch(const struct segment_store *store, const int32_t *ids, size_t pages)
{
    struct prefix_key key = store->index.root;
    const struct segment_file *last = NULL;
    int64_t now = segment_folder_now();
    for (size_t i = 0; i < pages; i++) {
        key = prefix_key_next(key, ids + i * CHUNK);
        const struct segment_page *page = segment_index_find(&store->index, key);
        if (page && page->file != last)
            segment_folder_touch(store->folder, page->file->name, now - (int64_t)i);
        last = page ? page->file : last;
    }
}

/* Finds and verifies pages as far as they go. Where one is not whole another file may have it. */
static size_t find_pages(struct segment_store *store, const int32_t *ids, size_t first, size_t end,
                         struct prefix_key key, struct found *found)
{
    size_t whole = 0;
    for (bool again = true; again;) {
        struct prefix_key next = key;
        size_t count = whole;
        for (size_t i = 0; first + i < end; i++) {
            next = prefix_key_next(next, ids + (first + i) * CHUNK);
            if (i < whole)
                continue;
            if (!find_page(store, next, ids, i ? &found[i - 1] : NULL, &found[i]))
                break;
            count++;
        }
        whole = verify(store, found, count);
        again = whole < count && found[whole].mapped->file;
        if (again)
            segment_index_refuse(&store->index,
                                 &found[whole].mapped->file->pages[found[whole].page]);
        while (count > whole)
            let_go(found[--count].mapped);
    }
    return whole;
}

trib_status segment_store_load(struct segment_store *store, const int32_t *ids, size_t first,
                               size_t end, struct prefix_key key, struct page **pages,
                               size_t *found_count, trib_error *error)
{
    struct found *found = malloc((end - first) * sizeof *found);
    *found_count = 0;
    if (!found)
        return error_no_memory(error, "pages from disk", (end - first) * sizeof *found);
    segment_index_refresh(&store->index);
    size_t whole = find_pages(store, ids, first, end, key, found);
    *found_count = wrap(store, found, whole, pages);
    if (*found_count)
        touch(store, ids, first + *found_count);
    for (size_t i = 0; i < whole; i++)
        let_go(found[i].mapped);
    free(found);
    return TRIB_OK;
}

/* ---- Writing behind ---- */

static void end_job(struct segment_store *store)
{
    struct job *job = &store->job;
    atomic_abandon(&job->file);
    for (size_t i = 0; i < job->count; i++)
        page_drop(store->pool, job->pages[i]);
    free(job->ids);
    *job = (struct job){0};
}

/* Ends the run for good, written or not. From here on its pages count as saved: what fails is not
 * tried again at every step. */
static void settle_job(struct segment_store *store)
{
    for (size_t i = 0; i < store->job.count; i++)
        store->job.pages[i]->saved = true;
    end_job(store);
}

/* Whether a sequence stands at the end of a node, so that the run there may become longer. */
static bool may_grow(const struct tree_node *node)
{
    for (const struct place *place = node->places; place && node->children == 0;
         place = place->next)
        if (place->pages == node->first + node->count)
            return true;
    return false;
}

/* Whether nobody needs to write a page. What was computed again although it is on disk need not be.
 */
static bool is_saved(const struct segment_store *store, const struct tree_page *entry)
{
    if (!entry->page->saved && segment_index_find(&store->index, entry->key))
        entry->page->saved = true;
    return entry->page->saved;
}

/* The first run of unsaved pages in a node: [*from, *to) of its pages. */
static bool unsaved_run(const struct segment_store *store, const struct tree_node *node,
                        size_t *from, size_t *to)
{
    size_t i = 0;
    while (i < node->count && is_saved(store, &node->run[i]))
        i++;
    *from = i;
    while (i < node->count && i - *from < store->run_pages && !is_saved(store, &node->run[i]))
        i++;
    *to = i;
    return *from < *to;
}

/* The next node with a run that is due. Those that may grow go to the end of the list. */
static struct tree_node *next_due(struct segment_store *store, bool all, size_t *from, size_t *to)
{
    struct tree_node *node, *postponed = NULL;
    while ((node = tree_unsaved(store->tree)) && node != postponed) {
        if (!unsaved_run(store, node, from, to)) {
            tree_forget_unsaved(store->tree, node);
            continue;
        }
        if (all || *to - *from == store->run_pages || *to < node->count || !may_grow(node))
            return node;
        tree_postpone_unsaved(store->tree, node);
        postponed = postponed ? postponed : node;
    }
    return NULL;
}

static trib_status make_room(struct segment_store *store, uint64_t bytes, trib_error *error)
{
    struct segment_pruned pruned;
    if (bytes > store->budget)
        return error_set(error, TRIB_FULL,
                         "a KV segment of %llu bytes is beyond the budget of %llu on disk",
                         (unsigned long long)bytes, (unsigned long long)store->budget);
    struct segment_prune prune = {.budget = store->budget - bytes,
                                  .stray_seconds = SEGMENT_STRAY_SECONDS};
    return segment_folder_prune(store->folder, &prune, &pruned, error);
}

/* Opens the file and writes its header. */
static trib_status write_header(struct segment_store *store, trib_error *error)
{
    struct job *job = &store->job;
    const void *memory[RUN_PAGES];
    size_t first = job->end - job->count, bytes = segment_header_bytes(first, job->count);
    for (size_t i = 0; i < job->count; i++)
        memory[i] = job->pages[i]->memory;
    void *header = segment_header(&store->index.origin, job->ids, first, job->count, memory);
    char *path = segment_path(store->folder, job->name);
    trib_status status = header && path ? atomic_open(&job->file, path, error)
                                        : error_no_memory(error, "a KV segment's header", bytes);
    if (status == TRIB_OK)
        status = atomic_write(&job->file, header, bytes, error);
    free(header);
    free(path);
    return status;
}

/* Begins to write pages [from, to) of a node, which stays among those with unsaved pages meanwhile:
 * nothing is lost when the run is given up for memory. */
static trib_status begin_job(struct segment_store *store, struct tree_node *node, size_t from,
                             size_t to, trib_error *error)
{
    struct job *job = &store->job;
    *job = (struct job){.active = true, .count = to - from, .end = node->first + to};
    for (size_t i = from; i < to; i++) {
        job->pages[i - from] = node->run[i].page;
        page_hold(node->run[i].page);
    }
    job->ids = malloc(job->end * CHUNK * sizeof *job->ids);
    if (!job->ids)
        return error_no_memory(error, "a KV segment's ids", job->end * CHUNK * sizeof *job->ids);
    tree_path_ids(node, 0, job->end, job->ids);
    segment_name(store->index.root, node->run[to - 1].key, node->first + from, job->name);
    size_t stride = segment_stride(store->index.origin.page_bytes);
    trib_status status = make_room(
        store, segment_header_bytes(job->end - job->count, job->count) + job->count * stride,
        error);
    return status == TRIB_OK ? write_header(store, error) : status;
}

static trib_status write_page(struct segment_store *store, trib_error *error)
{
    static const char zeros[SEGMENT_ALIGN];
    struct job *job = &store->job;
    size_t bytes = store->index.origin.page_bytes;
    trib_status status = atomic_write(&job->file, job->pages[job->written]->memory, bytes, error);
    if (status == TRIB_OK && segment_stride(bytes) > bytes)
        status = atomic_write(&job->file, zeros, segment_stride(bytes) - bytes, error);
    job->written++;
    return status;
}

/* The files that this one continues were used, too: a prefix must not lose its beginning first. */
static trib_status finish_job(struct segment_store *store, trib_error *error)
{
    trib_status status = atomic_commit(&store->job.file, error);
    if (status == TRIB_OK) { /* a time of its own shows that it replaces one that was wrong */
        segment_folder_touch(store->folder, store->job.name, segment_folder_now());
        segment_index_refresh(&store->index);
        touch(store, store->job.ids, store->job.end);
    }
    return status;
}

trib_status segment_store_write(struct segment_store *store, size_t bytes, bool all, bool *more,
                                trib_error *error)
{
    size_t written = 0, from, to, page_bytes = store->index.origin.page_bytes;
    struct tree_node *node = NULL;
    trib_status status = TRIB_OK;
    while (status == TRIB_OK && written < bytes &&
           (store->job.active || (node = next_due(store, all, &from, &to)))) {
        if (!store->job.active)
            status = begin_job(store, node, from, to, error);
        if (status == TRIB_OK)
            status = write_page(store, error);
        if (status == TRIB_OK && store->job.written == store->job.count)
            status = finish_job(store, error);
        if (status != TRIB_OK || store->job.written == store->job.count)
            settle_job(store);
        written += page_bytes;
    }
    if (more)
        *more = store->job.active || next_due(store, all, &from, &to);
    return status;
}

/* ---- Closing ---- */

bool segment_store_stop(struct segment_store *store)
{
    bool active = store && store->job.active;
    if (active)
        end_job(store);
    return active;
}

void segment_store_close(struct segment_store *store)
{
    if (!store)
        return;
    segment_store_stop(store);
    segment_index_clear(&store->index);
    free(store->folder);
    free(store);
}
