/* Input products for all steps at once; then step after step, where each thread takes rows of the
 * batch through all steps, so that none waits for another. */
#include "train/recurrent.h"

#include <string.h>

#include "kernel/packed.h"

size_t recurrent_gates(enum predictor_cell cell)
{
    return cell == CELL_ELMAN ? 1 : cell == CELL_GRU ? 3 : 4;
}

size_t recurrent_products(enum predictor_cell cell, size_t T, size_t B, size_t n)
{
    return (cell == CELL_GRU ? T : 1) * B * recurrent_gates(cell) * n;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The packed matrix U or its transpose, and rows of each sequence in its arithmetic. */
static size_t steps_bytes(const struct crew *crew, size_t B, size_t outputs, size_t inputs)
{
    return packed_bytes(crew->kernels, crew->product, outputs, inputs) +
           B * packed_scratch(crew->kernels, crew->product, inputs, 1);
}

size_t recurrent_workspace(const struct crew *crew, enum predictor_cell cell, size_t T, size_t B,
                           size_t inputs, size_t n, bool backward)
{
    size_t gates = recurrent_gates(cell) * n;
    size_t most = linear_workspace(crew, T * B, gates, larger(inputs, n), backward);
    most = larger(most, linear_workspace(crew, T * B, gates, inputs, backward));
    most = larger(most, steps_bytes(crew, B, gates, n));
    return backward ? larger(most, steps_bytes(crew, B, n, gates)) : most;
}

struct steps {
    const struct crew *crew;
    const struct recurrent *layer;
    const struct recurrent_rows *rows;
    const struct recurrent_scratch *scratch; /* of the way back */
    const float *dh;
    struct packed packed;
    char *words;       /* [B] rows in the arithmetic of products */
    size_t word_bytes; /* of one */
    size_t T, B;
};

static struct steps steps_of(const struct crew *crew, const struct recurrent *layer,
                             const struct recurrent_rows *rows, size_t T, size_t B, bool backward)
{
    const struct linear *u = &layer->hidden;
    size_t N = backward ? u->inputs : u->outputs, K = backward ? u->outputs : u->inputs;
    struct steps s = {.crew = crew, .layer = layer, .rows = rows, .T = T, .B = B};
    s.packed = packed_make(crew->kernels, crew->product, crew->workspace, u->w,
                           backward ? u->inputs : 1, backward ? 1 : u->inputs, N, K);
    s.words = (char *)crew->workspace + packed_bytes(crew->kernels, crew->product, N, K);
    s.word_bytes = packed_scratch(crew->kernels, crew->product, K, 1);
    return s;
}

/* Row r of step t. */
static void cell_forward(const struct steps *s, size_t t, size_t r)
{
    const struct kernels *kernels = s->crew->kernels;
    const struct recurrent_rows *rows = s->rows;
    size_t n = s->layer->n, B = s->B, g = recurrent_gates(s->layer->cell) * n;
    const float *bias = s->layer->hidden.b;
    float *gates = rows->gates + (t * B + r) * g, *h = rows->h + ((t + 1) * B + r) * n;
    float *h_in = rows->h_in + (s->layer->cell == CELL_GRU ? t * B + r : r) * g;
    if (s->layer->cell == CELL_ELMAN) {
        kernels->add(h_in, bias, n);
        kernels->add(gates, h_in, n);
        kernels->learn->tanh(h, gates, n);
    } else if (s->layer->cell == CELL_GRU) {
        struct gru_row row = {gates, h_in, bias, h - B * n, h};
        kernels->learn->gru(&row, n);
    } else {
        float *c = rows->c + ((t + 1) * B + r) * n;
        struct lstm_row row = {gates, h_in, bias, c - B * n, c, h};
        kernels->learn->lstm(&row, n);
    }
}

static void run_steps(const void *context, size_t from, size_t to)
{
    const struct steps *s = context;
    size_t n = s->layer->n, g = recurrent_gates(s->layer->cell) * n;
    for (size_t t = 0; t < s->T; t++) {
        size_t first = s->layer->cell == CELL_GRU ? t * s->B + from : from;
        packed_product(&s->packed, s->rows->h_in + first * g, s->rows->h + (t * s->B + from) * n,
                       to - from, false, s->words + from * s->word_bytes);
        for (size_t r = from; r < to; r++)
            cell_forward(s, t, r);
    }
}

void recurrent(const struct crew *crew, const struct recurrent *layer,
               const struct recurrent_rows *rows, const float *x, size_t T, size_t B)
{
    linear(crew, &layer->input, rows->gates, x, T * B);
    struct steps s = steps_of(crew, layer, rows, T, B, false);
    crew_run(crew, B, T * B * layer->hidden.outputs, run_steps, &s);
}

/* Gradients of the sums of row r of step t, from dh and dc, which become what goes on to step t - 1
 * besides U. */
static void cell_backward(const struct steps *s, size_t t, size_t r)
{
    const struct learn_kernels *learn = s->crew->kernels->learn;
    const struct recurrent_rows *rows = s->rows;
    size_t n = s->layer->n, g = recurrent_gates(s->layer->cell) * n, B = s->B, at = t * B + r;
    const float *gates = rows->gates + at * g, *h = rows->h + (at + B) * n;
    float *d = s->scratch->d + at * g, *dh = s->scratch->dh + r * n;
    s->crew->kernels->add(dh, s->dh + at * n, n);
    if (s->layer->cell == CELL_ELMAN) {
        learn->tanh_backward(d, dh, h, n);
    } else if (s->layer->cell == CELL_GRU) {
        learn->gru_backward(d, s->scratch->d_in + at * g, dh, gates, rows->h_in + at * g, h - B * n,
                            n);
    } else {
        const float *c = rows->c + (at + B) * n;
        learn->lstm_backward(d, s->scratch->dc + r * n, dh, gates, c, c - B * n, n);
    }
}

static void run_steps_backward(const void *context, size_t from, size_t to)
{
    const struct steps *s = context;
    size_t n = s->layer->n, g = recurrent_gates(s->layer->cell) * n, rows = to - from;
    float *dh = s->scratch->dh + from * n;
    memset(dh, 0, rows * n * sizeof *dh);
    if (s->layer->cell == CELL_LSTM)
        memset(s->scratch->dc + from * n, 0, rows * n * sizeof *dh);
    for (size_t t = s->T; t-- > 0;) {
        for (size_t r = from; r < to; r++)
            cell_backward(s, t, r);
        if (t > 0)
            packed_product(&s->packed, dh, s->scratch->d_in + (t * s->B + from) * g, rows,
                           s->layer->cell == CELL_GRU, s->words + from * s->word_bytes);
    }
}

void recurrent_backward(const struct crew *crew, const struct recurrent *layer,
                        const struct recurrent_rows *rows, const struct recurrent_scratch *scratch,
                        float *dx, const float *dh, const float *x, size_t T, size_t B)
{
    struct steps s = steps_of(crew, layer, rows, T, B, true);
    s.scratch = scratch;
    s.dh = dh;
    crew_run(crew, B, T * B * layer->hidden.outputs, run_steps_backward, &s);
    linear_backward(crew, &layer->hidden, NULL, false, scratch->d_in, rows->h, T * B);
    linear_backward(crew, &layer->input, dx, false, scratch->d, x, T * B);
}
