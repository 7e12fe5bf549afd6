/* The transformer, with two blocks to choose from. X [T][E] passes L of them.
 *
 * lecture: Z = LayerNorm(X + SelfAttention(X Wq, X Wk, X Wv)),  H = LayerNorm(ReLU(Z W1) W2 + Z)
 *
 *     (Vaswani et al. 2017; Ba et al. 2016.) SelfAttention of several heads ends with the
 *     projection Wo of what they found side by side. X of the first block is e(x_t) plus the
 *     position, learned or sinusoidal; the paper's factor sqrt(E) for embeddings is in their
 *     initial size. H of the last block goes to the output.
 *
 * modern: Z = X + SelfAttention(rope(n Wq), rope(n Wk), n Wv) with n = RMSNorm(X),
 *         H = Z + (silu(n Wgate) * n Wup) Wdown with n = RMSNorm(Z), and RMSNorm after the last
 *
 *     (Touvron et al. 2023, "LLaMA".) Tensors have the names and layout of GGUF's llama
 *     architecture, rotation is of adjacent pairs: the file runs wherever those do.
 *
 * Matrices have no biases. What a block adds to the rows is dropped out before it is added, and so
 * are the embeddings.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "train/transformer_parameters.h"

/* What rows pass through. Each block has rows of its own where there is a way back; else they share
 * them. */
struct stream {
    float *cosine, *sine;   /* [T][D / 2] modern: angles of positions */
    float *waves;           /* [T][E] sinusoidal positions */
    struct block_rows rows; /* of block 0 */
    size_t stride;          /* floats from the rows of one block to those of the next */
    float *last;            /* [R][E] what comes out of the last block */
    float *normed;          /* [R][E] modern: its norm; else itself */
    struct norm_row *norms; /* [R] */
    float *logits;          /* [R][V] */
    void *workspace;
};

struct activations {
    struct stream stream;
    bool placed; /* the tables of positions are filled */
    float *lse;  /* [R] */
    float *dx;   /* [R][E] */
    struct block_scratch scratch;
    size_t B, T; /* of the last forward */
};

static struct crew crew_of(const struct predictor *p, void *workspace)
{
    return (struct crew){p->kernels, p->threads, p->config.product, workspace};
}

/* ---- Memory ---- */

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The rows of one block; keys and values only where they are not cached elsewhere. */
static struct block_rows rows_in(struct carver *c, const struct predictor_config *f, size_t R,
                                 bool cached)
{
    size_t E = R * f->width, F = R * f->ffn, GD = R * f->kv_heads * transformer_head_dim(f);
    struct block_rows r = {.x = carve_floats(c, E)};
    r.n1 = transformer_is_modern(f) ? carve_floats(c, E) : NULL;
    r.attention.q = carve_floats(c, E);
    r.attention.k = cached ? NULL : carve_floats(c, GD);
    r.attention.v = cached ? NULL : carve_floats(c, GD);
    r.attention.y = carve_floats(c, E);
    r.attention.s = carve_floats(c, R * f->heads);
    r.mid = carve_floats(c, E);
    r.n2 = carve_floats(c, E);
    r.gate = transformer_is_modern(f) ? carve_floats(c, F) : NULL;
    r.up = transformer_is_modern(f) ? carve_floats(c, F) : NULL;
    r.h = carve_floats(c, F);
    r.sum = transformer_is_modern(f) ? NULL : carve_floats(c, E);
    r.norm1 = carve(c, R * sizeof *r.norm1);
    r.norm2 = carve(c, R * sizeof *r.norm2);
    return r;
}

static size_t workspace_bytes(const struct predictor *p, size_t B, size_t T, size_t keys,
                              bool backward)
{
    const struct predictor_config *f = &p->config;
    struct crew crew = crew_of(p, NULL);
    size_t R = B * T, E = f->width;
    size_t most = self_attention_workspace(&crew, f->heads, f->kv_heads, transformer_head_dim(f), E,
                                           B, T, keys, backward);
    most = larger(most, linear_workspace(&crew, R, f->ffn, E, backward));
    most = larger(most, linear_workspace(&crew, R, E, f->ffn, backward));
    return larger(most, linear_workspace(&crew, R, f->vocabulary, E, backward));
}

