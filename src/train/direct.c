/* The direct predictor: y_t = f(x_{t-n+1} .. x_t), an MLP over the embeddings of the last n tokens
 * side by side.
 *
 *     z_0 = [e(x_{t-n+1}) .. e(x_t)],  z_l = f(W_l z_{l-1} + b_l),  logits = W z_L + b
 *
 * (Bengio et al. 2003, "A Neural Probabilistic Language Model", without its direct connections.)
 * History shorter than n: each missing token is the padding token V, which has an embedding of its
 * own, learned like any other; so the beginning of a text is seen as such. History longer than n:
 * nothing before the last n tokens has any influence. The window goes on over batches that
 * continue.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "train/layers.h"
#include "train/linear.h"

/* Numbers of parameters: the embedding, (W, b) of each layer, (W, b) of the output. */
enum { EMBEDDING, HIDDEN };

/* What rows pass through. */
struct stream {
    int32_t *ids;   /* [R][n] */
    float *x;       /* [R][n E] */
    float *hidden;  /* [L][R][F] */
    float *dropped; /* [L][R][F] after dropout: `hidden` where there is none */
    float *logits;  /* [R][V] */
    void *workspace;
};

struct activations {
    struct stream stream;
    float *lse;      /* [R] */
    float *d, *d_in; /* [R][max(F, n E)] */
    size_t R;        /* of the last forward */
    size_t T;
};

/* What goes over to the next batch, and the state of one sequence (B = 1). */
struct window {
    size_t position;  /* tokens seen */
    int32_t tokens[]; /* [B][n - 1], the latest last; before the first: V */
};

static trib_status check(const struct predictor_config *c, trib_error *error)
{
    if ((size_t)c->activation > ACTIVATION_RELU || c->ffn < 1)
        return error_set(error, TRIB_INVALID,
                         "ffn and activation: expected 1 or more and 0 to 1, found %zu and %d",
                         c->ffn, (int)c->activation);
    return TRIB_OK;
}

static trib_status list(const struct predictor_config *c, struct parameters *p, trib_error *error)
{
    /* Rows of variance 1 stay so: 1 / inputs behind tanh, 2 / inputs behind ReLU (LeCun et al.
     * 1998, He et al. 2015). */
    float gain = c->activation == ACTIVATION_RELU ? 6 : 3;
    size_t inputs = c->context * c->width;
    trib_status status = parameters_matrix(p, "token_embd.weight", 0, c->vocabulary + 1, c->width,
                                           INIT_NORMAL, 1, error);
    for (size_t l = 0; l < c->layers && status == TRIB_OK; l++) {
        status = parameters_matrix(p, "blk.%zu.hidden.weight", l, c->ffn, inputs, INIT_UNIFORM,
                                   sqrtf(gain / (float)inputs), error);
        if (status == TRIB_OK)
            status = parameters_vector(p, "blk.%zu.hidden.bias", l, c->ffn, INIT_ZERO, 0, error);
        inputs = c->ffn;
    }
    if (status == TRIB_OK)
        status = parameters_matrix(p, "output.weight", 0, c->vocabulary, inputs, INIT_UNIFORM,
                                   1 / sqrtf((float)inputs), error);
    if (status == TRIB_OK)
        status = parameters_vector(p, "output.bias", 0, c->vocabulary, INIT_ZERO, 0, error);
    return status;
}

static struct linear hidden_of(const struct predictor *p, size_t l)
{
    return linear_of(&p->parameters, HIDDEN + 2 * l, true);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static struct crew crew_of(const struct predictor *p, void *workspace)
{
    return (struct crew){p->kernels, p->threads, p->config.product, workspace};
}

static struct stream stream_in(struct carver *c, const struct predictor *p, size_t R, bool backward)
{
    const struct predictor_config *f = &p->config;
    struct crew crew = crew_of(p, NULL);
    size_t inputs = f->context * f->width, workspace;
    struct stream s = {.ids = carve(c, R * f->context * sizeof *s.ids)};
    s.x = carve_floats(c, R * inputs);
    s.hidden = carve_floats(c, f->layers * R * f->ffn);
    s.dropped = f->dropout > 0 ? carve_floats(c, f->layers * R * f->ffn) : s.hidden;
    s.logits = carve_floats(c, R * f->vocabulary);
    workspace = linear_workspace(&crew, R, f->ffn, inputs, backward);
    workspace = larger(workspace, linear_workspace(&crew, R, f->ffn, f->ffn, backward));
    workspace = larger(workspace, linear_workspace(&crew, R, f->vocabulary, f->ffn, backward));
    s.workspace = carve(c, workspace);
    return s;
}

static size_t window_bytes(const struct predictor *p, size_t B)
{
    return sizeof(struct window) + B * (p->config.context - 1) * sizeof(int32_t);
}

static void layout(struct pass *pass)
{
    const struct predictor *p = pass->predictor;
    struct carver c = {pass->memory, 0};
    struct activations counted, *a = carve(&c, sizeof *a);
    size_t R = pass->B * pass->T;
    size_t widest = larger(p->config.ffn, p->config.context * p->config.width);
    if (!a)
        a = &counted;
    a->stream = stream_in(&c, p, R, pass->backward);
    a->lse = carve_floats(&c, R);
    a->d = pass->backward ? carve_floats(&c, R * widest) : NULL;
    a->d_in = pass->backward ? carve_floats(&c, R * widest) : NULL;
    pass->losses = carve_floats(&c, R);
    pass->carry_bytes = window_bytes(p, pass->B);
    pass->carry = carve(&c, pass->carry_bytes);
    pass->bytes = c.bytes;
    pass->activations = pass->memory ? a : NULL;
}

/* ids -> logits */
static void forward_rows(const struct predictor *p, const struct crew *crew,
                         const struct dropping *dropping, const struct stream *s, size_t R)
{
    const struct predictor_config *c = &p->config;
    const float *table = p->parameters.weights + p->parameters.list[EMBEDDING].offset, *x = s->x;
    size_t n = R * c->ffn;
    embedding(crew, s->x, table, s->ids, R * c->context, c->width);
    for (size_t l = 0; l < c->layers; l++) {
        struct linear layer = hidden_of(p, l);
        float *h = s->hidden + l * n, *dropped = s->dropped + l * n;
        linear(crew, &layer, h, x, R);
        activate(crew, c->activation, h, h, n);
        dropout(crew, dropping, l, dropped, h, n);
        x = dropped;
    }
    struct linear output = hidden_of(p, c->layers);
    linear(crew, &output, s->logits, x, R);
}

/* The windows of a row's T tokens behind the n - 1 tokens before them, which become the last n - 1.
 */
static void slide(int32_t *ids, int32_t *before, const int32_t *tokens, size_t T, size_t n)
{
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < n; i++) /* token t - (n - 1) + i of the row */
            ids[t * n + i] = t + i < n - 1 ? before[t + i] : tokens[t + i - (n - 1)];
    if (T >= n - 1) {
        memcpy(before, tokens + T - (n - 1), (n - 1) * sizeof *before);
    } else {
        memmove(before, before + T, (n - 1 - T) * sizeof *before);
        memcpy(before + (n - 1 - T), tokens, T * sizeof *before);
    }
}

