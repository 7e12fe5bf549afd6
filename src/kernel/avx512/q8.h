/* Absorbing Q8_0 with the dot products of VNNI, whose sums of bytes are exact. Keys and values stay
 * the bytes they are; what they are multiplied with becomes integers of 16 bits, in two bytes. In
 * each block b of 32 dimensions,
 *
 *     q_d = a x_d,          x_d = 256 high + low,  a = max_d |q_d| / 32,639
 *     s_j += a scale_jb sum_d x_d k_jd
 *     p_j scale_jb = c y_j, y_j = 256 high + low,  c = max_j p_j scale_jb / 65,500
 *     o_d += c sum_j y_j v_jd
 *
 * with k, v the bytes, x and y rounded to nearest: an error of 1.6e-5 of the largest q, and
 * of 7.7e-6 of the largest p scale. The maxima are of what the row sees: what it does not see
 * changes no bit.
 *
 * The dot product takes one side unsigned. Keys become so by adding 128, which is taken off again
 * as 128 times the sum of x; y is never negative. Scales of values must not be (panel_load sees to
 * it).
 */
#ifndef KERNEL_AVX512_Q8_H
#define KERNEL_AVX512_Q8_H

#include "base/size.h"
#include "kernel/avx512/softmax.h"
#include "kernel/chunk.h"

enum { Q8_BLOCK = 32, Q8_MOST_BLOCKS = 1024 / Q8_BLOCK };

/* The queries of a tile. */
struct q8_queries {
    int8_t high[TILE_ROWS][Q8_MOST_BLOCKS][Q8_BLOCK];
    int8_t low[TILE_ROWS][Q8_MOST_BLOCKS][Q8_BLOCK];
    float a[TILE_ROWS][Q8_MOST_BLOCKS];
    int32_t begin[TILE_ROWS][Q8_MOST_BLOCKS]; /* -128 times the sum of x */
};

/* Products of a tile with 32 keys or columns: two vectors, each of sums of high and of low bytes.
 */
struct q8_sums {
    __m512i high[TILE_ROWS][2], low[TILE_ROWS][2];
};

/* sum += a0 b0 + ... + a3 b3 of the bytes in each lane, a unsigned, b signed */
INLINE void lanes_dot_bytes(__m512i *sum, __m512i a, __m512i b)
{
    __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}

/* The same with four bytes of b in every lane. */
INLINE void lanes_dot_four(__m512i *sum, __m512i a, const int8_t *b)
{
    __asm__ volatile("vpdpbusd %2%{1to16%}, %1, %0"
                     : "+v"(*sum)
                     : "v"(a), "m"(*(const int32_t *)(const void *)b));
}

INLINE __m512i lanes_load_bytes(const void *p)
{
    return _mm512_castps_si512(lanes_load(p));
}

/* Signed bytes plus 128; `flip` is 128 in every byte. */
INLINE __m512i lanes_load_unsigned(const void *p, __m512i flip)
{
    __m512i x;
    __asm__ volatile("vpxord %1, %2, %0" : "=v"(x) : "m"(*(const __m512i_u *)p), "v"(flip));
    return x;
}

/* Four bytes in every lane. */
INLINE __m512i lanes_broadcast_bytes(const void *p)
{
    return _mm512_castps_si512(lanes_broadcast(p));
}

/* 256 high + low */
INLINE __m512 q8_total(const struct q8_sums *s, size_t r, size_t i)
{
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(s->high[r][i], 8), s->low[r][i]));
}