/* B sequences of T tokens that reach up to `keys` positions; `cached`: keys and values are
 * elsewhere. */
static struct stream stream_in(struct carver *c, const struct predictor *p, size_t B, size_t T,
                               size_t keys, bool cached, bool backward)
{
    const struct predictor_config *f = &p->config;
    size_t R = B * T, before;
    struct stream s = {0};
    if (transformer_is_modern(f)) {
        s.cosine = carve_floats(c, T * transformer_head_dim(f) / 2);
        s.sine = carve_floats(c, T * transformer_head_dim(f) / 2);
    } else if (!transformer_is_learned(f)) {
        s.waves = carve_floats(c, T * f->width);
    }
    before = c->bytes;
    s.rows = rows_in(c, f, R, cached);
    if (backward) {
        s.stride = (c->bytes - before) / sizeof(float);
        carve(c, (f->layers - 1) * (c->bytes - before));
    }
    s.last = carve_floats(c, R * f->width);
    s.normed = transformer_is_modern(f) ? carve_floats(c, R * f->width) : s.last;
    s.norms = carve(c, R * sizeof *s.norms);
    s.logits = carve_floats(c, R * f->vocabulary);
    s.workspace = carve(c, workspace_bytes(p, B, T, keys, backward));
    return s;
}

static float *behind(float *first, size_t floats)
{
    return first ? first + floats : NULL;
}

/* The rows of block l. */
static struct block_rows rows_of(const struct stream *s, size_t l)
{
    struct block_rows r = s->rows;
    size_t n = l * s->stride;
    r.x = behind(r.x, n);
    r.n1 = behind(r.n1, n);
    r.attention.q = behind(r.attention.q, n);
    r.attention.k = behind(r.attention.k, n);
    r.attention.v = behind(r.attention.v, n);
    r.attention.y = behind(r.attention.y, n);
    r.attention.s = behind(r.attention.s, n);
    r.mid = behind(r.mid, n);
    r.n2 = behind(r.n2, n);
    r.gate = behind(r.gate, n);
    r.up = behind(r.up, n);
    r.h = behind(r.h, n);
    r.sum = behind(r.sum, n);
    r.norm1 = (struct norm_row *)(void *)behind((float *)(void *)r.norm1, n);
    r.norm2 = (struct norm_row *)(void *)behind((float *)(void *)r.norm2, n);
    return r;
}

static void layout(struct pass *pass)
{
    const struct predictor *p = pass->predictor;
    const struct predictor_config *f = &p->config;
    struct carver c = {pass->memory, 0};
    struct activations counted, *a = carve(&c, sizeof *a);
    size_t R = pass->B * pass->T, E = R * f->width, GD = R * f->kv_heads * transformer_head_dim(f);
    if (!a)
        a = &counted;
    a->stream = stream_in(&c, p, pass->B, pass->T, pass->T, false, pass->backward);
    a->placed = false;
    a->lse = carve_floats(&c, R);
    if (pass->backward) {
        a->dx = carve_floats(&c, E);
        a->scratch.d = f->dropout > 0 ? carve_floats(&c, E) : NULL;
        a->scratch.dn = carve_floats(&c, E);
        a->scratch.dh = carve_floats(&c, R * f->ffn);
        a->scratch.attention.dy = carve_floats(&c, E);
        a->scratch.attention.dq = carve_floats(&c, E);
        a->scratch.attention.dk = carve_floats(&c, GD);
        a->scratch.attention.dv = carve_floats(&c, GD);
    }
    pass->losses = carve_floats(&c, R);
    pass->carry = NULL;
    pass->carry_bytes = 0;
    pass->bytes = c.bytes;
    pass->activations = pass->memory ? a : NULL;
}

/* ---- Forward and backward ---- */

/* Fills the tables of positions first, first + 1, ..., T of them. The waves are sin and cos of
 * position / 10000^(2i/E) at 2i and 2i + 1 (Vaswani et al. 2017). */
