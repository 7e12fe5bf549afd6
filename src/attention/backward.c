/* Attention's backward: probabilities recomputed from the states, tile by tile.
 *
 * A row is one query head of one token, as in the fold. An item is a block of rows of one KV head
 * against a strip of chunks; what it adds to dq of its rows and to dk and dv of its keys it adds
 * onto what earlier items left there:
 *
 *     dq    block after block, each over strips 0, 1, 2, ...
 *     dk    strip after strip, each over blocks 0, 1, 2, ...
 *
 * Items of one step, those with the same block + strip, share neither rows nor keys, so threads
 * work on them side by side, and the step before has done what they build on. So every p is
 * computed once, no sum is shared, and each sum has one order, over ascending keys or rows, however
 * large items are and whoever does them.
 */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "attention/apart.h"
#include "attention/check.h"
#include "attention/mask.h"
#include "attention/panel_source.h"
#include "attention/score.h"
#include "base/error.h"
#include "base/size.h"
#include "kernel/chunk.h"
#include "kernel/kernel.h"

/* Rows ahead that memory is asked for while rows are copied. */
enum { AHEAD = 6 };

/* What all items of one call share. */
struct plan {
    const struct kernels *kernels;
    const trib_attention *attention;
    const trib_queries *queries;
    const trib_segment *segment;
    const trib_states *states;
    struct mask_view mask;
    const float *dy;     /* [T][H][D] */
    float *dq, *dk, *dv; /* [T][H][D], [S][G][D], [S][G][D] */
    bool scored;         /* scores are more than a scaled dot product */
    size_t D, Dv, G;
    size_t group;        /* H / G */
    size_t rows;         /* T * group, of one KV head */
    size_t block_rows;   /* of an item, a multiple of BACKWARD_ROWS */
    size_t strip_chunks; /* of an item */
    size_t first_chunk, chunks;
    size_t blocks, strips; /* at least 1, even if empty: what sees nothing gets zeros */
};

struct item {
    size_t g, block, strip;
    size_t row, rows;
    size_t chunk, chunks;
};

/* What one thread works with; 0 < rows <= block_rows. */
struct worker {
    char *panel, *gather;  /* [panel_bytes] */
    float *k, *v_dims;     /* [CHUNK][Dv], [D][CHUNK] */
    float *dk, *dv;        /* [CHUNK][Dv] */
    float *p, *ds, *slope; /* [BACKWARD_ROWS][CHUNK] */
    float *q, *dy, *dq;    /* [rows][Dv] */
    float *shift, *delta;  /* [rows] */
};

/* ---- Workspace ---- */

/* So many that q, dy and dq of a block take at most 384 KiB of a second-level cache: the more rows,
 * the less often keys are loaded. */
static size_t block_rows_most(size_t D)
{
    return D <= 64 ? 512 : D <= 128 ? 256 : D <= 256 ? 128 : BACKWARD_ROWS;
}

static size_t worker_bytes(size_t D)
{
    size_t chunk = value_stride(D) * CHUNK, rows = block_rows_most(D);
    size_t floats = 4 * chunk + 3 * BACKWARD_ROWS * CHUNK + rows * (3 * value_stride(D) + 2);
    return 2 * panel_bytes(D) + floats * sizeof(float);
}

static struct worker worker_in(char *memory, size_t D)
{
    size_t chunk = value_stride(D) * CHUNK, tile = BACKWARD_ROWS * CHUNK;
    size_t rows = block_rows_most(D), block = rows * value_stride(D);
    struct worker w = {.panel = memory + (size_t)omp_get_thread_num() * worker_bytes(D)};
    w.gather = w.panel + panel_bytes(D);
    w.k = (float *)(void *)(w.gather + panel_bytes(D));
    w.v_dims = w.k + chunk;
    w.dk = w.v_dims + chunk;
    w.dv = w.dk + chunk;
    w.p = w.dv + chunk;
    w.ds = w.p + tile;
    w.slope = w.ds + tile;
    w.q = w.slope + tile;
    w.dy = w.q + block;
    w.dq = w.dy + block;
    w.shift = w.dq + block;
    w.delta = w.shift + rows;
    return w;
}

size_t trib_attend_backward_workspace(const trib_kernels *kernels, const trib_attention *attention,
                                      size_t tokens, size_t keys)
{
    if (!check_sizes(kernels, attention, tokens, keys))
        return 0;
    return (size_t)attention->threads * worker_bytes(attention->head_dim);
}

/* ---- Rows and keys of an item, in and out ---- */

/* Where row `row` of KV head g stands among the states. */
static size_t row_state(const struct plan *p, size_t g, size_t row)
{
    return row / p->group * p->attention->heads + g * p->group + row % p->group;
}

