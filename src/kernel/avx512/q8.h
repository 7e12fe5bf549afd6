/* Absorbing Q8_0 with the dot products of VNNI, whose sums of integers are exact. Keys and values
 * stay the bytes they are; what they are multiplied with becomes integers of 16 bits. In each block
 * b of 32 dimensions,
 *
 *     q_d = a x_d,              a = max_d |q_d| / 32,767
 *     s_j += a scale_jb sum_d x_d k_jd
 *     p_j scale_jb = c y_j,     c = max_j |scale_jb| / 32,767
 *     o_d += b c sum_j y_j v_jd
 *
 * with k, v the bytes, p and b as in softmax.h, x and y rounded to nearest: an error of 1.5e-5 of
 * the largest q, and of the largest p times the largest scale. The maxima are of what the row sees:
 * what it does not see changes no bit.
 */
#ifndef KERNEL_AVX512_Q8_H
#define KERNEL_AVX512_Q8_H

#include "base/size.h"
#include "kernel/avx512/softmax.h"
#include "kernel/chunk.h"

enum { Q8_BLOCK = 32, Q8_MOST_BLOCKS = 1024 / Q8_BLOCK };

/* The queries of a tile. */
struct q8_queries {
    _Alignas(64) int16_t x[TILE_ROWS][Q8_MOST_BLOCKS][Q8_BLOCK];
    float a[TILE_ROWS][Q8_MOST_BLOCKS];
};

/* 32 bytes as 32 integers of 16 bits: free beside dot products. */
INLINE __m512i lanes_widen_bytes(const void *p)
{
    __m512i x;
    __asm__ volatile("vpmovsxbw %1, %0" : "=v"(x) : "m"(*(const __m256i_u *)p));
    return x;
}

/* sum += a0 b0 + a1 b1 of the pairs in each lane, the pair b the same in all. */
INLINE void lanes_dot_pair(__m512i *sum, __m512i a, const int16_t *b)
{
    __asm__ volatile("vpdpwssd %2%{1to16%}, %1, %0"
                     : "+v"(*sum)
                     : "v"(a), "m"(*(const int32_t *)(const void *)b));
}

enum { Q8_TOP = 32767 };