/* What to multiply by to make `largest` into `top`, or 0 where it is next to nothing. */
INLINE __m512 q8_inverse(__m512 largest, float top)
{
    __mmask16 some = _mm512_cmp_ps_mask(largest, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
    return _mm512_maskz_div_ps(some, _mm512_set1_ps(top), largest);
}

/* largest / top; NaN where it is no number. */
INLINE __m512 q8_step(__m512 largest, float top)
{
    return _mm512_add_ps(_mm512_div_ps(largest, _mm512_set1_ps(top)),
                         _mm512_sub_ps(largest, largest));
}

/* Keys or values of a chunk to ask for: two lines with each step of a product, which has just as
 * many steps. Where there is nothing to ask for, it is what is there already: with a branch between
 * its products gcc keeps each sum twice, and the values of six rows took 2.4 times as long. */
struct q8_asking {
    const char *at;
    size_t stride;
};

/* This tile's part of what begins at `from`; NULL: nothing, `own` is what the tile reads. */
static inline struct q8_asking q8_ask(const struct absorb *t, const char *from, const void *own)
{
    if (!from)
        return (struct q8_asking){own, 0};
    for (size_t at = 0; t->part == 0 && at < t->head_dim * 4; at += 64)
        _mm_prefetch(from + chunk_scales(t->head_dim) + at, _MM_HINT_T1);
    size_t steps = t->head_dim / 2, stride = size_ceil_div(128, t->parts);
    return (struct q8_asking){from + t->part * steps * stride, stride};
}

INLINE void q8_ask_step(struct q8_asking *a)
{
    _mm_prefetch(a->at, _MM_HINT_T1);
    _mm_prefetch(a->at + 64, _MM_HINT_T1);
    a->at += a->stride;
}

/* ---- Queries ---- */

static inline void q8_round_block(const float *q, int8_t *high, int8_t *low, float *a,
                                  int32_t *begin)
{
    __m512 x[2] = {_mm512_loadu_ps(q), _mm512_loadu_ps(q + LANES)};
    __m512i magnitude = _mm512_set1_epi32(0x7fffffff), sum = _mm512_setzero_si512();
    int most = _mm512_reduce_max_epi32(
        _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(x[0]), magnitude),
                         _mm512_and_si512(_mm512_castps_si512(x[1]), magnitude)));
    __m512 largest = _mm512_castsi512_ps(_mm512_set1_epi32(most));
    __m512 inverse = q8_inverse(largest, 32639);
    *a = _mm512_cvtss_f32(q8_step(largest, 32639));
    for (size_t i = 0; i < 2; i++) {
        __m512i n = _mm512_cvtps_epi32(_mm512_mul_ps(x[i], inverse));
        __m512i top = _mm512_srai_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(128)), 8);
        _mm_storeu_si128((void *)(high + i * LANES), _mm512_cvtepi32_epi8(top));
        _mm_storeu_si128((void *)(low + i * LANES), _mm512_cvtepi32_epi8(n));
        sum = _mm512_add_epi32(sum, n);
    }
    /* In unsigned numbers, since of a NaN the sum may be any. */
    *begin = (int32_t)(0u - 128u * (uint32_t)_mm512_reduce_add_epi32(sum));
}

static inline void q8_round_queries(const struct absorb *t, struct q8_queries *to)
{
    for (size_t r = 0; r < t->rows; r++)
        for (size_t b = 0; b < t->head_dim / Q8_BLOCK; b++)
            q8_round_block(t->q + r * t->head_dim + b * Q8_BLOCK, to->high[r][b], to->low[r][b],
                           &to->a[r][b], &to->begin[r][b]);
}

/* ---- Scores ---- */

/* Four dimensions of a block. */
INLINE void q8_scores_step(size_t R, struct q8_sums *sums, const char *k,
                           const struct q8_queries *q, size_t b, size_t g)
{
    __m512i flip = _mm512_set1_epi8(-128);
    __m512i k0 = lanes_load_unsigned(k, flip), k1 = lanes_load_unsigned(k + 64, flip);
    UNROLL
    for (size_t r = 0; r < R; r++) {
        const int8_t *high = q->high[r][b] + 4 * g, *low = q->low[r][b] + 4 * g;
        lanes_dot_four(&sums->high[r][0], k0, high);
        lanes_dot_four(&sums->high[r][1], k1, high);
        lanes_dot_four(&sums->low[r][0], k0, low);
        lanes_dot_four(&sums->low[r][1], k1, low);
    }
}

/* Adds block b of keys [32 half, 32 half + 32) of chunk c to the scores; the first sets them.
 * Between runs of steps, parts [part, parts) of the softmax of the chunk before. */
INLINE void q8_scores_block(size_t R, const struct panel *panel, const struct q8_queries *q,
                            const uint16_t *scales, struct span *w, size_t c, size_t half, size_t b,
                            struct q8_asking *asking, size_t part, size_t parts)
{
    const char *k = (const char *)panel->k + (b * 8 * CHUNK + half * 32) * 4;
    float(*s)[CHUNK] = w->s[c];
    struct q8_sums sums;
    UNROLL
    for (size_t r = 0; r < R; r++) {
        sums.high[r][0] = sums.high[r][1] = _mm512_setzero_si512();
        sums.low[r][0] = sums.low[r][1] = _mm512_set1_epi32(q->begin[r][b]);
    }
    for (size_t g = 0; g < 8;) {
        size_t end = part < parts ? g + (8 - g) / (parts - part) : 8;
        for (; g < end; g++, k += CHUNK * 4) {
            q8_ask_step(asking);
            q8_scores_step(R, &sums, k, q, b, g);
        }
        if (part < parts)
            softmax_part(DTYPE_Q8_0, R, w, c - 1, part++);
    }
    UNROLL
    for (size_t i = 0; i < 2; i++) {
        __m512 scale = lanes_load_f16(scales + b * CHUNK + half * 32 + i * LANES);
        UNROLL
        for (size_t r = 0; r < R; r++) {
            float *to = s[r] + half * 32 + i * LANES;
            __m512 x = _mm512_mul_ps(q8_total(&sums, r, i), lanes_broadcast(&q->a[r][b]));
            x = b ? _mm512_fmadd_ps(x, scale, _mm512_load_ps(to)) : _mm512_mul_ps(x, scale);
            _mm512_store_ps(to, x);
        }
    }
}

