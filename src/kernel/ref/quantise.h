/* The quantisers of one block each; layouts: unpack_blocks.c. */
#ifndef KERNEL_REF_QUANTISE_H
#define KERNEL_REF_QUANTISE_H

#include <stdint.h>

#include "base/half.h"

void quantise_q2_k(uint8_t *out, const float *x);
void quantise_q3_k(uint8_t *out, const float *x);
void quantise_q4_k(uint8_t *out, const float *x);
void quantise_q5_k(uint8_t *out, const float *x);
void quantise_q6_k(uint8_t *out, const float *x);
void quantise_iq4_nl(uint8_t *out, const float *x);
void quantise_iq4_xs(uint8_t *out, const float *x);

/* Stores a scale; returns it as it will be read. */
static inline float half_put(uint8_t *out, float x)
{
    uint16_t h = f16_from_float(x);
    out[0] = (uint8_t)h;
    out[1] = (uint8_t)(h >> 8);
    return f16_to_float(h);
}

#endif
