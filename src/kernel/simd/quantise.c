/* The quantisers for the instruction set at hand: the same source, whose vectors the
 * compiler splits or not, and the same bits. */
#include "kernel/ref/quantise_blocks.h"
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

void SIMD(quantise)(enum dtype type, void *out, const float *x, size_t n)
{
    quantise_blocks(type, out, x, n);
}
