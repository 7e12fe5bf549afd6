/* The inputs of tools/quant_golden.py, made again: functions of a counter. */
#ifndef QUANT_CASE_H
#define QUANT_CASE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/dtype.h"
#include "base/half.h"
#include "base/rng.h"

enum {
    QUANT_BYTES = 256,  /* blocks of one byte value each */
    QUANT_RANDOM = 128, /* blocks of random bytes after them */
    QUANT_BLOCKS = QUANT_BYTES + QUANT_RANDOM,
    QUANT_WEIGHTS = 256 * 256,
    QUANT_KINDS = 3,
};

static const char *const quant_kinds[QUANT_KINDS] = {"normal", "cubed", "offset"};

static inline size_t quant_kind(const char *name)
{
    size_t kind = 0;
    while (strcmp(quant_kinds[kind], name) != 0)
        kind++;
    return kind;
}

/* Where the f16 scales of a block stand; -1 ends. */
static inline const int *quant_scales(enum dtype type)
{
    static const int none[] = {-1}, one[] = {0, -1}, two[] = {0, 2, -1}, q2_k[] = {80, 82, -1},
                     q3_k[] = {108, -1}, q6_k[] = {208, -1};
    switch (type) {
    case DTYPE_Q2_K:
        return q2_k;
    case DTYPE_Q3_K:
        return q3_k;
    case DTYPE_Q6_K:
        return q6_k;
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        return two;
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16:
        return none;
    default:
        return one;
    }
}

/* Blocks of each byte value, then random ones; in three of four of these all scales are finite.
 * out: [QUANT_BLOCKS] blocks. */
static inline void quant_blocks(enum dtype type, uint8_t *out)
{
    size_t size = dtype_info(type)->bytes;
    for (size_t b = 0; b < QUANT_BYTES; b++)
        memset(out + b * size, (int)b, size);
    uint8_t *random = out + QUANT_BYTES * size;
    for (size_t i = 0; i < QUANT_RANDOM * size; i++)
        random[i] = (uint8_t)(rng_bits(type, i / 8) >> i % 8 * 8);
    for (size_t b = 0; b < QUANT_RANDOM; b++)
        for (const int *at = quant_scales(type); *at >= 0 && b % 4; at++)
            random[b * size + (size_t)*at + 1] &= 0xbf;
}

/* Sums of four 16-bit numbers, near to normal, and what is made of them. Every 16th run of 32 is
 * zero, every 16th constant, every 16th zero but for one. out: [QUANT_WEIGHTS] */
static inline void quant_weights(size_t kind, float *out)
{
    for (size_t i = 0; i < QUANT_WEIGHTS; i++) {
        uint64_t bits = rng_bits(1000 + kind, i);
        long sum = -2 * 65535;
        for (int shift = 0; shift < 64; shift += 16)
            sum += (long)(bits >> shift & 0xffff);
        float x = (float)sum * 0x1p-17f;
        if (kind == 1)
            x = x * x * x;
        if (kind == 2)
            x = x + 0.25f;
        out[i] = ldexpf(x, (int)(i / 32 / 8 % 12) - 8);
        size_t run = i / 32 % 16;
        if (run == 3 || (run == 7 && i % 32))
            out[i] = 0;
        if (run == 5)
            out[i] = out[i / 32 * 32];
    }
}

/* FNV-1a over 32-bit words or bytes. */
static inline uint64_t quant_hash_step(uint64_t hash, uint32_t word)
{
    return (hash ^ word) * 0x100000001b3u;
}

enum { QUANT_HASH_SHOWN = 17 };

static inline void quant_hash_text(uint64_t hash, char text[QUANT_HASH_SHOWN])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++)
        text[i] = digits[hash >> (60 - 4 * i) & 15];
    text[16] = 0;
}

#define QUANT_HASH_START 0xcbf29ce484222325u

#endif
