/* The forward pass: token ids become rows, rows pass through L blocks, rows become logits.
 *
 *     x = embedding[token]
 *     x = x + Wo attention(rope(Wq n), rope(Wk n), Wv n),   n = RMSNorm(x)     L times
 *     x = x + Wdown (silu(Wgate n) * Wup n),                n = RMSNorm(x)
 *     logits = Wout RMSNorm(x)
 *
 * (Touvron et al. 2023, "LLaMA".) The rows of all runs pass the dense layers together; attention is
 * a fold for each run over its own cache. No operation lets a row touch another but attention, and
 * attention folds in the canonical order: that is why batches and chunks change no bit.
 */
#include <stdlib.h>
#include <string.h>

#include "attention/fold.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/model.h"

/* One pass. */
struct pass {
    const struct model *model;
    struct activations *a;
    const struct run *runs;
    size_t run_count;
    size_t rows; /* T, of all runs */
};

/* Everything that can fail, before anything changes: room in the caches, the fold's workspace. */
static trib_status prepare(struct pass *pass, trib_error *error)
{
    size_t longest = 0;
    for (size_t i = 0; i < pass->run_count; i++) {
        const struct run *run = &pass->runs[i];
        trib_status status = kv_reserve(run->cache, run->count, error);
        if (status != TRIB_OK)
            return status;
        size_t length = run->cache->length + run->count;
        longest = length > longest ? length : longest;
    }
    struct activations *a = pass->a;
    size_t bytes = activations_fold_bytes(pass->model, pass->rows, longest, a->threads);
    if (bytes <= a->fold_bytes)
        return TRIB_OK;
    bytes += bytes / 2; /* so that a growing context does not ask at every span */
    void *fold = memory_zeroed(bytes);
    if (!fold)
        return error_no_memory(error, "the workspace of attention", bytes);
    free(a->fold);
    a->fold = fold;
    a->fold_bytes = bytes;
    return TRIB_OK;
}

/* x [T][E] = the rows of the embedding; and the rotary angles of each row's position. */
static void embed(const struct pass *pass)
{
    const struct model *m = pass->model;
    struct activations *a = pass->a;
    const struct matrix *e = &m->weights.embedding;
    size_t row_bytes = dtype_size(e->type, e->inputs), half = m->config.head_dim / 2, row = 0;
    for (size_t i = 0; i < pass->run_count; i++)
        for (size_t t = 0; t < pass->runs[i].count; t++, row++) {
            size_t token = (size_t)pass->runs[i].tokens[t];
            m->kernels->unpack(e->type, a->x + row * e->inputs,
                               (const char *)e->data + token * row_bytes, e->inputs);
            rope_angles(a->cosine + row * half, a->sine + row * half, m->weights.rope_frequency,
                        m->config.head_dim, pass->runs[i].cache->length + t);
        }
}

static void norm_rows(const struct pass *pass, const float *x, const float *w, float *y,
                      size_t rows)
{
    size_t E = pass->model->config.width;
    for (size_t row = 0; row < rows; row++)
        pass->model->kernels->rmsnorm(y + row * E, x + row * E, w, E, pass->model->config.norm_eps);
}

/* y [T][outputs] = x [T][inputs] w^T */
static void project(const struct pass *pass, float *y, const float *x, const struct matrix *w,
                    size_t rows)
{
    matmul(pass->model->kernels, y, x, w, rows, pass->a->scratch, pass->a->threads);
}

/* Each run's queries over its own cache: attended [T][H D]. */
static void attend_runs(const struct pass *pass, size_t layer)
{
    const struct model_config *c = &pass->model->config;
    struct activations *a = pass->a;
    trib_attention attention = model_attention(pass->model, a->threads);
    size_t HD = c->heads * c->head_dim, row = 0;
    for (size_t i = 0; i < pass->run_count; row += pass->runs[i].count, i++) {
        const struct run *run = &pass->runs[i];
        size_t first = run->cache->length;
        trib_segment segment = kv_segment(run->cache, layer, first + run->count);
        trib_queries queries = {
            .q = a->q + row * HD, .tokens = run->count, .token_stride = HD, .first = first};
        fold_run(pass->model->kernels, &attention, &queries, &segment, NULL, a->attended + row * HD,
                 false, a->fold);
    }
}

