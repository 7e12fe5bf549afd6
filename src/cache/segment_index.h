/* The index of a folder of segments: from the key behind a page to the file that holds it. Private
 * to the segment store. */
#ifndef CACHE_SEGMENT_INDEX_H
#define CACHE_SEGMENT_INDEX_H

#include "cache/segment_store.h"

/* A file that pages in use lie in. */
struct segment_mapped {
    struct page_backing backing;
    struct file_map map;
    struct segment segment;
    bool *verified;            /* [count] whose checksum was found right */
    struct segment_file *file; /* NULL: no longer in the index */
};

/* One page of a file. */
struct segment_page {
    struct prefix_key key;
    struct segment_file *file;
    bool damaged;              /* its checksum was found wrong */
    struct segment_page *next; /* in its bucket */
};

/* A file of our origin. */
struct segment_file {
    char name[SEGMENT_NAME_LENGTH + 1];
    uint64_t inode;
    size_t count;
    struct segment_page *pages;    /* [count] */
    struct segment_mapped *mapped; /* NULL: not now */
    bool seen;                     /* in the folder, when it was last looked at */
    struct segment_file *next;
};

/* A file that was found wrong; not looked at again before it changes. */
struct segment_wrong {
    char name[SEGMENT_NAME_LENGTH + 1];
    int64_t used;
    bool seen;
    struct segment_wrong *next;
};

struct segment_index {
    const char *folder;
    struct segment_origin origin;
    struct prefix_key root;
    struct segment_report report;
    struct segment_file *files;
    struct segment_wrong *wrong;
    size_t page_count, bucket_count;
    struct segment_page **buckets; /* [bucket_count], a power of two; NULL: empty */
    int64_t looked_at;             /* the folder's time of modification then; 0: look again */
};

/* Brings the index up to date with the folder. Failures are reported and leave it less complete. */
void segment_index_refresh(struct segment_index *index);

/* A page, not damaged, whose end has this key; NULL: none. */
struct segment_page *segment_index_find(const struct segment_index *index, struct prefix_key key);

/* Says that a page is damaged, so that it is not found again while its file is the same. */
void segment_index_refuse(struct segment_index *index, struct segment_page *page);

/* Takes all files out. */
void segment_index_clear(struct segment_index *index);

/* Maps the file, to file->mapped, and checks it again. TRIB_NO_MEMORY; with any other failure it
 * was gone or wrong, and is no longer in the index. Whoever counts in backing.pages keeps it
 * mapped; segment_mapped_release unmaps what nobody does. */
trib_status segment_index_map(struct segment_index *index, struct segment_file *file);
void segment_mapped_release(struct segment_mapped *mapped);

#endif