static void place(const struct predictor *p, const struct stream *s, size_t first, size_t T)
{
    const struct predictor_config *f = &p->config;
    size_t D = transformer_head_dim(f), E = f->width;
    for (size_t t = 0; t < T && s->cosine; t++)
        for (size_t i = 0; i < D / 2; i++) {
            double angle =
                (double)(first + t) * pow((double)f->rope_base, -2.0 * (double)i / (double)D);
            s->cosine[t * (D / 2) + i] = (float)cos(angle);
            s->sine[t * (D / 2) + i] = (float)sin(angle);
        }
    for (size_t t = 0; t < T && s->waves; t++)
        for (size_t i = 0; i < E; i++) {
            double angle = (double)(first + t) * pow(10000, -(double)(i - i % 2) / (double)E);
            s->waves[t * E + i] = (float)(i % 2 ? cos(angle) : sin(angle));
        }
}

/* Positions added to rows, or their gradients taken from them. */
struct placement {
    const struct kernels *kernels;
    float *x;           /* [B][T][E] */
    const float *table; /* [T][E] */
    float *dtable;      /* of the way back */
    size_t B, T, E;
};

static void add_positions(const void *context, size_t from, size_t to)
{
    const struct placement *c = context;
    for (size_t r = from; r < to; r++)
        c->kernels->add(c->x + r * c->E, c->table + r % c->T * c->E, c->E);
}

static void add_positions_backward(const void *context, size_t from, size_t to)
{
    const struct placement *c = context;
    for (size_t t = from; t < to; t++)
        for (size_t b = 0; b < c->B; b++)
            c->kernels->add(c->dtable + t * c->E, c->x + (b * c->T + t) * c->E, c->E);
}

/* tokens [B][T] at positions from `first` on -> logits. With a cache, B = 1, keys and values of
 * block l are cache[l] and behind it, [2][context][G D]. */
static void forward_rows(const struct predictor *p, const struct crew *crew, const struct stream *s,
                         const struct dropping *dropping, const int32_t *tokens, size_t B, size_t T,
                         size_t first, float *cache)
{
    const struct predictor_config *f = &p->config;
    const float *weights = p->parameters.weights;
    size_t R = B * T, E = f->width, side = f->context * f->kv_heads * transformer_head_dim(f);
    struct block_rows rows = rows_of(s, 0);
    embedding(crew, rows.x, weights + p->parameters.list[TRANSFORMER_EMBEDDING].offset, tokens, R,
              E);
    if (!transformer_is_modern(f)) {
        const float *table =
            transformer_is_learned(f)
                ? weights + p->parameters.list[TRANSFORMER_POSITIONS].offset + first * E
                : s->waves;
        struct placement c = {crew->kernels, rows.x, table, NULL, B, T, E};
        crew_run(crew, R, R * E, add_positions, &c);
    }
    dropout(crew, dropping, BLOCK_SITES * f->layers, rows.x, rows.x, R * E);
    for (size_t l = 0; l < f->layers; l++) {
        struct block block = transformer_block(p, l, s->cosine, s->sine);
        struct block_rows next = rows_of(s, l + 1);
        rows.attention.first = first;
        if (cache) {
            rows.attention.k = cache + 2 * l * side;
            rows.attention.v = rows.attention.k + side;
        }
        block_forward(crew, &block, &rows, l + 1 < f->layers ? next.x : s->last, dropping,
                      BLOCK_SITES * l, B, T);
        rows = next;
    }
    struct norm after = transformer_norm(p);
    struct linear output = transformer_output(p);
    if (transformer_is_modern(f))
        norm(crew, &after, s->normed, s->last, s->norms, R);
    linear(crew, &output, s->logits, s->normed, R);
}

static struct loss forward(struct pass *pass, const struct batch *batch)
{
    const struct predictor *p = pass->predictor;
    struct activations *a = pass->activations;
    struct crew crew = crew_of(p, a->stream.workspace);
    struct dropping dropping = dropping_of(p, batch);
    size_t R = batch->B * batch->T, V = p->config.vocabulary;
    if (!a->placed)
        place(p, &a->stream, 0, pass->T);
    a->placed = true;
    a->B = batch->B;
    a->T = batch->T;
    forward_rows(p, &crew, &a->stream, &dropping, batch->tokens, a->B, a->T, 0, NULL);
    cross_entropy(&crew, pass->losses, a->lse, a->stream.logits, batch->targets, R, V);
    return loss_sum(pass->losses, batch->targets, R);
}

