/* The canonical fold over spans and chunks, cut over threads.
 *
 * Work is cut into items of (KV head, block of query rows), each of which folds all its spans.
 * Where that gives too few items for the threads (decode), an item is one span of them instead and
 * leaves a partial; the partials are then merged in the same order. Both ways do the same
 * operations on each row in the same order.
 *
 * A row is one query head of one token: row = token * (H / G) + head within the group, so that the
 * rows of a KV head share its keys and neighbouring rows share a position.
 */
#include "attention/fold.h"

#include <omp.h>
#include <string.h>

#include "attention/partial.h"
#include "base/half.h"
#include "base/size.h"

enum { BLOCK_ROWS = 192 };

/* What all items of one call share. */
struct plan {
    const struct kernels *kernels;
    const struct fold *fold;
    size_t D, Dv;
    size_t group;  /* H / G */
    size_t rows;   /* T * group, of one KV head */
    size_t blocks; /* of BLOCK_ROWS rows */
    size_t spans;  /* that any query can see */
    bool by_span;  /* an item is one span */
    size_t items;  /* G * blocks, times spans when by_span */
};

/* The keys and values of one chunk of one head, in float32. */
struct panel {
    const float *k; /* [D][CHUNK] */
    const float *v; /* [CHUNK][Dv] */
    enum { UNKNOWN, FINITE, NOT_FINITE } values;
};

/* What one thread works with. */
struct worker {
    float *unpacked;       /* [SPAN_CHUNKS][D * CHUNK + CHUNK * Dv] */
    float *q;              /* [tile_rows][D], scaled */
    struct partials tile;  /* [tile_rows] the running state of a tile over one span */
    struct partials total; /* [BLOCK_ROWS] the merged spans of an item */
};

static struct plan plan_make(const struct kernels *kernels, size_t tokens, size_t heads,
                             size_t kv_heads, size_t D, size_t reach, int threads)
{
    struct plan p = {.kernels = kernels, .D = D, .Dv = value_stride(D), .group = heads / kv_heads};
    p.rows = tokens * p.group;
    p.blocks = size_ceil_div(p.rows, BLOCK_ROWS);
    p.spans = size_ceil_div(reach, SPAN);
    p.items = kv_heads * p.blocks;
    p.by_span = p.items < 2 * (size_t)threads && p.spans > 1;
    if (p.by_span)
        p.items *= p.spans;
    return p;
}

static size_t partials_floats(const struct plan *p, size_t rows)
{
    return rows * (2 + p->Dv);
}

static struct partials partials_in(float *memory, size_t rows)
{
    return (struct partials){memory, memory + rows, memory + 2 * rows};
}

static size_t panel_floats(const struct plan *p)
{
    return (p->D + p->Dv) * CHUNK;
}

static size_t worker_floats(const struct plan *p)
{
    size_t tile = p->kernels->tile_rows;
    size_t floats = SPAN_CHUNKS * panel_floats(p) + tile * p->D + partials_floats(p, tile) +
                    partials_floats(p, BLOCK_ROWS);
    return (floats + 15) & ~(size_t)15; /* whole cache lines: threads do not share one */
}

static struct worker worker_in(float *memory, const struct plan *p)
{
    size_t tile = p->kernels->tile_rows;
    struct worker w = {.unpacked = memory};
    w.q = w.unpacked + SPAN_CHUNKS * panel_floats(p);
    w.tile = partials_in(w.q + tile * p->D, tile);
    w.total = partials_in(w.q + tile * p->D + partials_floats(p, tile), BLOCK_ROWS);
    return w;
}

size_t fold_workspace(const struct kernels *kernels, size_t tokens, size_t heads, size_t kv_heads,
                      size_t head_dim, size_t length, int threads)
{
    struct plan p = plan_make(kernels, tokens, heads, kv_heads, head_dim, length, threads);
    /* Cut by span, for this many tokens or fewer, there are fewer than two blocks per thread. */
    size_t rows = p.rows < BLOCK_ROWS ? p.rows : BLOCK_ROWS, cut = 2 * (size_t)threads * p.spans;
    return ((size_t)threads * worker_floats(&p) + cut * partials_floats(&p, rows)) * sizeof(float);
}

