/* From a segment as the caller has it, dense, strided or paged, to the panels that kernels read. */
#ifndef ATTENTION_PANEL_SOURCE_H
#define ATTENTION_PANEL_SOURCE_H

#include "kernel/kernel.h"
#include "tributary/attention.h"

/* Loads the chunk that begins at position `start`, which holds at least one key, for KV head g.
 * `memory` has panel_bytes(D) bytes and must live as long as the panel; `gather` has as many and is
 * used only in the call. */
void panel_source_load(const struct kernels *kernels, const trib_segment *segment, size_t D,
                       size_t g, size_t start, enum panel_use use, void *memory, char *gather,
                       struct panel *panel);

/* Where the packed chunk at `start` lies, for kernels to ask memory for; NULL in other layouts and
 * at positions without keys. (Two pointers in one struct would be written as two and read as one,
 * for which a load waits.) */
void panel_source_stored(const trib_segment *segment, size_t g, size_t start, const char **k,
                         const char **v);

/* Of a chunk in layout ROWS whose rows lie one after another, or that is made up of such pages, the
 * part that is to be asked for with head g: of rows of all heads, part g of G of them, so that
 * memory is asked in order; of rows of one head, its own. As many bytes as a head's rows have; NULL
 * where rows lie in other ways. */
void panel_source_part(const trib_segment *segment, size_t D, size_t g, size_t G, size_t start,
                       const char **k, const char **v);

/* Asks memory for the rows of that chunk and head, which are loaded soon. */
void panel_source_prefetch(const trib_segment *segment, size_t D, size_t g, size_t start);

/* The same for the keys at positions [from, to) of a segment of layout ROWS. */
void panel_source_prefetch_rows(const trib_segment *segment, size_t D, size_t g, size_t from,
                                size_t to);

/* Whether all values of that chunk and head are finite. */
bool panel_source_finite(const trib_segment *segment, size_t D, size_t g, size_t start);

#endif
