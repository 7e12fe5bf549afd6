/* Online softmax for the rows of a tile, a chunk at a time, kept where the next product wants it.
 *
 *     m' = max(m, max_j s_j);   p_j = 2^(s_j - m');   a = 2^(m - m');   d' = a d + sum_j p_j
 *
 * One vector holds the same quantity of all rows, row r in lane r, so one exponential gives every
 * row's factor a. The trees that bring 16 lanes of each row there take the same pairs for every
 * row: where a row stands changes none of its bits. While no exponential is at work the rows'
 * maxima are -inf for rows that have seen nothing; 0 stands for that in s - m', where -inf - -inf
 * would be NaN.
 *
 * A NaN among the scores makes d NaN, and a row whose d is NaN becomes NaN altogether at the end of
 * absorbing.
 */
#ifndef KERNEL_AVX512_SOFTMAX_H
#define KERNEL_AVX512_SOFTMAX_H

#include <math.h>
#include <stdbool.h>

#include "kernel/avx512/tile.h"
#include "kernel/exp.h"
#include "kernel/kernel.h"

/* What a tile works with while it absorbs: about 16 KiB, half of the first-level cache. */
struct span {
    /* [c][r]: scores, then probabilities: float, or of BF16 pairs of bf16 in the row's first half.
     */
    _Alignas(64) float s[SPAN_CHUNKS][TILE_ROWS][CHUNK];
    float top[TILE_ROWS][LANES],
        sum[TILE_ROWS][LANES];        /* of a chunk's probabilities, lane by lane */
    float shift[SPAN_CHUNKS][LANES];  /* m', or 0 for -inf */
    float factor[SPAN_CHUNKS][LANES]; /* a */
    float m[LANES], d[LANES];
};

static const _Alignas(64) uint64_t lanes_order[8] = {0, 4, 1, 5, 2, 6, 3, 7};
/* ---- 2^x ---- */

static const float exp2_coefficients[] = {EXP2_P5, EXP2_P4, EXP2_P3, EXP2_P2, EXP2_P1, 1};

/* Degree 3, relative error 8.6e-5, for what is rounded to bf16 (2e-3) at once: 2 of 5 steps saved
 * are 2.5% of a tile of D = 64. */
static const float exp2_short[] = {0x1.3baaa2p-4f, 0x1.d2378ap-3f, 0x1.63e658p-1f, 1};

/* p = p r + c */
INLINE void horner(__m512 *p, __m512 r, const float *c)
{
    __asm__ volatile("vfmadd213ps %2%{1to16%}, %1, %0" : "+v"(*p) : "v"(r), "m"(*c));
}

/* 2^x as in kernel/exp.h, the same bits: r = x - floor(x) is one instruction, which turns -inf to
 * 0, and scaling by 2^floor(x) another. Five multiplications; the coefficients stay in memory,
 * because the registers are full of sums. */
INLINE __m512 lanes_exp2(__m512 x)
{
    __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = lanes_broadcast(exp2_coefficients);
    UNROLL
    for (size_t i = 1; i < 6; i++)
        horner(&p, r, exp2_coefficients + i);
    return _mm512_scalef_ps(p, x);
}

INLINE __m512 lanes_exp2_short(__m512 x)
{
    __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = lanes_broadcast(exp2_short);
    UNROLL
    for (size_t i = 1; i < 4; i++)
        horner(&p, r, exp2_short + i);
    return _mm512_scalef_ps(p, x);
}

/* ---- Across lanes ---- */

/* Sum or maximum; of the maximum, b where either is NaN. */
INLINE __m512 join(bool sum, __m512 a, __m512 b)
{
    return sum ? _mm512_add_ps(a, b) : _mm512_max_ps(a, b);
}

