/* The recurrent predictor: a latent state carries everything that is known of the past.
 *
 *     h_t = cell(h_{t-1}, e(x_t)) through L layers,  logits = W y_t + b
 *     y_t = h_t of the last layer, or with attention tanh(Wc [c_t; h_t]) (past_attention.h)
 *
 * Cells: Elman 1990, GRU (Cho et al. 2014), LSTM (Hochreiter and Schmidhuber 1997), as in PyTorch.
 * Learned by truncated back-propagation through time: a batch that continues starts from the states
 * where the last one ended, with no gradient into them (Williams and Peng 1990). Attention sees the
 * last `context` states, those of batches before among them.
 *
 * Rows are time-major, [T][B], within this file and what it calls.
 */
#include <string.h>

#include "train/layers.h"
#include "train/rnn_parameters.h"

/* What rows pass through, R = T B. Where there is no way back layers share gates and products. */
struct stream {
    int32_t *ids;                                              /* [T][B] */
    float *x;                                                  /* [R][E] */
    float *gates, *h_in;                                       /* of layer 0: recurrent_rows */
    float *h, *c;                                              /* [L][1 + T][B][E] */
    float *dropped;                                            /* [L - 1][R][E] */
    size_t gate_stride, h_in_stride, h_stride, dropped_stride; /* floats, layer to layer */

    float *top; /* the last layer's h; with attention up to W - 1 states before it */
    float *q, *k, *s, *context, *both, *combined; /* of past_rows */
    float *y;                                     /* [R][E] what the output reads */
    float *y_dropped; /* [R][E] the same where something may be dropped */
    float *logits;    /* [R][V] */
    void *workspace;
};

/* What goes over to the next batch. */
struct carry {
    size_t position; /* tokens of each sequence so far */
    size_t memory;   /* M: states that attention can look back on */
};