static void backward(struct pass *pass, const struct batch *batch, float scale)
{
    const struct predictor *p = pass->predictor;
    const struct predictor_config *f = &p->config;
    struct activations *a = pass->activations;
    const struct stream *s = &a->stream;
    struct crew crew = crew_of(p, s->workspace);
    struct dropping dropping = dropping_of(p, batch);
    struct linear output = transformer_output(p);
    size_t R = a->B * a->T, E = f->width;
    float *gradients = p->parameters.gradients, *dx = a->dx, *dn = a->scratch.dn;

    cross_entropy_backward(&crew, s->logits, a->lse, batch->targets, R, f->vocabulary, scale);
    linear_backward(&crew, &output, transformer_is_modern(f) ? dn : dx, false, s->logits, s->normed,
                    R);
    if (transformer_is_modern(f)) {
        struct norm after = transformer_norm(p);
        memset(dx, 0, R * E * sizeof *dx);
        norm_backward(&crew, &after, dx, dn, s->last, s->norms, R);
    }
    for (size_t l = f->layers; l-- > 0;) {
        struct block block = transformer_block(p, l, s->cosine, s->sine);
        struct block_rows rows = rows_of(s, l);
        block_backward(&crew, &block, &rows, &a->scratch, dx, &dropping, BLOCK_SITES * l, a->B,
                       a->T);
    }
    dropout(&crew, &dropping, BLOCK_SITES * f->layers, dx, dx, R * E);
    if (transformer_is_learned(f)) {
        float *table = gradients + p->parameters.list[TRANSFORMER_POSITIONS].offset;
        struct placement c = {p->kernels, dx, NULL, table, a->B, a->T, E};
        crew_run(&crew, a->T, R * E, add_positions_backward, &c);
    }
    embedding_backward(&crew, gradients + p->parameters.list[TRANSFORMER_EMBEDDING].offset, dx,
                       batch->tokens, R, E);
}

static const float *logits(const struct pass *pass, size_t b, size_t t)
{
    const struct activations *a = pass->activations;
    return a->stream.logits + (b * a->T + t) * pass->predictor->config.vocabulary;
}

/* ---- Step by step ---- */

/* The state of one sequence: its position, keys and values of all blocks, and one row's stream. */
struct state {
    size_t position;
    float *cache; /* [L][2][context][G D] */
    struct stream stream;
};

static struct state state_in(const struct predictor *p, void *memory, size_t *bytes)
{
    const struct predictor_config *f = &p->config;
    struct carver c = {memory, 0};
    struct state s = {0};
    carve(&c, sizeof s.position);
    s.cache = carve_floats(&c, f->layers * 2 * f->context * f->kv_heads * transformer_head_dim(f));
    s.stream = stream_in(&c, p, 1, 1, f->context, true, false);
    *bytes = c.bytes;
    return s;
}

static size_t state_bytes(const struct predictor *p)
{
    size_t bytes;
    state_in(p, NULL, &bytes);
    return bytes;
}

static void state_reset(const struct predictor *p, void *state)
{
    (void)p;
    memset(state, 0, sizeof(size_t));
}

static trib_status step(const struct predictor *p, void *state, int32_t token, float *logits,
                        trib_error *error)
{
    const struct predictor_config *f = &p->config;
    size_t bytes, *position = state;
    struct state s = state_in(p, state, &bytes);
    struct crew crew = crew_of(p, s.stream.workspace);
    struct dropping nothing = {0, 0};
    if (*position >= f->context)
        return error_set(error, TRIB_FULL, "the context of %zu tokens is used up", f->context);
    place(p, &s.stream, *position, 1);
    forward_rows(p, &crew, &s.stream, &nothing, &token, 1, 1, *position, s.cache);
    ++*position;
    if (logits)
        memcpy(logits, s.stream.logits, f->vocabulary * sizeof *logits);
    return TRIB_OK;
}

const struct predictor_kind predictor_transformer = {
    .check = transformer_check,
    .list = transformer_list,
    .layout = layout,
    .forward = forward,
    .backward = backward,
    .logits = logits,
    .state_bytes = state_bytes,
    .state_reset = state_reset,
    .step = step,
};
