/* One span for rows of one KV head: what every cut of the fold, and the cascade, are made of.
 *
 * A row is one query head of one token: row = token * (H / G) + head within the group, so that the
 * rows of a KV head share its keys and neighbouring rows share a position. */
#ifndef ATTENTION_SPAN_H
#define ATTENTION_SPAN_H

#include "attention/mask.h"
#include "kernel/kernel.h"

/* As many tiles still count as few rows: their panels are not worth packing. */
enum { NARROW_TILES = 2 };

/* What is folded: queries over the keys of one segment. */
struct folding {
    const struct kernels *kernels;
    const trib_attention *attention;
    const trib_queries *queries;
    const trib_segment *segment;
    struct mask_view mask;
    float q_scale;
    bool scored; /* scores are more than a scaled dot product */
    size_t D, Dv, G;
    size_t group; /* H / G */
};

struct folding folding_of(const struct kernels *kernels, const trib_attention *attention,
                          const trib_queries *queries, const trib_segment *segment);

/* What one thread works with. */
struct span_worker {
    char *panels;         /* [SPAN_CHUNKS][panel_bytes] */
    char *gather;         /* [panel_bytes] */
    float *q;             /* [rows][D] queries times q_scale */
    struct partials tile; /* [tile_rows] the running state of a tile over one span */
};

/* Its memory, for `rows` rows of queries: bytes, a multiple of 64, and where things lie. */
size_t span_worker_bytes(const struct folding *f, size_t rows);
struct span_worker span_worker_in(char *memory, const struct folding *f, size_t rows);

/* q [rows][D] = rows [row, row + rows) of KV head g, times q_scale. */
void span_load_queries(const struct folding *f, size_t g, size_t row, size_t rows, float *q);

/* Folds span number `span`, as far as the segment has it, into the states of rows [row, row + rows)
 * of KV head g, whose queries are in w->q. `total` [rows] holds the spans before, merged. Without
 * `run` the span begins empty and is merged into the total at its end; with it, its running states
 * [rows] absorb and the total is not looked at: so a span can go on in another segment. */
void span_fold(const struct folding *f, struct span_worker *w, size_t g, size_t row, size_t rows,
               size_t span, struct partials total, const struct partials *run);

/* Absorbs one chunk, at `start`, into the running states [rows] of the first `rows` rows of KV head
 * g, whose queries are q. Meanwhile memory is asked for a part of the next chunk: after all heads,
 * for all of it. */
void span_chunk(const struct folding *f, struct span_worker *w, size_t g, size_t start, size_t rows,
                const float *q, struct partials run);

#endif
