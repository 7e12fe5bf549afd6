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
 * The rows of all runs pass the dense layers together; attention is a fold for each row over the
 * keys of its own sequence, which is read once where sequences share it (attend.c). No operation
 * lets a row touch another but attention, and attention folds in the canonical order: that is why
 * batches and chunks change no bit. In the last layer only rows go on that something is asked for.
 */
#include <string.h>

#include "model/pass.h"

/* Rows of several runs that pass the head together; more are worth a product of their own. */
enum { HEAD_ROWS = 64 };

/* Room for logits that the head leaves side by side though they belong to several runs. */
static trib_status take_logits(const struct pass *pass, trib_error *error)
{
    size_t rows = pass->rows < HEAD_ROWS ? pass->rows : HEAD_ROWS, runs = 0;
    for (size_t i = 0; i < pass->run_count; i++)
        runs += pass->runs[i].outputs > 0;
    if (runs < 2)
        return TRIB_OK;
    return scratch_grow(&pass->a->logits, rows * pass->model->config.vocabulary * sizeof(float),
                        "logits", error);
}

/* Everything that can fail but for the end, before anything changes: room in the cache, of which
 * sequences may keep some after a failure, and workspaces. */
static trib_status prepare(const struct pass *pass, bool logits, trib_error *error)
{
    struct activations *a = pass->a;
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < pass->run_count && status == TRIB_OK; i++)
        if (pass->runs[i].sequence)
            status = sequence_reserve(pass->runs[i].sequence, pass->runs[i].count, error);
    if (status == TRIB_OK)
        status = attend_prepare(pass, error);
    if (status == TRIB_OK && logits)
        status = take_logits(pass, error);
    for (size_t i = 0; i < pass->run_count && status == TRIB_OK; i++) {
        const struct run *run = &pass->runs[i];
        size_t row = a->attending.row[i];
        size_t first = run->sequence ? sequence_length(run->sequence) : 0;
        for (size_t t = 0; t < run->count; t++) {
            a->of_rows[row + t] = (struct row){run->sequence, run->tokens[t]};
            a->positions[row + t] = first + t;
        }
    }
    return status;
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

static void products_of(const struct pass *pass, const struct weight_job *jobs, size_t count,
                        const struct weight_rows *x)
{
    weight_products_of(jobs, count, x, pass->rows, pass->a->workspace, pass->a->threads);
}

/* What a sublayer begins with: products with norm(x), or with x. */
static void products_of_stream(const struct pass *pass, const struct weight_job *jobs, size_t count,
                               const struct norm *norm)
{
    const struct normed normed = {pass, norm, pass->x};
    const struct weight_rows rows = {make_normed, &normed};
    if (norm->scale)
        products_of(pass, jobs, count, &rows);
    else
        products(pass, jobs, count, pass->x, pass->rows);
}

/* The product that ends a sublayer: W y is added to x, or takes the place of `other` where it is
 * normed before. */
static struct weight_job ending(const struct pass *pass, const struct linear *linear,
                                const struct norm *post_norm)
{
    struct weight_job sum = job(linear, pass->x), alone = job(linear, pass->other);
    sum.accumulate = true;
    return post_norm->scale ? alone : sum;
}

/* x += norm(W y), and a norm of the sum, where the architecture has them. */
static void finish_stream(struct pass *pass, const struct norm *post_norm,
                          const struct norm *sum_norm)
{
    if (post_norm->scale)
        add_normed_rows(pass, post_norm, pass->x, pass->other);
    if (sum_norm->scale) {
        float *summed = pass->x;
        norm_rows(pass, sum_norm, summed, pass->other, pass->rows);
        pass->x = pass->other;
        pass->other = summed;
    }
}

/* x += Wo attention(norm(x)) */
static void attention_layer(struct pass *pass, size_t layer)
{
    const struct layer_weights *w = &pass->model->weights.layers[layer];
    struct activations *a = pass->a;
    const struct weight_job qkv[] = {job(&w->query, a->q), job(&w->key, a->k),
                                     job(&w->value, a->v)};
    const struct weight_job output = ending(pass, &w->attention_output, &w->attention_post_norm);
    products_of_stream(pass, qkv, 3, &w->attention_norm);
    finish_heads(pass, layer);
    if (layer + 1 == pass->model->config.layers)
        attend_keep_outputs(pass);
    if (pass->rows == 0)
        return;
    attend_rows(pass, layer);
    products(pass, &output, 1, a->attended, pass->rows);
    finish_stream(pass, &w->attention_post_norm, &w->attention_sum_norm);
}

