/* Attention of a pass: whose rows see which keys, and in one go or each run by itself.
 *
 * The plan of the step (cache/cascade_plan.h) gives the parts that sequences share; behind them
 * each sequence has a part of its own, with its newest positions. One cascade reads every part once
 * for all its rows. It cuts its work by KV heads and blocks of rows alone; the fold of one run also
 * by spans, and in wider blocks, which is quicker where there is one run, or where nothing is
 * shared and heads are fewer than threads. Both fold in the canonical order and give the same bits.
 */
#include "attention/fold.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "model/pass.h"

#include <stdlib.h>
#include <string.h>

trib_status scratch_grow(struct scratch *scratch, size_t bytes, const char *what, trib_error *error)
{
    if (bytes <= scratch->bytes)
        return TRIB_OK;
    bytes += bytes / 2; /* so that a growing context does not ask at every page */
    void *memory = memory_zeroed(bytes);
    if (!memory)
        return error_no_memory(error, what, bytes);
    free(scratch->memory);
    *scratch = (struct scratch){memory, bytes};
    return TRIB_OK;
}

void attending_close(struct attending *g)
{
    cascade_plan_free(&g->plan);
    free(g->of_runs.memory);
    free(g->of_parts.memory);
    free(g->workspace.memory);
    *g = (struct attending){0};
}

/* ---- The order of the rows ---- */

static trib_status take_runs(struct attending *g, size_t runs, trib_error *error)
{
    size_t each = sizeof *g->sequences + 4 * sizeof(size_t) + sizeof *g->last;
    trib_status status = scratch_grow(&g->of_runs, runs * each, "the runs of a pass", error);
    if (status != TRIB_OK)
        return status;
    g->sequences = g->of_runs.memory;
    g->order = (size_t *)(void *)(g->sequences + runs);
    g->row = g->order + runs;
    g->rows = g->row + runs;
    g->numbers = g->rows + runs;
    g->last = (int *)(void *)(g->numbers + runs);
    return TRIB_OK;
}

static trib_status order_runs(const struct pass *pass, trib_error *error)
{
    struct attending *g = &pass->a->attending;
    size_t others = 0, row = 0;
    g->kept = 0;
    for (size_t i = 0; i < pass->run_count; i++)
        if (pass->runs[i].sequence) {
            g->numbers[g->kept] = i;
            g->sequences[g->kept++] = pass->runs[i].sequence;
        }
    trib_status status = cascade_plan_make(&g->plan, g->sequences, g->kept, error);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < g->kept; i++)
        g->order[i] = g->numbers[g->plan.order[i]];
    for (size_t i = 0; i < pass->run_count; i++)
        if (!pass->runs[i].sequence)
            g->order[g->kept + others++] = i;
    for (size_t i = 0; i < pass->run_count; i++) {
        g->row[g->order[i]] = row;
        row += g->rows[g->order[i]] = pass->runs[g->order[i]].count;
    }
    return TRIB_OK;
}

/* ---- The parts of the keys ---- */

static bool is_shared(const struct cascade_plan *plan)
{
    for (size_t i = 0; i < plan->run_count; i++)
        if (plan->runs[i].to - plan->runs[i].from > 1)
            return true;
    return false;
}

static size_t pages_of(const struct run *run)
{
    return size_ceil_div(sequence_length(run->sequence) + run->count, CHUNK);
}

static trib_status take_parts(const struct pass *pass, trib_error *error)
{
    struct attending *g = &pass->a->attending;
    size_t parts = g->kept + (g->together ? g->plan.run_count : 0), pages = 0;
    if (parts == 0)
        return TRIB_OK;
    for (size_t i = 0; i < g->kept; i++) {
        const struct run *run = &pass->runs[g->order[i]];
        pages += pages_of(run) - (g->together ? run->sequence->place.pages : 0);
    }
    for (size_t i = 0; i < g->plan.run_count && g->together; i++)
        pages += g->plan.runs[i].count;
    size_t bytes = parts * (sizeof *g->parts + sizeof *g->part_pages) + 3 * pages * sizeof(void *);
    trib_status status = scratch_grow(&g->of_parts, bytes, "the parts of a pass", error);
    if (status != TRIB_OK)
        return status;
    g->parts = g->of_parts.memory;
    g->part_pages = (struct part_pages *)(void *)(g->parts + parts);
    g->pages = (struct page **)(void *)(g->part_pages + parts);
    g->k = (const void **)(void *)(g->pages + pages);
    g->v = g->k + pages;
    return TRIB_OK;
}

/* A part for members [from, to) of the order: `count` pages from `first` on, `length` positions. */
static void add_part(const struct pass *pass, size_t from, size_t to, size_t first, size_t count,
                     size_t length)
{
    struct attending *g = &pass->a->attending;
    size_t i = g->part_count++, at = i ? g->part_pages[i - 1].at + g->part_pages[i - 1].count : 0;
    size_t last = g->order[to - 1];
    g->part_pages[i] = (struct part_pages){first, count, length, at};
    g->parts[i] = (struct cascade_part){.parent = first ? g->last[from] : CASCADE_ROOT,
                                        .from = g->row[g->order[from]],
                                        .to = g->row[last] + g->rows[last]};
    sequence_pages(pass->runs[last].sequence, first, first + count, g->pages + at);
    for (size_t member = from; member < to; member++)
        g->last[member] = (int)i;
}

