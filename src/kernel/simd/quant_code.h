/* The codes of block-quantised weights, taken apart from the words of a panel. Every type keeps the
 * order of its file: see the descriptions of the formats in ggml's Python package gguf. */
#ifndef KERNEL_SIMD_QUANT_CODE_H
#define KERNEL_SIMD_QUANT_CODE_H

#include "kernel/quant.h"
#include "kernel/simd/bytes.h"

/* `bits` bits of each byte of x, from bit n on, brought to bit `to`. */
INLINE vi take(vi x, int bits, int n, int to)
{
    return vi_and(vi_shift(x, n - to), vi_set_bytes(((1 << bits) - 1) << to));
}

/* `low` with the bits that take() has. */
INLINE vi take_upper(vi low, vi x, int bits, int n, int to)
{
    return vi_or_and(low, vi_shift(x, n - to), vi_set_bytes(((1 << bits) - 1) << to));
}

/* Word i of the lower bits, and of the upper ones, of which `words` is the first of all. */
INLINE vi low_word(struct quant_layout l, const char *words, int i)
{
    return vi_load(words + quant_low_word(l, i) * QUANT_WORD);
}

INLINE vi high_word(struct quant_layout l, const char *words, int i)
{
    return vi_load(words + quant_high_word(l, i) * QUANT_WORD);
}

/* The codes of four inputs from 128 half + 32 part + 4 g of a unit on, for LANES outputs from
 * `output` on. part and g are constants where this is compiled. */
INLINE vi quant_code(enum dtype type, const char *unit, int half, int part, int g, size_t output)
{
    struct quant_layout l = quant_layout(type);
    const char *words = unit + quant_words_at(l) + 4 * output;
    switch (type) {
    case DTYPE_Q8_0: /* 34 GB/s of 34; with the last word read before the others 27 to 31 */
        return vi_load_in_order(words + quant_low_word(l, g) * QUANT_WORD);
    case DTYPE_Q4_0:
    case DTYPE_Q4_1:
        return take(low_word(l, words, g % 4), 4, g / 4 * 4, 0);
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
        return take_upper(take(low_word(l, words, g % 4), 4, g / 4 * 4, 0), high_word(l, words, 0),
                          1, g, 4);
    case DTYPE_Q2_K:
        return take(low_word(l, words, half * 8 + g), 2, part * 2, 0);
    case DTYPE_Q3_K:
        return take_upper(take(low_word(l, words, half * 8 + g), 2, part * 2, 0),
                          vi_shift_by(high_word(l, words, g), 4 * half), 1, part, 2);
    case DTYPE_Q4_K:
        return take(low_word(l, words, half * 16 + part / 2 * 8 + g), 4, part % 2 * 4, 0);
    case DTYPE_Q5_K:
        return take_upper(
            take(low_word(l, words, half * 16 + part / 2 * 8 + g), 4, part % 2 * 4, 0),
            vi_shift_by(high_word(l, words, g), 4 * half), 1, part, 4);
    case DTYPE_Q6_K:
        return take_upper(
            take(low_word(l, words, half * 16 + part % 2 * 8 + g), 4, part / 2 * 4, 0),
            high_word(l, words, half * 8 + g), 2, part * 2, 4);
    default: /* IQ4_NL and IQ4_XS */
        return vi_look_up(quant_iq4,
                          take(low_word(l, words, (half * 4 + part) * 4 + g % 4), 4, g / 4 * 4, 0));
    }
}

/* The same with QUANT_ZERO for zero, where the type has one: codes that lie apart. */
INLINE vi quant_lifted(enum dtype type, const char *unit, int half, int part, int g, size_t output)
{
    struct quant_layout l = quant_layout(type);
    vi u = quant_code(type, unit, half, part, g, output);
    if (l.mins || l.zero == QUANT_ZERO)
        return u;
    return vi_add_bytes(u, vi_set_bytes(QUANT_ZERO - (int)l.zero));
}

/* c of a pair of sub-blocks, and both e in the halves of each 32 bits. */
struct scales {
    vf c[2];
    vi e;
};

INLINE struct scales quant_scales(struct quant_layout l, const char *unit, int pair, size_t output)
{
    struct scales out;
    const char *at = unit + quant_pairs_at(l) + (size_t)pair * quant_pair_bytes(l);
    if (l.scale_bits == 8) {
        vi both = vi_from_bytes_signed(at + 2 * output);
        out.c[0] = vf_from_vi(vi_shift_signed(vi_shift(both, -16), 16));
        out.c[1] = vf_from_vi(vi_shift_signed(both, 16));
        out.e = vi_zero();
        return out;
    }
    vi both = vi_from_bytes(at + 2 * output), four = vi_set(0x000f000f), two = vi_set(0x00300030);
    vi c = vi_and(both, four);
    out.e = vi_and(vi_shift(both, 4), four);
    if (l.scale_bits == 6) {
        vi upper = vi_from_bytes_far(at + 2 * QUANT_OUTPUTS + output);
        upper = vi_or_and(upper, vi_shift(upper, -14), vi_set(0x00330000));
        c = vi_or_and(c, vi_shift(upper, -4), two);
        out.e = vi_or_and(out.e, upper, two);
    }
    out.c[0] = vf_from_vi(vi_and(c, vi_set(0xffff)));
    out.c[1] = vf_from_vi(vi_shift(c, 16));
    return out;
}

/* Scales that lie apart, PAIR_APART bytes a pair: both c, [2][QUANT_OUTPUTS] in float32, and both
 * e, [QUANT_OUTPUTS][2] in 16 bits. */
enum { PAIR_APART = 3 * QUANT_WORD };

INLINE void scales_store(char *apart, struct scales s, size_t output)
{
    vf_store((float *)(void *)apart + output, s.c[0]);
    vf_store((float *)(void *)apart + QUANT_OUTPUTS + output, s.c[1]);
    vi_store(apart + 2 * QUANT_WORD + 4 * output, s.e);
}

INLINE struct scales scales_load(const char *apart, size_t output)
{
    const float *c = (const float *)(const void *)apart + output;
    return (struct scales){{vf_load(c), vf_load(c + QUANT_OUTPUTS)},
                           vi_load(apart + 2 * QUANT_WORD + 4 * output)};
}

#endif