static struct panel panel_load(const struct plan *p, size_t g, size_t chunk, float *unpacked)
{
    const struct segment *segment = p->fold->segment;
    enum dtype type = segment->type;
    size_t key_floats = p->D * CHUNK;
    const char *k =
        (const char *)segment->chunks[chunk] + segment->offset + g * segment_head_bytes(type, p->D);
    const char *v = k + segment_key_bytes(type, p->D);
    if (type == DTYPE_F32)
        return (struct panel){(const void *)k, (const void *)v, UNKNOWN};
    p->kernels->unpack(type, unpacked, k, key_floats);
    p->kernels->unpack(type, unpacked + key_floats, v, CHUNK * p->Dv);
    return (struct panel){unpacked, unpacked + key_floats, UNKNOWN};
}

/* Asked only of chunks that some row sees in part: 0 times a masked value must be 0. */
static bool panel_finite(struct panel *panel, size_t Dv)
{
    if (panel->values == UNKNOWN) {
        uint32_t bad = 0;
        for (size_t i = 0; i < CHUNK * Dv; i++)
            bad |= (float_bits(panel->v[i]) & 0x7f800000u) == 0x7f800000u;
        panel->values = bad ? NOT_FINITE : FINITE;
    }
    return panel->values == FINITE;
}

static void load_queries(const struct plan *p, size_t g, size_t row, size_t rows, float *q)
{
    for (size_t r = 0; r < rows; r++) {
        size_t token = (row + r) / p->group, head = g * p->group + (row + r) % p->group;
        const float *from = p->fold->q + (token * p->fold->heads + head) * p->D;
        for (size_t i = 0; i < p->D; i++)
            q[r * p->D + i] = from[i] * p->fold->scale;
    }
}

/* Fills visible[rows]. False: no row sees anything of the chunk. *all: every row sees all of it. */
static bool tile_mask(const struct plan *p, size_t row, size_t rows, size_t chunk,
                      uint64_t *visible, bool *all)
{
    size_t start = chunk * CHUNK;
    uint64_t any = 0, common = UINT64_MAX;
    uint64_t exist = mask_first(p->fold->segment->length - start);
    for (size_t r = 0; r < rows; r++) {
        size_t position = p->fold->first + (row + r) / p->group;
        visible[r] = mask_chunk(p->fold->mask, position, start) & exist;
        any |= visible[r];
        common &= visible[r];
    }
    *all = common == UINT64_MAX;
    return any != 0;
}

/* Absorbs the chunks of one span, from empty, into worker->tile. */
static void fold_tile(const struct plan *p, struct worker *w, struct panel *panels, size_t first,
                      size_t chunks, size_t g, size_t row, size_t rows)
{
    uint64_t visible[16];
    load_queries(p, g, row, rows, w->q);
    partial_clear(w->tile, rows, p->Dv);
    struct absorb tile = {
        .rows = rows, .head_dim = p->D, .q = w->q, .m = w->tile.m, .d = w->tile.d, .o = w->tile.o};
    for (size_t c = 0; c < chunks; c++) {
        bool all;
        if (!tile_mask(p, row, rows, first + c, visible, &all))
            continue;
        tile.k = panels[c].k;
        tile.v = panels[c].v;
        tile.visible = all ? NULL : visible;
        tile.values_finite = all || panel_finite(&panels[c], p->Dv);
        p->kernels->absorb(&tile);
    }
}

