/* Online softmax for the rows of a tile, a chunk at a time.
 *
 *     m' = max(m, max_j s_j);   p_j = 2^(s_j - m');   a = 2^(m - m');   d' = a d + sum_j p_j
 *
 * m, a and d of all rows are one vector, row r in lane r, so that one exponential gives every row's
 * factor a. The trees that bring 16 lanes of each row there take the same pairs for every row:
 * where a row stands changes none of its bits. Where a row has seen nothing m' is -inf, and 0
 * stands in for it in s - m', which would be NaN.
 *
 * Of Q8_0, whose values' weights become integers of 16 bits, p is of the chunk alone, 1 at most:
 *
 *     n = max_j s_j;   p_j = 2^(s_j - n);   b = 2^(n - m');   d' = a d + b sum_j p_j
 *
 * A NaN among the scores makes d NaN, and a row whose d is NaN is made NaN altogether in the end.
 */
#ifndef KERNEL_AVX512_SOFTMAX_H
#define KERNEL_AVX512_SOFTMAX_H

#include <math.h>
#include <stdbool.h>

#include "kernel/avx512/tile.h"
#include "kernel/exp.h"
#include "kernel/kernel.h"

/* What a tile works with while it absorbs: 14 KiB, so that half of the first-level cache is left to
 * keys and values. Of BF16, scores lie in the order that pairs_load gives, and probabilities are
 * pairs of bf16 in order, in the first half of the row. */
struct span {
    _Alignas(64) float s[SPAN_CHUNKS][TILE_ROWS][CHUNK]; /* scores, then probabilities */
    float sum[TILE_ROWS][LANES];                         /* of a row's probabilities, in 16 parts */
    float shift[SPAN_CHUNKS][LANES];                     /* m' of the rows, or 0 for -inf */
    float factor[SPAN_CHUNKS][LANES];                    /* a of the rows */
    float rise[SPAN_CHUNKS][LANES];                      /* of Q8_0, b of the rows */
    float m[LANES], d[LANES];
};

/* ---- 2^x ---- */

static const float exp2_coefficients[] = {EXP2_P5, EXP2_P4, EXP2_P3, EXP2_P2, EXP2_P1, 1};

/* Of degree 3, relative error 8.6e-5, for what is rounded to bf16 at once, an error of 2e-3: saves
 * 3% of a tile of D = 64. */
static const float exp2_short[] = {0x1.3baaa6p-4f, 0x1.d2378ap-3f, 0x1.63e658p-1f, 1};

/* p = p r + c. The coefficients stay in memory: the registers are full of sums. */
INLINE void horner(__m512 *p, __m512 r, const float *c)
{
    __asm__ volatile("vfmadd213ps %2%{1to16%}, %1, %0" : "+v"(*p) : "v"(r), "m"(*c));
}

/* 2^x for x <= 0, `terms` the coefficients of a polynomial for [0, 1). With all six the bits are
 * those of kernel/exp.h. x - floor(x) is one instruction, which turns -inf to 0, and scaling by
 * 2^floor(x) is one, which turns that to 0; neither needs a multiplier. */
INLINE __m512 lanes_exp2(__m512 x, const float *coefficients, size_t terms)
{
    __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = lanes_broadcast(coefficients);
    UNROLL
    for (size_t i = 1; i < terms; i++)
        horner(&p, r, coefficients + i);
    return _mm512_scalef_ps(p, x);
}

INLINE __m512 exp2_exact(__m512 x)
{
    return lanes_exp2(x, exp2_coefficients, 6);
}

/* A probability, exact to the form it gets. */
INLINE __m512 exp2_form(enum dtype form, __m512 x)
{
    return form == DTYPE_BF16 ? lanes_exp2(x, exp2_short, 4) : exp2_exact(x);
}

/* ---- Across lanes ---- */

/* What lanes become when they are joined. Of NaN, the maximum takes b; as an integer a magnitude
 * that is NaN is larger than all numbers, so that MAGNITUDE keeps it. */
enum join { SUM, MAXIMUM, MAGNITUDE };

