/* A tile absorbs the chunks of a span: the generic body that absorb.c and absorb_bf16.c compile.
 *
 *     scores of chunk 0
 *     scores of chunk 1, and between their steps the softmax of chunk 0
 *     ...
 *     values of chunk 0, and between their steps the softmax of the last chunk
 *     values of chunk 1 and on, o in registers from the first chunk to the last
 *
 * Softmax is chains of few instructions that wait for one another; between steps it fills what they
 * leave idle. Chunk after chunk, each whole, o would be stored and loaded once a chunk: 88% of the
 * multiply-add peak at D = 64, against 93%. The operations on a row are the same in the same order,
 * so the bits are, too.
 */
#ifndef KERNEL_AVX512_SPAN_H
#define KERNEL_AVX512_SPAN_H

#include "kernel/avx512/ask.h"
#include "kernel/avx512/q8.h"
#include "kernel/avx512/softmax.h"
#include "kernel/chunk.h"

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

/* Elements that one step takes of a sum. */
INLINE size_t form_numbers(enum dtype form)
{
    return form == DTYPE_BF16 ? 2 : 1;
}

/* ---- Scores ---- */

/* Products of q and the first 16 W keys of chunk c; between them, the softmax of the chunk before.
 */
INLINE void scores(enum dtype form, size_t R, size_t W, const struct absorb *t, struct left left,
                   struct span *w, size_t c)
{
    size_t numbers = form_numbers(form), row = CHUNK * form_size(form);
    size_t steps = (t->head_dim + numbers - 1) / numbers, i = 0;
    const char *q = left.q, *k = t->panels[c]->k;
    struct asking asking = {0};
    struct sums s;
    if (t->ahead)
        asking = ask(t, t->ahead[c].k, row, numbers, steps);
    tile_zero(R, W, &s);
    for (size_t part = 0; part < R + 2; part++) {
        for (size_t end = steps * (part + 1) / (R + 2); i < end; i++) {
            ask_step(&asking, numbers, row);
            tile_step(form, R, W, &s, q, left.stride, k, k + row);
            q += 4;
            k += row * numbers;
        }
        if (c > 0)
            softmax_part(form, R, w, c - 1, part);
    }
    tile_store_in_place(R, W, &s, w->s[c][0], CHUNK);
}

/* As many vectors as any row sees; pairs of bf16 come in pairs of vectors. */
INLINE void scores_reach(enum dtype form, size_t R, const struct absorb *t, struct left left,
                         struct span *w, size_t c)
{
    size_t to = t->score ? CHUNK : reach_of(t->visible[c], R).to;
    if (to > 48 || (to > 32 && form == DTYPE_BF16))
        scores(form, R, 4, t, left, w, c);
    else if (to > 32)
        scores(form, R, 3, t, left, w, c);
    else if (to > 16 || form == DTYPE_BF16)
        scores(form, R, 2, t, left, w, c);
    else
        scores(form, R, 1, t, left, w, c);
    if (t->score)
        change_scores(form, R, t, c, w->s[c][0]);
    if (t->visible[c])
        mask_scores(form, R, t->visible[c], w->s[c][0]);
}

/* ---- Values ---- */

/* Part of a row that does not exist. */
static const char zero[TILE_VECTORS * LANES * 2] = {0};

/* o += p V over keys [from, to) of a panel, p the probabilities of row 0 and v the values from the
 * first column on. */
INLINE void values_keys(enum dtype form, size_t R, size_t W, struct sums *o,
                        const struct panel *panel, struct panel_values v, const float *p,
                        size_t from, size_t to, struct asking *asking)
{
    size_t numbers = form_numbers(form), row = v.stride;
    const char *b = v.at + from * row;
    const char *left = (const char *)p + from / numbers * 4;
    for (size_t j = from; j < to; j += numbers, b += numbers * row, left += 4) {
        bool first = form != DTYPE_BF16 || j >= panel->from; /* a pair may reach */
        bool second = j + 1 < panel->to;                     /* past the keys that exist */
        ask_step(asking, numbers, W * LANES * form_size(form));
        tile_step(form, R, W, o, left, CHUNK * sizeof *p, first ? b : zero,
                  second ? b + row : zero);
    }
}

/* o of W vectors of columns from `column` on takes chunks [c, end); between the first one's steps,
 * the softmax of chunk `late`, unless that is 0. */
