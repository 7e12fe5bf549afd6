/* Packing of block-quantised weights: the rows of a file side by side in panels.
 *
 * Words of codes are moved as they are, but for two types: the bytes of Q8_0 become unsigned, and
 * the upper bits of Q5_0 and Q5_1, one word for 32 inputs, are put where those of Q5_K stand: byte
 * i has those of inputs 4 g + i at bits g. Scales are unpacked where that costs no memory.
 *
 * Source of the formats: ggml, the Python package gguf.
 */
#include <string.h>

#include "kernel/quant.h"

const uint8_t quant_iq4[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                               129, 141, 153, 166, 181, 197, 217, 241};

/* Where the parts of a block lie in a file. */
struct stored_block {
    unsigned s, m, scales, high, low;
};

static struct stored_block stored_block(enum dtype type)
{
    switch (type) {
    case DTYPE_Q4_1:
        return (struct stored_block){.s = 0, .m = 2, .low = 4};
    case DTYPE_Q5_0:
        return (struct stored_block){.s = 0, .high = 2, .low = 6};
    case DTYPE_Q5_1:
        return (struct stored_block){.s = 0, .m = 2, .high = 4, .low = 8};
    case DTYPE_Q2_K:
        return (struct stored_block){.scales = 0, .low = 16, .s = 80, .m = 82};
    case DTYPE_Q3_K:
        return (struct stored_block){.high = 0, .low = 32, .scales = 96, .s = 108};
    case DTYPE_Q4_K:
        return (struct stored_block){.s = 0, .m = 2, .scales = 4, .low = 16};
    case DTYPE_Q5_K:
        return (struct stored_block){.s = 0, .m = 2, .scales = 4, .high = 16, .low = 48};
    case DTYPE_Q6_K:
        return (struct stored_block){.low = 0, .high = 128, .scales = 192, .s = 208};
    case DTYPE_IQ4_XS:
        return (struct stored_block){.s = 0, .scales = 2, .low = 8};
    default: /* Q8_0, Q4_0, IQ4_NL */
        return (struct stored_block){.s = 0, .low = 2};
    }
}

/* ---- Scales of sub-blocks ---- */

/* c and e of sub-block b of Q4_K and Q5_K, 6 bits each in 12 bytes: those of the first four stand
 * in the lower bits of bytes 0-3 and 4-7; of the others, the lower four in bytes 8-11, the upper
 * two above those of the first. */
static void scales_6(const uint8_t *at, unsigned b, unsigned *c, unsigned *e)
{
    if (b < 4) {
        *c = at[b] & 63;
        *e = at[4 + b] & 63;
    } else {
        *c = (at[4 + b] & 15u) | (at[b - 4] >> 6 << 4);
        *e = (at[4 + b] >> 4) | (at[b] >> 6 << 4);
    }
}

/* The byte of sub-block b of the other types. */
static uint8_t scale_byte(enum dtype type, const uint8_t *at, unsigned b)
{
    unsigned low, high;
    switch (type) {
    case DTYPE_Q3_K: /* lower four bits of 16 in 8 bytes, upper two in 4, less 32 */
        low = at[b % 8] >> b / 8 * 4 & 15;
        high = at[8 + b % 4] >> b / 4 * 2 & 3;
        return (uint8_t)((low | high << 4) - 32);
    case DTYPE_IQ4_XS: /* upper two bits of 8 in 2 bytes, lower four in 4, less 32 */
        low = at[2 + b / 2] >> b % 2 * 4 & 15;
        high = at[b / 4] >> b % 4 * 2 & 3;
        return (uint8_t)((low | high << 4) - 32);
    default: /* Q2_K, Q6_K */
        return at[b];
    }
}

/* Pair `pair` of output 0's scales. */
static void pack_pair(enum dtype type, uint8_t *to, const uint8_t *scales, unsigned pair)
{
    unsigned c[2], e[2];
    if (quant_layout(type).scale_bits != 6) {
        to[0] = scale_byte(type, scales, 2 * pair);
        to[1] = scale_byte(type, scales, 2 * pair + 1);
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        scales_6(scales, 2 * pair + i, &c[i], &e[i]);
        to[i] = (uint8_t)((c[i] & 15) | (e[i] & 15) << 4);
    }
}

/* The upper bits of a pair of 6-bit scales. */
static uint8_t pair_upper(const uint8_t *scales, unsigned pair)
{
    unsigned c[2], e[2];
    for (unsigned i = 0; i < 2; i++)
        scales_6(scales, 2 * pair + i, &c[i], &e[i]);
    return (uint8_t)(c[0] >> 4 | c[1] >> 4 << 2 | e[0] >> 4 << 4 | e[1] >> 4 << 6);
}

static void pack_scales(enum dtype type, uint8_t *unit, const uint8_t *scales, size_t output)
{
    struct quant_layout l = quant_layout(type);
    for (unsigned pair = 0; pair < l.inputs / l.sub / 2; pair++) {
        uint8_t *to = unit + quant_pairs_at(l) + pair * quant_pair_bytes(l);
        pack_pair(type, to + 2 * output, scales, pair);
        if (l.scale_bits == 6)
            to[2 * QUANT_OUTPUTS + output] = pair_upper(scales, pair);
    }
}

/* ---- Codes ---- */

static void pack_word(uint8_t *to, const uint8_t *from, uint32_t flip)
{
    uint32_t word;
    memcpy(&word, from, 4);
    word ^= flip;
    memcpy(to, &word, 4);
}

static void pack_bits(uint8_t *to, const uint8_t *from)
{
    memset(to, 0, 4);
    for (unsigned k = 0; k < 32; k++)
        to[k % 4] |= (uint8_t)((from[k / 8] >> k % 8 & 1) << k / 4);
}

static void pack_unit(enum dtype type, uint8_t *unit, const uint8_t *block, size_t output)
{
    struct quant_layout l = quant_layout(type);
    struct stored_block at = stored_block(type);
    memcpy(unit + 2 * output, block + at.s, 2);
    if (l.mins)
        memcpy(unit + QUANT_SCALES + 2 * output, block + at.m, 2);
    if (l.scale_bits)
        pack_scales(type, unit, block + at.scales, output);
    uint8_t *words = unit + quant_words_at(l) + 4 * output;
    if (l.high == 1)
        pack_bits(words, block + at.high);
    for (int i = 0; l.high > 1 && i < (int)l.high; i++)
        pack_word(words + quant_high_word(l, i) * QUANT_WORD, block + at.high + 4 * i, 0);
    for (int i = 0; i < (int)l.low; i++)
        pack_word(words + quant_low_word(l, i) * QUANT_WORD, block + at.low + 4 * i,
                  type == DTYPE_Q8_0 ? 0x80808080u : 0);
}

void quant_pack(enum dtype type, void *panel, const void *stored, size_t stride, size_t outputs,
                size_t inputs)
{
    struct quant_layout l = quant_layout(type);
    size_t units = inputs / l.inputs, bytes = quant_unit_bytes(l), block = dtype_info(type)->bytes;
    if (outputs < QUANT_OUTPUTS)
        memset(panel, 0, units * bytes);
    for (size_t i = 0; i < units; i++)
        for (size_t output = 0; output < outputs; output++)
            pack_unit(type, (uint8_t *)panel + i * bytes,
                      (const uint8_t *)stored + output * stride + i * block, output);
}
