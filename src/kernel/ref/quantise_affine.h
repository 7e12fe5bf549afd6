/* Float32 to Q2_K, Q4_K and Q5_K: x = scale q - least, q from 0 to `most`, with a scale and a least
 * value for each group, which are themselves small multiples of two f16 numbers of the block.
 *
 * Rounding to the extremes is not the best: what is minimised is the weighted square error
 *
 *     sum_i w_i (scale q_i - least - x_i)^2,     w_i = rms(group) + |x_i|
 *
 * since errors of large weights matter more (they meet large activations), but not as their square.
 * For given q it is a quadratic form whose minimum is the solution of two linear equations; for
 * given scale and least the best q is the nearest. Several scales are begun with, and the two steps
 * taken in turn; then scales are rounded to the block's multiples, their neighbours tried, and the
 * block's numbers fitted anew. Sums are of eight lanes in one fixed order.
 */
#ifndef KERNEL_REF_QUANTISE_AFFINE_H
#define KERNEL_REF_QUANTISE_AFFINE_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernel/ref/fit.h"
#include "kernel/ref/scales.h"

enum {
    AFFINE_STARTS = 9, /* scales that the search of a group begins with */
    AFFINE_ROUNDS = 3, /* of nearest q and best scale in turn */
    AFFINE_REFITS = 2, /* of the block's two numbers */
};

/* How a type cuts a block. */
struct affine_layout {
    size_t groups, n; /* groups of n elements */
    float most;       /* the largest q */
    float steps;      /* the largest multiple of the block's numbers */
};

/* What the error of a group is made of, for one choice of q. */
struct affine_sums {
    double w, x, xx;  /* sum w, w x, w x^2: of the group alone */
    double q, qq, xq; /* sum w q, w q^2, w x q */
};

/* scale and least, 0 or above, of the least error for these sums; returns the error. */
static inline double affine_solve(const struct affine_sums *s, float *scale, float *least)
{
    double determinant = s->w * s->qq - s->q * s->q, a = 0, b = 0;
    if (determinant > 1e-12 * s->w * s->qq) {
        a = (s->w * s->xq - s->x * s->q) / determinant;
        b = (s->q * s->xq - s->qq * s->x) / determinant;
    }
    if (a <= 0 || b < 0) { /* the best of the border: one of the two is 0 */
        b = 0;
        a = s->qq > 0 && s->xq > 0 ? s->xq / s->qq : 0;
        if (a == 0)
            b = s->x < 0 ? -s->x / s->w : 0;
    }
    *scale = (float)a;
    *least = (float)b;
    return s->xx - 2 * (a * s->xq - b * s->x) + a * a * s->qq - 2 * a * b * s->q + b * b * s->w;
}

/* The sums over q nearest to (x + least) inverse. */
static inline void affine_sums(struct affine_sums *s, const float *x, const float *w, size_t n,
                               float least, float inverse, float most)
{
    lanes q1 = {0}, q2 = {0}, xq = {0}, v, q, wq;
    for (size_t i = 0; i < n; i += FIT_LANES) {
        lanes_load(&v, x + i);
        lanes_load(&wq, w + i);
        q = (v + least) * inverse;
        lanes_nearest(&q, 0, most);
        wq *= q;
        q1 += wq;
        q2 += wq * q;
        xq += wq * v;
    }
    s->q = lanes_fold(&q1);
    s->qq = lanes_fold(&q2);
    s->xq = lanes_fold(&xq);
}

/* The sums that do not depend on q. */
static inline void affine_fixed_sums(struct affine_sums *s, const float *x, const float *w,
                                     size_t n)
{
    lanes sum_w = {0}, sum_x = {0}, sum_xx = {0}, v, f;
    for (size_t i = 0; i < n; i += FIT_LANES) {
        lanes_load(&v, x + i);
        lanes_load(&f, w + i);
        sum_w += f;
        f *= v;
        sum_x += f;
        sum_xx += f * v;
    }
    s->w = lanes_fold(&sum_w);
    s->x = lanes_fold(&sum_x);
    s->xx = lanes_fold(&sum_xx);
}