/* Folds one span for rows [first_row, first_row + rows) of head g and merges it into `total`. */
static void fold_span(const struct plan *p, struct worker *w, size_t g, size_t first_row,
                      size_t rows, size_t span, struct partials total)
{
    struct panel panels[SPAN_CHUNKS];
    size_t first = span * SPAN_CHUNKS, chunks = 0;
    size_t last_position = p->fold->first + (first_row + rows - 1) / p->group;
    size_t reach = mask_reach(p->fold->mask, last_position, p->fold->segment->length);
    while (chunks < SPAN_CHUNKS && (first + chunks) * CHUNK < reach) {
        panels[chunks] = panel_load(p, g, first + chunks, w->unpacked + chunks * panel_floats(p));
        chunks++;
    }
    for (size_t r = 0; r < rows && chunks; r += p->kernels->tile_rows) {
        size_t count = rows - r < p->kernels->tile_rows ? rows - r : p->kernels->tile_rows;
        fold_tile(p, w, panels, first, chunks, g, first_row + r, count);
        partial_merge(partials_at(total, r, p->Dv), w->tile, count, p->Dv);
    }
}

static void finish_rows(const struct plan *p, size_t g, size_t first_row, size_t rows,
                        struct partials total)
{
    for (size_t r = 0; r < rows; r++) {
        size_t token = (first_row + r) / p->group;
        size_t at = token * p->fold->heads + g * p->group + (first_row + r) % p->group;
        float s = partial_finish(partials_at(total, r, p->Dv), p->D, p->fold->v + at * p->D);
        if (p->fold->s)
            p->fold->s[at] = s;
    }
}

static size_t block_rows(const struct plan *p, size_t block)
{
    size_t left = p->rows - block * BLOCK_ROWS;
    return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}

/* Each item folds all spans of its block, in order. */
static void run_by_block(const struct plan *p, float *memory, int threads)
{
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (p->items > 1)
    for (size_t item = 0; item < p->items; item++) {
        struct worker w = worker_in(memory + (size_t)omp_get_thread_num() * worker_floats(p), p);
        size_t g = item / p->blocks, block = item % p->blocks, rows = block_rows(p, block);
        partial_clear(w.total, rows, p->Dv);
        for (size_t span = 0; span < p->spans; span++)
            fold_span(p, &w, g, block * BLOCK_ROWS, rows, span, w.total);
        finish_rows(p, g, block * BLOCK_ROWS, rows, w.total);
    }
}

/* Each item folds one span of a block; then each block merges its spans, in order. */
static void run_by_span(const struct plan *p, float *memory, int threads)
{
    float *cut = memory + (size_t)threads * worker_floats(p);
    size_t most = p->rows < BLOCK_ROWS ? p->rows : BLOCK_ROWS, floats = partials_floats(p, most);

#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t item = 0; item < p->items; item++) {
        struct worker w = worker_in(memory + (size_t)omp_get_thread_num() * worker_floats(p), p);
        struct partials mine = partials_in(cut + item * floats, most);
        size_t whole = item / p->spans, block = whole % p->blocks, rows = block_rows(p, block);
        partial_clear(mine, rows, p->Dv);
        fold_span(p, &w, whole / p->blocks, block * BLOCK_ROWS, rows, item % p->spans, mine);
    }
    for (size_t whole = 0; whole < p->items / p->spans; whole++) {
        size_t block = whole % p->blocks, rows = block_rows(p, block);
        struct partials total = partials_in(cut + whole * p->spans * floats, most);
        for (size_t span = 1; span < p->spans; span++)
            partial_merge(total, partials_in(cut + (whole * p->spans + span) * floats, most), rows,
                          p->Dv);
        finish_rows(p, whole / p->blocks, block * BLOCK_ROWS, rows, total);
    }
}

void fold_run(const struct kernels *kernels, const struct fold *fold, void *workspace, int threads)
{
    const struct segment *segment = fold->segment;
    if (fold->tokens == 0)
        return;
    size_t reach = mask_reach(fold->mask, fold->first + fold->tokens - 1, segment->length);
    struct plan p = plan_make(kernels, fold->tokens, fold->heads, segment->kv_heads,
                              segment->head_dim, reach, threads);
    p.fold = fold;
    if (p.by_span)
        run_by_span(&p, workspace, threads);
    else
        run_by_block(&p, workspace, threads);
}
