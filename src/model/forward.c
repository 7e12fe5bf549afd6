/* The forward pass: token ids become rows, rows pass through L blocks, rows become logits.
 *
 *     x = embedding[token]
 *     x = x + Wo attention(rope(Wq n), rope(Wk n), Wv n),   n = norm(x)        L times
 *     x = x + Wdown (act(Wgate n) * Wup n),                 n = norm(x)
 *     logits = Wout norm(x)
 *
 * (Vaswani et al. 2017; this form: Touvron et al. 2023, "LLaMA".) What differs between
 * architectures is in their rows of the table: which norms there are and where, biases, rotation,
 * activation, windows, soft-caps. What a model does not have is a NULL here.
 *
 * The rows of all runs pass the dense layers together; attention is a fold for each run over its
 * own keys. No operation lets a row touch another but attention, and attention folds in the
 * canonical order: that is why batches and chunks change no bit.
 */
#include <stdlib.h>
#include <string.h>

#include "attention/fold.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/pass.h"

/* Everything that can fail, before anything changes: room in the caches, the fold's workspace. */
static trib_status prepare(struct pass *pass, trib_error *error)
{
    struct activations *a = pass->a;
    size_t longest = 0, row = 0;
    for (size_t i = 0; i < pass->run_count; i++) {
        const struct run *run = &pass->runs[i];
        trib_status status = run->cache ? kv_reserve(run->cache, run->count, error) : TRIB_OK;
        if (status != TRIB_OK)
            return status;
        size_t first = run->cache ? run->cache->length : 0, length = first + run->count;
        longest = length > longest ? length : longest;
        for (size_t t = 0; t < run->count; t++)
            a->of_rows[row++] = (struct row){run->cache, run->tokens[t], first + t};
    }
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

static struct weight_job job(const struct linear *linear, float *y)
{
    return (struct weight_job){&linear->weight, y, linear->weight.outputs, linear->bias, false};
}

static void products(const struct pass *pass, const struct weight_job *jobs, size_t count,
                     const float *x, size_t rows)
{
    weight_products(jobs, count, x, jobs[0].weight->inputs, rows, pass->a->workspace,
                    pass->a->threads);
}

/* x += W y, with a norm of what is added, or one of the sum, where the architecture has them. */
static void add_to_stream(struct pass *pass, const struct linear *linear,
                          const struct norm *post_norm, const struct norm *sum_norm, const float *y)
{
    struct weight_job sum = job(linear, pass->x), alone = job(linear, pass->other);
    sum.accumulate = true;
    if (post_norm->scale) {
        products(pass, &alone, 1, y, pass->rows);
        add_normed_rows(pass, post_norm, pass->x, pass->other);
    } else {
        products(pass, &sum, 1, y, pass->rows);
    }
    if (sum_norm->scale) {
        float *summed = pass->x;
        norm_rows(pass, sum_norm, summed, pass->other, pass->rows);
        pass->x = pass->other;
        pass->other = summed;
    }
}

/* What a sublayer gets: norm(x), or x. */
static const float *sublayer_input(const struct pass *pass, const struct norm *norm)
{
    if (!norm->scale)
        return pass->x;
    norm_rows(pass, norm, pass->x, pass->other, pass->rows);
    return pass->other;
}

/* The keys and values of a run: of its cache, or of its rows in this pass. */
static trib_segment segment_of(const struct pass *pass, const struct run *run, size_t layer,
                               size_t row)
{
    size_t D = pass->model->config.head_dim, GD = pass->model->config.kv_heads * D;
    if (run->cache)
        return kv_segment(run->cache, layer, run->cache->length + run->count);
    return (trib_segment){.type = TRIB_KV_F32,
                          .layout = TRIB_KV_ROWS,
                          .length = run->count,
                          .k = pass->a->k + row * GD,
                          .v = pass->a->v + row * GD,
                          .key_stride = GD * sizeof(float),
                          .head_stride = D * sizeof(float)};
}

/* Each run's queries over its own keys: attended [T][H D]. */
static void attend_runs(const struct pass *pass, size_t layer)
{
    const struct model_config *c = &pass->model->config;
    struct activations *a = pass->a;
    trib_attention attention = model_attention(pass->model, layer, a->threads);
    size_t HD = c->heads * c->head_dim, row = 0;
    for (size_t i = 0; i < pass->run_count; row += pass->runs[i].count, i++) {
        const struct run *run = &pass->runs[i];
        trib_segment segment = segment_of(pass, run, layer, row);
        trib_queries queries = {.q = a->q + row * HD,
                                .tokens = run->count,
                                .token_stride = HD,
                                .first = run->cache ? run->cache->length : 0};
        fold_run(pass->model->kernels, &attention, &queries, &segment, NULL, a->attended + row * HD,
                 false, a->fold);
    }
}

/* x += Wo attention(norm(x)) */
static void attention_layer(struct pass *pass, size_t layer)
{
    const struct layer_weights *w = &pass->model->weights.layers[layer];
    struct activations *a = pass->a;
    const struct weight_job qkv[] = {job(&w->query, a->q), job(&w->key, a->k),
                                     job(&w->value, a->v)};
    products(pass, qkv, 3, sublayer_input(pass, &w->attention_norm), pass->rows);
    finish_heads(pass, layer);
    attend_runs(pass, layer);
    add_to_stream(pass, &w->attention_output, &w->attention_post_norm, &w->attention_sum_norm,
                  a->attended);
}

/* x += Wdown (act(Wgate norm(x)) * Wup norm(x)), or without a gate Wdown act(Wup norm(x)) */
static void ffn_layer(struct pass *pass, size_t layer)
{
    const struct layer_weights *w = &pass->model->weights.layers[layer];
    struct activations *a = pass->a;
    const struct weight_job up_gate[] = {job(&w->up, a->up), job(&w->gate, a->gate)};
    products(pass, up_gate, w->gate.weight.packed ? 2 : 1, sublayer_input(pass, &w->ffn_norm),
             pass->rows);
    activate_rows(pass);
    add_to_stream(pass, &w->down, &w->ffn_post_norm, &w->ffn_sum_norm, a->up);
}

/* The rows that something is asked for, side by side in `out` [picked][E], through the final norm.
 */
static size_t pick_rows(const struct pass *pass, float *out)
{
    const struct norm *norm = &pass->model->weights.final_norm;
    size_t E = pass->model->config.width, end = 0, picked = 0;
    for (size_t i = 0; i < pass->run_count; i++) {
        size_t outputs = pass->runs[i].outputs;
        end += pass->runs[i].count;
        const float *x = pass->x + (end - outputs) * E;
        if (norm->scale)
            norm_rows(pass, norm, x, out + picked * E, outputs);
        else
            memcpy(out + picked * E, x, outputs * E * sizeof *out);
        picked += outputs;
    }
    return picked;
}

static void predict(const struct pass *pass, float *logits)
{
    size_t rows = pick_rows(pass, pass->other);
    const struct weight_job head = job(&pass->model->weights.output, logits);
    if (!rows)
        return;
    products(pass, &head, 1, pass->other, rows);
    if (pass->model->config.final_softcap > 0)
        cap_rows(pass, logits, rows);
}

/* Through all blocks; what comes out goes to `logits`, or where that is NULL to `hidden`. */
static trib_status forward(const struct model *model, struct activations *a, const struct run *runs,
                           size_t run_count, float *logits, float *hidden, trib_error *error)
{
    const struct norm *first_norm = &model->weights.embedding_norm;
    struct pass pass = {model, a, runs, run_count, 0, a->x, a->normed};
    for (size_t i = 0; i < run_count; i++)
        pass.rows += runs[i].count;
    trib_status status = prepare(&pass, error);
    if (status != TRIB_OK)
        return status;
    embed_rows(&pass);
    if (first_norm->scale) {
        norm_rows(&pass, first_norm, pass.x, pass.other, pass.rows);
        pass.x = a->normed;
        pass.other = a->x;
    }
    for (size_t layer = 0; layer < model->config.layers; layer++) {
        attention_layer(&pass, layer);
        ffn_layer(&pass, layer);
    }
    if (hidden)
        pick_rows(&pass, hidden);
    else
        predict(&pass, logits);
    for (size_t i = 0; i < run_count; i++)
        if (runs[i].cache)
            runs[i].cache->length += runs[i].count;
    return TRIB_OK;
}

trib_status model_forward(const struct model *model, struct activations *a, const struct run *runs,
                          size_t run_count, float *logits, trib_error *error)
{
    return forward(model, a, runs, run_count, logits, NULL, error);
}

trib_status model_hidden(const struct model *model, struct activations *a, const struct run *runs,
                         size_t run_count, float *hidden, trib_error *error)
{
    return forward(model, a, runs, run_count, NULL, hidden, error);
}
