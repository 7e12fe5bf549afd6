/* Products with block-quantised weights: how panels of weights and rows of x lie, and what is
 * computed of them. The same in every table, and so are the bits of what is computed.
 *
 * A weight is made of an unsigned code u, and of numbers that a sub-block of 16 or 32 inputs, or a
 * unit, shares. Of x each block is rounded to steps of d, at most 127 to either side: to the
 * nearest, ties to even. Sums of u q are exact. There are two kinds of types, by the inputs of a
 * unit:
 *
 *  32   w_k = s (u_k - zero)  or  w_k = s u_k + m, with s and m in f16. Blocks of x are 32, too:
 *
 *           d = max |x| / 127, rounded up to QUANT_LEVELS values from one power of two to the next
 *           q_k = x_k (1 / d)
 *           y = y + (d s) (sum_k u_k q_k - zero sum_k q_k),   or
 *           y = y + (d s) sum_k u_k q_k,  y = y + (d sum_k q_k) m
 *
 *  256  w_k = s c_b (u_k - zero)  or  w_k = s c_b u_k - m e_b, with whole numbers c_b and e_b for
 *       each sub-block b. Blocks of x are 256, too; t begins as 0 in each unit:
 *
 *           d = max |x| / 127,    q_k = x_k (127 / max |x|)
 *           t = t + c_b (sum_k u_k q_k - zero sum_k q_k), b ascending,  y = y + (d s) t,   or
 *           v = s t - (m sum_b e_b sum_k q_k),  y = y + d v  where there is m
 *
 * Each y =, t = and v = is one fused multiply-add of float32, products in brackets rounded before,
 * sums of whole numbers rounded to float32; units follow one another in ascending order. A block of
 * x whose largest is not finite, or above QUANT_HUGE, has NaN for d, and one whose largest is below
 * QUANT_TINY counts as zero.
 *
 * With d = 2^e (1 + j / QUANT_LEVELS) the product d s is exact, and so are two others: of 2^e and
 * the sum, and of 1 + j / QUANT_LEVELS and s, which kernels may look up where many rows meet one s.
 * The steps are 5% larger for it, in the square mean.
 */
#ifndef KERNEL_QUANT_H
#define KERNEL_QUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/dtype.h"

/* Outputs of a panel, and bytes that four inputs of each have at a byte an input. */
enum { QUANT_OUTPUTS = 32, QUANT_WORD = 4 * QUANT_OUTPUTS };

/* Below the one and above the other, 1 / d or what is computed with it would leave float32. */
#define QUANT_TINY 0x1p-100f
#define QUANT_HUGE 0x1p100f

/* ---- Weights ---- */

/* The unit of a panel: parts follow one another in this order, each for all outputs. A word is four
 * bytes of a file for each output, [QUANT_OUTPUTS][4]; they keep the order of the file, in which
 * every kernel finds its codes (see quant_pack.c). */
struct quant_layout {
    unsigned inputs;     /* of a unit: 32 or 256 */
    unsigned sub;        /* inputs of a sub-block: 16 or 32 */
    unsigned zero;       /* the code of weight 0 */
    bool mins;           /* there is m, and no zero */
    unsigned scale_bits; /* of a sub-block: 0, 4 (with e in the upper half), 6 (with e) or 8 */
    unsigned high;       /* words of upper bits, and of lower ones */
    unsigned low;
};

static inline __attribute__((always_inline)) struct quant_layout quant_layout(enum dtype type)
{
    switch (type) {
    case DTYPE_Q8_0:
        return (struct quant_layout){32, 32, 128, false, 0, 0, 8};
    case DTYPE_Q4_0:
        return (struct quant_layout){32, 32, 8, false, 0, 0, 4};
    case DTYPE_Q4_1:
        return (struct quant_layout){32, 32, 0, true, 0, 0, 4};
    case DTYPE_Q5_0:
        return (struct quant_layout){32, 32, 16, false, 0, 1, 4};
    case DTYPE_Q5_1:
        return (struct quant_layout){32, 32, 0, true, 0, 1, 4};
    case DTYPE_IQ4_NL:
        return (struct quant_layout){32, 32, 128, false, 0, 0, 4};
    case DTYPE_Q2_K:
        return (struct quant_layout){256, 16, 0, true, 4, 0, 16};
    case DTYPE_Q3_K:
        return (struct quant_layout){256, 16, 4, false, 8, 8, 16};
    case DTYPE_Q4_K:
        return (struct quant_layout){256, 32, 0, true, 6, 0, 32};
    case DTYPE_Q5_K:
        return (struct quant_layout){256, 32, 0, true, 6, 8, 32};
    case DTYPE_Q6_K:
        return (struct quant_layout){256, 16, 32, false, 8, 16, 32};
    default: /* IQ4_XS */
        return (struct quant_layout){256, 32, 128, false, 8, 0, 32};
    }
}

