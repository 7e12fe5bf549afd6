/* Random weights, drawn as stored: to measure with models that nobody trained. */
#ifndef KERNEL_RANDOM_WEIGHTS_H
#define KERNEL_RANDOM_WEIGHTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

/* Elements first to first + n of a stream of weights, both in whole blocks: levels are uniform over
 * those of the type, scales such that the standard deviation is `deviation` (up to an f16's
 * rounding) and the mean 0. A function of seed, type and place; cut over threads by blocks. */
void random_weights(enum dtype type, void *out, uint64_t first, size_t n, uint64_t seed,
                    float deviation, int threads);

#endif