/* One row to `to`, padded; zeros where there is none. */
static void load_row(const struct plan *p, float *to, const float *from)
{
    memset(to + p->D, 0, (p->Dv - p->D) * sizeof *to);
    if (from)
        memcpy(to, from, p->D * sizeof *to);
    else
        memset(to, 0, p->D * sizeof *to);
}

static void prefetch(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += 64 / sizeof *x)
        __builtin_prefetch(x + i, 0, 2);
}

static const float *query_at(const struct plan *p, size_t g, size_t row)
{
    size_t head = g * p->group + row % p->group;
    return p->queries->q + row / p->group * p->queries->token_stride + head * p->D;
}

/* A row whose state is empty sees scores of -inf at most: its shift makes every p of it 0. */
static void load_rows(const struct plan *p, const struct worker *w, const struct item *item)
{
    for (size_t r = 0; r < item->rows; r++) {
        size_t row = item->row + r, at = row_state(p, item->g, row), to = r * p->Dv;
        if (r + AHEAD < item->rows) {
            size_t ahead = row_state(p, item->g, row + AHEAD) * p->D;
            prefetch(query_at(p, item->g, row + AHEAD), p->D);
            prefetch(p->dy + ahead, p->D);
            prefetch(p->states->v + ahead, p->D);
            prefetch(p->dq + ahead, p->D);
        }
        float s = p->states->s[at];
        w->shift[r] = s == -INFINITY ? s : -score_to_log2(s);
        load_row(p, w->q + to, query_at(p, item->g, row));
        load_row(p, w->dy + to, p->dy + at * p->D);
        load_row(p, w->dq + to, item->strip ? p->dq + at * p->D : NULL);
        p->kernels->dots(w->delta + r, 1, p->dy + at * p->D, 1, p->states->v + at * p->D, 1, p->D);
    }
}

static void store_rows(const struct plan *p, const struct worker *w, const struct item *item)
{
    for (size_t r = 0; r < item->rows; r++)
        memcpy(p->dq + row_state(p, item->g, item->row + r) * p->D, w->dq + r * p->Dv,
               p->D * sizeof *p->dq);
}

static void clear_rows(const struct plan *p, const struct item *item)
{
    for (size_t r = 0; r < item->rows; r++)
        memset(p->dq + row_state(p, item->g, item->row + r) * p->D, 0, p->D * sizeof *p->dq);
}

/* The keys of the chunk at position `start` that exist. */
static size_t chunk_from(const struct plan *p, size_t start)
{
    return start < p->segment->first ? p->segment->first - start : 0;
}

static size_t chunk_to(const struct plan *p, size_t start)
{
    size_t end = p->segment->first + p->segment->length;
    return end - start < CHUNK ? end - start : CHUNK;
}

/* Where key j of the chunk stands in dk and dv. */
static size_t key_at(const struct plan *p, size_t start, size_t j, size_t g)
{
    return ((start + j - p->segment->first) * p->G + g) * p->D;
}

/* The chunk in the forms that the kernel reads, and the gradients of its keys so far. */
static void load_chunk(const struct plan *p, const struct worker *w, const struct item *item,
                       size_t start, struct panel *panel)
{
    panel_source_load(p->kernels, p->segment, p->D, item->g, start, PANEL_FLOAT, w->panel,
                      w->gather, panel);
    for (size_t j = 0; j < CHUNK && p->D < p->Dv; j++)
        memset(w->k + j * p->Dv + p->D, 0, (p->Dv - p->D) * sizeof *w->k);
    p->kernels->transpose(w->k, p->Dv, panel->k, CHUNK, p->D, CHUNK);
    for (size_t i = 0, n; i < p->D; i += n) {
        struct panel_values v = panel_values(DTYPE_F32, panel, p->D, i);
        n = p->D - i < chunk_columns(DTYPE_F32) ? p->D - i : chunk_columns(DTYPE_F32);
        p->kernels->transpose(w->v_dims + i * CHUNK, CHUNK, (const float *)(const void *)v.at,
                              v.stride / sizeof(float), CHUNK, n);
    }
    for (size_t j = panel->from; j < panel->to; j++) {
        size_t at = key_at(p, start, j, item->g);
        load_row(p, w->dk + j * p->Dv, item->block ? p->dk + at : NULL);
        load_row(p, w->dv + j * p->Dv, item->block ? p->dv + at : NULL);
    }
}

/* Asks for the chunk that comes next: its rows lie far apart, where no hardware looks ahead. */
static void prefetch_chunk(const struct plan *p, const struct item *item, size_t start)
{
    panel_source_prefetch(p->segment, p->D, item->g, start);
    for (size_t j = chunk_from(p, start); j < chunk_to(p, start); j++) {
        prefetch(p->dk + key_at(p, start, j, item->g), p->D);
        prefetch(p->dv + key_at(p, start, j, item->g), p->D);
    }
}

