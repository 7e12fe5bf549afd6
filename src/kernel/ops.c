/* Threaded drivers: work is cut by output, so no sum ever crosses a thread. */
#include "kernel/ops.h"

#include <math.h>
#include <omp.h>

#include "base/size.h"

/* Outputs unpacked together: few for one row, so that they stay in the first-level cache on the way
 * to their only use; more for many rows, which each read them again. */
enum { FEW_OUTPUTS = 4, MANY_OUTPUTS = 32, MANY_ROWS = 4 };

/* Below this many multiply-adds waking the team costs more than it saves. */
enum { SMALL_WORK = 1 << 15 };

size_t matmul_scratch(size_t inputs, int threads)
{
    return (size_t)threads * MANY_OUTPUTS * inputs;
}

void matmul(const struct kernels *kernels, float *y, const float *x, const struct matrix *w,
            size_t T, float *scratch, int threads)
{
    size_t K = w->inputs, block = T < MANY_ROWS ? FEW_OUTPUTS : MANY_OUTPUTS;
    size_t blocks = size_ceil_div(w->outputs, block), row_bytes = dtype_size(w->type, K);
    bool small = T * w->outputs * K < SMALL_WORK;

#pragma omp parallel for schedule(static) num_threads(threads) if (!small)
    for (size_t b = 0; b < blocks; b++) {
        size_t first = b * block, count = w->outputs - first < block ? w->outputs - first : block;
        const void *stored = (const char *)w->data + first * row_bytes;
        const float *rows = stored;
        if (w->type != DTYPE_F32) {
            float *mine = scratch + (size_t)omp_get_thread_num() * MANY_OUTPUTS * K;
            kernels->unpack(w->type, mine, stored, count * K);
            rows = mine;
        }
        kernels->dots(y + first, w->outputs, x, T, rows, count, K);
    }
}

void rope_frequencies(double *frequency, size_t D, double base)
{
    for (size_t i = 0; i < D / 2; i++)
        frequency[i] = pow(base, -2.0 * (double)i / (double)D);
}

void rope_angles(float *cosine, float *sine, const double *frequency, size_t D, size_t position)
{
    for (size_t i = 0; i < D / 2; i++) {
        double angle = (double)position * frequency[i];
        cosine[i] = (float)cos(angle);
        sine[i] = (float)sin(angle);
    }
}

void rope(float *x, const float *cosine, const float *sine, size_t heads, size_t D)
{
    for (size_t h = 0; h < heads; h++, x += D)
        for (size_t i = 0; i < D / 2; i++) {
            float even = x[2 * i], odd = x[2 * i + 1];
            x[2 * i] = even * cosine[i] - odd * sine[i];
            x[2 * i + 1] = even * sine[i] + odd * cosine[i];
        }
}
