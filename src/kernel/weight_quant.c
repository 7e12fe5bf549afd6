/* Block-quantised weights: panels of kernel/quant.h side by side. */
#include "base/size.h"
#include "kernel/quant.h"
#include "kernel/weight_class.h"

/* Three quarters of a second-level cache of 1 MiB. */
enum { ROWS_BYTES = 3 << 18 };

static size_t panel_bytes_of(enum dtype type, size_t inputs)
{
    struct quant_layout l = quant_layout(type);
    return inputs / l.inputs * quant_unit_bytes(l);
}

static size_t bytes(const struct kernels *kernels, enum dtype type, size_t outputs, size_t inputs)
{
    (void)kernels;
    return size_ceil_div(outputs, QUANT_OUTPUTS) * panel_bytes_of(type, inputs);
}

/* Outputs of panel i. */
static size_t outputs_of(const struct weight *w, size_t i)
{
    size_t left = w->outputs - i * QUANT_OUTPUTS;
    return left < QUANT_OUTPUTS ? left : QUANT_OUTPUTS;
}

static void pack(const struct weight *w, const void *stored, size_t first, size_t end)
{
    size_t stride = dtype_size(w->type, w->inputs), bytes_each = panel_bytes_of(w->type, w->inputs);
    for (size_t i = first; i < end; i++)
        quant_pack(w->type, (char *)w->packed + i * bytes_each,
                   (const char *)stored + i * QUANT_OUTPUTS * stride, stride, outputs_of(w, i),
                   w->inputs);
}

/* Rows are cut into the blocks of the type's units. */
static int form(const struct kernels *kernels, enum dtype type)
{
    (void)kernels;
    return (int)quant_layout(type).inputs;
}

static size_t row_bytes(const struct kernels *kernels, enum dtype type, size_t inputs)
{
    (void)kernels;
    return quant_row_bytes(type, inputs);
}

static void prepare(const struct weight *w, void *out, const float *x, size_t x_stride, size_t rows)
{
    size_t stride = quant_row_bytes(w->type, w->inputs);
    for (size_t r = 0; r < rows; r++)
        w->kernels->quant_row(w->type, (char *)out + r * stride, x + r * x_stride, w->inputs);
}

/* Rows of x that stay in the second-level cache while panels pass over them: a multiple of the rows
 * of every tile. */
static size_t rows_together(size_t row)
{
    size_t rows = ROWS_BYTES / row / 12 * 12;
    return rows ? rows : 12;
}

static void compute(const struct weight_job *job, const void *prepared, size_t rows, size_t first,
                    size_t end)
{
    const struct weight *w = job->weight;
    size_t each = panel_bytes_of(w->type, w->inputs), row = quant_row_bytes(w->type, w->inputs);
    size_t step = rows_together(row);
    for (size_t r = 0; r < rows; r += step)
        for (size_t i = first; i < end; i++) {
            struct quant_panel panel = {
                .type = w->type,
                .outputs = outputs_of(w, i),
                .inputs = w->inputs,
                .panel = (const char *)w->packed + i * each,
                .x = (const char *)prepared + r * row,
                .rows = rows - r < step ? rows - r : step,
                .y = job->y + r * job->y_stride + i * QUANT_OUTPUTS,
                .y_stride = job->y_stride,
                .bias = job->bias ? job->bias + i * QUANT_OUTPUTS : NULL,
                .accumulate = job->accumulate,
            };
            w->kernels->quant_panel(&panel);
        }
}

const struct weight_class weight_quant = {
    .panel_outputs = QUANT_OUTPUTS,
    .bytes = bytes,
    .pack = pack,
    .form = form,
    .row_bytes = row_bytes,
    .prepare = prepare,
    .compute = compute,
};