struct activations {
    struct stream stream;
    float *past;       /* [W + T][B][E] with attention: where stream.top is */
    int32_t *targets;  /* [T][B] */
    float *losses;     /* [T][B] */
    float *lse;        /* [R] */
    float *d, *d_next; /* [R][E] */
    struct recurrent_scratch recurrent;
    struct past_scratch attention;
    float *h, *c, *states;    /* behind the carry: [L][B][E], [L][B][E], [W - 1][B][E] */
    size_t B, T, M, position; /* of the last forward */
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

static size_t workspace_bytes(const struct predictor *p, size_t B, size_t T, bool backward)
{
    const struct predictor_config *f = &p->config;
    struct crew crew = crew_of(p, NULL);
    size_t most = linear_workspace(&crew, T * B, f->vocabulary, f->width, backward);
    most = larger(most, recurrent_workspace(&crew, f->cell, T, B, f->width, f->width, backward));
    if (rnn_attends(f))
        most = larger(most, past_attention_workspace(&crew, f->attention, f->width, f->context, T,
                                                     B, backward));
    return most;
}

/* All but `top` and, of additive attention, `k`, which lie elsewhere in a state. */
static struct stream stream_in(struct carver *c, const struct predictor *p, size_t B, size_t T,
                               bool backward)
{
    const struct predictor_config *f = &p->config;
    size_t R = T * B, L = f->layers, each = backward ? L : 1;
    struct stream s = {.ids = carve(c, R * sizeof *s.ids)};
    s.x = carve_floats(c, R * f->width);
    s.gate_stride = R * recurrent_gates(f->cell) * f->width;
    s.gates = carve_floats(c, each * s.gate_stride);
    s.h_in_stride = recurrent_products(f->cell, T, B, f->width);
    s.h_in = carve_floats(c, each * s.h_in_stride);
    if (!backward)
        s.gate_stride = s.h_in_stride = 0;
    s.h_stride = (1 + T) * B * f->width;
    s.h = carve_floats(c, L * s.h_stride);
    s.c = f->cell == CELL_LSTM ? carve_floats(c, L * s.h_stride) : NULL;
    s.dropped_stride = R * f->width;
    s.dropped = f->dropout > 0 ? carve_floats(c, (L - 1) * s.dropped_stride) : NULL;
    if (rnn_attends(f)) {
        s.q = f->attention == ATTENTION_DOT ? NULL : carve_floats(c, R * f->width);
        s.s = carve_floats(c, R);
        s.context = carve_floats(c, R * f->width);
        s.both = carve_floats(c, R * 2 * f->width);
        s.combined = carve_floats(c, R * f->width);
    }
    s.y_dropped = f->dropout > 0 ? carve_floats(c, R * f->width) : NULL;
    s.logits = carve_floats(c, R * f->vocabulary);
    s.workspace = carve(c, workspace_bytes(p, B, T, backward));
    return s;
}

static struct recurrent_rows rows_of(const struct stream *s, const struct predictor_config *f,
                                     size_t l)
{
    return (struct recurrent_rows){.gates = s->gates + l * s->gate_stride,
                                   .h_in = s->h_in + l * s->h_in_stride,
                                   .h = l + 1 == f->layers ? s->top : s->h + l * s->h_stride,
                                   .c = s->c ? s->c + l * s->h_stride : NULL};
}

static void layout_backward(struct carver *c, struct activations *a,
                            const struct predictor_config *f, size_t B, size_t T)
{
    size_t R = T * B, E = f->width, S = (f->context + T) * B, gates = recurrent_gates(f->cell) * E;
    a->d = carve_floats(c, R * E);
    a->d_next = carve_floats(c, R * E);
    a->recurrent.d = carve_floats(c, R * gates);
    a->recurrent.d_in = f->cell == CELL_GRU ? carve_floats(c, R * gates) : a->recurrent.d;
    a->recurrent.dh = carve_floats(c, B * E);
    a->recurrent.dc = carve_floats(c, B * E);
    if (!rnn_attends(f))
        return;
    a->attention.dboth = carve_floats(c, R * 2 * E);
    a->attention.dc = carve_floats(c, R * E);
    a->attention.dq = carve_floats(c, R * E);
    a->attention.dk = carve_floats(c, S * E);
    a->attention.dv = carve_floats(c, S * E);
    a->attention.rows = carve_floats(c, S * E);
    if (f->attention == ATTENTION_ADDITIVE) {
        a->attention.more = carve_floats(c, S * E);
        a->attention.dw = carve_floats(c, B * E);
    }
}

static void layout(struct pass *pass)
{
    const struct predictor *p = pass->predictor;
    const struct predictor_config *f = &p->config;
    struct carver c = {pass->memory, 0};
    struct activations counted, *a = carve(&c, sizeof *a);
    size_t B = pass->B, T = pass->T, R = T * B, E = f->width, before;
    if (!a)
        a = &counted;
    *a = (struct activations){.stream = stream_in(&c, p, B, T, pass->backward)};
    a->past = rnn_attends(f) ? carve_floats(&c, (f->context + T) * B * E) : NULL;
    if (f->attention == ATTENTION_ADDITIVE)
        a->stream.k = carve_floats(&c, (f->context + T) * B * E);
    a->targets = carve(&c, R * sizeof *a->targets);
    a->losses = carve_floats(&c, R);
    a->lse = carve_floats(&c, R);
    if (pass->backward)
        layout_backward(&c, a, f, B, T);
    pass->losses = carve_floats(&c, R);

    before = c.bytes;
    pass->carry = carve(&c, sizeof(struct carry));
    a->h = carve_floats(&c, f->layers * B * E);
    a->c = f->cell == CELL_LSTM ? carve_floats(&c, f->layers * B * E) : NULL;
    a->states = rnn_attends(f) ? carve_floats(&c, (f->context - 1) * B * E) : NULL;
    pass->carry_bytes = c.bytes - before;
    pass->bytes = c.bytes;
    pass->activations = pass->memory ? a : NULL;
}

/* ---- Forward ---- */

static struct past_rows past_of(const struct stream *s, const struct predictor_config *f, size_t B,
                                size_t M, size_t position)
{
    return (struct past_rows){.h = s->top + B * f->width - M * B * f->width,
                              .q = s->q,
                              .k = s->k,
                              .s = s->s,
                              .c = s->context,
                              .both = s->both,
                              .y = s->combined,
                              .M = M,
                              .position = position};
}

/* ids -> logits; the states before are in place. */
static void forward_rows(const struct predictor *p, const struct crew *crew, struct stream *s,
                         const struct dropping *dropping, struct past_rows past, size_t T, size_t B)
{
    const struct predictor_config *f = &p->config;
    const float *table = p->parameters.weights + p->parameters.list[RNN_EMBEDDING].offset,
                *x = s->x;
    size_t R = T * B, n = R * f->width;
    embedding(crew, s->x, table, s->ids, R, f->width);
    for (size_t l = 0; l < f->layers; l++) {
        struct recurrent layer = rnn_layer(p, l);
        struct recurrent_rows rows = rows_of(s, f, l);
        recurrent(crew, &layer, &rows, x, T, B);
        s->y = rows.h + B * f->width;
        x = s->y;
        if (s->dropped && l + 1 < f->layers) {
            float *dropped = s->dropped + l * s->dropped_stride;
            dropout(crew, dropping, l, dropped, s->y, n);
            x = dropped;
        }
    }
    if (rnn_attends(f)) {
        struct past_attention attention = rnn_attention(p);
        past_attention(crew, &attention, &past, T, B);
        s->y = s->combined;
    }
    if (s->y_dropped) {
        dropout(crew, dropping, f->layers, s->y_dropped, s->y, n);
        s->y = s->y_dropped;
    }
    struct linear output = rnn_output(p);
    linear(crew, &output, s->logits, s->y, R);
}

/* Brings the states of the batch before to where the rows begin. */
static void load_carry(const struct pass *pass, struct activations *a, const struct batch *batch)
{
    const struct predictor_config *f = &pass->predictor->config;
    struct carry *carry = pass->carry;
    size_t B = batch->B, E = f->width, row = B * E;
    if (!batch->continues || carry->position == 0) {
        *carry = (struct carry){0, 0};
        memset(a->h, 0, f->layers * row * sizeof *a->h);
        if (a->c)
            memset(a->c, 0, f->layers * row * sizeof *a->c);
    }
    a->stream.top = a->past ? a->past + (f->context - 1) * row
                            : a->stream.h + (f->layers - 1) * a->stream.h_stride;
    a->M = carry->memory;
    a->position = carry->position;
    if (a->M)
        memcpy(a->stream.top + row - a->M * row, a->states, a->M * row * sizeof *a->states);
    for (size_t l = 0; l < f->layers; l++) {
        struct recurrent_rows rows = rows_of(&a->stream, f, l);
        memcpy(rows.h, a->h + l * row, row * sizeof *rows.h);
        if (rows.c)
            memcpy(rows.c, a->c + l * row, row * sizeof *rows.c);
    }
}

static void store_carry(const struct pass *pass, struct activations *a, const struct batch *batch)
{
    const struct predictor_config *f = &pass->predictor->config;
    struct carry *carry = pass->carry;
    size_t row = batch->B * f->width, T = batch->T, M = a->M + T;
    for (size_t l = 0; l < f->layers; l++) {
        struct recurrent_rows rows = rows_of(&a->stream, f, l);
        memcpy(a->h + l * row, rows.h + T * row, row * sizeof *rows.h);
        if (rows.c)
            memcpy(a->c + l * row, rows.c + T * row, row * sizeof *rows.c);
    }
    carry->position += T;
    if (!rnn_attends(f))
        return;
    carry->memory = M < f->context - 1 ? M : f->context - 1;
    memcpy(a->states, a->stream.top + (T + 1) * row - carry->memory * row,
           carry->memory * row * sizeof *a->states); /* earlier ones stand before the top */
}

static struct loss forward(struct pass *pass, const struct batch *batch)
{
    const struct predictor *p = pass->predictor;
    struct activations *a = pass->activations;
    struct crew crew = crew_of(p, a->stream.workspace);
    struct dropping dropping = dropping_of(p, batch);
    size_t B = a->B = batch->B, T = a->T = batch->T, R = B * T;
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++) {
            a->stream.ids[t * B + b] = batch->tokens[b * T + t];
            a->targets[t * B + b] = batch->targets[b * T + t];
        }
    load_carry(pass, a, batch);
    forward_rows(p, &crew, &a->stream, &dropping,
                 past_of(&a->stream, &p->config, B, a->M, a->position), T, B);
    store_carry(pass, a, batch);
    cross_entropy(&crew, a->losses, a->lse, a->stream.logits, a->targets, R, p->config.vocabulary);
    for (size_t b = 0; b < B; b++)
        for (size_t t = 0; t < T; t++)
            pass->losses[b * T + t] = a->losses[t * B + b];
    return loss_sum(pass->losses, batch->targets, R);
}

