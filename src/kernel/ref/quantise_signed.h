/* Float32 to Q3_K, Q6_K, IQ4_NL and IQ4_XS: x = scale level, with a signed scale for each group,
 * and levels that are whole numbers or those of a table.
 *
 * What is minimised is the weighted square error of quantise_affine.c, here
 *
 *     sum_i w_i (scale level_i - x_i)^2,         w_i = rms(group) + |x_i|
 *
 * whose best scale for given levels is sum w x level / sum w level^2, and which is then smaller by
 * the square of the first divided by the second. Levels reach one step farther on the one side than
 * on the other, so the search begins with scales of both signs. Scales of a block are rounded to
 * multiples of one f16, their neighbours tried, and that number fitted anew.
 */
#ifndef KERNEL_REF_QUANTISE_SIGNED_H
#define KERNEL_REF_QUANTISE_SIGNED_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernel/ref/fit.h"
#include "kernel/ref/scales.h"

enum {
    SIGNED_STARTS = 7, /* scales of each sign that the search of a group begins with */
    SIGNED_ROUNDS = 3, /* of nearest levels and best scale in turn */
    SIGNED_REFITS = 2, /* of the block's number */
};

/* How a type cuts a block. */
struct signed_layout {
    size_t groups, n; /* groups of n elements */
    float low, high;  /* the extreme levels */
    bool table;       /* levels are iq4_values; otherwise whole numbers */
    float least;      /* the lowest multiple of the block's number; the largest is -least - 1 */
};

/* The position of the nearest of iq4_values: the number of midpoints below x. */
static inline size_t iq4_place(float x)
{
    size_t place = 0;
    for (size_t half = 8; half; half /= 2) {
        size_t at = place + half;
        if (2 * x > (float)(iq4_values[at - 1] + iq4_values[at]))
            place = at;
    }
    return place;
}

/* q: the levels nearest to x. Those of the table are the first and the gaps up to the last whose
 * middle lies below: no lane has a way of its own. */
static inline void signed_levels(const struct signed_layout *y, lanes *q, const lanes *x)
{
    const lanes zero = {0};
    if (!y->table) {
        *q = *x;
        lanes_nearest(q, y->low, y->high);
        return;
    }
    *q = zero + (float)iq4_values[0];
    for (size_t k = 1; k < 16; k++) {
        float middle = 0.5f * (float)(iq4_values[k - 1] + iq4_values[k]);
        const lanes gap = zero + (float)(iq4_values[k] - iq4_values[k - 1]);
        lane_bits above = *x > zero + middle;
        *q += (lanes)(above & (lane_bits)gap);
    }
}

/* sum w x level and sum w level^2 for the levels nearest to x inverse. */
static inline void signed_sums(const struct signed_layout *y, const float *x, const float *w,
                               float inverse, double *product, double *square)
{
    lanes xq = {0}, qq = {0}, v, wq, q, scaled;
    for (size_t i = 0; i < y->n; i += FIT_LANES) {
        lanes_load(&v, x + i);
        lanes_load(&wq, w + i);
        scaled = v * inverse;
        signed_levels(y, &q, &scaled);
        wq *= q;
        xq += wq * v;
        qq += wq * q;
    }
    *product = lanes_fold(&xq);
    *square = lanes_fold(&qq);
}

/* The best scale of a group that the search finds. */
static inline float signed_fit_group(const struct signed_layout *y, const float *x, const float *w)
{
    float extreme = 0, scale = 0;
    double best = 0;
    for (size_t i = 0; i < y->n; i++)
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    if (fabsf(extreme) < FLT_MIN * 1024)
        return 0;
    for (int start = 0; start < 2 * SIGNED_STARTS; start++) {
        /* the extreme lies on the last level, or up to a tenth of all before or behind it */
        float end = start % 2 ? y->low : y->high;
        float inverse = end * (0.9f + (float)(start / 2) * 0.035f) / extreme;
        for (int round = 0; round < SIGNED_ROUNDS; round++) {
            double product, square;
            signed_sums(y, x, w, inverse, &product, &square);
            if (!(square > 0) || product == 0)
                break;
            if (product * product > best * square) {
                best = product * product / square;
                scale = (float)(product / square);
            } else if (round > 0) {
                break;
            }
            inverse = (float)(square / product);
        }
    }
    return scale;
}

static inline float scale_inverse(float scale)
{
    return fabsf(scale) > FLT_MIN * 64 ? 1 / scale : 0;
}

/* The error of a group as it will be read. */
static inline float signed_error(const struct signed_layout *y, const float *x, const float *w,
                                 float scale)
{
    lanes error = {0}, v, f, q, scaled;
    float inverse = scale_inverse(scale);
    for (size_t i = 0; i < y->n; i += FIT_LANES) {
        lanes_load(&v, x + i);
        lanes_load(&f, w + i);
        scaled = v * inverse;
        signed_levels(y, &q, &scaled);
        v -= q * scale;
        error += f * v * v;
    }
    return lanes_fold(&error);
}

/* A block in the making. */
struct signed_block {
    const struct signed_layout *layout;
    const float *x;
    float w[K_BLOCK];
    float d; /* as f16 has it */
    float multiples[K_GROUPS_MOST];
};

