/* The weights that block-quantised bytes of a file stand for, in float64: written down from the
 * formats, element by element, and sharing no code with the kernels.
 *
 * Source of the formats: ggml, the Python package gguf. */
#ifndef DEQUANTISE_H
#define DEQUANTISE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/dtype.h"
#include "base/half.h"

static inline double half_at(const uint8_t *at)
{
    uint16_t h;
    memcpy(&h, at, sizeof h);
    return (double)f16_to_float(h);
}

/* `bits` bits from bit `first` on of a run of bytes whose lowest bits come first. */
static inline int bits_at(const uint8_t *at, unsigned first, unsigned bits)
{
    int value = 0;
    for (unsigned i = 0; i < bits; i++)
        value |= (at[(first + i) / 8] >> (first + i) % 8 & 1) << i;
    return value;
}

/* A weight is scale times code, less a minimum. */
struct element {
    double scale, minimum;
    int code;
};

/* The 6-bit scale and minimum of sub-block j of Q4_K and Q5_K. */
static inline void scale_of_k(const uint8_t *s, size_t j, int *scale, int *minimum)
{
    *scale = s[j % 4] & 63;
    *minimum = s[4 + j % 4] & 63;
    if (j >= 4) {
        *scale = (s[4 + j] & 15) + (s[j - 4] / 64) * 16;
        *minimum = s[4 + j] / 16 + (s[j] / 64) * 16;
    }
}

/* Blocks of 32. */
static inline struct element element_32(enum dtype type, const uint8_t *b, size_t i)
{
    static const int table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
    struct element e = {.scale = half_at(b)};
    unsigned nibble = (unsigned)(8 * (i % 16) + 4 * (i / 16)); /* two halves of 16 share bytes */
    switch (type) {
    case DTYPE_Q8_0:
        e.code = (int8_t)b[2 + i];
        break;
    case DTYPE_Q4_0:
        e.code = bits_at(b + 2, nibble, 4) - 8;
        break;
    case DTYPE_Q4_1:
        e.code = bits_at(b + 4, nibble, 4);
        e.minimum = -half_at(b + 2);
        break;
    case DTYPE_Q5_0:
        e.code = bits_at(b + 6, nibble, 4) + 16 * bits_at(b + 2, (unsigned)i, 1) - 16;
        break;
    case DTYPE_Q5_1:
        e.code = bits_at(b + 8, nibble, 4) + 16 * bits_at(b + 4, (unsigned)i, 1);
        e.minimum = -half_at(b + 2);
        break;
    default: /* IQ4_NL */
        e.code = table[bits_at(b + 2, nibble, 4)];
    }
    return e;
}

/* Blocks of 256. */
static inline struct element element_256(enum dtype type, const uint8_t *b, size_t i)
{
    static const int table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
    struct element e = {0};
    size_t half = i / 128, in = i % 128, j16 = i / 16, j32 = i / 32;
    unsigned two = (unsigned)(8 * (32 * half + in % 32) + 2 * (in / 32));
    unsigned four = (unsigned)(8 * (32 * (i / 64) + i % 32) + 4 * (j32 % 2));
    int scale, minimum;
    switch (type) {
    case DTYPE_Q2_K:
        e.code = bits_at(b + 16, two, 2);
        e.scale = half_at(b + 80) * (b[j16] & 15);
        e.minimum = half_at(b + 82) * (b[j16] >> 4);
        break;
    case DTYPE_Q3_K:
        e.code = bits_at(b + 32, two, 2) - (bits_at(b + i % 32, (unsigned)j32, 1) ? 0 : 4);
        scale = bits_at(b + 96 + j16 % 8, j16 < 8 ? 0 : 4, 4);
        scale += 16 * bits_at(b + 104 + j16 % 4, (unsigned)(j16 / 4 * 2), 2);
        e.scale = half_at(b + 108) * (scale - 32);
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        scale_of_k(b + 4, j32, &scale, &minimum);
        e.scale = half_at(b) * scale;
        e.minimum = half_at(b + 2) * minimum;
        e.code = bits_at(b + (type == DTYPE_Q4_K ? 16 : 48), four, 4);
        if (type == DTYPE_Q5_K)
            e.code += 16 * bits_at(b + 16 + i % 32, (unsigned)j32, 1);
        break;
    case DTYPE_Q6_K:
        e.code = bits_at(b + 64 * half + in % 64, in < 64 ? 0 : 4, 4);
        e.code += 16 * bits_at(b + 128, two, 2) - 32;
        e.scale = half_at(b + 208) * (int8_t)b[192 + j16];
        break;
    default: /* IQ4_XS */
        scale =
            bits_at(b + 4, (unsigned)(4 * j32), 4) + 16 * bits_at(b + 2, (unsigned)(2 * j32), 2);
        e.scale = half_at(b) * (scale - 32);
        e.code = table[bits_at(b + 8 + 16 * j32 + i % 16, i % 32 < 16 ? 0 : 4, 4)];
    }
    return e;
}

/* w[i], and size[i] = the magnitudes of what it is the difference of, for n weights from `stored`
 * on. */
static inline void dequantise(enum dtype type, double *w, double *size, const uint8_t *stored,
                              size_t n)
{
    const struct dtype_info *info = dtype_info(type);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *block = stored + i / info->block * info->bytes;
        struct element e =
            info->block == 32 ? element_32(type, block, i % 32) : element_256(type, block, i % 256);
        w[i] = e.scale * e.code - e.minimum;
        size[i] = fabs(e.scale * e.code) + fabs(e.minimum);
    }
}

#endif
