/* Keeping an index of a folder that others change, too. */
#include "cache/segment_index.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"

enum { FEW_BUCKETS = 1024, ORIGIN_LENGTH = 17 /* of a name, with the dash */ };

/* A change in the same moment as a look might not show in the time of modification, whose steps are
 * those of the kernel's clock: a folder that changed this recently is looked at again. */
static const int64_t moment = 1000000000;

static void report(const struct segment_index *index, const trib_error *error)
{
    if (index->report.say)
        index->report.say(index->report.context, error->message);
}

/* ---- Finding ---- */

static struct segment_page **bucket_of(const struct segment_index *index, struct prefix_key key)
{
    return &index->buckets[key.low & (index->bucket_count - 1)];
}

struct segment_page *segment_index_find(const struct segment_index *index, struct prefix_key key)
{
    struct segment_page *page = index->buckets ? *bucket_of(index, key) : NULL;
    while (page && (page->damaged || !prefix_key_equal(page->key, key)))
        page = page->next;
    return page;
}

/* The file of this name: its last page has the key that is in it. */
static struct segment_file *find_file(const struct segment_index *index, const char *name)
{
    char low[17];
    snprintf(low, sizeof low, "%.16s", name + ORIGIN_LENGTH + 16);
    struct prefix_key key = {strtoull(low, NULL, 16), 0};
    struct segment_page *page = index->buckets ? *bucket_of(index, key) : NULL;
    while (page && strcmp(page->file->name, name) != 0)
        page = page->next;
    return page ? page->file : NULL;
}

void segment_index_refuse(struct segment_index *index, struct segment_page *page)
{
    trib_error error = {0};
    error_set(&error, TRIB_FORMAT, "%s: page %zu: its checksum does not match it", page->file->name,
              (size_t)(page - page->file->pages));
    page->damaged = true;
    report(index, &error);
}

static struct segment_wrong *find_wrong(const struct segment_index *index, const char *name)
{
    struct segment_wrong *wrong = index->wrong;
    while (wrong && strcmp(wrong->name, name) != 0)
        wrong = wrong->next;
    return wrong;
}

/* ---- Entering and leaving ---- */

static bool grow_buckets(struct segment_index *index, size_t pages)
{
    if (index->buckets && pages <= index->bucket_count)
        return true;
    size_t count = index->bucket_count ? index->bucket_count : FEW_BUCKETS;
    while (count < pages)
        count *= 2;
    struct segment_page **buckets = calloc(count, sizeof(struct segment_page *));
    if (!buckets)
        return false;
    free(index->buckets);
    index->buckets = buckets;
    index->bucket_count = count;
    for (struct segment_file *file = index->files; file; file = file->next)
        for (size_t i = 0; i < file->count; i++) {
            struct segment_page **bucket = bucket_of(index, file->pages[i].key);
            file->pages[i].next = *bucket;
            *bucket = &file->pages[i];
        }
    return true;
}

static bool enter(struct segment_index *index, const struct segment *segment,
                  const struct segment_entry *entry)
{
    struct segment_file *file = calloc(1, sizeof *file);
    struct segment_page *pages = calloc(segment->count, sizeof *pages);
    if (!file || !pages || !grow_buckets(index, index->page_count + segment->count)) {
        free(file);
        free(pages);
        return false;
    }
    memcpy(file->name, entry->name, sizeof file->name);
    file->inode = entry->inode;
    file->count = segment->count;
    file->pages = pages;
    file->seen = true;
    file->next = index->files;
    index->files = file;
    index->page_count += segment->count;
    struct prefix_key key = segment->parent;
    for (size_t i = 0; i < segment->count; i++) {
        key = prefix_key_next(key, segment->ids + (segment->first + i) * CHUNK);
        struct segment_page **bucket = bucket_of(index, key);
        pages[i] = (struct segment_page){.key = key, .file = file, .next = *bucket};
        *bucket = &pages[i];
    }
    return true;
}

static void forget(struct segment_index *index, struct segment_file *file)
{
    struct segment_file **at = &index->files;
    while (*at != file)
        at = &(*at)->next;
    *at = file->next;
    for (size_t i = 0; i < file->count; i++) {
        struct segment_page **page = bucket_of(index, file->pages[i].key);
        while (*page != &file->pages[i])
            page = &(*page)->next;
        *page = file->pages[i].next;
    }
    index->page_count -= file->count;
    if (file->mapped)
        file->mapped->file = NULL;
    free(file->pages);
    free(file);
}

/* Remembers a file that is wrong and reports it; one that is gone, or changed meanwhile, is
 * neither.
 */
static void remember_wrong(struct segment_index *index, const char *name, const trib_error *error)
{
    struct segment_wrong *wrong = find_wrong(index, name);
    int64_t used = segment_folder_used(index->folder, name);
    if (used < 0)
        return;
    report(index, error);
    if (!wrong) {
        wrong = calloc(1, sizeof *wrong);
        if (!wrong) /* then it is looked at, and reported, again */
            return;
        memcpy(wrong->name, name, sizeof wrong->name);
        wrong->next = index->wrong;
        index->wrong = wrong;
    }
    wrong->used = used;
    wrong->seen = true;
}