INLINE void values(enum dtype form, size_t R, size_t W, const struct absorb *t, size_t column,
                   struct span *w, size_t c, size_t end, size_t late)
{
    size_t Dv = value_stride(t->head_dim), numbers = form_numbers(form);
    struct sums o;
    tile_load(form, R, W, &o, t->o + column, Dv);
    for (; c < end; c++, late = 0) {
        const struct panel *panel = t->panels[c];
        struct panel_values v = panel_values(form, panel, t->head_dim, column);
        struct reach reach = reach_of(t->visible[c], R);
        size_t from = reach.from / numbers * numbers;
        struct asking asking = {0};
        if (t->ahead && t->ahead[c].v) {
            struct panel_values next = chunk_values(form, t->ahead[c].v, t->head_dim, column);
            asking = ask(t, next.at, next.stride, numbers, CHUNK / numbers);
        }
        tile_scale(R, W, &o, w->factor[c]);
        for (size_t part = 0; late && part < R + 2; part++) {
            size_t to = part == R + 1 ? reach.to : from + CHUNK / (R + 2) / 2 * 2;
            to = to < reach.to ? to : reach.to;
            values_keys(form, R, W, &o, panel, v, w->s[c][0], from, to, &asking);
            from = from < to ? to : from;
            softmax_part(form, R, w, late, part);
        }
        values_keys(form, R, W, &o, panel, v, w->s[c][0], from, reach.to, &asking);
    }
    tile_store(form, R, W, &o, t->o + column, Dv);
}

INLINE void values_columns(enum dtype form, size_t R, const struct absorb *t, struct span *w,
                           size_t c, size_t end, size_t late)
{
    size_t Dv = value_stride(t->head_dim), column = 0;
    for (; column + 64 <= Dv; column += 64, late = 0)
        values(form, R, 4, t, column, w, c, end, late);
    if (Dv - column == 48)
        values(form, R, 3, t, column, w, c, end, 0);
    if (Dv - column == 32)
        values(form, R, 2, t, column, w, c, end, 0);
    if (Dv - column == 16)
        values(form, R, 1, t, column, w, c, end, 0);
}

/* The same for one chunk in which some value is not finite: 0 times it would be NaN, so each row
 * takes the keys that it sees, and zeros for others. */
INLINE void values_guarded(enum dtype form, const struct absorb *t, const struct span *w, size_t c)
{
    const struct panel *panel = t->panels[c];
    size_t numbers = form_numbers(form), Dv = value_stride(t->head_dim);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t column = 0; column < Dv; column += LANES) {
            struct sums o;
            const char *p = (const char *)w->s[c][r];
            struct panel_values v = panel_values(form, panel, t->head_dim, column);
            tile_load(form, 1, 1, &o, t->o + r * Dv + column, Dv);
            tile_scale(1, 1, &o, w->factor[c] + r);
            for (size_t j = 0; j < CHUNK; j += numbers) {
                uint64_t seen = t->visible[c][r] >> j & (numbers == 2 ? 3 : 1);
                if (seen)
                    tile_step(form, 1, 1, &o, p + j / numbers * 4, 0,
                              seen & 1 ? v.at + j * v.stride : zero,
                              seen & 2 ? v.at + (j + 1) * v.stride : zero);
            }
            tile_store(form, 1, 1, &o, t->o + r * Dv + column, Dv);
        }
}

/* ---- The span ---- */

static inline bool guarded(const struct absorb *t, size_t c)
{
    return t->visible[c] && !t->finite[c];
}

INLINE void span_rows(enum dtype form, size_t R, const struct absorb *t, struct left left,
                      struct span *w)
{
    if (form == DTYPE_Q8_0) {
        q8_span(R, t, left.q, w);
        return;
    }
    size_t last = t->chunks - 1, late = t->head_dim >= 64 && !guarded(t, 0) ? last : 0;
    for (size_t c = 0; c <= last; c++)
        scores_reach(form, R, t, left, w, c);
    if (!late)
        softmax(form, R, w, last);
    for (size_t c = 0, end; c <= last; c = end, late = 0) {
        for (end = c; end <= last && !guarded(t, end);)
            end++;
        if (end > c)
            values_columns(form, R, t, w, c, end, late);
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
