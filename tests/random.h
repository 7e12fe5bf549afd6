/* Random numbers for tests: SplitMix64 (Steele, Lea and Flood 2014), seeded anew for each run.
 *
 * The seed is printed as a comment of TAP by the first call of random_seed, which main makes;
 * TRIB_SEED=N in the environment repeats a run. Each test starts its own stream, so that what one
 * test draws does not depend on the tests before it. */
#ifndef RANDOM_H
#define RANDOM_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/half.h"

struct random {
    uint64_t state;
};

static inline uint64_t random_bits(struct random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t random_seed(void)
{
    static uint64_t seed;
    if (seed == 0) {
        const char *text = getenv("TRIB_SEED");
        struct random r = {(uint64_t)time(NULL) << 20 ^ (uint64_t)getpid()};
        uint64_t given = text ? strtoull(text, NULL, 10) : random_bits(&r) % 1000000000;
        seed = given ? given : 1;
        printf("# seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
    }
    return seed;
}

/* The stream of a test; `salt` tells it from the streams of the other tests. */
static inline struct random random_start(uint64_t salt)
{
    struct random r = {random_seed() + (salt << 32)};
    return random_bits(&r), r;
}

/* A whole number from 0 to n - 1. */
static inline size_t random_below(struct random *r, size_t n)
{
    return (size_t)(random_bits(r) % n);
}

static inline float random_between(struct random *r, float low, float high)
{
    double unit = (double)(random_bits(r) >> 11) * 0x1p-53;
    return (float)(low + (high - (double)low) * unit);
}

/* Near enough to a normal distribution of variance 1, and never beyond 6. */
static inline float random_normal(struct random *r)
{
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += random_between(r, -0.5f, 0.5f);
    return sum;
}

static inline void random_fill(struct random *r, float *out, size_t n, float size)
{
    for (size_t i = 0; i < n; i++)
        out[i] = random_between(r, -size, size);
}

/* Any float at all: every exponent and both signs are equally likely, NaN and infinity among them.
 */
static inline float random_any_float(struct random *r)
{
    uint32_t u = (uint32_t)random_bits(r);
    return float_from_bits(random_below(r, 16) ? u : u | 0x7f800000u);
}

#endif
