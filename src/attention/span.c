/* A tile of rows over the chunks of a span: what each row sees, what the kernels get, and what they
 * are to ask memory for. */
#include "attention/span.h"

#include <math.h>

#include "attention/panel_source.h"
#include "attention/partial.h"
#include "attention/score.h"
#include "base/size.h"
#include "kernel/chunk.h"

enum { TILE_ROWS_MOST = 16 };

/* A chunk in the form the kernels read. */
struct loaded {
    size_t start; /* position */
    struct panel panel;
    const char *k, *v;                           /* where it is stored */
    bool everything;                             /* all rows see all of it */
    enum { UNKNOWN, FINITE, NOT_FINITE } values; /* looked at only where it matters */
};

/* One tile with what it sees of the chunks of a span. */
struct tile {
    size_t g, row, rows;
    const struct loaded *loaded[SPAN_CHUNKS];
    const struct panel *panels[SPAN_CHUNKS];
    const uint64_t *visible[SPAN_CHUNKS];
    struct stored_chunk ahead[SPAN_CHUNKS];
    size_t part, parts;       /* of asking for them; 0: nothing is asked for */
    bool more;                /* some row sees some of the next span */
    bool finite[SPAN_CHUNKS]; /* or all rows see all values */
    uint64_t words[SPAN_CHUNKS][TILE_ROWS_MOST];
    size_t starts[SPAN_CHUNKS]; /* positions */
    size_t chunks;
};

struct folding folding_of(const struct kernels *kernels, const trib_attention *attention,
                          const trib_queries *queries, const trib_segment *segment)
{
    struct folding f = {.kernels = kernels,
                        .attention = attention,
                        .queries = queries,
                        .segment = segment,
                        .mask = {.attention = attention,
                                 .query_first = queries->first,
                                 .key_first = segment->first,
                                 .length = segment->length},
                        .scored = score_is_more(attention),
                        .D = attention->head_dim,
                        .Dv = value_stride(attention->head_dim),
                        .G = attention->kv_heads,
                        .group = attention->heads / attention->kv_heads};
    f.q_scale = f.scored ? attention->scale : attention->scale * log2e;
    return f;
}

static size_t query_floats(const struct folding *f, size_t rows)
{
    return (rows * f->D + 15) & ~(size_t)15;
}

size_t span_worker_bytes(const struct folding *f, size_t rows)
{
    size_t floats = query_floats(f, rows) + partials_floats(f->kernels->tile_rows, f->D);
    return (SPAN_CHUNKS + 1) * panel_bytes(f->D) + floats * sizeof(float);
}

struct span_worker span_worker_in(char *memory, const struct folding *f, size_t rows)
{
    struct span_worker w = {.panels = memory, .gather = memory + SPAN_CHUNKS * panel_bytes(f->D)};
    w.q = (float *)(void *)(w.gather + panel_bytes(f->D));
    w.tile = partials_in(w.q + query_floats(f, rows), f->kernels->tile_rows, f->D);
    return w;
}

void span_load_queries(const struct folding *f, size_t g, size_t row, size_t rows, float *q)
{
    size_t D = f->D;
    float scale = f->q_scale;
    for (size_t r = 0; r < rows; r++, q += D) {
        size_t token = (row + r) / f->group, head = g * f->group + (row + r) % f->group;
        const float *from = f->queries->q + token * f->queries->token_stride + head * D;
        for (size_t i = 0; i < D; i++)
            q[i] = from[i] * scale;
    }
}

static void tile_begin(struct tile *t, size_t g, size_t row, size_t rows)
{
    t->g = g;
    t->row = row;
    t->rows = rows;
    t->chunks = 0;
    t->part = t->parts = 0;
    t->more = false;
}

static bool values_finite(const struct folding *f, size_t g, struct loaded *chunk)
{
    if (chunk->values == UNKNOWN)
        chunk->values =
            panel_source_finite(f->segment, f->D, g, chunk->start) ? FINITE : NOT_FINITE;
    return chunk->values == FINITE;
}

