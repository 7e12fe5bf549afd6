/* Products with block-quantised weights. Contract, equations and layout: kernel/quant.h. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "kernel/quant.h"
#include "kernel/ref/ref.h"

/* ---- Rows of x ---- */

/* q and d of n elements; d is one of the levels, or any. */
static float round_block(int8_t *q, const float *x, size_t n, bool levels)
{
    float most = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        finite = finite && isfinite(x[i]);
        most = fmaxf(most, fabsf(x[i]));
    }
    memset(q, 0, n);
    if (!finite || most > QUANT_HUGE)
        return NAN;
    if (most < QUANT_TINY)
        return 0;
    float d = levels ? quant_level_up(most / 127) : most / 127;
    float inverse = levels ? 1 / d : 127 / most;
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)rintf(x[i] * inverse);
    return d;
}

static int sum_of(const int8_t *q, size_t n)
{
    int sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += q[i];
    return sum;
}

static void block_32(struct quant_block32 *out, const float *x)
{
    out->d = round_block(out->q, x, 32, true);
    int sum = sum_of(out->q, 32);
    out->d_sum = out->d * (float)sum;
    out->start = -QUANT_ZERO * sum;
    out->lift = quant_lift(out->d);
}

static void block_256(struct quant_block256 *out, const float *x)
{
    memset(out, 0, sizeof *out);
    out->d = round_block(out->q, x, 256, false);
    for (size_t i = 0; i < 16; i++) {
        out->sum16[i] = (int16_t)sum_of(out->q + 16 * i, 16);
        out->start16[i] = -QUANT_ZERO * out->sum16[i];
    }
    for (size_t i = 0; i < 8; i++) {
        out->sum32[i] = (int16_t)sum_of(out->q + 32 * i, 32);
        out->start32[i] = -QUANT_ZERO * out->sum32[i];
    }
}

void quant_row_ref(enum dtype type, void *out, const float *x, size_t inputs)
{
    if (quant_layout(type).inputs == 32)
        for (size_t i = 0; i < inputs / 32; i++)
            block_32((struct quant_block32 *)out + i, x + 32 * i);
    else
        for (size_t i = 0; i < inputs / 256; i++)
            block_256((struct quant_block256 *)out + i, x + 256 * i);
}

/* ---- Weights ---- */

/* The weights of one output in a unit, taken apart. */
struct unit {
    float s, m;
    int c[16], e[16]; /* of sub-blocks */
    uint8_t u[256];
};

/* Where the words of one output begin. */
struct words {
    struct quant_layout l;
    const uint8_t *first;
};

/* Byte i of word `word` of the lower bits, and of the upper ones. */
static unsigned low(struct words w, size_t word, size_t i)
{
    return w.first[quant_low_word(w.l, (int)word) * QUANT_WORD + (int)i];
}

static unsigned high(struct words w, size_t word, size_t i)
{
    return w.first[quant_high_word(w.l, (int)word) * QUANT_WORD + (int)i];
}

/* The code of input k of a unit. */
static unsigned code(enum dtype type, struct words w, size_t k)
{
    size_t block = k / 32, group = k % 32 / 4, i = k % 4, half = block / 4, part = block % 4;
    switch (type) {
    case DTYPE_Q8_0:
        return low(w, group, i);
    case DTYPE_Q4_0:
    case DTYPE_Q4_1:
        return low(w, group % 4, i) >> group / 4 * 4 & 15;
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
        return (low(w, group % 4, i) >> group / 4 * 4 & 15) | (high(w, 0, i) >> group & 1) << 4;
    case DTYPE_Q2_K:
        return low(w, half * 8 + group, i) >> part * 2 & 3;
    case DTYPE_Q3_K:
        return (low(w, half * 8 + group, i) >> part * 2 & 3) | (high(w, group, i) >> block & 1)
                                                                   << 2;
    case DTYPE_Q4_K:
        return low(w, block / 2 * 8 + group, i) >> block % 2 * 4 & 15;
    case DTYPE_Q5_K:
        return (low(w, block / 2 * 8 + group, i) >> block % 2 * 4 & 15) |
               (high(w, group, i) >> block & 1) << 4;
    case DTYPE_Q6_K:
        return (low(w, half * 16 + part % 2 * 8 + group, i) >> part / 2 * 4 & 15) |
               (high(w, half * 8 + group, i) >> part * 2 & 3) << 4;
    default: /* IQ4_NL and IQ4_XS */
        return quant_iq4[low(w, block * 4 + group % 4, i) >> group / 4 * 4 & 15];
    }
}