INLINE __m512 join(enum join how, __m512 a, __m512 b)
{
    if (how == MAGNITUDE)
        return _mm512_castsi512_ps(
            _mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
    return how == SUM ? _mm512_add_ps(a, b) : _mm512_max_ps(a, b);
}

INLINE __m512 join_floats(enum join how, __m512 a, __m512 b)
{
    return join(how, _mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
}

INLINE __m512 join_pairs(enum join how, __m512 a, __m512 b)
{
    __m512d x = _mm512_castps_pd(a), y = _mm512_castps_pd(b);
    return join(how, _mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
}

/* A row of `vectors` vectors as one. */
INLINE __m512 row_parts(enum join how, size_t vectors, const float *row)
{
    __m512 x = lanes_load(row);
    for (size_t i = 1; i < vectors; i++)
        x = join(how, _mm512_load_ps(row + i * LANES), x);
    return x;
}

/* Rows r and r + 1, as far as there are R, in 8 parts each. */
INLINE __m512 two_rows(enum join how, size_t R, size_t vectors, const float *rows, size_t r)
{
    __m512 none = _mm512_setzero_ps();
    if (r >= R)
        return none;
    const float *row = rows + r * vectors * LANES;
    return join_floats(how, row_parts(how, vectors, row),
                       r + 1 < R ? row_parts(how, vectors, row + vectors * LANES) : none);
}

/* Lane r of the result joins all of row r; lanes 8 to 15 repeat them. Each level makes one vector
 * of two, so that six rows cost 7 joins and not 24; few registers are needed at once. */
INLINE __m512 fold_rows(enum join how, size_t R, size_t vectors, const float *rows)
{
    __m512 x = two_rows(how, R, vectors, rows, 0), y = two_rows(how, R, vectors, rows, 2);
    __m512 z = _mm512_setzero_ps();
    x = join_pairs(how, x, y);
    if (R > 4)
        z = join_pairs(how, two_rows(how, R, vectors, rows, 4), z);
    y = join(how, _mm512_shuffle_f32x4(x, z, 0x44), _mm512_shuffle_f32x4(x, z, 0xee));
    y = join(how, y, _mm512_shuffle_f32x4(y, y, 0xb1));
    return _mm512_shuffle_f32x4(y, y, 0x88);
}

/* ---- A chunk, part by part ---- */

/* x, or where it is -inf, 0. */
INLINE __m512 shift_of(__m512 x)
{
    __mmask16 empty = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-INFINITY), _CMP_EQ_OQ);
    return _mm512_mask_mov_ps(x, empty, _mm512_setzero_ps());
}

/* m' and a of chunk c from its scores; of Q8_0 also b. */
INLINE void softmax_begin(enum dtype form, size_t R, struct span *w, size_t c)
{
    __m512 most = fold_rows(MAXIMUM, R, CHUNK / LANES, w->s[c][0]), old = lanes_load(w->m);
    __m512 m = _mm512_max_ps(most, old), shift = shift_of(m);
    _mm512_store_ps(w->m, m);
    _mm512_store_ps(w->factor[c], exp2_exact(_mm512_sub_ps(old, shift)));
    if (form == DTYPE_Q8_0) {
        _mm512_store_ps(w->rise[c], exp2_exact(_mm512_sub_ps(most, shift)));
        shift = shift_of(most);
    }
    _mm512_store_ps(w->shift[c], shift);
}

/* a and b rounded to bf16, in order. */
INLINE __m512i pack_bf16(__m512 a, __m512 b)
{
    static const _Alignas(64) uint64_t order[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    __m512i pairs;
    __asm__("vcvtne2ps2bf16 %1, %2, %0" : "=v"(pairs) : "v"(a), "v"(b));
    return _mm512_permutexvar_epi64(_mm512_load_si512(order), pairs);
}

/* The probabilities of row r in place of its scores, and their sum. BF16 sums what it rounds as it
 * was before: that costs nothing, and errors of 0.0054 became 0.0042 (D = 64, 4,096 keys). */
INLINE void softmax_row(enum dtype form, struct span *w, size_t c, size_t r)
{
    float *s = w->s[c][r];
    __m512 shift = lanes_broadcast(&w->shift[c][r]), sum = _mm512_setzero_ps();
    UNROLL
    for (size_t i = 0; i < CHUNK; i += 2 * LANES) {
        __m512 a = exp2_form(form, _mm512_sub_ps(lanes_load(s + i), shift));
        __m512 b = exp2_form(form, _mm512_sub_ps(lanes_load(s + i + LANES), shift));
        if (form == DTYPE_BF16) {
            _mm512_store_si512((uint16_t *)(void *)s + i, pack_bf16(a, b));
        } else {
            _mm512_store_ps(s + i, a);
            _mm512_store_ps(s + i + LANES, b);
        }
        sum = i ? _mm512_add_ps(sum, _mm512_add_ps(a, b)) : _mm512_add_ps(a, b);
    }
    _mm512_store_ps(w->sum[r], sum);
}

/* d' of chunk c from the sums of its rows. */
INLINE void softmax_end(enum dtype form, size_t R, struct span *w, size_t c)
{
    __m512 d = lanes_load(w->d), factor = _mm512_load_ps(w->factor[c]);
    __m512 sum = fold_rows(SUM, R, 1, w->sum[0]);
    if (form == DTYPE_Q8_0)
        sum = _mm512_mul_ps(sum, _mm512_load_ps(w->rise[c]));
    _mm512_store_ps(w->d, _mm512_fmadd_ps(d, factor, sum));
}

/* Part `part` of R + 2, to stand between the steps of a product that does not wait for it. The
 * empty assembly hides that w and c are the same each time: else gcc computes all addresses before
 * the steps, and as there are no registers for them stores them, which costs 1 to 2%. */
INLINE void softmax_part(enum dtype form, size_t R, struct span *w, size_t c, size_t part)
{
    __asm__("" : "+r"(w), "+r"(c));
    if (part == 0)
        softmax_begin(form, R, w, c);
    else if (part <= R)
        softmax_row(form, w, c, part - 1);
    else
        softmax_end(form, R, w, c);
}

INLINE void softmax(enum dtype form, size_t R, struct span *w, size_t c)
{
    for (size_t part = 0; part < R + 2; part++)
        softmax_part(form, R, w, c, part);
}

/* ---- What stands between products and scores ---- */

/* Bits of keys, in the order in which their scores lie. */
INLINE uint64_t bits_in_place(enum dtype form, uint64_t keys)
{
    const uint64_t fours = 0x0f0f0f0f0f0f0f0f, eights = 0x00ff00ff00ff00ff;
    const uint64_t sixteens = 0x0000ffff0000ffff;
    if (form != DTYPE_BF16)
        return keys;
    uint64_t even = keys & fours, odd = keys >> 4 & fours;
    even = (even | even >> 4) & eights;
    odd = (odd | odd >> 4) & eights;
    return ((even | even >> 8) & sixteens) | ((odd | odd >> 8) & sixteens) << 16;
}

/* The tile's score function over R rows, which knows only keys in order. */
INLINE void change_scores(enum dtype form, size_t R, const struct absorb *t, size_t c, float *s)
{
    __m512 x[2];
    for (size_t i = 0; form == DTYPE_BF16 && i < R * CHUNK; i += 2 * LANES) {
        x[0] = _mm512_load_ps(s + i);
        x[1] = _mm512_load_ps(s + i + LANES);
        pairs_order(x);
        _mm512_store_ps(s + i, x[0]);
        _mm512_store_ps(s + i + LANES, x[1]);
    }
    t->score(t->context, c, s);
    for (size_t i = 0; form == DTYPE_BF16 && i < R * CHUNK; i += 2 * LANES) {
        x[0] = _mm512_load_ps(s + i);
        x[1] = _mm512_load_ps(s + i + LANES);
        pairs_disorder(x);
        _mm512_store_ps(s + i, x[0]);
        _mm512_store_ps(s + i + LANES, x[1]);
    }
}

/* Scores that a row does not see become -inf. */
INLINE void mask_scores(enum dtype form, size_t R, const uint64_t *visible, float *s)
{
    __m512 none = _mm512_set1_ps(-INFINITY);
    for (size_t r = 0; r < R; r++) {
        uint64_t seen = bits_in_place(form, visible[r]);
        for (size_t i = 0; i < CHUNK; i += LANES, s += LANES, seen >>= LANES)
            _mm512_store_ps(s, _mm512_mask_mov_ps(none, (__mmask16)seen, _mm512_load_ps(s)));
    }
}

#endif
