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
 *
 * Where any order is allowed, for measuring, an item has one running state for all of its spans:
 * nothing is merged in WIDE, and in SPLIT one partial for each thread.
 */
#include "attention/fold.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "attention/partial.h"
#include "attention/span.h"
#include "base/size.h"

/* Rows of an item at most. Its chunks are brought into panels once per span and item: with 768 rows
 * that is 0.4% of a causal prefill, with 192 it was 2%. A multiple of every table's tile_rows but
 * ref's. */
enum { BLOCK_ROWS = 768 };

enum cut { WIDE, SPLIT, NARROW };

/* What all items of one call share. */
struct plan {
    struct folding f;
    float *s, *v;             /* out: [T][H], [T][H][D] */
    bool onto;                /* they hold states to merge onto */
    size_t rows;              /* T * group, of one KV head */
    size_t blocks;            /* of BLOCK_ROWS rows */
    size_t first_span, spans; /* that any query can see */
    enum cut cut;
    size_t share, parts; /* spans of an item of SPLIT and NARROW, and items of a row */
    size_t items;
};

/* What one thread works with. */
struct worker {
    struct span_worker span;
    struct partials total; /* [item_rows] the merged spans of an item */
};

/* ---- Plan and workspace ---- */

static void plan_cut(struct plan *p, int threads)
{
    size_t enough = 2 * (size_t)threads;
    p->blocks = size_ceil_div(p->rows, BLOCK_ROWS);
    p->items = p->f.G * p->blocks;
    p->cut = WIDE;
    if (p->spans < 2)
        return;
    p->share = 1;
    if (p->f.attention->any_order) {
        enough = (size_t)threads;
        p->share = size_ceil_div(p->spans, enough);
    } else if (p->rows <= NARROW_TILES * p->f.kernels->tile_rows && p->spans >= enough &&
               p->f.segment->layout == TRIB_KV_ROWS) {
        p->cut = NARROW;
    }
    if (p->cut != NARROW && p->items < enough)
        p->cut = SPLIT;
    p->parts = size_ceil_div(p->spans, p->share);
    if (p->cut != WIDE)
        p->items = p->cut == SPLIT ? p->items * p->parts : p->parts;
}

/* Rows of an item: a block of one head, or the few of every head. */
static size_t item_rows(const struct plan *p)
{
    size_t narrow = NARROW_TILES * p->f.kernels->tile_rows;
    size_t block = p->rows < BLOCK_ROWS ? p->rows : BLOCK_ROWS;
    size_t all = p->f.G * (p->rows < narrow ? p->rows : narrow);
    return block > all ? block : all;
}

static size_t worker_bytes(const struct plan *p)
{
    size_t rows = item_rows(p);
    return span_worker_bytes(&p->f, rows) + partials_floats(rows, p->f.D) * sizeof(float);
}

static struct worker worker_in(char *memory, const struct plan *p)
{
    size_t rows = item_rows(p);
    memory += (size_t)omp_get_thread_num() * worker_bytes(p);
    struct worker w = {.span = span_worker_in(memory, &p->f, rows)};
    memory += span_worker_bytes(&p->f, rows);
    w.total = partials_in((float *)(void *)memory, rows, p->f.D);
    return w;
}

/* The partials of one item of SPLIT or NARROW and one KV head, behind the workers. */
static struct partials item_partials(char *memory, const struct plan *p, size_t item, size_t g)
{
    float *all = (float *)(void *)(memory + (size_t)p->f.attention->threads * worker_bytes(p));
    return partials_in(all + (item * p->f.G + g) * partials_floats(p->rows, p->f.D), p->rows,
                       p->f.D);
}