/* ---- Backward ---- */

static void backward(struct pass *pass, const struct batch *batch, float scale)
{
    const struct predictor *p = pass->predictor;
    const struct predictor_config *f = &p->config;
    struct activations *a = pass->activations;
    struct stream *s = &a->stream;
    struct crew crew = crew_of(p, s->workspace);
    struct dropping dropping = dropping_of(p, batch);
    struct linear output = rnn_output(p);
    size_t B = a->B, T = a->T, R = T * B, n = R * f->width;
    float *d = a->d, *d_next = a->d_next;
    cross_entropy_backward(&crew, s->logits, a->lse, a->targets, R, f->vocabulary, scale);
    linear_backward(&crew, &output, d, false, s->logits, s->y, R);
    dropout(&crew, &dropping, f->layers, d, d, n);
    if (rnn_attends(f)) {
        struct past_attention attention = rnn_attention(p);
        struct past_rows past = past_of(s, f, B, a->M, a->position);
        past_attention_backward(&crew, &attention, &past, &a->attention, d_next, d, T, B);
        float *swap = d;
        d = d_next;
        d_next = swap;
    }
    for (size_t l = f->layers; l-- > 0;) {
        struct recurrent layer = rnn_layer(p, l);
        struct recurrent_rows rows = rows_of(s, f, l);
        const float *x = l == 0       ? s->x
                         : s->dropped ? s->dropped + (l - 1) * s->dropped_stride
                                      : s->h + (l - 1) * s->h_stride + B * f->width;
        recurrent_backward(&crew, &layer, &rows, &a->recurrent, d_next, d, x, T, B);
        if (l > 0)
            dropout(&crew, &dropping, l - 1, d_next, d_next, n);
        float *swap = d;
        d = d_next;
        d_next = swap;
    }
    float *table = p->parameters.gradients + p->parameters.list[RNN_EMBEDDING].offset;
    embedding_backward(&crew, table, d, s->ids, R, f->width);
}