/* Of chunk c; between the blocks, the softmax of the chunk before. */
INLINE void q8_scores(size_t R, const struct absorb *t, const struct q8_queries *q, struct span *w,
                      size_t c)
{
    const char *k = t->panels[c]->k;
    const uint16_t *scales = (const uint16_t *)(const void *)(k + chunk_scales(t->head_dim));
    struct q8_asking asking = q8_ask(t, t->ahead ? t->ahead[c].k : NULL, k);
    size_t blocks = t->head_dim / Q8_BLOCK, parts = c > 0 ? R + 2 : 0;
    for (size_t i = 0; i < 2 * blocks; i++)
        q8_scores_block(R, t->panels[c], q, scales, w, c, i / blocks, i % blocks, &asking,
                        parts * i / (2 * blocks), parts * (i + 1) / (2 * blocks));
    if (t->score)
        t->score(t->context, c, w->s[c][0]);
    if (t->visible[c])
        mask_scores(DTYPE_Q8_0, R, t->visible[c], w->s[c][0]);
}

/* ---- Values ---- */

/* The weights y of a tile for one chunk and block, as bytes. */
struct q8_weights {
    _Alignas(64) float x[TILE_ROWS][CHUNK]; /* before rounding */
    float most[TILE_ROWS][LANES];
    uint8_t high[TILE_ROWS][CHUNK], low[TILE_ROWS][CHUNK];
    float inverse[LANES], c[LANES]; /* of the rows */
};

/* p times the scales, 0 where the row does not see the key, whose scale may be anything. */
INLINE void q8_weigh_row(const float *p, const uint16_t *scales, uint64_t visible, float *x,
                         float *most)
{
    __m512 largest = _mm512_setzero_ps();
    UNROLL
    for (size_t i = 0; i < CHUNK / LANES; i++) {
        __mmask16 seen = (__mmask16)(visible >> i * LANES);
        __m512 y = _mm512_maskz_mul_ps(seen, _mm512_load_ps(p + i * LANES),
                                       lanes_load_f16(scales + i * LANES));
        _mm512_store_ps(x + i * LANES, y);
        largest = join(MAGNITUDE, _mm512_abs_ps(y), largest); /* 0 times infinity is -NaN */
    }
    _mm512_store_ps(most, largest);
}

/* Rounds and parts into bytes. Packing works within 128 bits: after it, the four keys of group
 * 4 i + j stand in place 4 j + i. */
INLINE void q8_round_row(struct q8_weights *y, size_t r)
{
    __m512 inverse = lanes_broadcast(&y->inverse[r]);
    __m512i n[4], byte = _mm512_set1_epi16(0xff);
    __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    UNROLL
    for (size_t i = 0; i < 4; i++)
        n[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(&y->x[r][i * LANES]), inverse));
    __m512i first = _mm512_packus_epi32(n[0], n[1]), second = _mm512_packus_epi32(n[2], n[3]);
    __m512i high = _mm512_packus_epi16(_mm512_srli_epi16(first, 8), _mm512_srli_epi16(second, 8));
    __m512i low =
        _mm512_packus_epi16(_mm512_and_si512(first, byte), _mm512_and_si512(second, byte));
    _mm512_store_si512(y->high[r], _mm512_permutexvar_epi32(order, high));
    _mm512_store_si512(y->low[r], _mm512_permutexvar_epi32(order, low));
}

/* Part `part` of the 2 R + 1 of weighing block b of chunk c, to stand between the steps of a
 * product. */