/* What to multiply by to make `largest` into Q8_TOP, or 0 where it is next to nothing. */
INLINE __m512 q8_inverse(__m512 largest)
{
    __mmask16 some = _mm512_cmp_ps_mask(largest, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
    return _mm512_maskz_div_ps(some, _mm512_set1_ps(Q8_TOP), largest);
}

/* largest / Q8_TOP; NaN where it is no number. */
INLINE __m512 q8_step(__m512 largest)
{
    return _mm512_fmadd_ps(largest, _mm512_set1_ps(1.0f / Q8_TOP), _mm512_sub_ps(largest, largest));
}

/* x inverse rounded; of a NaN, any integer. */
INLINE void q8_round(int16_t *to, __m512 x, __m512 inverse)
{
    __m512i n = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
    _mm256_store_si256((void *)to, _mm512_cvtepi32_epi16(n));
}

/* Keys or values of a chunk to ask for, with each step of a product, which has just as many steps.
 * Where there is nothing to ask for, it is what is there already: with a branch between its
 * products gcc keeps each sum twice, and the values of six rows took 2.4 times as long. */
struct q8_asking {
    const char *at;
    size_t stride;
};

/* This tile's part of what begins at `from`, `lines` with each of `steps`; NULL: nothing, `own` is
 * what the tile reads. */
static inline struct q8_asking q8_ask(const struct absorb *t, const char *from, const void *own,
                                      size_t steps, size_t lines)
{
    if (!from)
        return (struct q8_asking){own, 0};
    for (size_t at = 0; t->part == 0 && at < t->head_dim * 4; at += 64)
        _mm_prefetch(from + chunk_scales(t->head_dim) + at, _MM_HINT_T1);
    size_t stride = size_ceil_div(lines * 64, t->parts);
    return (struct q8_asking){from + t->part * steps * stride, stride};
}

INLINE void q8_ask_step(struct q8_asking *a, size_t lines)
{
    UNROLL
    for (size_t i = 0; i < lines; i++)
        _mm_prefetch(a->at + i * 64, _MM_HINT_T1);
    a->at += a->stride;
}

/* ---- Queries ---- */

static inline void q8_round_block(const float *q, int16_t *to, float *a)
{
    __m512 x[2] = {_mm512_loadu_ps(q), _mm512_loadu_ps(q + LANES)};
    __m512 magnitude = join(MAGNITUDE, _mm512_abs_ps(x[0]), _mm512_abs_ps(x[1]));
    int most = _mm512_reduce_max_epi32(_mm512_castps_si512(magnitude));
    __m512 largest = _mm512_castsi512_ps(_mm512_set1_epi32(most));
    __m512 inverse = q8_inverse(largest);
    *a = _mm512_cvtss_f32(q8_step(largest));
    for (size_t i = 0; i < 2; i++)
        q8_round(to + i * LANES, x[i], inverse);
}

static inline void q8_round_queries(const struct absorb *t, struct q8_queries *to)
{
    for (size_t r = 0; r < t->rows; r++)
        for (size_t b = 0; b < t->head_dim / Q8_BLOCK; b++)
            q8_round_block(t->q + r * t->head_dim + b * Q8_BLOCK, to->x[r][b], &to->a[r][b]);
}

/* ---- Scores ---- */

/* Two dimensions of 64 keys. */
INLINE void q8_scores_step(size_t R, __m512i sums[][4], const char *k, const struct q8_queries *q,
                           size_t b, size_t i)
{
    __m512i keys[4];
    UNROLL
    for (size_t w = 0; w < 4; w++)
        keys[w] = lanes_widen_bytes(k + 32 * w);
    UNROLL
    for (size_t r = 0; r < R; r++)
        UNROLL
    for (size_t w = 0; w < 4; w++)
        lanes_dot_pair(&sums[r][w], keys[w], &q->x[r][b][i]);
}

/* Adds block b of chunk c to the scores; the first sets them. Between runs of steps, parts
 * [part, parts) of the softmax of the chunk before. */
INLINE void q8_scores_block(size_t R, const char *k, const struct q8_queries *q,
                            const uint16_t *scales, struct span *w, size_t c, size_t b,
                            struct q8_asking *asking, size_t part, size_t parts)
{
    float(*s)[CHUNK] = w->s[c];
    __m512i sums[TILE_ROWS][4];
    UNROLL
    for (size_t r = 0; r < R; r++)
        UNROLL
    for (size_t i = 0; i < 4; i++)
        sums[r][i] = _mm512_setzero_si512();
    for (size_t i = 0; i < Q8_BLOCK;) {
        size_t left = (Q8_BLOCK - i) / 2;
        size_t end = part < parts ? i + left / (parts - part) * 2 : Q8_BLOCK;
        for (; i < end; i += 2, k += 2 * CHUNK) {
            q8_ask_step(asking, 2);
            q8_scores_step(R, sums, k, q, b, i);
        }
        if (part < parts)
            softmax_part(DTYPE_Q8_0, R, w, c - 1, part++);
    }
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        __m512 scale = lanes_load_f16(scales + i * LANES);
        UNROLL
        for (size_t r = 0; r < R; r++) {
            float *to = s[r] + i * LANES;
            __m512 x = _mm512_cvtepi32_ps(sums[r][i]);
            x = _mm512_mul_ps(x, lanes_broadcast(&q->a[r][b]));
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
    struct q8_asking asking = q8_ask(t, t->ahead ? t->ahead[c].k : NULL, k, t->head_dim / 2, 2);
    size_t blocks = t->head_dim / Q8_BLOCK, parts = c > 0 ? R + 2 : 0;
    for (size_t b = 0; b < blocks; b++)
        q8_scores_block(R, k + b * Q8_BLOCK * CHUNK, q, scales + b * CHUNK, w, c, b, &asking,
                        parts * b / blocks, parts * (b + 1) / blocks);
    if (t->score)
        t->score(t->context, c, w->s[c][0]);
    if (t->visible[c])
        mask_scores(DTYPE_Q8_0, R, t->visible[c], w->s[c][0]);
}

/* ---- Values ---- */

/* The weights y of a tile for one chunk and block. */
struct q8_weights {
    _Alignas(64) int16_t y[TILE_ROWS][CHUNK];
    float c[LANES];     /* of the rows, times b */
    float scale[CHUNK]; /* scale / c, where all rows see all keys */
};

/* The scales of the keys that are seen, in units of c, and c in all lanes. */
INLINE __m512 q8_scales(const uint16_t *scales, uint64_t seen, __m512 scale[4])
{
    __m512 largest = _mm512_setzero_ps();
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        scale[i] =
            _mm512_maskz_mov_ps((__mmask16)(seen >> i * LANES), lanes_load_f16(scales + i * LANES));
        largest = join(MAGNITUDE, _mm512_abs_ps(scale[i]), largest);
    }
    __m512i most = _mm512_set1_epi32(_mm512_reduce_max_epi32(_mm512_castps_si512(largest)));
    largest = _mm512_castsi512_ps(most);
    __m512 inverse = q8_inverse(largest);
    UNROLL
    for (size_t i = 0; i < 4; i++)
        scale[i] = _mm512_mul_ps(scale[i], inverse);
    return q8_step(largest);
}

/* Part `part` of the R + 1 of weighing block b of chunk c, to stand between the steps of a
 * product. A key that a row does not see may have any scale. */
INLINE void q8_weigh_part(const struct absorb *t, const struct span *w, size_t c, size_t b,
                          struct q8_weights *y, size_t part)
{
    const char *v = t->panels[c]->v;
    const uint16_t *scales =
        (const uint16_t *)(const void *)(v + chunk_scales(t->head_dim)) + b * CHUNK;
    const uint64_t *visible = t->visible[c];
    __m512 scale[4];
    if (part == 0 && !visible) {
        __m512 step = q8_scales(scales, UINT64_MAX, scale);
        _mm512_store_ps(y->c, _mm512_mul_ps(step, _mm512_load_ps(w->rise[c])));
        UNROLL
        for (size_t i = 0; i < 4; i++)
            _mm512_store_ps(y->scale + i * LANES, scale[i]);
    } else if (part > 0) {
        size_t r = part - 1;
        if (visible)
            y->c[r] = w->rise[c][r] * _mm512_cvtss_f32(q8_scales(scales, visible[r], scale));
        UNROLL
        for (size_t i = 0; i < 4; i++)
            q8_round(&y->y[r][i * LANES], _mm512_load_ps(w->s[c][r] + i * LANES),
                     visible ? scale[i] : _mm512_load_ps(y->scale + i * LANES));
    }
}

/* Two keys of a block. */
INLINE void q8_values_step(size_t R, const struct q8_weights *now, __m512i sums[][2], const char *v,
                           size_t j)
{
    __m512i v0 = lanes_widen_bytes(v), v1 = lanes_widen_bytes(v + 32);
    UNROLL
    for (size_t r = 0; r < R; r++) {
        lanes_dot_pair(&sums[r][0], v0, &now->y[r][j]);
        lanes_dot_pair(&sums[r][1], v1, &now->y[r][j]);
    }
}

/* A block of a chunk. */
struct q8_place {
    size_t c, b;
};

/* o of block `at` takes its chunk with the weights y; between runs of steps, `next_y` becomes those
 * of block `next`, unless it is NULL. */
INLINE void q8_values_block(size_t R, const struct absorb *t, const struct span *w,
                            const struct q8_weights *y, struct q8_place at,
                            struct q8_weights *next_y, struct q8_place next,
                            struct q8_asking *asking)
{
    const char *v = (const char *)t->panels[at.c]->v + at.b * CHUNK * Q8_BLOCK;
    const float *factor = w->factor[at.c];
    size_t D = t->head_dim;
    float *o = t->o + at.b * Q8_BLOCK;
    __m512i sums[TILE_ROWS][2];
    UNROLL
    for (size_t r = 0; r < R; r++)
        sums[r][0] = sums[r][1] = _mm512_setzero_si512();
    size_t parts = next_y ? R + 1 : 1;
    for (size_t part = 0, j = 0; part < parts; part++) {
        size_t end = CHUNK / 2 * (part + 1) / parts * 2;
        for (; j < end; j += 2, v += 2 * Q8_BLOCK) {
            q8_ask_step(asking, 1);
            q8_values_step(R, y, sums, v, j);
        }
        if (next_y)
            q8_weigh_part(t, w, next.c, next.b, next_y, part);
    }
    UNROLL
    for (size_t r = 0; r < R; r++, o += D) {
        __m512 step = lanes_broadcast(&y->c[r]), a = lanes_broadcast(factor + r);
        UNROLL
        for (size_t i = 0; i < 2; i++) {
            __m512 x = _mm512_mul_ps(a, _mm512_loadu_ps(o + i * LANES));
            x = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][i]), step, x);
            _mm512_storeu_ps(o + i * LANES, x);
        }
    }
}

/* All keys of the span first, as the other forms do. The weights for a block are made before the
 * products of the block before them, which do not wait for them. */
INLINE void q8_span(size_t R, const struct absorb *t, const void *queries, struct span *w)
{
    size_t blocks = t->head_dim / Q8_BLOCK, turn = 0;
    struct q8_weights y[2];
    for (size_t c = 0; c < t->chunks; c++)
        q8_scores(R, t, queries, w, c);
    softmax(DTYPE_Q8_0, R, w, t->chunks - 1);
    for (size_t part = 0; part <= R; part++)
        q8_weigh_part(t, w, 0, 0, &y[0], part);
    for (size_t c = 0; c < t->chunks; c++) {
        struct q8_asking asking =
            q8_ask(t, t->ahead ? t->ahead[c].v : NULL, t->panels[c]->v, t->head_dim, 1);
        for (size_t b = 0; b < blocks; b++, turn ^= 1) {
            struct q8_place next =
                b + 1 < blocks ? (struct q8_place){c, b + 1} : (struct q8_place){c + 1, 0};
            q8_values_block(R, t, w, &y[turn], (struct q8_place){c, b},
                            next.c < t->chunks ? &y[turn ^ 1] : NULL, next, &asking);
        }
    }
}

#endif