/* Adds a chunk to what the tile absorbs, unless none of its rows sees any of it. */
static void tile_add(const struct folding *f, struct tile *t, struct loaded *chunk)
{
    size_t start = chunk->start, c = t->chunks;
    uint64_t *words = t->words[c], all = UINT64_MAX;
    enum mask_cover cover = MASK_EVERYTHING;
    if (!chunk->everything)
        cover = mask_rows(&f->mask, t->g, t->row, t->rows, start, words);
    if (cover == MASK_NOTHING)
        return;
    for (size_t r = 0; r < t->rows && cover == MASK_SOME; r++)
        all &= words[r];
    t->visible[c] = cover == MASK_SOME ? words : NULL;
    t->finite[c] = cover == MASK_EVERYTHING || all == mask_existing(&f->mask, start) ||
                   values_finite(f, t->g, chunk);
    t->panels[c] = &chunk->panel;
    t->loaded[c] = chunk;
    t->starts[c] = start;
    t->chunks++;
}

/* How far ahead a tile alone asks for memory, bytes: what comes in while memory takes to answer. */
enum { LOOK_AHEAD = 16384, LOOK_AHEAD_PANELS = SPAN_CHUNKS };

/* What comes next from memory. One tile alone asks for the panel that it will read some panels
 * later, in the order in which absorb reads them: all keys, all values, the keys of the next span.
 * Of many tiles, which read the span from the cache, each asks for its part of the next span. */
static void tile_look_ahead(const struct folding *f, struct tile *t)
{
    const char *reads[2 * SPAN_CHUNKS + LOOK_AHEAD_PANELS];
    size_t n = t->chunks, bytes = chunk_bytes((enum dtype)f->segment->type, f->D);
    size_t far = size_ceil_div(LOOK_AHEAD, bytes);
    far = far < LOOK_AHEAD_PANELS ? far : LOOK_AHEAD_PANELS;
    for (size_t c = 0; c < far; c++)
        reads[2 * n + c] = NULL;
    for (size_t c = 0; c < n; c++) {
        const char *k = NULL, *v = NULL;
        if (t->more)
            panel_source_stored(f->segment, t->g, t->starts[c] + SPAN, &k, &v);
        reads[c] = t->loaded[c]->k;
        reads[n + c] = t->loaded[c]->v;
        if (c < far)
            reads[2 * n + c] = k;
        t->ahead[c] = (struct stored_chunk){k, v};
    }
    for (size_t c = 0; c < n && t->parts == 1; c++)
        t->ahead[c] = (struct stored_chunk){reads[c + far], reads[n + c + far]};
}

static void tile_absorb(const struct folding *f, const struct tile *t, const float *q,
                        struct partials state)
{
    struct score_tile score = {f->kernels, f->attention, f->queries, f->segment, t->g,
                               t->row,     t->rows,      t->panels,  t->starts};
    struct absorb absorb = {.rows = t->rows,
                            .head_dim = f->D,
                            .chunks = t->chunks,
                            .q = q,
                            .panels = t->panels,
                            .visible = t->visible,
                            .finite = t->finite,
                            .score = f->scored ? score_transform : NULL,
                            .context = &score,
                            .ahead = t->parts ? t->ahead : NULL,
                            .part = t->part,
                            .parts = t->parts,
                            .m = state.m,
                            .d = state.d,
                            .o = state.o};
    if (t->chunks)
        f->kernels->absorb(&absorb);
}

/* ---- One span ---- */

static enum panel_use panel_use(const struct folding *f, size_t rows)
{
    if (f->attention->additive)
        return PANEL_FLOAT;
    return rows <= NARROW_TILES * f->kernels->tile_rows ? PANEL_ONCE : PANEL_MANY;
}

static void load_chunk(const struct folding *f, struct span_worker *w, size_t g, size_t start,
                       size_t rows, char *memory, struct loaded *chunk)
{
    chunk->start = start;
    chunk->values = UNKNOWN;
    panel_source_load(f->kernels, f->segment, f->D, g, start, panel_use(f, rows), memory, w->gather,
                      &chunk->panel);
}

/* What a tile's rows see of the loaded chunks goes into `run`, or merged into their `total`. A span
 * that is the first to be seen begins there: merging with empty states would only copy it, and
 * leave out a row whose products are all -inf. */