INLINE __m512 join_floats(bool sum, __m512 a, __m512 b)
{
    return join(sum, _mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
}

INLINE __m512 join_pairs(bool sum, __m512 a, __m512 b)
{
    __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return join(sum, _mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

/* The largest of a row's scores, over lanes of 4. */
INLINE __m512 row_top(const float *s)
{
    __m512 x = _mm512_max_ps(_mm512_load_ps(s + 16), lanes_load(s));
    x = _mm512_max_ps(_mm512_load_ps(s + 32), x);
    return _mm512_max_ps(_mm512_load_ps(s + 48), x);
}

INLINE __m512 row_fold(bool sum, struct span *w, size_t c, size_t r)
{
    return sum ? lanes_load(w->sum[r]) : row_top(w->s[c][r]);
}

INLINE __m512 fold_rows(bool sum, size_t R, struct span *w, size_t c)
{
    __m512 none = _mm512_setzero_ps(), x, y, z = none;
    x = row_fold(sum, w, c, 0);
    x = join_floats(sum, x, R > 1 ? row_fold(sum, w, c, 1) : none);
    if (R > 2) {
        y = row_fold(sum, w, c, 2);
        y = join_floats(sum, y, R > 3 ? row_fold(sum, w, c, 3) : none);
    } else
        y = none;
    x = join_pairs(sum, x, y);
    if (R > 4) {
        z = row_fold(sum, w, c, 4);
        z = join_floats(sum, z, R > 5 ? row_fold(sum, w, c, 5) : none);
        z = join_pairs(sum, z, none);
    }
    y = join(sum, _mm512_shuffle_f32x4(x, z, 0x44), _mm512_shuffle_f32x4(x, z, 0xee));
    y = join(sum, y, _mm512_shuffle_f32x4(y, y, 0xb1));
    return _mm512_shuffle_f32x4(y, y, 0x88);
}

/* ---- A chunk ---- */

/* Bits of keys in the order of the lanes: of BF16, as pairs_load puts them. */
INLINE uint64_t lane_bits(enum dtype form, uint64_t keys)
{
    if (form != DTYPE_BF16)
        return keys;
    uint64_t even = keys & 0x0f0f0f0f0f0f0f0f, odd = keys >> 4 & 0x0f0f0f0f0f0f0f0f;
    even = (even | even >> 4) & 0x00ff00ff00ff00ff;
    odd = (odd | odd >> 4) & 0x00ff00ff00ff00ff;
    even = (even | even >> 8) & 0x0000ffff0000ffff;
    odd = (odd | odd >> 8) & 0x0000ffff0000ffff;
    return even | odd << 16;
}

/* Scores that are more than products, and masks: those that a row does not see become -inf. */
INLINE void softmax_change(enum dtype form, size_t R, const struct absorb *t, struct span *w,
                           size_t c)
{
    float *s = w->s[c][0];
    for (size_t i = 0; t->score && form == DTYPE_BF16 && i < R * CHUNK; i += 32) {
        __m512 x[2] = {_mm512_load_ps(s + i), _mm512_load_ps(s + i + 16)};
        pairs_order(x);
        _mm512_store_ps(s + i, x[0]);
        _mm512_store_ps(s + i + 16, x[1]);
    }
    if (t->score)
        t->score(t->context, c, s);
    for (size_t i = 0; t->score && form == DTYPE_BF16 && i < R * CHUNK; i += 32) {
        __m512 x[2] = {_mm512_load_ps(s + i), _mm512_load_ps(s + i + 16)};
        pairs_disorder(x);
        _mm512_store_ps(s + i, x[0]);
        _mm512_store_ps(s + i + 16, x[1]);
    }
    for (size_t r = 0; r < R; r++) {
        uint64_t seen = lane_bits(form, t->visible[c] ? t->visible[c][r] : UINT64_MAX);
        __m512 top = _mm512_set1_ps(-INFINITY);
        for (size_t i = 0; i < CHUNK; i += LANES, s += LANES, seen >>= LANES) {
            __m512 x =
                _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), (__mmask16)seen, _mm512_load_ps(s));
            _mm512_store_ps(s, x);
            top = _mm512_max_ps(x, top);
        }
        _mm512_store_ps(w->top[r], top);
    }
}

/* m' and a of chunk c from its scores. */
INLINE void softmax_begin(size_t R, struct span *w, size_t c)
{
    __m512 none = _mm512_set1_ps(-INFINITY), old = lanes_load(w->m);
    __m512 m = _mm512_max_ps(fold_rows(false, R, w, c), old);
    __mmask16 empty = _mm512_cmp_ps_mask(m, none, _CMP_EQ_OQ);
    __m512 shift = _mm512_mask_mov_ps(m, empty, _mm512_setzero_ps());
    _mm512_store_ps(w->m, m);
    _mm512_store_ps(w->shift[c], shift);
    _mm512_store_ps(w->factor[c], lanes_exp2(_mm512_sub_ps(old, shift)));
}

/* The probabilities of row r in place of its scores, and their sum, over lanes of 4. BF16: rounded
 * where they stand; summed as they were, which costs nothing and is closer to the definition. */
INLINE void softmax_row(enum dtype form, struct span *w, size_t c, size_t r)
{
    float *s = w->s[c][r];
    __m512 shift = lanes_broadcast(&w->shift[c][r]), sum = _mm512_setzero_ps();
    UNROLL
    for (size_t i = 0; i < 2; i++) {
        __m512 a = _mm512_sub_ps(lanes_load(s + 32 * i), shift);
        __m512 b = _mm512_sub_ps(lanes_load(s + 32 * i + 16), shift);
        if (form == DTYPE_BF16) {
            a = lanes_exp2_short(a);
            b = lanes_exp2_short(b);
            __m512i pair;
            __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(pair) : "v"(a), "v"(b));
            pair = _mm512_permutexvar_epi64(_mm512_load_si512(lanes_order), pair);
            _mm512_store_si512((uint16_t *)(void *)s + 32 * i, pair);
        } else {
            a = lanes_exp2(a);
            b = lanes_exp2(b);
            _mm512_store_ps(s + 32 * i, a);
            _mm512_store_ps(s + 32 * i + 16, b);
        }
        sum = i ? _mm512_add_ps(sum, _mm512_add_ps(a, b)) : _mm512_add_ps(a, b);
    }
    _mm512_store_ps(w->sum[r], sum);
}

/* d' of chunk c from the sums of its rows. */
INLINE void softmax_end(size_t R, struct span *w, size_t c)
{
    __m512 d = lanes_load(w->d);
    d = _mm512_fmadd_ps(d, _mm512_load_ps(w->factor[c]), fold_rows(true, R, w, c));
    _mm512_store_ps(w->d, d);
}

#endif
