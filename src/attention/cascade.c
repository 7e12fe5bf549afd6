/* The cascade: an item is a block of rows of one KV head, which goes through all parts, parents
 * first. Shared parts are read once for each block and KV head; a block has some hundred rows.
 *
 * Invariant: before a part, `total` of a row holds the merged spans that its parts have finished,
 * and `run` the running state of the span in which its last part ended, if `open`. */
#include "attention/cascade.h"

#include <assert.h>
#include <omp.h>
#include <string.h>

#include "attention/partial.h"
#include "attention/span.h"
#include "base/size.h"

/* Rows of an item at most: their states, and those of a span, stay in the second-level cache. */
enum { BLOCK_ROWS = 384 };

struct block {
    size_t g, row, rows; /* rows [row, row + rows) of KV head g */
};

struct worker {
    struct span_worker span;
    struct partials total, run; /* [BLOCK_ROWS] */
    bool *open;                 /* [BLOCK_ROWS] */
};

static size_t block_rows(const struct folding *f, size_t tokens)
{
    size_t rows = tokens * f->group;
    return rows < BLOCK_ROWS ? rows : BLOCK_ROWS;
}

static size_t worker_bytes(const struct folding *f, size_t rows)
{
    return span_worker_bytes(f, rows) + 2 * partials_floats(rows, f->D) * sizeof(float) +
           (rows + 63) / 64 * 64;
}

static struct worker worker_in(char *memory, const struct folding *f, size_t rows)
{
    struct worker w;
    memory += (size_t)omp_get_thread_num() * worker_bytes(f, rows);
    w.span = span_worker_in(memory, f, rows);
    float *states = (float *)(void *)(memory + span_worker_bytes(f, rows));
    w.total = partials_in(states, rows, f->D);
    w.run = partials_in(states + partials_floats(rows, f->D), rows, f->D);
    w.open = (bool *)(memory + worker_bytes(f, rows) - (rows + 63) / 64 * 64);
    return w;
}

size_t cascade_workspace(const struct kernels *kernels, const trib_attention *attention,
                         size_t tokens)
{
    const trib_queries none = {0};
    const trib_segment nothing = {0};
    struct folding f = folding_of(kernels, attention, &none, &nothing);
    return (size_t)attention->threads * worker_bytes(&f, block_rows(&f, tokens));
}

/* Rows [row, row + rows) of the block end the span that is open. */
static void close_span(const struct folding *f, struct worker *w, size_t row, size_t rows)
{
    struct partials total = partials_at(w->total, row, f->D), run = partials_at(w->run, row, f->D);
    f->kernels->merge(&total, &run, rows, f->D);
    memset(w->open + row, false, rows * sizeof *w->open);
}

/* Rows [row, row + rows) of the block, all of the part's, over the part's share of a span. */
static void fold_piece(const struct folding *f, struct worker *w, const struct block *block,
                       size_t row, size_t rows, size_t span)
{
    size_t first = f->segment->first, end = first + f->segment->length;
    bool begins = span * SPAN >= first, ends = (span + 1) * SPAN <= end;
    struct span_worker worker = w->span;
    struct partials total = partials_at(w->total, row, f->D), run = partials_at(w->run, row, f->D);
    worker.q += row * f->D;
    if (begins && !ends) {
        partial_clear(run, rows, f->D);
        memset(w->open + row, true, rows * sizeof *w->open);
    }
    span_fold(f, &worker, block->g, block->row + row, rows, span, total,
              begins && ends ? NULL : &run);
    if (!begins && ends)
        close_span(f, w, row, rows);
}

static void fold_part(const struct folding *f, struct worker *w, const struct block *block,
                      const struct cascade_part *part)
{
    size_t from = part->from * f->group, to = part->to * f->group, end = block->row + block->rows;
    from = from > block->row ? from : block->row;
    to = to < end ? to : end;
    size_t last = (part->segment.first + part->segment.length - 1) / SPAN;
    for (size_t span = part->segment.first / SPAN; span <= last && from < to; span++)
        fold_piece(f, w, block, from - block->row, to - from, span);
}

static void fold_block(struct folding f, struct worker *w, const struct block *block,
                       const struct cascade *cascade, float *v)
{
    span_load_queries(&f, block->g, block->row, block->rows, w->span.q);
    partial_clear(w->total, block->rows, f.D);
    memset(w->open, false, block->rows * sizeof *w->open);
    for (size_t i = 0; i < cascade->count; i++) {
        f.segment = &cascade->parts[i].segment;
        f.mask.key_first = f.segment->first;
        f.mask.length = f.segment->length;
        fold_part(&f, w, block, &cascade->parts[i]);
    }
    for (size_t r = 0; r < block->rows; r++) {
        size_t token = (block->row + r) / f.group, head = (block->row + r) % f.group;
        if (w->open[r])
            close_span(&f, w, r, 1);
        partial_finish(partials_at(w->total, r, f.D), f.D,
                       v + (token * f.attention->heads + block->g * f.group + head) * f.D);
    }
}

void cascade_run(const struct kernels *kernels, const trib_attention *attention,
                 const struct cascade *cascade, float *v, void *workspace)
{
    assert(attention->mask.causal && !attention->mask.prefix && !attention->mask.bits);
    assert(!attention->mask.query_document && !attention->mask.parent);
    assert(!attention->alibi && !attention->additive && !attention->bias);
    if (cascade->count == 0)
        return;
    const trib_queries queries = {
        .q = cascade->q, .tokens = cascade->tokens, .token_stride = cascade->token_stride};
    struct folding f = folding_of(kernels, attention, &queries, &cascade->parts[0].segment);
    f.mask.positions = cascade->positions;
    size_t rows = cascade->tokens * f.group, most = block_rows(&f, cascade->tokens);
    size_t blocks = size_ceil_div(rows, most), items = f.G * blocks;
#pragma omp parallel for schedule(dynamic) num_threads(attention->threads) if (items > 1)
    for (size_t item = 0; item < items; item++) {
        struct worker w = worker_in(workspace, &f, most);
        size_t row = item / f.G * most;
        struct block block = {item % f.G, row, rows - row < most ? rows - row : most};
        fold_block(f, &w, &block, cascade, v);
    }
}
