/* A folder of KV segment files: names, ages, how much there is, and what must go.
 *
 * Any number of processes may use one folder at once, without locks: a file appears whole by a
 * rename (file/atomic.h), is never changed afterwards, and may vanish at any moment, which is no
 * error: who has it mapped keeps what he has. When a file was last used is its time of
 * modification, which segment_folder_touch sets.
 *
 * Names are ORIGIN-KEY-FIRST.kv in hexadecimal: which origin, shortened, the key at the end of the
 * run, and the number of its first page; so files of one name have the same bytes, whoever wrote
 * them. Others are not looked at, except that NAME.PID-N.part, which a killed writer left behind,
 * is removed once it is old and its writer is gone. */
#ifndef CACHE_SEGMENT_FOLDER_H
#define CACHE_SEGMENT_FOLDER_H

#include "file/map.h"
#include "file/segment.h"

enum {
    SEGMENT_NAME_LENGTH = 16 + 1 + 32 + 1 + 8 + 3, /* of a file, without the end */
    SEGMENT_STRAY_SECONDS = 3600,                  /* when a part is old */
};

/* What a folder has of a file, before it is opened. */
struct segment_entry {
    char name[SEGMENT_NAME_LENGTH + 1];
    uint64_t bytes;
    int64_t used;   /* nanoseconds since 1970 */
    uint64_t inode; /* another one: the file was replaced */
};

struct segment_list {
    struct segment_entry *entries; /* oldest first, then by name */
    size_t count, capacity;
    uint64_t part_bytes; /* of files that are being written, by whomever */
};

/* Makes the folder, for its owner alone, unless it is there: what is cached tells what was asked.
 * TRIB_IO. */
trib_status segment_folder_make(const char *folder, trib_error *error);

/* The name of a file of the origin with this root key, and its path, which the caller frees; NULL
 * when there is no memory. */
void segment_name(struct prefix_key root, struct prefix_key key, size_t first,
                  char name[SEGMENT_NAME_LENGTH + 1]);
char *segment_path(const char *folder, const char *name);

/* Half of the space that is free there or taken by `bytes` of segments already: as a folder fills,
 * that stays the same. TRIB_IO. */
trib_status segment_folder_half(const char *folder, uint64_t bytes, uint64_t *half,
                                trib_error *error);

/* Lists the files. TRIB_IO, TRIB_NO_MEMORY; then the list is empty. Freed by segment_list_free. */
trib_status segment_folder_list(struct segment_list *list, const char *folder, trib_error *error);
void segment_list_free(struct segment_list *list);

/* Opens, maps and parses one file; with `pages` it checks every page, too. On success the caller
 * closes `map`. TRIB_IO, TRIB_FORMAT, TRIB_UNSUPPORTED. */
trib_status segment_folder_open(struct file_map *map, struct segment *segment, const char *folder,
                                const char *name, bool pages, trib_error *error);

/* Says that a file was used at this time. A file that is gone is none of our business. */
void segment_folder_touch(const char *folder, const char *name, int64_t time);
int64_t segment_folder_now(void);

/* When a file was used last; -1: it is gone. */
int64_t segment_folder_used(const char *folder, const char *name);

struct segment_prune {
    uint64_t budget;       /* bytes to keep at most; parts count */
    int64_t oldest;        /* files used before this time go; 0: none does */
    bool broken;           /* remove what does not pass segment_folder_open with `pages` */
    int64_t stray_seconds; /* age of parts that are removed if their writer is gone */
};

struct segment_pruned {
    size_t files, parts; /* removed */
    uint64_t bytes;      /* removed, */
    uint64_t left;       /* and left */
};

/* Removes strays, files that are too old or broken if asked, and of the others those used longest
 * ago until the budget is kept. TRIB_IO where the folder cannot be read, or where a file cannot be
 * removed that is there.
 */
trib_status segment_folder_prune(const char *folder, const struct segment_prune *prune,
                                 struct segment_pruned *pruned, trib_error *error);

#endif
