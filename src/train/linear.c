/* Three products: y = x W^T + b;  dW += dy^T x and dx = dy W. */
#include "train/linear.h"

#include "base/size.h"
#include "kernel/product.h"

struct linear linear_of(const struct parameters *p, size_t weight, bool biased)
{
    const struct parameter *w = &p->list[weight];
    struct linear layer = {.w = p->weights + w->offset,
                           .dw = p->gradients ? p->gradients + w->offset : NULL,
                           .outputs = w->outputs,
                           .inputs = w->inputs};
    if (biased) {
        layer.b = p->weights + w[1].offset;
        layer.db = p->gradients ? p->gradients + w[1].offset : NULL;
    }
    return layer;
}

static struct product forward_of(const struct crew *crew, size_t rows, size_t outputs,
                                 size_t inputs)
{
    return (struct product){.M = rows,
                            .N = outputs,
                            .K = inputs,
                            .a_m = inputs,
                            .a_k = 1,
                            .b_k = 1,
                            .b_n = inputs,
                            .c_m = outputs,
                            .arithmetic = crew->product};
}

static struct product weight_gradient_of(const struct crew *crew, size_t rows, size_t outputs,
                                         size_t inputs)
{
    return (struct product){.M = outputs,
                            .N = inputs,
                            .K = rows,
                            .a_m = 1,
                            .a_k = outputs,
                            .b_k = inputs,
                            .b_n = 1,
                            .c_m = inputs,
                            .accumulate = true,
                            .arithmetic = crew->product};
}

static struct product input_gradient_of(const struct crew *crew, size_t rows, size_t outputs,
                                        size_t inputs)
{
    return (struct product){.M = rows,
                            .N = inputs,
                            .K = outputs,
                            .a_m = outputs,
                            .a_k = 1,
                            .b_k = inputs,
                            .b_n = 1,
                            .c_m = inputs,
                            .arithmetic = crew->product};
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t linear_workspace(const struct crew *crew, size_t rows, size_t outputs, size_t inputs,
                        bool backward)
{
    struct product p = forward_of(crew, rows, outputs, inputs);
    size_t bytes = product_workspace(crew->kernels, &p, crew->threads);
    if (!backward)
        return bytes;
    p = weight_gradient_of(crew, rows, outputs, inputs);
    bytes = larger(bytes, product_workspace(crew->kernels, &p, crew->threads));
    p = input_gradient_of(crew, rows, outputs, inputs);
    return larger(bytes, product_workspace(crew->kernels, &p, crew->threads));
}

void linear(const struct crew *crew, const struct linear *layer, float *y, const float *x,
            size_t rows)
{
    struct product p = forward_of(crew, rows, layer->outputs, layer->inputs);
    p.a = x;
    p.b = layer->w;
    p.c = y;
    p.bias = layer->b;
    product(crew->kernels, &p, crew->workspace, crew->threads);
}

void linear_backward(const struct crew *crew, const struct linear *layer, float *dx, bool onto,
                     const float *dy, const float *x, size_t rows)
{
    struct product p = weight_gradient_of(crew, rows, layer->outputs, layer->inputs);
    p.a = dy;
    p.b = x;
    p.c = layer->dw;
    product(crew->kernels, &p, crew->workspace, crew->threads);
    if (layer->db)
        bias_backward(crew, layer->db, dy, rows, layer->outputs);
    if (!dx)
        return;
    p = input_gradient_of(crew, rows, layer->outputs, layer->inputs);
    p.a = dy;
    p.b = layer->w;
    p.c = dx;
    p.accumulate = onto;
    product(crew->kernels, &p, crew->workspace, crew->threads);
}

struct sums {
    const struct kernels *kernels;
    float *db;
    const float *dy;
    size_t rows, columns;
};

static void sum_columns(const void *context, size_t from, size_t to)
{
    const struct sums *s = context;
    size_t first = crew_column(from, s->columns), end = crew_column(to, s->columns);
    s->kernels->learn->column_sums(s->db + first, s->dy + first, s->rows, s->columns, end - first);
}

void bias_backward(const struct crew *crew, float *db, const float *dy, size_t rows, size_t columns)
{
    struct sums s = {crew->kernels, db, dy, rows, columns};
    crew_run(crew, size_ceil_div(columns, CREW_COLUMNS), rows * columns, sum_columns, &s);
}