INLINE void q8_weigh_part(size_t R, const struct absorb *t, const struct span *w, size_t c,
                          size_t b, struct q8_weights *y, size_t part)
{
    if (part < R) {
        const uint64_t *visible = t->visible[c];
        const char *v = t->panels[c]->v;
        const uint16_t *scales = (const uint16_t *)(const void *)(v + chunk_scales(t->head_dim));
        q8_weigh_row(w->s[c][part], scales + b * CHUNK, visible ? visible[part] : UINT64_MAX,
                     y->x[part], y->most[part]);
    } else if (part == R) {
        __m512 largest = fold_rows(MAGNITUDE, R, 1, y->most[0]);
        _mm512_store_ps(y->inverse, q8_inverse(largest, 65500));
        _mm512_store_ps(y->c, q8_step(largest, 65500));
    } else if (part <= 2 * R) {
        q8_round_row(y, part - R - 1);
    }
}

/* Four keys of a block. */
INLINE void q8_values_step(size_t R, const struct q8_weights *now, struct q8_sums *sums,
                           const char *v, size_t g)
{
    __m512i v0 = lanes_load_bytes(v), v1 = lanes_load_bytes(v + 64);
    UNROLL
    for (size_t r = 0; r < R; r++) {
        __m512i high = lanes_broadcast_bytes(now->high[r] + 4 * g);
        __m512i low = lanes_broadcast_bytes(now->low[r] + 4 * g);
        lanes_dot_bytes(&sums->high[r][0], high, v0);
        lanes_dot_bytes(&sums->high[r][1], high, v1);
        lanes_dot_bytes(&sums->low[r][0], low, v0);
        lanes_dot_bytes(&sums->low[r][1], low, v1);
    }
}

/* o of block `at` takes its chunk, blocks counted through the chunks of the span; between runs
 * of steps, the weights for the next block. */
INLINE void q8_values_block(size_t R, const struct absorb *t, const struct span *w,
                            struct q8_weights y[2], size_t at, struct q8_asking *asking)
{
    size_t blocks = t->head_dim / Q8_BLOCK, c = at / blocks, b = at % blocks;
    bool more = at + 1 < t->chunks * blocks;
    const float *factor = w->factor[c];
    struct q8_weights *now = &y[at % 2], *next = &y[(at + 1) % 2];
    size_t Dv = value_stride(t->head_dim);
    const char *v = (const char *)t->panels[c]->v + b * Q8_BLOCK * 4;
    struct q8_sums sums;
    UNROLL
    for (size_t r = 0; r < R; r++) {
        sums.high[r][0] = sums.high[r][1] = _mm512_setzero_si512();
        sums.low[r][0] = sums.low[r][1] = _mm512_setzero_si512();
    }
    size_t parts = more ? 2 * R + 1 : 1;
    for (size_t part = 0, g = 0; part < parts; part++) {
        size_t end = 16 * (part + 1) / parts;
        for (; g < end; g++, v += Dv * 4) {
            q8_ask_step(asking);
            q8_values_step(R, now, &sums, v, g);
        }
        if (more)
            q8_weigh_part(R, t, w, (at + 1) / blocks, (at + 1) % blocks, next, part);
    }
    UNROLL
    for (size_t r = 0; r < R; r++) {
        __m512 step = lanes_broadcast(&now->c[r]), a = lanes_broadcast(factor + r);
        UNROLL
        for (size_t i = 0; i < 2; i++) {
            float *o = t->o + r * Dv + b * Q8_BLOCK + i * LANES;
            __m512 x = _mm512_mul_ps(a, _mm512_loadu_ps(o));
            _mm512_storeu_ps(o, _mm512_fmadd_ps(q8_total(&sums, r, i), step, x));
        }
    }
}

/* All keys of the span first, as the other forms do. The weights for a block are made before the
 * products of the block before them, which do not wait for them. */
INLINE void q8_span(size_t R, const struct absorb *t, const void *queries, struct span *w)
{
    size_t blocks = t->head_dim / Q8_BLOCK, all = t->chunks * blocks;
    struct q8_asking asking = {0};
    struct q8_weights y[2];
    for (size_t c = 0; c < t->chunks; c++)
        q8_scores(R, t, queries, w, c);
    softmax(DTYPE_Q8_0, R, w, t->chunks - 1);
    for (size_t part = 0; part <= 2 * R; part++)
        q8_weigh_part(R, t, w, 0, 0, &y[0], part);
    for (size_t i = 0; i < all; i++) {
        if (i % blocks == 0)
            asking = q8_ask(t, t->ahead ? t->ahead[i / blocks].v : NULL, t->panels[i / blocks]->v);
        q8_values_block(R, t, w, y, i, &asking);
    }
}

#endif
