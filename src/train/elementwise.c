/* Layers that take each float, or each pair, for itself. What is cut over threads are blocks of
 * floats, which dropout's draws want to be multiples of 4. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "base/size.h"
#include "kernel/ops.h"
#include "train/layers.h"

enum { BLOCK = 64 };

/* One operation on n floats. */
struct floats {
    const struct crew *crew;
    size_t n;
    float *y, *z;       /* out, or in and out */
    const float *a, *b; /* in */
    enum predictor_activation f;
    uint64_t seed; /* of dropout */
    uint32_t drop;
};

static void run(const struct floats *f, void (*body)(const void *context, size_t from, size_t to))
{
    crew_run(f->crew, size_ceil_div(f->n, BLOCK), f->n, body, f);
}

/* The floats of blocks [from, to): where they begin, and in *count how many there are. */
static size_t begin(const struct floats *f, size_t from, size_t to, size_t *count)
{
    size_t end = to * BLOCK < f->n ? to * BLOCK : f->n;
    *count = end - from * BLOCK;
    return from * BLOCK;
}

static void add_run(const void *context, size_t from, size_t to)
{
    const struct floats *f = context;
    size_t n, i = begin(f, from, to, &n);
    f->crew->kernels->add(f->y + i, f->a + i, n);
}

void add(const struct crew *crew, float *y, const float *x, size_t n)
{
    run(&(struct floats){.crew = crew, .n = n, .y = y, .a = x}, add_run);
}

static void activate_run(const void *context, size_t from, size_t to)
{
    const struct floats *f = context;
    const struct learn_kernels *learn = f->crew->kernels->learn;
    size_t n, i = begin(f, from, to, &n);
    (f->f == ACTIVATION_TANH ? learn->tanh : learn->relu)(f->y + i, f->a + i, n);
}

void activate(const struct crew *crew, enum predictor_activation f, float *y, const float *x,
              size_t n)
{
    run(&(struct floats){.crew = crew, .n = n, .y = y, .a = x, .f = f}, activate_run);
}

static void activate_run_backward(const void *context, size_t from, size_t to)
{
    const struct floats *f = context;
    const struct learn_kernels *learn = f->crew->kernels->learn;
    size_t n, i = begin(f, from, to, &n);
    (f->f == ACTIVATION_TANH ? learn->tanh_backward : learn->relu_backward)(f->y + i, f->a + i,
                                                                            f->b + i, n);
}

void activate_backward(const struct crew *crew, enum predictor_activation f, float *dx,
                       const float *dy, const float *y, size_t n)
{
    run(&(struct floats){.crew = crew, .n = n, .y = dx, .a = dy, .b = y, .f = f},
        activate_run_backward);
}

static void swiglu_run(const void *context, size_t from, size_t to)
{
    const struct floats *f = context;
    size_t n, i = begin(f, from, to, &n);
    f->crew->kernels->swiglu(f->y + i, f->a + i, f->b + i, n);
}

void swiglu(const struct crew *crew, float *y, const float *gate, const float *up, size_t n)
{
    run(&(struct floats){.crew = crew, .n = n, .y = y, .a = gate, .b = up}, swiglu_run);
}

static void swiglu_run_backward(const void *context, size_t from, size_t to)
{
    const struct floats *f = context;
    size_t n, i = begin(f, from, to, &n);
    float *gate = f->y + i, *up = f->z + i;
    f->crew->kernels->learn->swiglu_backward(gate, up, f->a + i, gate, up, n);
}

void swiglu_backward(const struct crew *crew, const float *dy, float *gate, float *up, size_t n)
{
    run(&(struct floats){.crew = crew, .n = n, .y = gate, .z = up, .a = dy}, swiglu_run_backward);
}

struct dropping dropping_of(const struct predictor *p, const struct batch *batch)
{
    double drop = batch->training ? 65536 * (double)p->config.dropout : 0;
    return (struct dropping){rng_bits(batch->seed, batch->draw), (uint32_t)lround(drop)};
}

static void dropout_run(const void *context, size_t from, size_t to)
{
    const struct floats *f = context;
    size_t n, i = begin(f, from, to, &n);
    f->crew->kernels->learn->dropout(f->y + i, f->a + i, n, f->seed, i, f->drop);
}

void dropout(const struct crew *crew, const struct dropping *dropping, uint64_t site, float *y,
             const float *x, size_t n)
{
    struct floats f = {.crew = crew,
                       .n = n,
                       .y = y,
                       .a = x,
                       .seed = rng_bits(dropping->seed, site),
                       .drop = dropping->drop};
    if (dropping->drop)
        run(&f, dropout_run);
    else if (y != x)
        memcpy(y, x, n * sizeof *y);
}

/* Rows of heads, and how far each pair is turned. */
struct rotation {
    float *x;
    const float *cosine, *sine;
    size_t T, heads, D;
    bool back;
};

static void rotate_run(const void *context, size_t from, size_t to)
{
    const struct rotation *c = context;
    size_t half = c->D / 2;
    for (size_t r = from; r < to; r++) {
        const float *cosine = c->cosine + r % c->T * half, *sine = c->sine + r % c->T * half;
        float *x = c->x + r * c->heads * c->D;
        if (!c->back) {
            rope(x, cosine, sine, c->heads, c->D);
            continue;
        }
        for (size_t i = 0; i < c->heads * half; i++) {
            float even = x[2 * i], odd = x[2 * i + 1], co = cosine[i % half], si = sine[i % half];
            x[2 * i] = even * co + odd * si;
            x[2 * i + 1] = odd * co - even * si;
        }
    }
}

void rotate(const struct crew *crew, float *x, const float *cosine, const float *sine, size_t rows,
            size_t T, size_t heads, size_t D)
{
    struct rotation c = {x, cosine, sine, T, heads, D, false};
    crew_run(crew, rows, rows * heads * D, rotate_run, &c);
}

void rotate_backward(const struct crew *crew, float *dx, const float *cosine, const float *sine,
                     size_t rows, size_t T, size_t heads, size_t D)
{
    struct rotation c = {dx, cosine, sine, T, heads, D, true};
    crew_run(crew, rows, rows * heads * D, rotate_run, &c);
}