/* The best multiple of d for group g among the neighbours of `scale` / d. Returns its error. */
static inline float signed_choose(struct signed_block *b, size_t g, float scale)
{
    const struct signed_layout *y = b->layout;
    float middle = nearest(scale * scale_inverse(b->d), y->least, -y->least - 1), best = FLT_MAX;
    for (int step = -1; step <= 1; step++) {
        float s = middle + (float)step;
        if (s < y->least || s > -y->least - 1)
            continue;
        float error = signed_error(y, b->x + g * y->n, b->w + g * y->n, b->d * s);
        if (error < best) {
            best = error;
            b->multiples[g] = s;
        }
    }
    return best;
}

/* d of the least error for the levels and the multiples there are. */
static inline float signed_refit(const struct signed_block *b)
{
    const struct signed_layout *y = b->layout;
    double product = 0, square = 0;
    for (size_t g = 0; g < y->groups; g++) {
        double part, part_square, s = b->multiples[g];
        signed_sums(y, b->x + g * y->n, b->w + g * y->n, scale_inverse(b->d * b->multiples[g]),
                    &part, &part_square);
        product += s * part;
        square += s * s * part_square;
    }
    return square > 0 ? (float)(product / square) : 0;
}

/* Finds the block's number and multiples. */
static inline void signed_fit(struct signed_block *b, const struct signed_layout *layout,
                              const float *x)
{
    float scale[K_GROUPS_MOST], extreme = 0, error = 0;
    b->layout = layout;
    b->x = x;
    for (size_t g = 0; g < layout->groups; g++) {
        weigh_group(b->w + g * layout->n, x + g * layout->n, layout->n);
        scale[g] = signed_fit_group(layout, x + g * layout->n, b->w + g * layout->n);
        extreme = fabsf(scale[g]) > fabsf(extreme) ? scale[g] : extreme;
    }
    b->d = as_half(extreme / layout->least);
    for (size_t g = 0; g < layout->groups; g++)
        error += signed_choose(b, g, scale[g]);
    for (int round = 0; round < SIGNED_REFITS; round++) {
        struct signed_block other = *b;
        float sum = 0;
        other.d = as_half(signed_refit(b));
        if (!(fabsf(other.d) <= MOST_HALF))
            break;
        for (size_t g = 0; g < layout->groups; g++)
            sum += signed_choose(&other, g, b->d * b->multiples[g]);
        if (!(sum < error))
            break;
        error = sum;
        *b = other;
    }
}

static inline float signed_inverse(const struct signed_block *b, size_t i)
{
    return scale_inverse(b->d * b->multiples[i / b->layout->n]);
}

static inline void quantise_q3_k(uint8_t *out, const float *x)
{
    static const struct signed_layout layout = {16, 16, -4, 3, false, -32};
    struct signed_block b;
    uint8_t scales[16];
    signed_fit(&b, &layout, x);
    memset(out, 0, 96);
    for (size_t i = 0; i < K_BLOCK; i++) {
        unsigned q =
            (unsigned)(int)(nearest(x[i] * signed_inverse(&b, i), layout.low, layout.high) + 4);
        out[32 + i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << i % 128 / 32 * 2);
        out[i % 32] |= (uint8_t)(q >> 2 << i / 32);
    }
    for (size_t g = 0; g < 16; g++)
        scales[g] = (uint8_t)(b.multiples[g] + 32);
    q3_k_scales_pack(out + 96, scales);
    half_put(out + 108, b.d);
}

static inline void quantise_q6_k(uint8_t *out, const float *x)
{
    static const struct signed_layout layout = {16, 16, -32, 31, false, -128};
    struct signed_block b;
    signed_fit(&b, &layout, x);
    memset(out, 0, 192);
    for (size_t i = 0; i < K_BLOCK; i++) {
        unsigned q =
            (unsigned)(int)(nearest(x[i] * signed_inverse(&b, i), layout.low, layout.high) + 32);
        size_t part = i / 128, j = i % 128;
        out[part * 64 + j % 64] |= (uint8_t)((q & 15) << j / 64 * 4);
        out[128 + part * 32 + j % 32] |= (uint8_t)(q >> 4 << j / 32 * 2);
    }
    for (size_t g = 0; g < 16; g++)
        out[192 + g] = (uint8_t)(int8_t)b.multiples[g];
    half_put(out + 208, b.d);
}

/* 32 elements in halves of bytes. */
static inline void iq4_put(uint8_t *out, const float *x, float inverse)
{
    for (size_t j = 0; j < 16; j++)
        out[j] = (uint8_t)(iq4_place(x[j] * inverse) | iq4_place(x[j + 16] * inverse) << 4);
}

static inline void quantise_iq4_nl(uint8_t *out, const float *x)
{
    static const struct signed_layout layout = {1, 32, -127, 113, true, 0};
    float w[32];
    weigh_group(w, x, 32);
    float d = as_half(signed_fit_group(&layout, x, w));
    half_put(out, d);
    iq4_put(out + 2, x, scale_inverse(d));
}

static inline void quantise_iq4_xs(uint8_t *out, const float *x)
{
    static const struct signed_layout layout = {8, 32, -127, 113, true, -32};
    struct signed_block b;
    unsigned high = 0;
    signed_fit(&b, &layout, x);
    memset(out, 0, 8);
    half_put(out, b.d);
    for (size_t g = 0; g < 8; g++) {
        unsigned s = (unsigned)(int)(b.multiples[g] + 32);
        out[4 + g / 2] |= (uint8_t)((s & 15) << g % 2 * 4);
        high |= s >> 4 << 2 * g;
        iq4_put(out + 8 + 16 * g, x + 32 * g, signed_inverse(&b, 32 * g));
    }
    out[2] = (uint8_t)high;
    out[3] = (uint8_t)(high >> 8);
}

#endif
