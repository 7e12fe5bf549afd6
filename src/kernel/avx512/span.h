/* A tile absorbs the chunks of a span: the generic body that absorb.c and absorb_bf16.c compile.
 *
 *     scores of chunk 0
 *     scores of chunk 1, with the exponentials of chunk 0 between their steps
 *     ...
 *     exponentials of the last chunk
 *     values of all chunks, o in registers from the first to the last
 *
 * Done chunk by chunk, o would be stored and loaded once a chunk (24 to 48 stores), and the
 * exponentials would wait for one another: 88% of the multiply-add peak against 92.5% at D = 64.
 * The operations on a row are the same, in the same order, so the bits are too.
 */
#ifndef KERNEL_AVX512_SPAN_H
#define KERNEL_AVX512_SPAN_H

#include "kernel/avx512/softmax.h"

/* The left side of q K: rows of numbers, or of pairs of bf16. */
struct left {
    const char *q;
    size_t stride; /* bytes */
};

/* The keys of a chunk that any row of the tile sees: from the first to behind the last. */
struct reach {
    size_t from, to;
};

INLINE struct reach reach_of(const uint64_t *visible, size_t rows)
{
    uint64_t any = 0;
    if (!visible)
        return (struct reach){0, CHUNK};
    for (size_t r = 0; r < rows; r++)
        any |= visible[r];
    if (!any)
        return (struct reach){0, 0};
    return (struct reach){(size_t)__builtin_ctzll(any), CHUNK - (size_t)__builtin_clzll(any)};
}

/* ---- Scores ---- */

/* Scores of the first 16 W keys of chunk c; between the steps, the softmax of the chunk before. */
INLINE void scores(enum dtype form, size_t R, size_t W, const struct absorb *t, struct left left,
                   struct span *w, size_t c)
{
    size_t size = form == DTYPE_F32 ? 4 : 2, numbers = form == DTYPE_BF16 ? 2 : 1;
    size_t steps = (t->head_dim + numbers - 1) / numbers, row = CHUNK * size, i = 0;
    const char *q = left.q, *k = t->panels[c]->k;
    struct sums s;
    tile_zero(R, W, &s);
    for (size_t part = 0; part <= R + 1; part++) {
        for (size_t end = steps * (part + 1) / (R + 2); i < end; i++) {
            tile_step(form, R, W, &s, q, left.stride, k, k + row);
            q += 4;
            k += row * numbers;
        }
        if (c == 0)
            continue;
        if (part == 0)
            softmax_begin(R, w, c - 1);
        else if (part <= R)
            softmax_row(form, w, c - 1, part - 1);
        else
            softmax_end(R, w, c - 1);
    }
    tile_store(DTYPE_F32, R, W, &s, w->s[c][0], CHUNK);
}

INLINE void scores_rows(enum dtype form, size_t R, const struct absorb *t, struct left left,
                        struct span *w, size_t c)
{
    struct reach reach = reach_of(t->visible[c], R);
    size_t W = t->score || reach.to == 0 ? TILE_VECTORS : (reach.to + LANES - 1) / LANES;
    if (!t->visible[c])
        scores(form, R, 4, t, left, w, c);
    else if (W == 1 && form != DTYPE_BF16)
        scores(form, R, 1, t, left, w, c);
    else if (W <= 2)
        scores(form, R, 2, t, left, w, c);
    else if (W == 3 && form != DTYPE_BF16)
        scores(form, R, 3, t, left, w, c);
    else
        scores(form, R, 4, t, left, w, c);
    if (t->score || t->visible[c])
        softmax_change(form, R, t, w, c);
}

/* ---- Values ---- */

/* Part of a row that does not exist. */
static const char zero[TILE_VECTORS * LANES * 2] = {0};

/* o of W vectors of columns from `column` on takes chunks [c, end). */
INLINE void values(enum dtype form, size_t R, size_t W, const struct absorb *t, size_t column,
                   const struct span *w, size_t c, size_t end)
{
    size_t size = form == DTYPE_F32 ? 4 : 2, numbers = form == DTYPE_BF16 ? 2 : 1;
    size_t Dv = value_stride(t->head_dim);
    struct sums o;
    tile_load(form, R, W, &o, t->o + column, Dv);
    for (; c < end; c++) {
        const struct panel *panel = t->panels[c];
        struct reach reach = reach_of(t->visible[c], R);
        size_t row = panel->v_stride * size;
        const char *v = (const char *)panel->v + column * size, *p = (const char *)w->s[c][0];
        tile_scale(R, W, &o, w->factor[c]);
        for (size_t j = reach.from / numbers * numbers; j < reach.to; j += numbers) {
            const char *b = v + j * row, *next = b + row;
            if (form == DTYPE_BF16) { /* a pair may reach past the keys that exist */
                b = j < panel->from ? zero : b;
                next = j + 1 >= panel->to ? zero : next;
            }
            tile_step(form, R, W, &o, p + j / numbers * 4, CHUNK * sizeof(float), b, next);
        }
    }
    tile_store(form, R, W, &o, t->o + column, Dv);
}