/* The best scale and least value of a group that the search finds. */
static inline void affine_fit_group(const float *x, const float *w, size_t n, float most,
                                    float *scale, float *least)
{
    struct affine_sums s;
    float low = 0, high = x[0];
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *scale = 0;
    *least = -low;
    if (!(high - low > FLT_MIN * 64))
        return;
    affine_fixed_sums(&s, x, w, n);
    double best = DBL_MAX;
    for (int start = 0; start < AFFINE_STARTS; start++) {
        /* from one step less than the extremes ask for to more than they do */
        float inverse = (most - 1 + (float)start * 0.2f) / (high - low), add = -low;
        for (int round = 0; round < AFFINE_ROUNDS; round++) {
            float a, b;
            affine_sums(&s, x, w, n, add, inverse, most);
            double error = affine_solve(&s, &a, &b);
            if (error < best) {
                best = error;
                *scale = a;
                *least = b;
            } else if (round > 0 || error > best * 1.1) {
                break;
            }
            if (a < FLT_MIN * 64)
                break;
            inverse = 1 / a;
            add = b;
        }
    }
}

/* The error of a group as it will be read, and sum w (x - scale q) for the nearest q. */
static inline float affine_error(const float *x, const float *w, size_t n, float scale, float least,
                                 float most, float *rest)
{
    lanes error = {0}, over = {0}, v, f, q;
    float inverse = scale > FLT_MIN * 64 ? 1 / scale : 0;
    for (size_t i = 0; i < n; i += FIT_LANES) {
        lanes_load(&v, x + i);
        lanes_load(&f, w + i);
        q = (v + least) * inverse;
        lanes_nearest(&q, 0, most);
        v -= q * scale;
        over += f * v;
        v += least;
        error += f * v * v;
    }
    *rest = lanes_fold(&over);
    return lanes_fold(&error);
}

/* A block in the making. */
struct affine_block {
    const struct affine_layout *layout;
    const float *x;
    float w[K_BLOCK], sum_w[K_GROUPS_MOST];
    float d, m; /* as f16 has them */
    struct scale_min multiples[K_GROUPS_MOST];
};

/* The best multiples of group g: the scale's neighbours of `scale` / d, each with the least value
 * that suits it. Returns their error. */
static inline float affine_choose(struct affine_block *b, size_t g, float scale, float least)
{
    const struct affine_layout *y = b->layout;
    const float *x = b->x + g * y->n, *w = b->w + g * y->n;
    float id = b->d > 0 ? 1 / b->d : 0, im = b->m > 0 ? 1 / b->m : 0, best = FLT_MAX;
    float middle = nearest(scale * id, 0, y->steps);
    for (int step = -1; step <= 1; step++) {
        float s = middle + (float)step, l = nearest(least * im, 0, y->steps);
        if (s < 0 || s > y->steps)
            continue;
        for (int round = 0; round < 2; round++) {
            float rest, error = affine_error(x, w, y->n, b->d * s, b->m * l, y->most, &rest);
            if (error < best) {
                best = error;
                b->multiples[g] = (struct scale_min){(uint8_t)s, (uint8_t)l};
            }
            float other = nearest(-rest / b->sum_w[g] * im, 0, y->steps);
            if (other == l)
                break;
            l = other;
        }
    }
    return best;
}

/* d and m of the least error for the q and the multiples there are. */
static inline void affine_refit(const struct affine_block *b, float *d, float *m)
{
    const struct affine_layout *y = b->layout;
    struct affine_sums s = {0};
    for (size_t g = 0; g < y->groups; g++) {
        struct affine_sums part;
        float scale = b->d * b->multiples[g].scale, least = b->m * b->multiples[g].min;
        double a = b->multiples[g].scale, c = b->multiples[g].min;
        const float *x = b->x + g * y->n, *w = b->w + g * y->n;
        affine_fixed_sums(&part, x, w, y->n);
        affine_sums(&part, x, w, y->n, least, scale > FLT_MIN * 64 ? 1 / scale : 0, y->most);
        s.w += c * c * part.w;
        s.x += c * part.x;
        s.q += a * c * part.q;
        s.qq += a * a * part.qq;
        s.xq += a * part.xq;
    }
    affine_solve(&s, d, m);
}

