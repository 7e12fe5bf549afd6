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
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernel/ref/fit.h"
#include "kernel/ref/quantise.h"
#include "kernel/ref/scales.h"

enum {
    BLOCK = 256,
    GROUPS_MOST = 16,
    STARTS = 10, /* scales of each sign that the search of a group begins with */
    ROUNDS = 3,
    REFITS = 2,
};

/* How a type cuts a block. */
struct layout {
    size_t groups, n; /* groups of n elements */
    float low, high;  /* the extreme levels */
    bool table;       /* levels are iq4_values; otherwise whole numbers */
    float least;      /* the lowest multiple of the block's number; the largest is -least - 1 */
};

/* The position of the nearest of iq4_values: the number of midpoints below x. */
static size_t table_place(float x)
{
    size_t place = 0;
    for (size_t half = 8; half; half /= 2) {
        size_t at = place + half;
        if (2 * x > (float)(iq4_values[at - 1] + iq4_values[at]))
            place = at;
    }
    return place;
}

static inline float level_of(const struct layout *y, float x)
{
    return y->table ? (float)iq4_values[table_place(x)] : nearest(x, y->low, y->high);
}

/* sum w x level and sum w level^2 for the levels nearest to x inverse. */
static inline void sum_up(const struct layout *y, const float *x, const float *w, float inverse,
                          double *product, double *square)
{
    float xq[LANES] = {0}, qq[LANES] = {0};
    for (size_t i = 0; i < y->n; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            float q = level_of(y, x[i + l] * inverse), wq = w[i + l] * q;
            xq[l] += wq * x[i + l];
            qq[l] += wq * q;
        }
    *product = fold_lanes(xq);
    *square = fold_lanes(qq);
}

