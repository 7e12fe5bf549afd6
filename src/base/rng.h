/* Random numbers as a function of a seed and a counter: draw n of a seed is the same whoever asked
 * for the draws before it, so a sequence's text depends on its own seed alone.
 *
 * SplitMix64 (Steele, Lea and Flood 2014). */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

static inline uint64_t rng_bits(uint64_t seed, uint64_t n)
{
    uint64_t z = seed * 0xd1342543de82ef95u + (n + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Uniform in [0, 1). */
static inline double rng_uniform(uint64_t seed, uint64_t n)
{
    return (double)(rng_bits(seed, n) >> 11) * 0x1p-53;
}

#endif
