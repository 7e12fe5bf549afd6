/* y = x w^T as dot products along K.
 *
 * Each y[r][n] has one accumulator of LANES partial sums over ascending K and one order of adding
 * the lanes up, whatever the tile around it: tiles only share loads. */
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

enum { TILE = 4 }; /* rows and outputs of a full tile: 16 accumulators */

/* R rows by N outputs; R and N are constants where this is inlined. */
static inline __attribute__((always_inline)) void tile(float *y, size_t y_stride, const float *x,
                                                       size_t R, const float *w, size_t N, size_t K)
{
    vf sum[TILE][TILE];
    for (size_t r = 0; r < R; r++)
        for (size_t n = 0; n < N; n++)
            sum[r][n] = vf_set(0);
    size_t k = 0;
    for (; k + LANES <= K; k += LANES)
        for (size_t n = 0; n < N; n++) {
            vf b = vf_load(w + n * K + k);
            for (size_t r = 0; r < R; r++)
                sum[r][n] = vf_fma(vf_load(x + r * K + k), b, sum[r][n]);
        }
    if (k < K)
        for (size_t n = 0; n < N; n++) {
            vf b = vf_load_tail(w + n * K + k, K - k);
            for (size_t r = 0; r < R; r++)
                sum[r][n] = vf_fma(vf_load_tail(x + r * K + k, K - k), b, sum[r][n]);
        }
    for (size_t r = 0; r < R; r++)
        for (size_t n = 0; n < N; n++)
            y[r * y_stride + n] = vf_sum(sum[r][n]);
}

void SIMD(dots)(float *y, size_t y_stride, const float *x, size_t rows, const float *w,
                size_t outputs, size_t K)
{
    size_t r = 0;
    for (; r + TILE <= rows; r += TILE) {
        size_t n = 0;
        for (; n + TILE <= outputs; n += TILE)
            tile(y + r * y_stride + n, y_stride, x + r * K, TILE, w + n * K, TILE, K);
        for (; n < outputs; n++)
            tile(y + r * y_stride + n, y_stride, x + r * K, TILE, w + n * K, 1, K);
    }
    for (; r < rows; r++) {
        size_t n = 0;
        for (; n + TILE <= outputs; n += TILE)
            tile(y + r * y_stride + n, y_stride, x + r * K, 1, w + n * K, TILE, K);
        for (; n < outputs; n++)
            tile(y + r * y_stride + n, y_stride, x + r * K, 1, w + n * K, 1, K);
    }
}