static void add_parts(const struct pass *pass)
{
    struct attending *g = &pass->a->attending;
    g->part_count = 0;
    for (size_t i = 0; i < g->plan.run_count && g->together; i++) {
        const struct plan_run *run = &g->plan.runs[i];
        add_part(pass, run->from, run->to, run->first, run->count, run->count * CHUNK);
    }
    for (size_t i = 0; i < g->kept; i++) {
        const struct run *run = &pass->runs[g->order[i]];
        size_t first = g->together ? run->sequence->place.pages : 0;
        add_part(pass, i, i + 1, first, pages_of(run) - first,
                 sequence_length(run->sequence) + run->count - first * CHUNK);
    }
}

trib_status attend_prepare(const struct pass *pass, trib_error *error)
{
    struct activations *a = pass->a;
    struct attending *g = &a->attending;
    size_t longest = 0;
    for (size_t i = 0; i < pass->run_count; i++) {
        const struct run *run = &pass->runs[i];
        size_t length = run->count + (run->sequence ? sequence_length(run->sequence) : 0);
        longest = length > longest ? length : longest;
    }
    trib_status status = take_runs(g, pass->run_count, error);
    if (status == TRIB_OK)
        status = order_runs(pass, error);
    if (status != TRIB_OK)
        return status;
    g->together = g->kept > 1 && !a->apart &&
                  (is_shared(&g->plan) || pass->model->config.kv_heads >= (size_t)a->threads);
    status = take_parts(pass, error);
    if (status == TRIB_OK)
        status = scratch_grow(&g->workspace,
                              activations_fold_bytes(pass->model, pass->rows, longest, a->threads),
                              "the workspace of attention", error);
    if (status == TRIB_OK)
        add_parts(pass);
    return status;
}

/* ---- Rows that go on ---- */

void attend_keep_outputs(struct pass *pass)
{
    struct activations *a = pass->a;
    struct attending *g = &a->attending;
    const struct model_config *c = &pass->model->config;
    size_t E = c->width, HD = c->heads * c->head_dim, to = 0, outputs = 0;
    for (size_t i = 0; i < pass->run_count; i++)
        outputs += pass->runs[i].outputs;
    if (outputs == pass->rows || g->kept < pass->run_count)
        return;
    for (size_t i = 0; i < pass->run_count; i++) {
        size_t number = g->order[i], n = pass->runs[number].outputs;
        size_t from = g->row[number] + g->rows[number] - n;
        memmove(pass->x + to * E, pass->x + from * E, n * E * sizeof *pass->x);
        memmove(a->q + to * HD, a->q + from * HD, n * HD * sizeof *a->q);
        memmove(a->positions + to, a->positions + from, n * sizeof *a->positions);
        g->row[number] = to;
        g->rows[number] = n;
        to += n;
    }
    pass->rows = outputs;
    add_parts(pass);
}

/* ---- A layer ---- */

static const struct kv_shape *shape_of(const struct attending *g)
{
    return prefix_cache_shape(g->sequences[0]->cache);
}

/* The rows of a run whose positions end with key `end` - 1. */
static void fold(const struct pass *pass, const trib_attention *attention, size_t number,
                 size_t end, const trib_segment *segment)
{
    struct activations *a = pass->a;
    size_t HD = attention->heads * attention->head_dim, row = a->attending.row[number];
    size_t tokens = a->attending.rows[number];
    if (tokens == 0)
        return;
    trib_queries queries = {
        .q = a->q + row * HD, .tokens = tokens, .token_stride = HD, .first = end - tokens};
    fold_run(pass->model->kernels, attention, &queries, segment, NULL, a->attended + row * HD,
             false, a->attending.workspace.memory);
}

/* Runs that are not kept see their own rows of this pass. */
static void attend_others(const struct pass *pass, const trib_attention *attention)
{
    const struct activations *a = pass->a;
    size_t D = attention->head_dim, GD = attention->kv_heads * D;
    for (size_t i = a->attending.kept; i < pass->run_count; i++) {
        size_t number = a->attending.order[i], row = a->attending.row[number];
        trib_segment segment = {.type = TRIB_KV_F32,
                                .layout = TRIB_KV_ROWS,
                                .length = pass->runs[number].count,
                                .k = a->k + row * GD,
                                .v = a->v + row * GD,
                                .key_stride = GD * sizeof(float),
                                .head_stride = D * sizeof(float)};
        fold(pass, attention, number, segment.length, &segment);
    }
}

void attend_rows(const struct pass *pass, size_t layer)
{
    struct activations *a = pass->a;
    struct attending *g = &a->attending;
    trib_attention attention = model_attention(pass->model, layer, a->threads);
    size_t HD = attention.heads * attention.head_dim, rows = 0;
    for (size_t i = 0; i < g->part_count; i++) {
        const struct part_pages *p = &g->part_pages[i];
        g->parts[i].segment = page_segment(shape_of(g), layer, g->pages + p->at, p->count, p->first,
                                           p->length, g->k + p->at, g->v + p->at);
    }
    for (size_t i = 0; i < g->kept; i++) {
        const struct run *run = &pass->runs[g->order[i]];
        rows += g->rows[g->order[i]];
        if (!g->together)
            fold(pass, &attention, g->order[i], sequence_length(run->sequence) + run->count,
                 &g->parts[i].segment);
    }
    const struct cascade cascade = {.parts = g->parts,
                                    .count = g->part_count,
                                    .q = a->q,
                                    .token_stride = HD,
                                    .tokens = rows,
                                    .positions = a->positions};
    if (g->together)
        cascade_run(pass->model->kernels, &attention, &cascade, a->attended, g->workspace.memory);
    attend_others(pass, &attention);
}