INLINE void values_rows(enum dtype form, size_t R, const struct absorb *t, const struct span *w,
                        size_t c, size_t end)
{
    size_t Dv = value_stride(t->head_dim), column = 0;
    for (; column + 64 <= Dv; column += 64)
        values(form, R, 4, t, column, w, c, end);
    switch ((Dv - column) / LANES) {
    case 1:
        values(form, R, 1, t, column, w, c, end);
        break;
    case 2:
        values(form, R, 2, t, column, w, c, end);
        break;
    case 3:
        values(form, R, 3, t, column, w, c, end);
        break;
    }
}

/* The same for one chunk in which some value is not finite: 0 times it would be NaN, so each row
 * takes the keys that it sees and zeros for others. */
INLINE void values_guarded(enum dtype form, const struct absorb *t, const struct span *w, size_t c)
{
    const struct panel *panel = t->panels[c];
    size_t size = form == DTYPE_F32 ? 4 : 2, numbers = form == DTYPE_BF16 ? 2 : 1;
    size_t Dv = value_stride(t->head_dim), row = panel->v_stride * size;
    for (size_t r = 0; r < t->rows; r++)
        for (size_t column = 0; column < Dv; column += LANES) {
            struct sums o;
            const char *v = (const char *)panel->v + column * size, *p = (const char *)w->s[c][r];
            tile_load(form, 1, 1, &o, t->o + r * Dv + column, Dv);
            tile_scale(1, 1, &o, w->factor[c] + r);
            for (size_t j = 0; j < CHUNK; j += numbers) {
                uint64_t seen = t->visible[c][r] >> j & (numbers == 2 ? 3 : 1);
                if (seen)
                    tile_step(form, 1, 1, &o, p + j / numbers * 4, 0, seen & 1 ? v + j * row : zero,
                              seen & 2 ? v + (j + 1) * row : zero);
            }
            tile_store(form, 1, 1, &o, t->o + r * Dv + column, Dv);
        }
}

/* ---- The span ---- */

INLINE void span_rows(enum dtype form, size_t R, const struct absorb *t, struct left left,
                      struct span *w)
{
    size_t last = t->chunks - 1;
    for (size_t c = 0; c <= last; c++)
        scores_rows(form, R, t, left, w, c);
    softmax_begin(R, w, last);
    for (size_t r = 0; r < R; r++)
        softmax_row(form, w, last, r);
    softmax_end(R, w, last);

    for (size_t c = 0, end; c <= last; c = end) {
        for (end = c; end <= last && !(t->visible[end] && !t->finite[end]);)
            end++;
        if (end > c)
            values_rows(form, R, t, w, c, end);
        else
            values_guarded(form, t, w, end++);
    }
}

/* Rows whose d is NaN become NaN altogether: one NaN, whatever NaN came in and by which way. */
static inline void span_nan(const struct absorb *t)
{
    size_t Dv = value_stride(t->head_dim);
    for (size_t r = 0; r < t->rows; r++)
        if (isnan(t->d[r])) {
            t->m[r] = t->d[r] = NAN;
            for (size_t i = 0; i < Dv; i++)
                t->o[r * Dv + i] = NAN;
        }
}

INLINE void span_absorb(enum dtype form, const struct absorb *t, struct left left)
{
    struct span w;
    __mmask16 rows = (__mmask16)((1u << t->rows) - 1);
    _mm512_store_ps(w.m, _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), rows, t->m));
    _mm512_store_ps(w.d, _mm512_maskz_loadu_ps(rows, t->d));
    switch (t->rows) {
    case 1:
        span_rows(form, 1, t, left, &w);
        break;
    case 2:
        span_rows(form, 2, t, left, &w);
        break;
    case 3:
        span_rows(form, 3, t, left, &w);
        break;
    case 4:
        span_rows(form, 4, t, left, &w);
        break;
    case 5:
        span_rows(form, 5, t, left, &w);
        break;
    case 6:
        span_rows(form, 6, t, left, &w);
        break;
    }
    _mm512_mask_storeu_ps(t->m, rows, _mm512_load_ps(w.m));
    _mm512_mask_storeu_ps(t->d, rows, _mm512_load_ps(w.d));
    span_nan(t);
}

#endif
