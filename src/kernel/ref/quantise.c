/* The quantisers as plain C. */
#include "kernel/ref/quantise_blocks.h"
#include "kernel/ref/ref.h"

void quantise_ref(enum dtype type, void *out, const float *x, size_t n)
{
    quantise_blocks(type, out, x, n);
}
