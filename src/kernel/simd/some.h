/* Whole vectors where there are that many floats, else the first n: for loops that take the tail
 * along. */
#ifndef KERNEL_SIMD_SOME_H
#define KERNEL_SIMD_SOME_H

#include "kernel/simd/simd.h"

static inline vf vf_load_some(const float *p, size_t n)
{
    return n >= LANES ? vf_load(p) : vf_load_tail(p, n);
}

static inline void vf_store_some(float *p, vf x, size_t n)
{
    if (n >= LANES)
        vf_store(p, x);
    else
        vf_store_tail(p, x, n);
}

#endif