size_t fold_workspace(const struct kernels *kernels, const trib_attention *attention, size_t tokens,
                      size_t keys)
{
    const trib_queries none = {0};
    const trib_segment nothing = {0};
    struct plan p = {.f = folding_of(kernels, attention, &none, &nothing)};
    size_t threads = (size_t)attention->threads, tile = NARROW_TILES * kernels->tile_rows;
    p.rows = tokens * p.f.group;
    /* Rows of partials a span can have: SPLIT has fewer than two blocks a thread, NARROW few rows a
     * head, and no call more than it has. */
    size_t split = 2 * threads * BLOCK_ROWS, narrow = p.f.G * tile;
    size_t most = split > narrow ? split : narrow, rows = p.rows * p.f.G;
    rows = rows < most ? rows : most;
    size_t per_span = partials_floats(rows, p.f.D) + 16 * p.f.G;
    uint64_t bytes;
    if (!size_mul(size_ceil_div(keys, SPAN), per_span * sizeof(float), &bytes) ||
        !size_add(bytes, threads * worker_bytes(&p), &bytes))
        return 0;
    return bytes;
}

/* `count` spans for rows [row, row + rows) of KV head g, whose states go on from `total`. */
static void fold_spans(const struct plan *p, struct worker *w, size_t g, size_t row, size_t rows,
                       size_t first, size_t count, struct partials total)
{
    const struct partials *run = p->f.attention->any_order ? &total : NULL;
    for (size_t span = first; span < first + count; span++)
        span_fold(&p->f, &w->span, g, row, rows, p->first_span + span, total, run);
}

/* The few rows of all heads over one span, chunk by chunk, into that span's partials. */
static void fold_span_narrow(const struct plan *p, struct worker *w, size_t span, char *memory)
{
    size_t first = (p->first_span + span) * SPAN, T = p->f.queries->tokens;
    for (size_t g = 0; g < p->f.G; g++) {
        span_load_queries(&p->f, g, 0, p->rows, w->span.q + g * p->rows * p->f.D);
        partial_clear(item_partials(memory, p, span, g), p->rows, p->f.D);
    }
    for (size_t start = first; start < first + SPAN; start += CHUNK) {
        if (mask_cover(&p->f.mask, 0, T - 1, start, start + CHUNK) == MASK_NOTHING)
            continue;
        for (size_t g = 0; g < p->f.G; g++)
            span_chunk(&p->f, &w->span, g, start, p->rows, w->span.q + g * p->rows * p->f.D,
                       item_partials(memory, p, span, g));
    }
}

/* ---- Beginning and end of a row ---- */

static size_t row_state(const struct plan *p, size_t g, size_t row)
{
    return row / p->f.group * p->f.attention->heads + g * p->f.group + row % p->f.group;
}

static void begin_rows(const struct plan *p, size_t g, size_t row, size_t rows,
                       struct partials total)
{
    partial_clear(total, rows, p->f.D);
    for (size_t r = 0; r < rows && p->onto; r++) {
        size_t at = row_state(p, g, row + r);
        partial_from_state(partials_at(total, r, p->f.D), p->s[at], p->v + at * p->f.D, p->f.D);
    }
}

