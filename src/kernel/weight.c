/* Products with packed weights: rows of w are brought to float32 a few at a time and multiplied by
 * the table's dots. */
#include "kernel/weight.h"

#include <omp.h>
#include <string.h>

#include "base/size.h"

/* Outputs unpacked together. */
enum { TOGETHER = 16 };

static size_t align64(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

size_t weight_bytes(const struct kernels *kernels, enum dtype type, size_t outputs, size_t inputs)
{
    (void)kernels;
    return align64(outputs * dtype_size(type, inputs));
}

void weight_pack(struct weight *weight, const struct kernels *kernels, enum dtype type,
                 size_t outputs, size_t inputs, const void *stored, void *memory, int threads)
{
    (void)threads;
    *weight = (struct weight){kernels, type, outputs, inputs, memory};
    memcpy(memory, stored, outputs * dtype_size(type, inputs));
}

static size_t thread_floats(size_t rows, size_t inputs)
{
    return (TOGETHER * (inputs + rows) + 15) / 16 * 16;
}

size_t weight_workspace(const struct kernels *kernels, size_t rows, size_t inputs, int threads)
{
    (void)kernels;
    return (size_t)threads * thread_floats(rows, inputs) * sizeof(float);
}

/* Outputs [first, first + count) of a job. mine: the thread's own memory. */
static void compute(const struct weight_job *job, const float *x, size_t x_stride, size_t rows,
                    size_t first, size_t count, float *mine)
{
    const struct weight *w = job->weight;
    size_t K = w->inputs;
    float *dots = mine, *unpacked = mine + TOGETHER * rows;
    w->kernels->unpack(w->type, unpacked,
                       (const char *)w->packed + first * dtype_size(w->type, K), count * K);
    for (size_t t = 0; t < rows; t++) {
        w->kernels->dots(dots, TOGETHER, x + t * x_stride, 1, unpacked, count, K);
        for (size_t i = 0; i < count; i++) {
            float *y = job->y + t * job->y_stride + first + i;
            float start = job->bias ? job->bias[first + i] : 0;
            *y = (job->accumulate ? *y + start : start) + dots[i];
        }
    }
}

void weight_products(const struct weight_job *jobs, size_t count, const float *x, size_t x_stride,
                     size_t rows, void *workspace, int threads)
{
    for (size_t j = 0; j < count; j++) {
        size_t N = jobs[j].weight->outputs, parts = size_ceil_div(N, TOGETHER);
        size_t floats = thread_floats(rows, jobs[j].weight->inputs);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (size_t i = 0; i < parts; i++) {
            size_t first = i * TOGETHER, some = N - first < TOGETHER ? N - first : TOGETHER;
            compute(&jobs[j], x, x_stride, rows, first, some,
                    (float *)workspace + (size_t)omp_get_thread_num() * floats);
        }
    }
}