static void forget_unseen_wrong(struct segment_index *index)
{
    for (struct segment_wrong **at = &index->wrong, *wrong; (wrong = *at);) {
        if (wrong->seen) {
            at = &wrong->next;
        } else {
            *at = wrong->next;
            free(wrong);
        }
    }
}

void segment_index_clear(struct segment_index *index)
{
    while (index->files)
        forget(index, index->files);
    for (struct segment_wrong *wrong = index->wrong; wrong; wrong = wrong->next)
        wrong->seen = false;
    forget_unseen_wrong(index);
    free(index->buckets);
    index->buckets = NULL;
    index->bucket_count = 0;
}

/* ---- Looking at the folder ---- */

/* Reads the header of a file that is new. One of another origin has another name, so whatever does
 * not fit here is wrong. */
static void enter_file(struct segment_index *index, const struct segment_entry *entry)
{
    const char *name = entry->name;
    struct file_map map;
    struct segment segment;
    trib_error error = {0};
    trib_status status = segment_folder_open(&map, &segment, index->folder, name, false, &error);
    if (status == TRIB_OK)
        status = segment_expect(&segment, &index->origin, name, &error);
    if (status != TRIB_OK) {
        remember_wrong(index, name, &error);
    } else if (!enter(index, &segment, entry)) {
        error_no_memory(&error, "an index of KV segments", sizeof(struct segment_file));
        report(index, &error);
    }
    file_map_close(&map);
}

/* One file of the folder. */
static void look_at(struct segment_index *index, const struct segment_entry *entry)
{
    struct segment_file *known = find_file(index, entry->name);
    struct segment_wrong *wrong = known ? NULL : find_wrong(index, entry->name);
    if (known && known->inode == entry->inode)
        known->seen = true;
    else if (wrong && wrong->used == entry->used)
        wrong->seen = true;
    else /* where it replaces a known one, that is not seen, and forgotten */
        enter_file(index, entry);
}

/* When the folder last changed; 0: unknown, or so recently that it might again without showing. */
static int64_t time_of_folder(const char *folder)
{
    struct stat info;
    if (stat(folder, &info) != 0)
        return 0;
    int64_t time = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    return segment_folder_now() - time < moment ? 0 : time;
}

void segment_index_refresh(struct segment_index *index)
{
    char ours[SEGMENT_NAME_LENGTH + 1];
    struct segment_list list;
    trib_error error = {0};
    int64_t time = time_of_folder(index->folder);
    if (time && time == index->looked_at)
        return;
    if (segment_folder_list(&list, index->folder, &error) != TRIB_OK) {
        report(index, &error);
        return;
    }
    index->looked_at = time;
    for (struct segment_file *file = index->files; file; file = file->next)
        file->seen = false;
    for (struct segment_wrong *wrong = index->wrong; wrong; wrong = wrong->next)
        wrong->seen = false;
    segment_name(index->root, index->root, 0, ours);
    for (size_t i = 0; i < list.count; i++)
        if (memcmp(list.entries[i].name, ours, ORIGIN_LENGTH) == 0)
            look_at(index, &list.entries[i]);
    for (struct segment_file *file = index->files, *next; file; file = next) {
        next = file->next;
        if (!file->seen)
            forget(index, file);
    }
    forget_unseen_wrong(index);
    segment_list_free(&list);
}

/* ---- Mapping ---- */

void segment_mapped_release(struct segment_mapped *mapped)
{
    if (mapped->file)
        mapped->file->mapped = NULL;
    file_map_close(&mapped->map);
    free(mapped->verified);
    free(mapped);
}

static void unused(struct page_backing *backing)
{
    segment_mapped_release((struct segment_mapped *)(void *)backing); /* its first member */
}

trib_status segment_index_map(struct segment_index *index, struct segment_file *file)
{
    trib_error error = {0};
    struct segment_mapped *mapped = calloc(1, sizeof *mapped);
    bool *verified = calloc(file->count, sizeof *verified);
    if (!mapped || !verified) {
        free(mapped);
        free(verified);
        return TRIB_NO_MEMORY;
    }
    trib_status status = segment_folder_open(&mapped->map, &mapped->segment, index->folder,
                                             file->name, false, &error);
    if (status == TRIB_OK)
        status = segment_expect(&mapped->segment, &index->origin, file->name, &error);
    if (status == TRIB_OK && mapped->segment.count != file->count)
        status = error_set(&error, TRIB_FORMAT, "%s: expected %zu pages as before, found %zu",
                           file->name, file->count, mapped->segment.count);
    if (status != TRIB_OK) {
        remember_wrong(index, file->name, &error);
        forget(index, file);
        file_map_close(&mapped->map);
        free(mapped);
        free(verified);
        return status;
    }
    mapped->backing.unused = unused;
    mapped->verified = verified;
    mapped->file = file;
    file->mapped = mapped;
    return TRIB_OK;
}
