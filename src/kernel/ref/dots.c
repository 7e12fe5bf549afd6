/* y = x w^T, one sum after the other. */
#include "kernel/ref/ref.h"

void dots_ref(float *y, size_t y_stride, const float *x, size_t rows, const float *w,
              size_t outputs, size_t K)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t n = 0; n < outputs; n++) {
            float sum = 0;
            for (size_t k = 0; k < K; k++)
                sum += x[r * K + k] * w[n * K + k];
            y[r * y_stride + n] = sum;
        }
}
