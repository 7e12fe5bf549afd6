/* Dense weights, as they lie in the file: rows of w are brought to float32 a few at a time and
 * multiplied by the table's dots. */
#include <string.h>

#include "base/size.h"
#include "kernel/weight_class.h"

/* Outputs of a panel, and elements of them unpacked together. */
enum { PANEL = 16, TERMS = 256 };

static size_t align64(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static size_t bytes(const struct kernels *kernels, enum dtype type, size_t outputs, size_t inputs)
{
    (void)kernels;
    return align64(outputs * dtype_size(type, inputs));
}

static void pack(const struct weight *weight, const void *stored, size_t first, size_t end)
{
    size_t row = dtype_size(weight->type, weight->inputs), from = first * PANEL * row;
    size_t to = end * PANEL < weight->outputs ? end * PANEL : weight->outputs;
    memcpy((char *)weight->packed + from, (const char *)stored + from, to * row - from);
}

static int form(const struct kernels *kernels, enum dtype type)
{
    (void)kernels;
    (void)type;
    return DTYPE_F32;
}

static size_t row_bytes(const struct kernels *kernels, enum dtype type, size_t inputs)
{
    (void)kernels;
    (void)type;
    return align64(inputs * sizeof(float));
}

static void prepare(const struct weight *weight, void *out, const float *x, size_t x_stride,
                    size_t rows)
{
    size_t stride = row_bytes(weight->kernels, weight->type, weight->inputs);
    for (size_t t = 0; t < rows; t++)
        memcpy((char *)out + t * stride, x + t * x_stride, weight->inputs * sizeof *x);
}

static void start(const struct weight_job *job, size_t t, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float *y = job->y + t * job->y_stride + first + i;
        *y = (job->accumulate ? *y : 0) + (job->bias ? job->bias[first + i] : 0);
    }
}

static void compute_panel(const struct weight_job *job, const char *prepared, size_t rows,
                          size_t first, size_t count)
{
    const struct weight *w = job->weight;
    size_t K = w->inputs, row = dtype_size(w->type, K);
    size_t stride = row_bytes(w->kernels, w->type, K);
    _Alignas(64) float unpacked[PANEL * TERMS], dots[PANEL];
    for (size_t t = 0; t < rows; t++)
        start(job, t, first, count);
    for (size_t k = 0; k < K; k += TERMS) {
        size_t terms = K - k < TERMS ? K - k : TERMS;
        for (size_t i = 0; i < count; i++)
            w->kernels->unpack(w->type, unpacked + i * terms,
                               (const char *)w->packed + (first + i) * row + dtype_size(w->type, k),
                               terms);
        for (size_t t = 0; t < rows; t++) {
            const float *x = (const float *)(const void *)(prepared + t * stride) + k;
            w->kernels->dots(dots, PANEL, x, 1, unpacked, count, terms);
            for (size_t i = 0; i < count; i++)
                job->y[t * job->y_stride + first + i] += dots[i];
        }
    }
}

static void compute(const struct weight_job *job, const void *prepared, size_t rows, size_t first,
                    size_t end)
{
    for (size_t i = first; i < end; i++) {
        size_t from = i * PANEL, left = job->weight->outputs - from;
        compute_panel(job, prepared, rows, from, left < PANEL ? left : PANEL);
    }
}

const struct weight_class weight_dense = {
    .panel_outputs = PANEL,
    .bytes = bytes,
    .pack = pack,
    .form = form,
    .row_bytes = row_bytes,
    .prepare = prepare,
    .compute = compute,
};
