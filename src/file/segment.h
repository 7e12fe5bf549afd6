/* KV segment files: a run of whole pages of keys and values of one prefix, checked before use.
 *
 *     offset      bytes
 *     0           256             the fixed part, struct fixed in segment.c, little-endian
 *     256         (first + n) x 256   token ids from the start of the prefix to the end of the run
 *     behind      n x 8           XXH3-64 of each page
 *     ...         up to a multiple of 4,096, zero
 *     header      n x stride      pages, each at a multiple of 4,096, so that it is attended in
 * place
 *
 * The fixed part tells what the bits depend on (the origin), the keys of the prefix before the run
 * and at its end (base/prefix_key.h), the sizes, and XXH3-64 of the whole header. The ids are all
 * there, not those of the run alone: so a file proves which prefix it continues, however hashes may
 * collide.
 *
 * Nothing is copied: what segment_parse fills points into the caller's bytes. Invariant: after it
 * succeeds every offset and count has been checked against the size, and both keys against the ids.
 * Pages are not touched; segment_page_is_whole looks at one. Threads: a parsed segment does not
 * change, so any number may use it. */
#ifndef FILE_SEGMENT_H
#define FILE_SEGMENT_H

#include "base/prefix_key.h"
#include "tributary/status.h"

enum {
    SEGMENT_VERSION = 2,
    SEGMENT_ALIGN = 4096, /* of pages in the file */
    SEGMENT_MODEL = 16,   /* bytes of a model's fingerprint */
    SEGMENT_NAME = 32,    /* of the names below, padded with zeros, at least one */
};

/* All that decides the bits of keys and values besides the token ids. Zero what is not used. */
struct segment_origin {
    uint8_t model[SEGMENT_MODEL]; /* fingerprint of weights and of all options that matter */
    char kernels[SEGMENT_NAME];   /* the kernel table */
    char program[SEGMENT_NAME];   /* the version that computed */
    uint32_t type;                /* enum dtype */
    uint32_t layers, kv_heads, head_dim;
    uint64_t page_bytes;
};

struct segment {
    struct segment_origin origin;
    struct prefix_key parent, key; /* before the run, and behind it */
    size_t first, count;           /* pages before the run, and in it */
    const int32_t *ids;            /* [first + count][TRIB_CHUNK] */
    const uint64_t *checksums;     /* [count] */
    const uint8_t *pages;          /* [count][stride] */
    size_t stride;
};

/* The key of the empty prefix of this origin. */
struct prefix_key segment_root_key(const struct segment_origin *origin);

/* Whether a segment is of this origin; else TRIB_UNSUPPORTED says what differs. */
trib_status segment_expect(const struct segment *segment, const struct segment_origin *origin,
                           const char *name, trib_error *error);

/* Checks the bytes of a file, aligned to 8, which stay the caller's and must outlive the result.
 * `name` stands in messages. TRIB_FORMAT, or TRIB_UNSUPPORTED for another version. */
trib_status segment_parse(struct segment *out, const void *bytes, size_t size, const char *name,
                          trib_error *error);

/* Whether page 0 to count - 1 is as it was written. Reads all of it. */
bool segment_page_is_whole(const struct segment *segment, size_t page);

/* Bytes of a file with so many pages before the run and in it. */
size_t segment_header_bytes(size_t first, size_t count);
size_t segment_stride(size_t page_bytes);

/* The header of a file of `count` pages [page_bytes] after `first` others, with ids [first +
 * count][TRIB_CHUNK]: segment_header_bytes of it, freed by the caller. NULL when there is no
 * memory. The file is this and then each page with zeros up to the stride. */
void *segment_header(const struct segment_origin *origin, const int32_t *ids, size_t first,
                     size_t count, const void *const *pages);

/* Writes the checksum of a header anew, for those who change one on purpose. */
void segment_seal(void *header, size_t header_bytes);

#endif
