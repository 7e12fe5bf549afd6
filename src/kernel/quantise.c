/* Quantising over threads. */
#include "kernel/quantise.h"

#include <math.h>
bool quantise_takes(const float *x, size_t n, size_t *at)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= QUANTISE_MOST)) {
            *at = i;
            return false;
        }
    return true;
}

/* Elements that a thread takes at a time, whole blocks of every type. */
enum { PIECE = 4096 };

void quantise(const struct kernels *kernels, enum dtype type, void *out, const float *x, size_t n,
              int threads)
{
    bool plain = dtype_info(type)->block == 1;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (size_t i = 0; i < n; i += PIECE) {
        size_t some = n - i < PIECE ? n - i : PIECE;
        void *to = (char *)out + dtype_size(type, i);
        if (plain)
            kernels->pack(type, to, x + i, some);
        else
            kernels->quantise(type, to, x + i, some);
    }
}
