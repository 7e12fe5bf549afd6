/* Tributary: folders that keep keys and values (`cache_dir` of tributary/engine.h), looked at from
 * outside: what is in one, whether it is whole, and making it smaller.
 *
 * A file has the keys and values of a run of pages, 64 tokens each, of one model, kernel table and
 * KV type, with all token ids up to its end and a checksum for each page. It appears whole, is
 * never changed, and may be removed at any moment, also by these functions while engines use the
 * folder: who has it open keeps what he has. Files of other names are not looked at.
 *
 * Threads: nothing is shared between calls.
 */
#ifndef TRIBUTARY_CACHE_H
#define TRIBUTARY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One file. */
typedef struct trib_cache_file {
    char name[64]; /* in the folder */
    uint64_t bytes;
    int64_t used; /* when it was used last, seconds since 1970 */

    trib_error wrong; /* TRIB_OK: its header is sound; else why not, and what follows is zero */
    char model[33];   /* fingerprint of the model, in hexadecimal */
    char kernels[32]; /* the kernel table that computed it */
    char program[32]; /* the version of this library that did */
    char kv_type[8];  /* "f16" */
    size_t layers, kv_heads, head_dim;
    uint64_t before, tokens; /* tokens of the text before those in the file, and in it */
} trib_cache_file;

typedef struct trib_cache_list {
    trib_cache_file *files; /* [count] that used longest ago first */
    size_t count;
    uint64_t bytes;      /* of the files */
    uint64_t part_bytes; /* of files that are being written, or were when somebody was killed */
} trib_cache_list;

/* Lists a folder, which reads the headers of its files. Freed by trib_cache_list_free. TRIB_IO,
 * TRIB_NO_MEMORY; then the list is empty. */
trib_status trib_cache_list_open(trib_cache_list *list, const char *folder, trib_error *error);
void trib_cache_list_free(trib_cache_list *list);

/* Reads all of a file of a list and checks it: header, token ids, the checksum of every page.
 * TRIB_FORMAT: it is damaged, or no such file; TRIB_UNSUPPORTED: of another version of the format,
 * which cannot be checked; TRIB_IO. One that is gone by now is no failure. */
trib_status trib_cache_verify(const char *folder, const char *name, trib_error *error);

/* What is to go. */
typedef struct trib_cache_prune_options {
    uint64_t bytes;          /* keep at most so much, those used last; UINT64_MAX: all */
    uint64_t unused_seconds; /* files that nobody used for so long go; 0: they stay */
    bool damaged;            /* files for which trib_cache_verify says TRIB_FORMAT go */
} trib_cache_prune_options;

trib_cache_prune_options trib_cache_prune_options_default(void); /* {UINT64_MAX, 0, false} */

typedef struct trib_cache_pruned {
    size_t files;   /* removed */
    uint64_t bytes; /* of them, and of what killed writers left behind more than an hour ago, which
                       goes in any case */
    uint64_t left;  /* bytes in the folder afterwards */
} trib_cache_pruned;

/* Removes files. TRIB_IO where the folder cannot be read or a file not be removed. */
trib_status trib_cache_prune(const char *folder, const trib_cache_prune_options *options,
                             trib_cache_pruned *pruned, trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