/* Where the parts of a unit begin. s and m are [QUANT_OUTPUTS] in f16. Sub-blocks lie in pairs,
 * QUANT_PAIR bytes each: [QUANT_OUTPUTS][2] bytes of c_b, or of 4 bits of c_b and above them 4 of
 * e_b; where scales have 6 bits, [QUANT_OUTPUTS] bytes follow with the upper 2 bits of the c and
 * then of the e of both. */
enum { QUANT_SCALES = 2 * QUANT_OUTPUTS };

static inline size_t quant_pair_bytes(struct quant_layout l)
{
    return l.scale_bits == 6 ? 3 * QUANT_OUTPUTS : 2 * QUANT_OUTPUTS;
}

static inline size_t quant_pairs_at(struct quant_layout l)
{
    return l.mins ? 2 * QUANT_SCALES : QUANT_SCALES;
}

static inline size_t quant_words_at(struct quant_layout l)
{
    size_t pairs = l.scale_bits ? l.inputs / l.sub / 2 : 0;
    return quant_pairs_at(l) + pairs * quant_pair_bytes(l);
}

static inline size_t quant_unit_bytes(struct quant_layout l)
{
    return quant_words_at(l) + (l.high + l.low) * QUANT_WORD;
}

/* Which of a unit's words word i of the upper bits is, and of the lower ones: upper before lower,
 * but for Q6_K, whose upper words stand between those lower ones that are needed with them first:
 * memory is then read as one stream. */
static inline int quant_high_word(struct quant_layout l, int i)
{
    return l.high == 16 ? i / 8 * 24 + i % 8 * 2 : i;
}

static inline int quant_low_word(struct quant_layout l, int i)
{
    if (l.high != 16)
        return (int)l.high + i;
    return i / 16 * 24 + (i % 16 < 8 ? i % 8 * 2 + 1 : i % 16 + 8);
}

/* What the four bits of IQ4_NL and IQ4_XS stand for: codes whose zero is 128. */
extern const uint8_t quant_iq4[16];

/* Packs `outputs` rows of `inputs` weights, `stride` bytes apart as in a file, into a panel. What
 * is no output is made of zeros. */
void quant_pack(enum dtype type, void *panel, const void *stored, size_t stride, size_t outputs,
                size_t inputs);

/* ---- Rows of x ---- */

/* Sums of q that meet zeros are stored times it: kernels add to codes what their zero lacks. */
enum { QUANT_ZERO = 128 };

/* The values of d from a power of two to the next, and the bits of d below them. */
enum { QUANT_LEVELS = 8, QUANT_LEVEL_SHIFT = 20 };

/* A block of x for types with units of 32. */
struct quant_block32 {
    int8_t q[32];
    float d;
    float d_sum;   /* d times the sum of q */
    int32_t start; /* -QUANT_ZERO times it */
    float lift;    /* 3 2^22 2^e, or NaN as d: bits of it plus n are those of lift + 2^e n */
};

/* d rounded up. */
static inline float quant_level_up(float d)
{
    uint32_t bits, below = (1u << QUANT_LEVEL_SHIFT) - 1;
    memcpy(&bits, &d, sizeof bits);
    bits = (bits + below) & ~below;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* j of it. */
static inline size_t quant_level(float d)
{
    uint32_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits >> QUANT_LEVEL_SHIFT & (QUANT_LEVELS - 1);
}

/* The lift that belongs to it; 0 counts as 1. */
static inline float quant_lift(float d)
{
    uint32_t bits;
    if (d == 0)
        return 0x3p22f;
    if (d != d)
        return d;
    memcpy(&bits, &d, sizeof bits);
    bits &= 0x7f800000;
    memcpy(&d, &bits, sizeof d);
    return 0x3p22f * d;
}

/* The same for units of 256, with the sums of each 16 and 32 of q. */
struct quant_block256 {
    int8_t q[256];
    int32_t start16[16]; /* -QUANT_ZERO times the sums */
    int32_t start32[8];
    int16_t sum16[16];
    int16_t sum32[8];
    float d;
    int32_t spare[3]; /* 0 */
};

/* Bytes of a row: an odd number of cache lines, so that the rows of a tile lie in different sets.
 */
static inline size_t quant_row_bytes(enum dtype type, size_t inputs)
{
    size_t unit = quant_layout(type).inputs;
    size_t block = unit == 32 ? sizeof(struct quant_block32) : sizeof(struct quant_block256);
    return (((inputs + unit - 1) / unit * block + 63) / 64 | 1) * 64;
}

/* ---- The product ---- */

/* Rows of x with one panel of weights, as said above. y begins as (accumulate ? y : 0) + bias. */
struct quant_panel {
    enum dtype type;
    size_t outputs; /* 1 to QUANT_OUTPUTS */
    size_t inputs;
    const char *panel; /* aligned to 64 */
    const char *x;     /* [rows] of quant_row_bytes(), aligned to 64 */
    size_t rows;
    float *y; /* [rows][y_stride] */
    size_t y_stride;
    const float *bias; /* [outputs], or NULL */
    bool accumulate;
};

#endif