static void fold_tile(const struct folding *f, struct span_worker *w, struct tile *tile,
                      const float *q, struct loaded *loaded, size_t chunks, struct partials total,
                      const struct partials *run)
{
    bool begun = false;
    for (size_t c = 0; c < chunks; c++)
        tile_add(f, tile, &loaded[c]);
    if (tile->chunks == 0)
        return;
    if (tile->parts)
        tile_look_ahead(f, tile);
    for (size_t r = 0; r < tile->rows && !run; r++)
        begun = begun || total.m[r] != -INFINITY;
    if (!begun) {
        tile_absorb(f, tile, q, run ? *run : total);
        if (!run)
            partial_clear_empty(total, tile->rows, f->D);
        return;
    }
    partial_clear(w->tile, tile->rows, f->D);
    tile_absorb(f, tile, q, w->tile);
    f->kernels->merge(&total, &w->tile, tile->rows, f->D);
}

/* Meanwhile memory is asked for the next span: by the kernels where they read chunks in place, or
 * here, a few rows per tile. */
void span_fold(const struct folding *f, struct span_worker *w, size_t g, size_t row, size_t rows,
               size_t span, struct partials total, const struct partials *run)
{
    struct loaded loaded[SPAN_CHUNKS];
    size_t chunks = 0, t0 = row / f->group, t1 = (row + rows - 1) / f->group;
    size_t next = (span + 1) * SPAN, asked = 0;
    bool more = mask_cover(&f->mask, t0, t1, next, next + SPAN) != MASK_NOTHING;
    for (size_t start = span * SPAN; start < (span + 1) * SPAN; start += CHUNK) {
        struct loaded *to = &loaded[chunks];
        enum mask_cover cover = mask_cover(&f->mask, t0, t1, start, start + CHUNK);
        if (cover == MASK_NOTHING ||
            (cover == MASK_SOME && !mask_sees(&f->mask, g, row, rows, start)))
            continue;
        load_chunk(f, w, g, start, rows, w->panels + chunks * panel_bytes(f->D), to);
        panel_source_stored(f->segment, g, start, &to->k, &to->v);
        to->everything = cover == MASK_EVERYTHING;
        chunks++;
    }
    size_t tiles = size_ceil_div(rows, f->kernels->tile_rows);
    bool in_rows = f->segment->layout == TRIB_KV_ROWS;
    bool in_place = chunks && loaded[0].panel.k == loaded[0].k;
    for (size_t r = 0, step, i = 0; r < rows; r += step, i++) {
        step = size_ceil_div(rows - r, tiles - i);
        struct tile tile;
        tile_begin(&tile, g, row + r, step);
        tile.part = i;
        tile.parts = in_place ? tiles : 0;
        tile.more = more;
        struct partials going = run ? partials_at(*run, r, f->D) : total;
        fold_tile(f, w, &tile, w->q + r * f->D, loaded, chunks,
                  run ? total : partials_at(total, r, f->D), run ? &going : NULL);
        size_t ask = more && in_rows ? (r + step) * SPAN / rows : 0;
        panel_source_prefetch_rows(f->segment, f->D, g, next + asked, next + ask);
        asked = ask;
    }
}

void span_chunk(const struct folding *f, struct span_worker *w, size_t g, size_t start, size_t rows,
                const float *q, struct partials run)
{
    struct loaded chunk = {.everything = false};
    size_t next = start + CHUNK, last = f->queries->tokens - 1, i = 0;
    const char *k = NULL, *v = NULL;
    if (!mask_sees(&f->mask, g, 0, rows, start))
        return;
    if (mask_cover(&f->mask, 0, last, next, next + CHUNK) != MASK_NOTHING)
        panel_source_part(f->segment, f->D, g, f->G, next, &k, &v);
    load_chunk(f, w, g, start, rows, w->panels, &chunk);
    for (size_t r = 0, step; r < rows; r += step, i++) {
        step = rows - r < f->kernels->tile_rows ? rows - r : f->kernels->tile_rows;
        struct tile tile;
        tile_begin(&tile, g, r, step);
        tile_add(f, &tile, &chunk);
        tile.part = i;
        tile.parts = k ? size_ceil_div(rows, f->kernels->tile_rows) : 0;
        tile.ahead[0] = (struct stored_chunk){k, v};
        tile_absorb(f, &tile, q + r * f->D, partials_at(run, r, f->D));
    }
}
