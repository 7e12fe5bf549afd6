/* What many states are merged with. */
#include <math.h>

#include "kernel/exp.h"
#include "kernel/ref/ref.h"

void state_range_ref(float *largest, float *least, const float *s, size_t parts)
{
    for (size_t i = 0; i < parts * MERGE_ROWS; i++) {
        size_t r = i % MERGE_ROWS;
        largest[r] = s[i] > largest[r] ? s[i] : largest[r];
        least[r] = s[i] < least[r] ? s[i] : least[r];
    }
}

void state_weights_ref(float *w, float *sum, const float *largest, size_t parts)
{
    for (size_t i = 0; i < parts * MERGE_ROWS; i++) {
        w[i] = exp_scalar(w[i] - largest[i % MERGE_ROWS]);
        sum[i % MERGE_ROWS] += w[i];
    }
}

void weigh_ref(float *y, const float *w, size_t w_stride, const float *const *x, size_t parts,
               size_t from, size_t rows, size_t n)
{
    for (size_t p = 0; p < parts; p++)
        for (size_t i = 0; i < rows * n; i++)
            y[i] = fmaf(w[p * w_stride + i / n], x[p][from + i], y[i]);
}