static void clear(struct window *w, const struct predictor_config *c, size_t B)
{
    w->position = 0;
    for (size_t i = 0; i < B * (c->context - 1); i++)
        w->tokens[i] = (int32_t)c->vocabulary;
}

static struct loss forward(struct pass *pass, const struct batch *batch)
{
    const struct predictor *p = pass->predictor;
    const struct predictor_config *c = &p->config;
    struct activations *a = pass->activations;
    struct crew crew = crew_of(p, a->stream.workspace);
    struct dropping dropping = dropping_of(p, batch);
    struct window *w = pass->carry;
    size_t n = c->context, T = batch->T, R = batch->B * T;
    if (!batch->continues || w->position == 0)
        clear(w, c, batch->B);
    for (size_t b = 0; b < batch->B; b++)
        slide(a->stream.ids + b * T * n, w->tokens + b * (n - 1), batch->tokens + b * T, T, n);
    w->position += T;
    a->R = R;
    a->T = T;
    forward_rows(p, &crew, &dropping, &a->stream, R);
    cross_entropy(&crew, pass->losses, a->lse, a->stream.logits, batch->targets, R, c->vocabulary);
    return loss_sum(pass->losses, batch->targets, R);
}

static void backward(struct pass *pass, const struct batch *batch, float scale)
{
    const struct predictor *p = pass->predictor;
    const struct predictor_config *c = &p->config;
    struct activations *a = pass->activations;
    const struct stream *s = &a->stream;
    struct crew crew = crew_of(p, s->workspace);
    struct dropping dropping = dropping_of(p, batch);
    size_t R = a->R, n = R * c->ffn;
    struct linear output = hidden_of(p, c->layers);
    float *d = a->d, *d_in = a->d_in;
    cross_entropy_backward(&crew, s->logits, a->lse, batch->targets, R, c->vocabulary, scale);
    linear_backward(&crew, &output, d, false, s->logits, s->dropped + (c->layers - 1) * n, R);
    for (size_t l = c->layers; l-- > 0;) {
        struct linear layer = hidden_of(p, l);
        dropout(&crew, &dropping, l, d, d, n);
        activate_backward(&crew, c->activation, d, d, s->hidden + l * n, n);
        linear_backward(&crew, &layer, d_in, false, d, l ? s->dropped + (l - 1) * n : s->x, R);
        float *swap = d;
        d = d_in;
        d_in = swap;
    }
    float *table = p->parameters.gradients + p->parameters.list[EMBEDDING].offset;
    embedding_backward(&crew, table, d, s->ids, R * c->context, c->width);
}

static const float *logits(const struct pass *pass, size_t b, size_t t)
{
    const struct activations *a = pass->activations;
    return a->stream.logits + (b * a->T + t) * pass->predictor->config.vocabulary;
}

/* ---- Step by step ---- */

static struct stream stream_of(const struct predictor *p, void *state, size_t *bytes)
{
    struct carver c = {state, 0};
    carve(&c, window_bytes(p, 1));
    struct stream s = stream_in(&c, p, 1, false);
    if (bytes)
        *bytes = c.bytes;
    return s;
}

static size_t state_bytes(const struct predictor *p)
{
    size_t bytes;
    stream_of(p, NULL, &bytes);
    return bytes;
}

static void state_reset(const struct predictor *p, void *state)
{
    clear(state, &p->config, 1);
}

static trib_status step(const struct predictor *p, void *state, int32_t token, float *logits,
                        trib_error *error)
{
    (void)error;
    struct window *w = state;
    struct stream s = stream_of(p, state, NULL);
    struct crew crew = crew_of(p, s.workspace);
    struct dropping nothing = {0, 0};
    slide(s.ids, w->tokens, &token, 1, p->config.context);
    w->position++;
    if (!logits)
        return TRIB_OK;
    forward_rows(p, &crew, &nothing, &s, 1);
    memcpy(logits, s.logits, p->config.vocabulary * sizeof *logits);
    return TRIB_OK;
}

const struct predictor_kind predictor_direct = {
    .check = check,
    .list = list,
    .layout = layout,
    .forward = forward,
    .backward = backward,
    .logits = logits,
    .state_bytes = state_bytes,
    .state_reset = state_reset,
    .step = step,
};