/* x += Wo attention(RMSNorm(x)) */
static void attention_layer(const struct pass *pass, size_t layer)
{
    const struct model *m = pass->model;
    const struct model_config *c = &m->config;
    const struct layer_weights *w = &m->weights.layers[layer];
    struct activations *a = pass->a;
    size_t T = pass->rows, D = c->head_dim, HD = c->heads * D, GD = c->kv_heads * D, row = 0;

    norm_rows(pass, a->x, w->attention_norm, a->normed, T);
    project(pass, a->q, a->normed, &w->query, T);
    project(pass, a->k, a->normed, &w->key, T);
    project(pass, a->v, a->normed, &w->value, T);
    for (size_t i = 0; i < pass->run_count; i++)
        for (size_t t = 0; t < pass->runs[i].count; t++, row++) {
            const float *cosine = a->cosine + row * D / 2, *sine = a->sine + row * D / 2;
            rope(a->q + row * HD, cosine, sine, c->heads, D);
            rope(a->k + row * GD, cosine, sine, c->kv_heads, D);
            kv_store(pass->runs[i].cache, layer, pass->runs[i].cache->length + t, a->k + row * GD,
                     a->v + row * GD);
        }
    attend_runs(pass, layer);
    project(pass, a->normed, a->attended, &w->attention_output, T);
    m->kernels->add(a->x, a->normed, T * c->width);
}

/* x += Wdown (silu(Wgate RMSNorm(x)) * Wup RMSNorm(x)) */
static void ffn_layer(const struct pass *pass, size_t layer)
{
    const struct model *m = pass->model;
    const struct layer_weights *w = &m->weights.layers[layer];
    struct activations *a = pass->a;
    size_t T = pass->rows;

    norm_rows(pass, a->x, w->ffn_norm, a->normed, T);
    project(pass, a->gate, a->normed, &w->gate, T);
    project(pass, a->up, a->normed, &w->up, T);
    m->kernels->swiglu(a->gate, a->gate, a->up, T * m->config.ffn);
    project(pass, a->normed, a->gate, &w->down, T);
    m->kernels->add(a->x, a->normed, T * m->config.width);
}

/* The rows that logits are asked for, side by side in `normed`; then the logits. */
static void predict(const struct pass *pass, float *logits)
{
    const struct model *m = pass->model;
    struct activations *a = pass->a;
    size_t E = m->config.width, end = 0, picked = 0;
    for (size_t i = 0; i < pass->run_count; i++) {
        size_t outputs = pass->runs[i].outputs;
        end += pass->runs[i].count;
        norm_rows(pass, a->x + (end - outputs) * E, m->weights.output_norm, a->normed + picked * E,
                  outputs);
        picked += outputs;
    }
    if (picked)
        project(pass, logits, a->normed, &m->weights.output, picked);
}

trib_status model_forward(const struct model *model, struct activations *a, const struct run *runs,
                          size_t run_count, float *logits, trib_error *error)
{
    struct pass pass = {model, a, runs, run_count, 0};
    for (size_t i = 0; i < run_count; i++)
        pass.rows += runs[i].count;
    trib_status status = prepare(&pass, error);
    if (status != TRIB_OK)
        return status;
    embed(&pass);
    for (size_t layer = 0; layer < model->config.layers; layer++) {
        attention_layer(&pass, layer);
        ffn_layer(&pass, layer);
    }
    predict(&pass, logits);
    for (size_t i = 0; i < run_count; i++)
        runs[i].cache->length += runs[i].count;
    return TRIB_OK;
}