static void finish_rows(const struct plan *p, size_t g, size_t row, size_t rows,
                        struct partials total)
{
    for (size_t r = 0; r < rows; r++) {
        size_t at = row_state(p, g, row + r);
        struct partials row_total = partials_at(total, r, p->f.D);
        /* s and back would round: what nothing was added to stays as it is */
        if (p->onto && partial_is_state(row_total, p->s[at], p->v + at * p->f.D, p->f.D))
            continue;
        float s = partial_finish(row_total, p->f.D, p->v + at * p->f.D);
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
#pragma omp parallel for schedule(dynamic) num_threads(p->f.attention->threads) if (p->items > 1)
    for (size_t item = 0; item < p->items; item++) {
        struct worker w = worker_in(memory, p);
        size_t g = item % p->f.G, block = p->blocks - 1 - item / p->f.G;
        size_t row = block * BLOCK_ROWS, rows = block_rows(p, block);
        span_load_queries(&p->f, g, row, rows, w.span.q);
        begin_rows(p, g, row, rows, w.total);
        fold_spans(p, &w, g, row, rows, 0, p->spans, w.total);
        finish_rows(p, g, row, rows, w.total);
    }
}

static void merge_spans(const struct plan *p, char *memory)
{
#pragma omp parallel for schedule(static) num_threads(p->f.attention->threads)
    for (size_t g = 0; g < p->f.G; g++) {
        struct worker w = worker_in(memory, p);
        for (size_t block = 0; block < p->blocks; block++) {
            size_t row = block * BLOCK_ROWS, rows = block_rows(p, block);
            begin_rows(p, g, row, rows, w.total);
            for (size_t i = 0; i < p->parts; i++) {
                struct partials part = partials_at(item_partials(memory, p, i, g), row, p->f.D);
                p->f.kernels->merge(&w.total, &part, rows, p->f.D);
            }
            finish_rows(p, g, row, rows, w.total);
        }
    }
}

static void run_split(const struct plan *p, char *memory)
{
    size_t at_a_time = p->share > 1 ? 1 : 4;
#pragma omp parallel for schedule(dynamic, at_a_time) num_threads(p->f.attention->threads)
    for (size_t item = 0; item < p->items; item++) {
        struct worker w = worker_in(memory, p);
        size_t g = item / p->parts % p->f.G, block = item / p->parts / p->f.G,
               number = item % p->parts, first = number * p->share, left = p->spans - first;
        size_t row = block * BLOCK_ROWS, rows = block_rows(p, block);
        struct partials part = partials_at(item_partials(memory, p, number, g), row, p->f.D);
        span_load_queries(&p->f, g, row, rows, w.span.q);
        partial_clear(part, rows, p->f.D);
        fold_spans(p, &w, g, row, rows, first, left < p->share ? left : p->share, part);
    }
    merge_spans(p, memory);
}

static void run_narrow(const struct plan *p, char *memory)
{
    size_t even = p->items / (4 * (size_t)p->f.attention->threads) + 1;
    size_t at_a_time = even < 4 ? even : 4; /* spans in a row, each asks for the next */
#pragma omp parallel for schedule(dynamic, at_a_time) num_threads(p->f.attention->threads)
    for (size_t span = 0; span < p->items; span++) {
        struct worker w = worker_in(memory, p);
        fold_span_narrow(p, &w, span, memory);
    }
    merge_spans(p, memory);
}

/* The spans that the queries can see at all: a causal mask ends them, a window begins them late. */
static void plan_reach(struct plan *p)
{
    size_t first = p->f.segment->first / SPAN, end = p->f.segment->first + p->f.segment->length;
    size_t last = p->f.segment->length ? (end - 1) / SPAN + 1 : first, T = p->f.queries->tokens;
    while (last > first &&
           mask_cover(&p->f.mask, 0, T - 1, (last - 1) * SPAN, last * SPAN) == MASK_NOTHING)
        last--;
    while (first < last &&
           mask_cover(&p->f.mask, 0, T - 1, first * SPAN, (first + 1) * SPAN) == MASK_NOTHING)
        first++;
    p->first_span = first;
    p->spans = last - first;
}

void fold_run(const struct kernels *kernels, const trib_attention *attention,
              const trib_queries *queries, const trib_segment *segment, float *s, float *v,
              bool onto, void *workspace)
{
    struct plan p = {
        .f = folding_of(kernels, attention, queries, segment), .s = s, .v = v, .onto = onto};
    if (queries->tokens == 0)
        return;
    p.rows = queries->tokens * p.f.group;
    plan_reach(&p);
    plan_cut(&p, attention->threads);
    if (p.cut == WIDE)
        run_wide(&p, workspace);
    else if (p.cut == SPLIT)
        run_split(&p, workspace);
    else
        run_narrow(&p, workspace);
}
