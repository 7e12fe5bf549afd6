/* What a forward pass does to each row by itself. A row is one thread's, so no sum crosses a
 * thread; a few rows are not worth waking the team for. */
#include <math.h>

#include "kernel/learn.h"
#include "kernel/ops.h"
#include "model/pass.h"

/* Below this many floats the calling thread is done sooner than a team has come together. */
enum { TEAM_FLOATS = 1 << 14 };

static int team(const struct pass *pass, size_t rows, size_t floats)
{
    return rows > 1 && rows * floats >= TEAM_FLOATS ? pass->a->threads : 1;
}

static const void *row_of(const struct row_table *table, size_t row)
{
    return (const char *)table->data + row * dtype_size(table->type, table->columns);
}

/* x = norm(scale embedding[token] + positions[position] + token_types[0]) */
static void embed_row(const struct pass *pass, const struct row *row, size_t position, float *x,
                      float *scratch)
{
    const struct model *m = pass->model;
    const struct weights *w = &m->weights;
    size_t E = m->config.width;
    m->kernels->unpack(w->embedding.type, x, row_of(&w->embedding, (size_t)row->token), E);
    if (m->config.architecture->scaled_embedding) {
        float scale = sqrtf((float)E);
        for (size_t i = 0; i < E; i++)
            x[i] *= scale;
    }
    if (w->positions.data) {
        m->kernels->unpack(w->positions.type, scratch, row_of(&w->positions, position), E);
        m->kernels->add(x, scratch, E);
    }
    if (w->token_types.data) {
        m->kernels->unpack(w->token_types.type, scratch, row_of(&w->token_types, 0), E);
        m->kernels->add(x, scratch, E);
    }
}

void embed_rows(const struct pass *pass)
{
    const struct model *m = pass->model;
    struct activations *a = pass->a;
    size_t E = m->config.width, half = m->rope.half;
    int kinds = half == 0 ? 0 : m->rope.local ? 2 : 1;
#pragma omp parallel for schedule(static) num_threads(team(pass, pass->rows, E))
    for (size_t t = 0; t < pass->rows; t++) {
        size_t position = a->positions[t];
        embed_row(pass, &a->of_rows[t], position, pass->x + t * E, pass->other + t * E);
        for (int local = 0; local < kinds; local++)
            rope_turn(&m->rope, local, position, a->cosine[local] + t * half,
                      a->sine[local] + t * half);
    }
}

static void norm_row(const struct pass *pass, const struct norm *norm, const float *x, float *y)
{
    const struct model *m = pass->model;
    size_t E = m->config.width;
    struct norm_row row;
    if (m->config.architecture->norm == NORM_LAYER)
        m->kernels->learn->layernorm(y, &row, x, norm->scale, norm->shift, E, m->config.norm_eps);
    else
        m->kernels->rmsnorm(y, x, norm->scale, E, m->config.norm_eps);
}

void norm_rows(const struct pass *pass, const struct norm *norm, const float *x, float *y,
               size_t rows)
{
    size_t E = pass->model->config.width;
#pragma omp parallel for schedule(static) num_threads(team(pass, rows, E))
    for (size_t t = 0; t < rows; t++)
        norm_row(pass, norm, x + t * E, y + t * E);
}

void add_normed_rows(const struct pass *pass, const struct norm *norm, float *x, float *y)
{
    size_t E = pass->model->config.width;
#pragma omp parallel for schedule(static) num_threads(team(pass, pass->rows, E))
    for (size_t t = 0; t < pass->rows; t++) {
        norm_row(pass, norm, y + t * E, y + t * E);
        pass->model->kernels->add(x + t * E, y + t * E, E);
    }
}

/* The heads of one row's queries or keys; norm [D], or NULL. */
static void turn_heads(const struct pass *pass, float *x, const float *norm, size_t heads,
                       const float *cosine, const float *sine)
{
    const struct model *m = pass->model;
    const struct model_config *c = &m->config;
    for (size_t h = 0; h < heads && norm; h++) {
        float *head = x + h * c->head_dim;
        m->kernels->rmsnorm(head, head, norm, c->head_dim, c->norm_eps);
    }
    if (c->architecture->rope == ROPE_HALVES)
        rope_halves(x, cosine, sine, heads, c->head_dim, c->rotated);
    else if (c->architecture->rope == ROPE_PAIRS)
        for (size_t h = 0; h < heads; h++)
            rope(x + h * c->head_dim, cosine, sine, 1, c->rotated);
}

void finish_heads(const struct pass *pass, size_t layer)
{
    const struct model *m = pass->model;
    const struct model_config *c = &m->config;
    const struct layer_weights *w = &m->weights.layers[layer];
    struct activations *a = pass->a;
    size_t HD = c->heads * c->head_dim, GD = c->kv_heads * c->head_dim, half = m->rope.half;
    int local = m->rope.local && model_config_window(c, layer);
#pragma omp parallel for schedule(static) num_threads(team(pass, pass->rows, HD + 2 * GD))
    for (size_t t = 0; t < pass->rows; t++) {
        const struct sequence *sequence = a->of_rows[t].sequence;
        const float *cosine = a->cosine[local] + t * half, *sine = a->sine[local] + t * half;
        turn_heads(pass, a->q + t * HD, w->query_norm, c->heads, cosine, sine);
        turn_heads(pass, a->k + t * GD, w->key_norm, c->kv_heads, cosine, sine);
        if (sequence)
            sequence_store(sequence, layer, a->positions[t], a->k + t * GD, a->v + t * GD);
    }
}

void make_normed(const void *normed, size_t row, float *out)
{
    const struct normed *n = normed;
    norm_row(n->pass, n->norm, n->x + row * n->pass->model->config.width, out);
}

void make_activated(const void *pass, size_t row, float *out)
{
    const struct pass *p = pass;
    const struct kernels *k = p->model->kernels;
    size_t F = p->model->config.ffn;
    const float *up = p->a->up + row * F, *gate = p->a->gate + row * F;
    switch (p->model->config.architecture->ffn) {
    case FFN_SWIGLU:
        k->swiglu(out, gate, up, F);
        break;
    case FFN_GEGLU:
        k->geglu(out, gate, up, F);
        break;
    case FFN_GELU_TANH:
        k->gelu_tanh(out, up, F);
        break;
    case FFN_GELU_ERF:
        k->gelu_erf(out, up, F);
        break;
    }
}

void cap_rows(const struct pass *pass, float *logits, size_t rows)
{
    enum { TOGETHER = 4096 }; /* one row of a large vocabulary is work for a team */
    size_t count = rows * pass->model->config.vocabulary;
    float cap = pass->model->config.final_softcap;
    int threads = count >= TEAM_FLOATS ? pass->a->threads : 1;
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < count; i += TOGETHER)
        pass->model->kernels->softcap(logits + i, count - i < TOGETHER ? count - i : TOGETHER, cap);
}