static void store_chunk(const struct plan *p, const struct worker *w, const struct item *item,
                        size_t start)
{
    for (size_t j = chunk_from(p, start); j < chunk_to(p, start); j++) {
        size_t at = key_at(p, start, j, item->g);
        memcpy(p->dk + at, w->dk + j * p->Dv, p->D * sizeof *p->dk);
        memcpy(p->dv + at, w->dv + j * p->Dv, p->D * sizeof *p->dv);
    }
}

static void clear_chunk(const struct plan *p, const struct item *item, size_t start)
{
    for (size_t j = chunk_from(p, start); j < chunk_to(p, start); j++) {
        size_t at = key_at(p, start, j, item->g);
        memset(p->dk + at, 0, p->D * sizeof *p->dk);
        memset(p->dv + at, 0, p->D * sizeof *p->dv);
    }
}

/* ---- A tile ---- */

/* x, the products, become scores in units of log 2. The derivative of cap tanh(x / cap) is
 * 1 - tanh^2; alibi and bias shift a score. */
static void score_forward(const void *context, float *x, float *slope)
{
    const struct score_tile *t = context;
    float cap = t->attention->softcap;
    size_t n = t->rows * CHUNK;
    for (size_t i = 0; i < n; i++)
        x[i] *= t->attention->scale;
    if (slope) {
        memcpy(slope, x, n * sizeof *x);
        t->kernels->softcap(slope, n, cap);
        for (size_t i = 0; i < n; i++)
            slope[i] = 1 - slope[i] / cap * (slope[i] / cap);
    }
    score_transform(t, 0, x);
}

/* Rows r and on, at most BACKWARD_ROWS, against a chunk. */
static void tile(const struct plan *p, const struct worker *w, const struct item *item, size_t r,
                 size_t start, const struct panel *panel)
{
    const trib_attention *a = p->attention;
    uint64_t visible[BACKWARD_ROWS];
    size_t rows = item->rows - r < BACKWARD_ROWS ? item->rows - r : BACKWARD_ROWS;
    size_t row = item->row + r;
    enum mask_cover seen = mask_rows(&p->mask, item->g, row, rows, start, visible);
    if (seen == MASK_NOTHING)
        return;
    struct score_tile score = {p->kernels, a,    p->queries, p->segment, item->g,
                               row,        rows, &panel,     &start};
    struct absorb_backward tile = {.rows = rows,
                                   .head_dim = p->D,
                                   .q = w->q + r * p->Dv,
                                   .dy = w->dy + r * p->Dv,
                                   .shift = w->shift + r,
                                   .delta = w->delta + r,
                                   .k_dims = panel->k,
                                   .v_dims = w->v_dims,
                                   .k = w->k,
                                   .from = panel->from,
                                   .to = panel->to,
                                   .visible = seen == MASK_SOME ? visible : NULL,
                                   .factor = p->scored ? 1 : a->scale * log2e,
                                   .scale = a->scale,
                                   .score = p->scored ? score_forward : NULL,
                                   .context = &score,
                                   .slope = a->softcap != 0 ? w->slope : NULL,
                                   .p = w->p,
                                   .ds = w->ds,
                                   .dq = w->dq + r * p->Dv,
                                   .dk = w->dk,
                                   .dv = w->dv};
    p->kernels->absorb_backward(&tile);
}

/* ---- Items and steps ---- */

static void run_item(const struct plan *p, char *workspace, const struct item *item)
{
    struct worker w = worker_in(workspace, p->D);
    bool loaded = false;
    for (size_t c = item->chunk; c < item->chunk + item->chunks; c++) {
        size_t start = (p->first_chunk + c) * CHUNK;
        struct panel panel;
        if (item->rows == 0 || !mask_sees(&p->mask, item->g, item->row, item->rows, start)) {
            if (item->block == 0)
                clear_chunk(p, item, start);
            continue;
        }
        if (!loaded)
            load_rows(p, &w, item);
        loaded = true;
        load_chunk(p, &w, item, start, &panel);
        if (c + 1 < item->chunk + item->chunks)
            prefetch_chunk(p, item, start + CHUNK);
        for (size_t r = 0; r < item->rows; r += BACKWARD_ROWS)
            tile(p, &w, item, r, start, &panel);
        store_chunk(p, &w, item, start);
    }
    if (loaded)
        store_rows(p, &w, item);
    else if (item->strip == 0)
        clear_rows(p, item);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Item i of a step: blocks from the last on, which see more where a mask is causal. */
static struct item item_of(const struct plan *p, size_t step, size_t i)
{
    struct item item = {.g = i % p->G, .block = least(step, p->blocks - 1) - i / p->G};
    item.strip = step - item.block;
    item.row = item.block * p->block_rows;
    item.rows = least(p->rows - item.row, p->block_rows);
    item.chunk = item.strip * p->strip_chunks;
    item.chunks = least(p->chunks - item.chunk, p->strip_chunks);
    return item;
}

static void run(const struct plan *p, char *workspace)
{
    size_t steps = p->blocks + p->strips - 1;
#pragma omp parallel num_threads(p->attention->threads) if (p->G * p->blocks * p->strips > 1)
    for (size_t step = 0; step < steps; step++) {
        size_t first = step < p->strips ? 0 : step - (p->strips - 1);
        size_t items = (least(step, p->blocks - 1) - first + 1) * p->G;
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < items; i++) {
            struct item item = item_of(p, step, i);
            run_item(p, workspace, &item);
        }
    }
}