/* x += Wdown (act(Wgate norm(x)) * Wup norm(x)), or without a gate Wdown act(Wup norm(x)) */
static void ffn_layer(struct pass *pass, size_t layer)
{
    const struct layer_weights *w = &pass->model->weights.layers[layer];
    struct activations *a = pass->a;
    const struct weight_job up_gate[] = {job(&w->up, a->up), job(&w->gate, a->gate)};
    const struct weight_job down = ending(pass, &w->down, &w->ffn_post_norm);
    const struct weight_rows activated = {make_activated, pass};
    products_of_stream(pass, up_gate, w->gate.weight.packed ? 2 : 1, &w->ffn_norm);
    products_of(pass, &down, 1, &activated);
    finish_stream(pass, &w->ffn_post_norm, &w->ffn_sum_norm);
}

/* The rows that something is asked for of one run, through the final norm: out [outputs][E]. */
static void pick_rows(const struct pass *pass, size_t number, float *out)
{
    const struct norm *norm = &pass->model->weights.final_norm;
    const struct run *run = &pass->runs[number];
    const struct attending *g = &pass->a->attending;
    size_t E = pass->model->config.width;
    const float *x = pass->x + (g->row[number] + g->rows[number] - run->outputs) * E;
    if (norm->scale)
        norm_rows(pass, norm, x, out, run->outputs);
    else if (run->outputs)
        memcpy(out, x, run->outputs * E * sizeof *out);
}

/* logits [rows][V] of runs [from, to), each to where it belongs. */
static void hand_out(const struct pass *pass, size_t from, size_t to, const float *logits)
{
    size_t V = pass->model->config.vocabulary, row = 0;
    for (size_t i = from; i < to; row += pass->runs[i++].outputs)
        if (pass->runs[i].outputs)
            memcpy(pass->runs[i].out, logits + row * V, pass->runs[i].outputs * V * sizeof *logits);
}

/* Logits of runs [from, to), `rows` of them, whose picked rows are in `other`. */
static void predict_runs(const struct pass *pass, size_t from, size_t to, size_t rows)
{
    size_t V = pass->model->config.vocabulary, row = 0;
    bool adjacent = true;
    for (size_t i = from; i < to; row += pass->runs[i++].outputs)
        adjacent = adjacent &&
                   (!pass->runs[i].outputs || pass->runs[i].out == pass->runs[from].out + row * V);
    float *logits = adjacent ? pass->runs[from].out : pass->a->logits.memory;
    const struct weight_job head = job(&pass->model->weights.output, logits);
    products(pass, &head, 1, pass->other, rows);
    if (pass->model->config.final_softcap > 0)
        cap_rows(pass, logits, rows);
    if (!adjacent)
        hand_out(pass, from, to, logits);
}

static void predict(const struct pass *pass)
{
    const struct run *runs = pass->runs;
    for (size_t from = 0, to; from < pass->run_count; from = to) {
        size_t rows = 0;
        for (to = from;
             to < pass->run_count && (to == from || rows + runs[to].outputs <= HEAD_ROWS);
             rows += runs[to++].outputs)
            pick_rows(pass, to, pass->other + rows * pass->model->config.width);
        while (from < to && runs[from].outputs == 0)
            from++;
        if (rows)
            predict_runs(pass, from, to, rows);
    }
}

static trib_status commit(const struct pass *pass, trib_error *error)
{
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < pass->run_count; i++) {
        const struct run *run = &pass->runs[i];
        trib_status one = run->sequence ? sequence_commit(run->sequence, run->tokens, run->count,
                                                          status == TRIB_OK ? error : NULL)
                                        : TRIB_OK;
        status = status == TRIB_OK ? one : status;
    }
    return status;
}

/* Through all blocks; gives logits, or else hidden states. */
static trib_status forward(const struct model *model, struct activations *a, const struct run *runs,
                           size_t run_count, bool logits, trib_error *error)
{
    const struct norm *first_norm = &model->weights.embedding_norm;
    struct pass pass = {model, a, runs, run_count, 0, a->x, a->normed};
    for (size_t i = 0; i < run_count; i++)
        pass.rows += runs[i].count;
    trib_status status = prepare(&pass, logits, error);
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
        if (pass.rows > 0)
            ffn_layer(&pass, layer);
    }
    for (size_t i = 0; i < run_count && !logits; i++)
        pick_rows(&pass, i, runs[i].out);
    if (logits)
        predict(&pass);
    return commit(&pass, error);
}

trib_status model_forward(const struct model *model, struct activations *a, const struct run *runs,
                          size_t run_count, trib_error *error)
{
    return forward(model, a, runs, run_count, true, error);
}

trib_status model_hidden(const struct model *model, struct activations *a, const struct run *runs,
                         size_t run_count, trib_error *error)
{
    return forward(model, a, runs, run_count, false, error);
}