/* Finds the block's numbers and multiples. */
static inline void affine_fit(struct affine_block *b, const struct affine_layout *layout,
                              const float *x)
{
    float scale[K_GROUPS_MOST], least[K_GROUPS_MOST], d = 0, m = 0;
    float error = 0;
    b->layout = layout;
    b->x = x;
    for (size_t g = 0; g < layout->groups; g++) {
        b->sum_w[g] = weigh_group(b->w + g * layout->n, x + g * layout->n, layout->n);
        affine_fit_group(x + g * layout->n, b->w + g * layout->n, layout->n, layout->most,
                         &scale[g], &least[g]);
        d = scale[g] > d ? scale[g] : d;
        m = least[g] > m ? least[g] : m;
    }
    b->d = as_half(d / layout->steps);
    b->m = as_half(m / layout->steps);
    for (size_t g = 0; g < layout->groups; g++)
        error += affine_choose(b, g, scale[g], least[g]);
    for (int round = 0; round < AFFINE_REFITS; round++) {
        struct affine_block other = *b;
        float sum = 0;
        affine_refit(b, &other.d, &other.m);
        other.d = as_half(other.d);
        other.m = as_half(other.m);
        if (!(other.d <= MOST_HALF && other.m <= MOST_HALF))
            break;
        for (size_t g = 0; g < layout->groups; g++)
            sum +=
                affine_choose(&other, g, b->d * b->multiples[g].scale, b->m * b->multiples[g].min);
        if (!(sum < error))
            break;
        error = sum;
        *b = other;
    }
}

/* q of all elements as the block will be read. */
static inline void affine_levels(const struct affine_block *b, uint8_t *q)
{
    for (size_t i = 0; i < K_BLOCK; i++) {
        struct scale_min s = b->multiples[i / b->layout->n];
        float scale = b->d * s.scale, inverse = scale > FLT_MIN * 64 ? 1 / scale : 0;
        q[i] = (uint8_t)nearest((b->x[i] + b->m * s.min) * inverse, 0, b->layout->most);
    }
}

static inline void quantise_q2_k(uint8_t *out, const float *x)
{
    static const struct affine_layout layout = {16, 16, 3, 15};
    struct affine_block b;
    uint8_t q[K_BLOCK];
    affine_fit(&b, &layout, x);
    affine_levels(&b, q);
    memset(out, 0, 80);
    for (size_t g = 0; g < 16; g++)
        out[g] = (uint8_t)(b.multiples[g].scale | b.multiples[g].min << 4);
    for (size_t i = 0; i < K_BLOCK; i++)
        out[16 + i / 128 * 32 + i % 32] |= (uint8_t)(q[i] << i % 128 / 32 * 2);
    half_put(out + 80, b.d);
    half_put(out + 82, b.m);
}

/* What Q4_K and Q5_K share: the head and the low 4 bits, at `low`. */
static inline void affine_put_nibbles(uint8_t *out, uint8_t *low, const struct affine_block *b,
                                      const uint8_t *q)
{
    half_put(out, b->d);
    half_put(out + 2, b->m);
    k_scales_pack(out + 4, b->multiples);
    for (size_t i = 0; i < K_BLOCK / 2; i++) {
        const uint8_t *pair = q + i / 32 * 64 + i % 32;
        low[i] = (uint8_t)((pair[0] & 15) | pair[32] << 4);
    }
}

static inline void quantise_q4_k(uint8_t *out, const float *x)
{
    static const struct affine_layout layout = {8, 32, 15, 63};
    struct affine_block b;
    uint8_t q[K_BLOCK];
    affine_fit(&b, &layout, x);
    affine_levels(&b, q);
    affine_put_nibbles(out, out + 16, &b, q);
}

static inline void quantise_q5_k(uint8_t *out, const float *x)
{
    static const struct affine_layout layout = {8, 32, 31, 63};
    struct affine_block b;
    uint8_t q[K_BLOCK];
    affine_fit(&b, &layout, x);
    affine_levels(&b, q);
    affine_put_nibbles(out, out + 48, &b, q);
    memset(out + 16, 0, 32);
    for (size_t i = 0; i < K_BLOCK; i++)
        out[16 + i % 32] |= (uint8_t)((q[i] >> 4) << i / 32);
}

#endif
