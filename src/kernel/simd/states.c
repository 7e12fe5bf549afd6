/* What many states are merged with. Contracts: kernel.h. */
#include "kernel/inline.h"
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

void SIMD(state_range)(float *largest, float *least, const float *s, size_t parts)
{
    for (size_t j = 0; j < MERGE_ROWS; j += LANES) {
        vf a = vf_load(largest + j), b = vf_load(least + j);
        for (size_t p = 0; p < parts; p++) {
            vf x = vf_load(s + p * MERGE_ROWS + j);
            a = vf_max(x, a);
            b = vf_min(x, b);
        }
        vf_store(largest + j, a);
        vf_store(least + j, b);
    }
}

void SIMD(state_weights)(float *w, float *sum, const float *largest, size_t parts)
{
    for (size_t j = 0; j < MERGE_ROWS; j += LANES) {
        vf m = vf_load(largest + j), total = vf_load(sum + j);
        for (size_t p = 0; p < parts; p++) {
            float *at = w + p * MERGE_ROWS + j;
            vf x = vf_exp(vf_sub(vf_load(at), m));
            total = vf_add(total, x);
            vf_store(at, x);
        }
        vf_store(sum + j, total);
    }
}

/* The most parts that are read at a time, all rows of each: a few long runs, which the processor
 * reads ahead of. */
enum { RUNS = 8 };

/* P parts, a constant where this is inlined. */
INLINE void weigh_runs(size_t P, float *y, const float *w, size_t w_stride, const float *const *x,
                       size_t from, size_t rows, size_t n)
{
    const float *run[RUNS];
    UNROLL
    for (size_t p = 0; p < P; p++)
        run[p] = x[p] + from;
    for (size_t r = 0; r < rows; r++) {
        size_t j = r * n, end = j + n;
        vf weight[RUNS];
        UNROLL
        for (size_t p = 0; p < P; p++)
            weight[p] = vf_set(w[p * w_stride + r]);
        for (; j + LANES <= end; j += LANES) {
            vf sum = vf_load(y + j);
            UNROLL
            for (size_t p = 0; p < P; p++)
                sum = vf_fma(weight[p], vf_load(run[p] + j), sum);
            vf_store(y + j, sum);
        }
        if (j == end)
            continue;
        vf sum = vf_load_tail(y + j, end - j);
        UNROLL
        for (size_t p = 0; p < P; p++)
            sum = vf_fma(weight[p], vf_load_tail(run[p] + j, end - j), sum);
        vf_store_tail(y + j, sum, end - j);
    }
}

void SIMD(weigh)(float *y, const float *w, size_t w_stride, const float *const *x, size_t parts,
                 size_t from, size_t rows, size_t n)
{
    size_t p = 0;
    for (; p + RUNS <= parts; p += RUNS)
        weigh_runs(RUNS, y, w + p * w_stride, w_stride, x + p, from, rows, n);
    for (; p + 2 <= parts; p += 2)
        weigh_runs(2, y, w + p * w_stride, w_stride, x + p, from, rows, n);
    if (p < parts)
        weigh_runs(1, y, w + p * w_stride, w_stride, x + p, from, rows, n);
}