static const float *logits(const struct pass *pass, size_t b, size_t t)
{
    const struct activations *a = pass->activations;
    return a->stream.logits + (t * a->B + b) * pass->predictor->config.vocabulary;
}

/* ---- Step by step ---- */

/* What a state begins with. With attention the last states stand in a row of 2 W, and when its end
 * is reached they move to its beginning. */
struct header {
    size_t position;
    size_t memory; /* M */
    size_t at;     /* of the latest state in the row */
};

struct state {
    struct header *header;
    float *past, *keys; /* [2 W][E] */
    struct stream stream;
};

static struct state state_in(const struct predictor *p, void *memory, size_t *bytes)
{
    const struct predictor_config *f = &p->config;
    struct carver c = {memory, 0};
    struct state s = {.header = carve(&c, sizeof *s.header)};
    size_t floats = 2 * f->context * f->width;
    s.past = rnn_attends(f) ? carve_floats(&c, floats) : NULL;
    s.keys = f->attention == ATTENTION_ADDITIVE ? carve_floats(&c, floats) : NULL;
    s.stream = stream_in(&c, p, 1, 1, false);
    *bytes = c.bytes;
    return s;
}

static size_t state_bytes(const struct predictor *p)
{
    size_t bytes;
    state_in(p, NULL, &bytes);
    return bytes;
}

static void state_reset(const struct predictor *p, void *memory)
{
    const struct predictor_config *f = &p->config;
    size_t bytes;
    struct state s = state_in(p, memory, &bytes);
    *s.header = (struct header){0, 0, 0};
    memset(s.stream.h, 0, f->layers * s.stream.h_stride * sizeof *s.stream.h);
    if (s.stream.c)
        memset(s.stream.c, 0, f->layers * s.stream.h_stride * sizeof *s.stream.c);
    if (s.past)
        memset(s.past, 0, f->width * sizeof *s.past);
}

/* Room for one more state behind the latest. */
static void make_room(struct state *s, const struct predictor_config *f)
{
    struct header *h = s->header;
    size_t E = f->width, kept = h->memory ? h->memory : 1, first = h->at + 1 - kept;
    if (h->at + 1 < 2 * f->context)
        return;
    memmove(s->past, s->past + first * E, kept * E * sizeof *s->past);
    if (s->keys)
        memmove(s->keys, s->keys + first * E, kept * E * sizeof *s->keys);
    h->at = kept - 1;
}

static trib_status step(const struct predictor *p, void *memory, int32_t token, float *logits,
                        trib_error *error)
{
    (void)error;
    const struct predictor_config *f = &p->config;
    size_t bytes, E = f->width;
    struct state s = state_in(p, memory, &bytes);
    struct header *h = s.header;
    struct crew crew = crew_of(p, s.stream.workspace);
    struct dropping nothing = {0, 0};
    s.stream.top = s.stream.h + (f->layers - 1) * s.stream.h_stride;
    if (s.past) {
        make_room(&s, f);
        s.stream.top = s.past + h->at * E;
        s.stream.k = s.keys ? s.keys + (h->at + 1 - h->memory) * E : NULL;
    }
    s.stream.ids[0] = token;
    struct past_rows past = past_of(&s.stream, f, 1, h->memory, h->position);
    past.keys_ready = true;
    forward_rows(p, &crew, &s.stream, &nothing, past, 1, 1);
    for (size_t l = 0; l < f->layers; l++) {
        struct recurrent_rows rows = rows_of(&s.stream, f, l);
        if (rows.h != s.stream.top || !s.past)
            memcpy(rows.h, rows.h + E, E * sizeof *rows.h);
        if (rows.c)
            memcpy(rows.c, rows.c + E, E * sizeof *rows.c);
    }
    h->position++;
    h->memory += h->memory + 1 < f->context;
    h->at++;
    if (logits)
        memcpy(logits, s.stream.logits, f->vocabulary * sizeof *logits);
    return TRIB_OK;
}

const struct predictor_kind predictor_rnn = {
    .check = rnn_check,
    .list = rnn_list,
    .layout = layout,
    .forward = forward,
    .backward = backward,
    .logits = logits,
    .state_bytes = state_bytes,
    .state_reset = state_reset,
    .step = step,
};
