/* Float32 to every block type: the quantiser of each, for whatever table includes this. */
#ifndef KERNEL_REF_QUANTISE_BLOCKS_H
#define KERNEL_REF_QUANTISE_BLOCKS_H

#include <assert.h>

#include "base/dtype.h"
#include "kernel/ref/quantise_affine.h"
#include "kernel/ref/quantise_plain.h"
#include "kernel/ref/quantise_signed.h"

static inline void quantise_blocks(enum dtype type, void *out, const float *x, size_t n)
{
    static void (*const quantisers[])(uint8_t * out, const float *x) = {
        [DTYPE_Q4_0] = quantise_q4_0,     [DTYPE_Q4_1] = quantise_q4_1,
        [DTYPE_Q5_0] = quantise_q5_0,     [DTYPE_Q5_1] = quantise_q5_1,
        [DTYPE_Q8_0] = quantise_q8_0,     [DTYPE_Q2_K] = quantise_q2_k,
        [DTYPE_Q3_K] = quantise_q3_k,     [DTYPE_Q4_K] = quantise_q4_k,
        [DTYPE_Q5_K] = quantise_q5_k,     [DTYPE_Q6_K] = quantise_q6_k,
        [DTYPE_IQ4_NL] = quantise_iq4_nl, [DTYPE_IQ4_XS] = quantise_iq4_xs,
    };
    assert((size_t)type < sizeof quantisers / sizeof quantisers[0] && quantisers[type]);
    const struct dtype_info *info = dtype_info(type);
    uint8_t *block = out;
    for (size_t i = 0; i < n; i += info->block, block += info->bytes)
        quantisers[type](block, x + i);
}

#endif
