/* The canonical fold over spans and chunks, cut over threads.
 *
 * A row is one query head of one token: row = token * (H / G) + head within the group, so that the
 * rows of a KV head share its keys and neighbouring rows share a position. Work is cut in one of
 * three ways, which do the same operations on each row in the same order:
 *
 *     WIDE    an item is a block of rows of one KV head; it folds all spans and finishes
 *     SPLIT   an item is one span of that and leaves partials, which are merged afterwards
 *     NARROW  an item is one span for the few rows of all heads, chunk by chunk: where keys lie in
 *             rows, memory is then read once, in order, which is what decoding waits for
 */
#include "attention/fold.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "attention/mask.h"
#include "attention/panel_source.h"
#include "attention/partial.h"
#include "attention/score.h"
#include "base/size.h"
#include "kernel/chunk.h"

/* Rows of an item at most. Its chunks are brought into panels once per span and item: with 768 rows
 * that is 0.4% of a causal prefill, with 192 it was 2%. A multiple of every table's tile_rows but
 * ref's. */
enum { BLOCK_ROWS = 768, TILE_ROWS_MOST = 16, NARROW_TILES = 2 };

enum cut { WIDE, SPLIT, NARROW };

/* What all items of one call share. */
struct plan {
    const struct kernels *kernels;
    const trib_attention *attention;
    const trib_queries *queries;
    const trib_segment *segment;
    struct mask_view mask;
    float *s, *v; /* out: [T][H], [T][H][D] */
    bool onto;    /* they hold states to merge onto */
    float q_scale;
    bool scored; /* scores are more than a scaled dot product */
    size_t D, Dv, G;
    size_t group;             /* H / G */
    size_t rows;              /* T * group, of one KV head */
    size_t blocks;            /* of BLOCK_ROWS rows */
    size_t first_span, spans; /* that any query can see */
    enum cut cut;
    size_t items;
};

/* A chunk in the form the kernels read. */
struct loaded {
    size_t start; /* position */
    struct panel panel;
    struct stored_chunk stored;
    enum { UNKNOWN, FINITE, NOT_FINITE } values; /* looked at only where it matters */
};

/* What one thread works with. */
struct worker {
    char *panels;          /* [SPAN_CHUNKS][panel_bytes] */
    char *gather;          /* [panel_bytes] */
    float *q;              /* an item's rows of queries times q_scale, [][D] */
    struct partials tile;  /* [tile_rows] the running state of a tile over one span */
    struct partials total; /* [BLOCK_ROWS] the merged spans of an item */
};

/* One tile with what it sees of the chunks of a span. */
struct tile {
    size_t g, row, rows;
    const struct panel *panels[SPAN_CHUNKS];
    const uint64_t *visible[SPAN_CHUNKS];
    struct stored_chunk ahead[SPAN_CHUNKS];
    size_t part, parts; /* of asking for them; 0: nothing is asked for */
    bool more;          /* some row sees some of the next span */
    bool finite[SPAN_CHUNKS];
    uint64_t words[SPAN_CHUNKS][TILE_ROWS_MOST];
    size_t starts[SPAN_CHUNKS]; /* positions */
    size_t chunks;
};

/* ---- Plan and workspace ---- */

static void plan_cut(struct plan *p, int threads)
{
    size_t enough = 2 * (size_t)threads;
    p->blocks = size_ceil_div(p->rows, BLOCK_ROWS);
    p->items = p->G * p->blocks;
    p->cut = WIDE;
    if (p->spans < 2)
        return;
    if (p->rows <= NARROW_TILES * p->kernels->tile_rows && p->spans >= enough &&
        p->segment->layout == TRIB_KV_ROWS) {
        p->cut = NARROW;
        p->items = p->spans;
    } else if (p->items < enough) {
        p->cut = SPLIT;
        p->items *= p->spans;
    }
}

static size_t partials_floats(const struct plan *p, size_t rows)
{
    return (rows * (2 + p->Dv) + 15) & ~(size_t)15;
}

/* o stands first: its rows are whole cache lines. */
static struct partials partials_in(float *memory, size_t rows, size_t Dv)
{
    return (struct partials){memory + rows * Dv, memory + rows * Dv + rows, memory};
}