/* The best scale of a group that the search finds. */
static float fit_group(const struct layout *y, const float *x, const float *w)
{
    float extreme = 0, scale = 0;
    double best = 0;
    for (size_t i = 0; i < y->n; i++)
        extreme = fabsf(x[i]) > fabsf(extreme) ? x[i] : extreme;
    if (fabsf(extreme) < FLT_MIN * 1024)
        return 0;
    for (int start = 0; start < 2 * STARTS; start++) {
        /* the extreme lies on the last level, or up to a tenth of all before or behind it */
        float end = start % 2 ? y->low : y->high;
        float inverse = end * (0.9f + (float)(start / 2) * 0.025f) / extreme;
        for (int round = 0; round < ROUNDS; round++) {
            double product, square;
            sum_up(y, x, w, inverse, &product, &square);
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

static float inverse_of(float scale)
{
    return fabsf(scale) > FLT_MIN * 64 ? 1 / scale : 0;
}

/* The error of a group as it will be read. */
static inline float read_error(const struct layout *y, const float *x, const float *w, float scale)
{
    float error[LANES] = {0}, inverse = inverse_of(scale);
    for (size_t i = 0; i < y->n; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            float off = scale * level_of(y, x[i + l] * inverse) - x[i + l];
            error[l] += w[i + l] * off * off;
        }
    return fold_lanes(error);
}

/* A block in the making. */
struct block {
    const struct layout *layout;
    const float *x;
    float w[BLOCK];
    float d; /* as f16 has it */
    float multiples[GROUPS_MOST];
};

/* The best multiple of d for group g among the neighbours of `scale` / d. Returns its error. */
static inline float choose(struct block *b, size_t g, float scale)
{
    const struct layout *y = b->layout;
    float middle = nearest(scale * inverse_of(b->d), y->least, -y->least - 1), best = FLT_MAX;
    for (int step = -1; step <= 1; step++) {
        float s = middle + (float)step;
        if (s < y->least || s > -y->least - 1)
            continue;
        float error = read_error(y, b->x + g * y->n, b->w + g * y->n, b->d * s);
        if (error < best) {
            best = error;
            b->multiples[g] = s;
        }
    }
    return best;
}

/* d of the least error for the levels and the multiples there are. */
static inline float refit(const struct block *b)
{
    const struct layout *y = b->layout;
    double product = 0, square = 0;
    for (size_t g = 0; g < y->groups; g++) {
        double part, part_square, s = b->multiples[g];
        sum_up(y, b->x + g * y->n, b->w + g * y->n, inverse_of(b->d * b->multiples[g]), &part,
               &part_square);
        product += s * part;
        square += s * s * part_square;
    }
    return square > 0 ? (float)(product / square) : 0;
}

/* Finds the block's number and multiples. */
static inline void fit_block(struct block *b, const struct layout *layout, const float *x)
{
    float scale[GROUPS_MOST], extreme = 0, error = 0;
    b->layout = layout;
    b->x = x;
    for (size_t g = 0; g < layout->groups; g++) {
        weigh_group(b->w + g * layout->n, x + g * layout->n, layout->n);
        scale[g] = fit_group(layout, x + g * layout->n, b->w + g * layout->n);
        extreme = fabsf(scale[g]) > fabsf(extreme) ? scale[g] : extreme;
    }
    b->d = as_half(extreme / layout->least);
    for (size_t g = 0; g < layout->groups; g++)
        error += choose(b, g, scale[g]);
    for (int round = 0; round < REFITS; round++) {
        struct block other = *b;
        float sum = 0;
        other.d = as_half(refit(b));
        if (!(fabsf(other.d) <= MOST_HALF))
            break;
        for (size_t g = 0; g < layout->groups; g++)
            sum += choose(&other, g, b->d * b->multiples[g]);
        if (!(sum < error))
            break;
        error = sum;
        *b = other;
    }
}

static float final_inverse(const struct block *b, size_t i)
{
    return inverse_of(b->d * b->multiples[i / b->layout->n]);
}

void quantise_q3_k(uint8_t *out, const float *x)
{
    static const struct layout layout = {16, 16, -4, 3, false, -32};
    struct block b;
    uint8_t scales[16];
    fit_block(&b, &layout, x);
    memset(out, 0, 96);
    for (size_t i = 0; i < BLOCK; i++) {
        unsigned q = (unsigned)(int)(level_of(&layout, x[i] * final_inverse(&b, i)) + 4);
        out[32 + i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << i % 128 / 32 * 2);
        out[i % 32] |= (uint8_t)(q >> 2 << i / 32);
    }
    for (size_t g = 0; g < 16; g++)
        scales[g] = (uint8_t)(b.multiples[g] + 32);
    q3_k_scales_pack(out + 96, scales);
    half_put(out + 108, b.d);
}

void quantise_q6_k(uint8_t *out, const float *x)
{
    static const struct layout layout = {16, 16, -32, 31, false, -128};
    struct block b;
    fit_block(&b, &layout, x);
    memset(out, 0, 192);
    for (size_t i = 0; i < BLOCK; i++) {
        unsigned q = (unsigned)(int)(level_of(&layout, x[i] * final_inverse(&b, i)) + 32);
        size_t part = i / 128, j = i % 128;
        out[part * 64 + j % 64] |= (uint8_t)((q & 15) << j / 64 * 4);
        out[128 + part * 32 + j % 32] |= (uint8_t)(q >> 4 << j / 32 * 2);
    }
    for (size_t g = 0; g < 16; g++)
        out[192 + g] = (uint8_t)(int8_t)b.multiples[g];
    half_put(out + 208, b.d);
}

/* 32 elements in halves of bytes. */
static void put_places(uint8_t *out, const float *x, float inverse)
{
    for (size_t j = 0; j < 16; j++)
        out[j] = (uint8_t)(table_place(x[j] * inverse) | table_place(x[j + 16] * inverse) << 4);
}

void quantise_iq4_nl(uint8_t *out, const float *x)
{
    static const struct layout layout = {1, 32, -127, 113, true, 0};
    float w[32];
    weigh_group(w, x, 32);
    float d = half_put(out, fit_group(&layout, x, w));
    put_places(out + 2, x, inverse_of(d));
}

void quantise_iq4_xs(uint8_t *out, const float *x)
{
    static const struct layout layout = {8, 32, -127, 113, true, -32};
    struct block b;
    unsigned high = 0;
    fit_block(&b, &layout, x);
    memset(out, 0, 8);
    half_put(out, b.d);
    for (size_t g = 0; g < 8; g++) {
        unsigned s = (unsigned)(int)(b.multiples[g] + 32);
        out[4 + g / 2] |= (uint8_t)((s & 15) << g % 2 * 4);
        high |= s >> 4 << 2 * g;
        put_places(out + 8 + 16 * g, x + 32 * g, final_inverse(&b, 32 * g));
    }
    out[2] = (uint8_t)high;
    out[3] = (uint8_t)(high >> 8);
}