/* Items as large as leave work for all threads in a full step. */
static void plan_cut(struct plan *p)
{
    p->block_rows = block_rows_most(p->D);
    p->strip_chunks = p->chunks ? p->chunks : 1;
    for (;;) {
        p->blocks = p->rows ? size_ceil_div(p->rows, p->block_rows) : 1;
        p->strips = p->chunks ? size_ceil_div(p->chunks, p->strip_chunks) : 1;
        size_t side = least(p->blocks, p->strips);
        bool thin = p->blocks == side && p->block_rows > BACKWARD_ROWS;
        if (p->attention->threads == 1 || p->G * side >= 4 * (size_t)p->attention->threads)
            return;
        if (thin)
            p->block_rows /= 2;
        else if (p->strips == side && p->strip_chunks > 1)
            p->strip_chunks = size_ceil_div(p->strip_chunks, 2);
        else
            return;
    }
}

trib_status trib_attend_backward(const trib_kernels *kernels, const trib_attention *attention,
                                 const trib_queries *queries, const trib_segment *segment,
                                 const trib_states *states, const float *dy, float *dq, float *dk,
                                 float *dv, void *workspace, size_t workspace_bytes,
                                 trib_error *error)
{
    const char *who = "attend backward";
    trib_status status = check_arguments(who, kernels, attention, queries, segment, states, error);
    if (status != TRIB_OK)
        return status;
    if (attention->additive)
        return error_set(error, TRIB_UNSUPPORTED, "%s: no gradient of the additive score", who);
    if ((queries->tokens && (!dy || !dq)) || (segment->length && (!dk || !dv)))
        return error_set(error, TRIB_INVALID, "%s: dy, dq, dk or dv is NULL", who);
    size_t D = attention->head_dim, end = segment->first + segment->length;
    uint64_t row = attention->kv_heads * D * sizeof *dk, kv;
    if (!size_mul(segment->length, row, &kv) || kv > PTRDIFF_MAX)
        return error_set(error, TRIB_INVALID, "%s: dk: no memory holds %zu keys", who,
                         segment->length);
    size_t needed = trib_attend_backward_workspace(kernels, attention, queries->tokens, end);
    status = check_workspace(who, workspace, workspace_bytes, needed, error);
    size_t rows = states->count * D * sizeof *dq;
    const struct extent extents[] = {
        {"dq", dq, rows},
        {"dk", dk, kv},
        {"dv", dv, kv},
        {"the workspace", workspace, needed},
        {"dy", dy, rows},
        {"s of the states", states->s, states->count * sizeof *states->s},
        {"v of the states", states->v, rows},
    };
    if (status == TRIB_OK)
        status = check_apart(who, attention, queries, segment, extents, 4, 7, error);
    if (status != TRIB_OK)
        return status;
    struct plan p = {.kernels = kernels,
                     .attention = attention,
                     .queries = queries,
                     .segment = segment,
                     .states = states,
                     .mask = {.attention = attention,
                              .query_first = queries->first,
                              .key_first = segment->first,
                              .length = segment->length},
                     .dy = dy,
                     .dq = dq,
                     .dk = dk,
                     .dv = dv,
                     .scored = score_is_more(attention),
                     .D = D,
                     .Dv = value_stride(D),
                     .G = attention->kv_heads,
                     .group = attention->heads / attention->kv_heads,
                     .rows = queries->tokens * (attention->heads / attention->kv_heads),
                     .first_chunk = segment->first / CHUNK};
    p.chunks = segment->length ? (end - 1) / CHUNK + 1 - p.first_chunk : 0;
    plan_cut(&p);
    run(&p, workspace);
    return TRIB_OK;
}