/* Rows of an item: a block of one head, or the few of every head. */
static size_t item_rows(const struct plan *p)
{
    size_t narrow = NARROW_TILES * p->kernels->tile_rows;
    size_t block = p->rows < BLOCK_ROWS ? p->rows : BLOCK_ROWS;
    size_t all = p->G * (p->rows < narrow ? p->rows : narrow);
    return block > all ? block : all;
}

static size_t query_floats(const struct plan *p)
{
    return (item_rows(p) * p->D + 15) & ~(size_t)15;
}

static size_t worker_bytes(const struct plan *p)
{
    size_t floats = query_floats(p) + partials_floats(p, p->kernels->tile_rows) +
                    partials_floats(p, item_rows(p));
    return (SPAN_CHUNKS + 1) * panel_bytes(p->D) + floats * sizeof(float);
}

static struct worker worker_in(char *memory, const struct plan *p)
{
    struct worker w = {.panels = memory + (size_t)omp_get_thread_num() * worker_bytes(p)};
    size_t tile = p->kernels->tile_rows;
    w.gather = w.panels + SPAN_CHUNKS * panel_bytes(p->D);
    w.q = (float *)(void *)(w.gather + panel_bytes(p->D));
    w.tile = partials_in(w.q + query_floats(p), tile, p->Dv);
    w.total = partials_in(w.q + query_floats(p) + partials_floats(p, tile), item_rows(p), p->Dv);
    return w;
}

/* The partials of one span and one KV head, behind the workers. */
static struct partials span_partials(char *memory, const struct plan *p, size_t span, size_t g)
{
    float *all = (float *)(void *)(memory + (size_t)p->attention->threads * worker_bytes(p));
    return partials_in(all + (span * p->G + g) * partials_floats(p, p->rows), p->rows, p->Dv);
}

size_t fold_workspace(const struct kernels *kernels, const trib_attention *attention, size_t tokens,
                      size_t keys)
{
    struct plan p = {.kernels = kernels, .D = attention->head_dim, .G = attention->kv_heads};
    size_t threads = (size_t)attention->threads, tile = NARROW_TILES * kernels->tile_rows;
    p.Dv = value_stride(p.D);
    p.rows = tokens * (attention->heads / p.G);
    /* Rows of partials a span can have: SPLIT has fewer than two blocks a thread, NARROW few rows a
     * head, and no call more than it has. */
    size_t split = 2 * threads * BLOCK_ROWS, narrow = p.G * tile;
    size_t most = split > narrow ? split : narrow, rows = p.rows * p.G;
    rows = rows < most ? rows : most;
    size_t per_span = partials_floats(&p, rows) + 16 * p.G;
    uint64_t bytes;
    if (!size_mul(size_ceil_div(keys, SPAN), per_span * sizeof(float), &bytes) ||
        !size_add(bytes, threads * worker_bytes(&p), &bytes))
        return 0;
    return bytes;
}

/* ---- A tile over chunks ---- */