static float half_at(const uint8_t *at)
{
    uint16_t h;
    memcpy(&h, at, sizeof h);
    return f16_to_float(h);
}

static void take_scales(struct quant_layout l, struct unit *out, const uint8_t *unit, size_t output)
{
    for (size_t b = 0; b < l.inputs / l.sub; b++) {
        const uint8_t *pair = unit + quant_pairs_at(l) + b / 2 * quant_pair_bytes(l);
        unsigned byte = pair[2 * output + b % 2];
        unsigned upper = l.scale_bits == 6 ? pair[2 * QUANT_OUTPUTS + output] >> b % 2 * 2 : 0;
        out->c[b] = l.scale_bits == 8 ? (int8_t)byte : (int)((byte & 15) | (upper & 3) << 4);
        out->e[b] = (int)(byte >> 4 | (upper >> 4 & 3) << 4);
    }
}

static void take_unit(enum dtype type, struct unit *out, const uint8_t *unit, size_t output)
{
    struct quant_layout l = quant_layout(type);
    out->s = half_at(unit + 2 * output);
    out->m = l.mins ? half_at(unit + QUANT_SCALES + 2 * output) : 0;
    if (l.scale_bits)
        take_scales(l, out, unit, output);
    struct words words = {l, unit + quant_words_at(l) + 4 * output};
    for (size_t k = 0; k < l.inputs; k++)
        out->u[k] = (uint8_t)code(type, words, k);
}

/* ---- The product ---- */

/* sum_k (u_k - zero) q_k */
static int dot(const uint8_t *u, const int8_t *q, size_t n, unsigned zero)
{
    int sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (u[i] - (int)zero) * q[i];
    return sum;
}

static float add_32(struct quant_layout l, float y, const struct unit *w,
                    const struct quant_block32 *x)
{
    y = fmaf(x->d * w->s, (float)dot(w->u, x->q, 32, l.zero), y);
    return l.mins ? fmaf(x->d_sum, w->m, y) : y;
}

static float add_256(struct quant_layout l, float y, const struct unit *w,
                     const struct quant_block256 *x)
{
    float sum = 0;
    int mins = 0;
    const int16_t *sums = l.sub == 16 ? x->sum16 : x->sum32;
    for (size_t b = 0; b < 256 / l.sub; b++) {
        int products = dot(w->u + b * l.sub, x->q + b * l.sub, l.sub, l.zero);
        sum = fmaf((float)w->c[b], (float)products, sum);
        mins += w->e[b] * sums[b];
    }
    if (!l.mins)
        return fmaf(x->d * w->s, sum, y);
    return fmaf(x->d, fmaf(w->s, sum, -(w->m * (float)mins)), y);
}

static void quant_output(const struct quant_panel *t, size_t output)
{
    struct quant_layout l = quant_layout(t->type);
    size_t stride = quant_row_bytes(t->type, t->inputs), bytes = quant_unit_bytes(l);
    for (size_t r = 0; r < t->rows; r++) {
        float *y = t->y + r * t->y_stride + output, bias = t->bias ? t->bias[output] : 0;
        *y = t->accumulate ? (t->bias ? *y + bias : *y) : bias;
    }
    for (size_t i = 0; i < t->inputs / l.inputs; i++) {
        struct unit unit;
        take_unit(t->type, &unit, (const uint8_t *)t->panel + i * bytes, output);
        for (size_t r = 0; r < t->rows; r++) {
            const void *row = t->x + r * stride;
            float *y = t->y + r * t->y_stride + output;
            *y = l.inputs == 32 ? add_32(l, *y, &unit, (const struct quant_block32 *)row + i)
                                : add_256(l, *y, &unit, (const struct quant_block256 *)row + i);
        }
    }
}

void quant_panel_ref(const struct quant_panel *t)
{
    for (size_t output = 0; output < t->outputs; output++)
        quant_output(t, output);
}