static void load_queries(const struct plan *p, size_t g, size_t row, size_t rows, float *q)
{
    size_t D = p->D;
    float scale = p->q_scale;
    for (size_t r = 0; r < rows; r++, q += D) {
        size_t token = (row + r) / p->group, head = g * p->group + (row + r) % p->group;
        const float *from = p->queries->q + token * p->queries->token_stride + head * D;
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

/* Adds a chunk to what the tile absorbs, unless none of its rows sees any of it. */
static void tile_add(const struct plan *p, struct tile *t, struct loaded *chunk)
{
    size_t start = chunk->start;
    size_t t0 = t->row / p->group, t1 = (t->row + t->rows - 1) / p->group, c = t->chunks;
    enum mask_cover cover = mask_cover(&p->mask, t0, t1, start, start + CHUNK);
    if (cover == MASK_NOTHING)
        return;
    t->visible[c] = NULL;
    if (cover == MASK_SOME) {
        uint64_t any = 0;
        for (size_t r = 0; r < t->rows; r++) {
            size_t token = (t->row + r) / p->group;
            t->words[c][r] = r > 0 && token == (t->row + r - 1) / p->group
                                 ? t->words[c][r - 1]
                                 : mask_chunk(&p->mask, token, start);
            any |= t->words[c][r];
        }
        if (!any)
            return;
        t->visible[c] = t->words[c];
        if (chunk->values == UNKNOWN)
            chunk->values =
                panel_source_finite(p->segment, p->D, t->g, start) ? FINITE : NOT_FINITE;
        t->finite[c] = chunk->values == FINITE;
    }
    t->panels[c] = &chunk->panel;
    t->ahead[c] = chunk->stored;
    t->starts[c] = start;
    t->chunks++;
}

/* How far ahead a tile alone asks for memory, bytes: what comes in while memory takes to answer. */
enum { LOOK_AHEAD = 16384, LOOK_AHEAD_PANELS = SPAN_CHUNKS };

/* What comes next from memory. One tile alone asks for the panel that it will read some panels
 * later, in the order in which absorb reads them: all keys, all values, the keys of the next span.
 * Of many tiles, which read the span from the cache, each asks for its part of the next span. */
static void tile_look_ahead(const struct plan *p, struct tile *t)
{
    const char *reads[2 * SPAN_CHUNKS + LOOK_AHEAD_PANELS] = {NULL};
    size_t n = t->chunks, bytes = chunk_bytes((enum dtype)p->segment->type, p->D);
    size_t far = size_ceil_div(LOOK_AHEAD, bytes);
    far = far < LOOK_AHEAD_PANELS ? far : LOOK_AHEAD_PANELS;
    for (size_t c = 0; c < n; c++) {
        struct stored_chunk next = {NULL, NULL};
        if (t->more)
            next = panel_source_stored(p->segment, t->g, t->starts[c] + SPAN);
        reads[c] = t->ahead[c].k;
        reads[n + c] = t->ahead[c].v;
        if (t->parts > 1)
            t->ahead[c] = next;
        else if (c < far)
            reads[2 * n + c] = next.k;
    }
    for (size_t c = 0; c < n && t->parts == 1; c++)
        t->ahead[c] = (struct stored_chunk){reads[c + far], reads[n + c + far]};
}

static void tile_absorb(const struct plan *p, const struct tile *t, const float *q,
                        struct partials state)
{
    struct score_tile score = {p->kernels, p->attention, p->queries, p->segment, t->g,
                               t->row,     t->rows,      t->panels,  t->starts};
    struct absorb absorb = {.rows = t->rows,
                            .head_dim = p->D,
                            .chunks = t->chunks,
                            .q = q,
                            .panels = t->panels,
                            .visible = t->visible,
                            .finite = t->finite,
                            .score = p->scored ? score_transform : NULL,
                            .context = &score,
                            .ahead = t->parts ? t->ahead : NULL,
                            .part = t->part,
                            .parts = t->parts,
                            .m = state.m,
                            .d = state.d,
                            .o = state.o};
    if (t->chunks)
        p->kernels->absorb(&absorb);
}

/* ---- One span ---- */

static enum panel_use panel_use(const struct plan *p, size_t rows)
{
    if (p->attention->additive)
        return PANEL_FLOAT;
    return rows <= NARROW_TILES * p->kernels->tile_rows ? PANEL_ONCE : PANEL_MANY;
}

static void load_chunk(const struct plan *p, struct worker *w, size_t g, size_t start, size_t rows,
                       char *memory, struct loaded *chunk)
{
    chunk->start = start;
    chunk->values = UNKNOWN;
    panel_source_load(p->kernels, p->segment, p->D, g, start, panel_use(p, rows), memory, w->gather,
                      &chunk->panel);
}

/* Merges what a tile's rows see of the loaded chunks into their `total`. A span that is the first
 * to be seen begins there: merging with empty states would only copy it. */
static void fold_tile(const struct plan *p, struct worker *w, struct tile *tile, const float *q,
                      struct loaded *loaded, size_t chunks, struct partials total)
{
    bool begun = false;
    for (size_t c = 0; c < chunks; c++)
        tile_add(p, tile, &loaded[c]);
    if (tile->chunks == 0)
        return;
    if (tile->parts)
        tile_look_ahead(p, tile);
    for (size_t r = 0; r < tile->rows; r++)
        begun = begun || total.m[r] != -INFINITY;
    if (!begun) {
        tile_absorb(p, tile, q, total);
        return;
    }
    partial_clear(w->tile, tile->rows, p->D);
    tile_absorb(p, tile, q, w->tile);
    p->kernels->merge(&total, &w->tile, tile->rows, p->D);
}

/* Rows [row, row + rows) of head g over one span, merged into `total`. Meanwhile memory is asked
 * for the next span: by the kernels where they read chunks in place, or here, a few rows per tile.
 */
static void fold_span(const struct plan *p, struct worker *w, size_t g, size_t row, size_t rows,
                      size_t span, struct partials total)
{
    struct loaded loaded[SPAN_CHUNKS];
    size_t chunks = 0, t0 = row / p->group, t1 = (row + rows - 1) / p->group;
    size_t next = (span + 1) * SPAN, asked = 0;
    bool more = mask_cover(&p->mask, t0, t1, next, next + SPAN) != MASK_NOTHING;
    for (size_t start = span * SPAN; start < (span + 1) * SPAN; start += CHUNK) {
        if (mask_cover(&p->mask, t0, t1, start, start + CHUNK) == MASK_NOTHING)
            continue;
        load_chunk(p, w, g, start, rows, w->panels + chunks * panel_bytes(p->D), &loaded[chunks]);
        loaded[chunks].stored = panel_source_stored(p->segment, g, start);
        chunks++;
    }
    size_t tiles = size_ceil_div(rows, p->kernels->tile_rows);
    bool in_rows = p->segment->layout == TRIB_KV_ROWS;
    bool in_place = chunks && loaded[0].panel.k == loaded[0].stored.k;
    for (size_t r = 0, step, i = 0; r < rows; r += step, i++) {
        step = size_ceil_div(rows - r, tiles - i);
        struct tile tile;
        tile_begin(&tile, g, row + r, step);
        tile.part = i;
        tile.parts = in_place ? tiles : 0;
        tile.more = more;
        fold_tile(p, w, &tile, w->q + r * p->D, loaded, chunks, partials_at(total, r, p->D));
        size_t ask = more && in_rows ? (r + step) * SPAN / rows : 0;
        panel_source_prefetch_rows(p->segment, p->D, g, next + asked, next + ask);
        asked = ask;
    }
}

/* The few rows of all heads over one span, chunk by chunk, into that span's partials. */
static void fold_span_narrow(const struct plan *p, struct worker *w, size_t span, char *memory)
{
    size_t first = (p->first_span + span) * SPAN, T = p->queries->tokens;
    for (size_t g = 0; g < p->G; g++) {
        load_queries(p, g, 0, p->rows, w->q + g * p->rows * p->D);
        partial_clear(span_partials(memory, p, span, g), p->rows, p->D);
    }
    for (size_t start = first; start < first + SPAN; start += CHUNK) {
        if (mask_cover(&p->mask, 0, T - 1, start, start + CHUNK) == MASK_NOTHING)
            continue;
        for (size_t g = 0; g < p->G; g++) {
            struct loaded chunk;
            load_chunk(p, w, g, start, p->rows, w->panels, &chunk);
            for (size_t r = 0, step; r < p->rows; r += step) {
                step = p->rows - r < p->kernels->tile_rows ? p->rows - r : p->kernels->tile_rows;
                struct tile tile;
                tile_begin(&tile, g, r, step);
                tile_add(p, &tile, &chunk);
                tile_absorb(p, &tile, w->q + (g * p->rows + r) * p->D,
                            partials_at(span_partials(memory, p, span, g), r, p->D));
            }
        }
    }
}

/* ---- Beginning and end of a row ---- */

static size_t row_state(const struct plan *p, size_t g, size_t row)
{
    return row / p->group * p->attention->heads + g * p->group + row % p->group;
}

static void begin_rows(const struct plan *p, size_t g, size_t row, size_t rows,
                       struct partials total)
{
    partial_clear(total, rows, p->D);
    for (size_t r = 0; r < rows && p->onto; r++) {
        size_t at = row_state(p, g, row + r);
        partial_from_state(partials_at(total, r, p->D), p->s[at], p->v + at * p->D, p->D);
    }
}

static void finish_rows(const struct plan *p, size_t g, size_t row, size_t rows,
                        struct partials total)
{
    for (size_t r = 0; r < rows; r++) {
        size_t at = row_state(p, g, row + r);
        struct partials row_total = partials_at(total, r, p->D);
        /* s and back would round: what nothing was added to stays as it is */
        if (p->onto && partial_is_state(row_total, p->s[at], p->v + at * p->D, p->D))
            continue;
        float s = partial_finish(row_total, p->D, p->v + at * p->D);
        if (p->s)
            p->s[at] = s;
    }
}

/* ---- The three cuts ---- */

static size_t block_rows(const struct plan *p, size_t block)
{
    size_t left = p->rows - block * BLOCK_ROWS;
    return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}

/* Later blocks see more keys where a mask is causal: they go first, so that none is left over. */
static void run_wide(const struct plan *p, char *memory)
{
#pragma omp parallel for schedule(dynamic) num_threads(p->attention->threads) if (p->items > 1)
    for (size_t item = 0; item < p->items; item++) {
        struct worker w = worker_in(memory, p);
        size_t g = item % p->G, block = p->blocks - 1 - item / p->G;
        size_t row = block * BLOCK_ROWS, rows = block_rows(p, block);
        load_queries(p, g, row, rows, w.q);
        begin_rows(p, g, row, rows, w.total);
        for (size_t span = 0; span < p->spans; span++)
            fold_span(p, &w, g, row, rows, p->first_span + span, w.total);
        finish_rows(p, g, row, rows, w.total);
    }
}

static void merge_spans(const struct plan *p, char *memory)
{
#pragma omp parallel for schedule(static) num_threads(p->attention->threads)
    for (size_t g = 0; g < p->G; g++) {
        struct worker w = worker_in(memory, p);
        for (size_t block = 0; block < p->blocks; block++) {
            size_t row = block * BLOCK_ROWS, rows = block_rows(p, block);
            begin_rows(p, g, row, rows, w.total);
            for (size_t span = 0; span < p->spans; span++) {
                struct partials part = partials_at(span_partials(memory, p, span, g), row, p->D);
                p->kernels->merge(&w.total, &part, rows, p->D);
            }
            finish_rows(p, g, row, rows, w.total);
        }
    }
}

static void run_split(const struct plan *p, char *memory)
{
#pragma omp parallel for schedule(dynamic, 4) num_threads(p->attention->threads)
    for (size_t item = 0; item < p->items; item++) {
        struct worker w = worker_in(memory, p);
        size_t g = item / p->spans % p->G, block = item / p->spans / p->G, span = item % p->spans;
        size_t row = block * BLOCK_ROWS, rows = block_rows(p, block);
        struct partials part = partials_at(span_partials(memory, p, span, g), row, p->D);
        load_queries(p, g, row, rows, w.q);
        partial_clear(part, rows, p->D);
        fold_span(p, &w, g, row, rows, p->first_span + span, part);
    }
    merge_spans(p, memory);
}

static void run_narrow(const struct plan *p, char *memory)
{
#pragma omp parallel for schedule(dynamic) num_threads(p->attention->threads)
    for (size_t span = 0; span < p->items; span++) {
        struct worker w = worker_in(memory, p);
        fold_span_narrow(p, &w, span, memory);
    }
    merge_spans(p, memory);
}

/* The spans that the queries can see at all: a causal mask ends them, a window begins them late. */
static void plan_reach(struct plan *p)
{
    size_t first = p->segment->first / SPAN, end = p->segment->first + p->segment->length;
    size_t last = p->segment->length ? (end - 1) / SPAN + 1 : first, T = p->queries->tokens;
    while (last > first &&
           mask_cover(&p->mask, 0, T - 1, (last - 1) * SPAN, last * SPAN) == MASK_NOTHING)
        last--;
    while (first < last &&
           mask_cover(&p->mask, 0, T - 1, first * SPAN, (first + 1) * SPAN) == MASK_NOTHING)
        first++;
    p->first_span = first;
    p->spans = last - first;
}

void fold_run(const struct kernels *kernels, const trib_attention *attention,
              const trib_queries *queries, const trib_segment *segment, float *s, float *v,
              bool onto, void *workspace)
{
    const float log2e = 0x1.715476p+0f;
    struct plan p = {.kernels = kernels,
                     .attention = attention,
                     .queries = queries,
                     .segment = segment,
                     .mask = {&attention->mask, queries->first, segment->first, segment->length},
                     .s = s,
                     .v = v,
                     .onto = onto,
                     .D = attention->head_dim,
                     .Dv = value_stride(attention->head_dim),
                     .G = attention->kv_heads,
                     .group = attention->heads / attention->kv_heads,
                     .rows = queries->tokens * (attention->heads / attention->kv_heads)};
    if (queries->tokens == 0)
        return;
    p.scored = score_is_more(attention);
    p.q_scale = p.scored ? attention->scale : attention->scale * log2e;
    plan_reach(&p);
    plan_cut(&p, attention->threads);
    if (p.cut == WIDE)
        run_wide(&p, workspace);
    else if (p.cut == SPLIT)
        run_split(&p, workspace);
    else
        run_narrow(&p, workspace);
}
