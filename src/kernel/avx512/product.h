/* Matrix products in words of one float32, or of two bf16: the generic body that product.c and
 * product_bf16.c compile.
 *
 * Both sides lie as the tile wants them (tile.h): rows of words to broadcast, panels of 64 words to
 * load. With 24 sums a step reads 10 times for 24 multiply-adds; of a panel in the second-level
 * cache it needs 11 bytes a cycle where 32 can come.
 */
#ifndef KERNEL_AVX512_PRODUCT_H
#define KERNEL_AVX512_PRODUCT_H

#include "kernel/avx512/tile.h"
#include "kernel/avx512/transpose.h"
#include "kernel/kernel.h"

/* Steps before the end of a tile at which the next one's part of c is asked for: earlier, the panel
 * would push it out of the first-level cache again. */
enum { LATE = 24 };

enum { BLOCK = 16 };

/* What a word of b is: a float32, two terms in bf16, or the two bytes that stand for a float32. */
enum word { WORD_F32, WORD_PAIR, WORD_F16, WORD_BF16 };

/* Bytes of the 16 words of a vector. */
INLINE size_t word_step(enum word word)
{
    return word == WORD_F16 || word == WORD_BF16 ? LANES * 2 : LANES * 4;
}

INLINE __m512 word_load(enum word word, const char *p)
{
    if (word == WORD_F16)
        return lanes_load_f16(p);
    return word == WORD_BF16 ? lanes_load_bf16(p) : lanes_load(p);
}

/* ---- The product ---- */

/* The lanes of the last of W vectors that exist. */
INLINE __mmask16 last_lanes(const struct product_block *t, size_t W)
{
    return (__mmask16)((1u << (t->columns - (W - 1) * LANES)) - 1);
}

INLINE void sums_start(size_t R, size_t W, struct sums *s, const struct product_block *t,
                       const float *c)
{
    UNROLL
    for (size_t w = 0; w < W; w++) {
        __mmask16 lanes = w + 1 < W ? 0xffff : last_lanes(t, W);
        __m512 bias = _mm512_setzero_ps();
        if (t->bias)
            bias = _mm512_maskz_loadu_ps(lanes, t->bias + w * LANES);
        UNROLL
        for (size_t r = 0; r < R; r++) {
            s->at[r][w] = bias;
            if (t->accumulate) {
                __m512 old = _mm512_maskz_loadu_ps(lanes, c + r * t->c_stride + w * LANES);
                s->at[r][w] = t->bias ? _mm512_add_ps(old, bias) : old;
            }
        }
    }
}

INLINE void sums_store(size_t R, size_t W, const struct sums *s, const struct product_block *t,
                       float *c)
{
    UNROLL
    for (size_t r = 0; r < R; r++) {
        UNROLL
        for (size_t w = 0; w < W; w++)
            if (w + 1 < W)
                _mm512_storeu_ps(c + r * t->c_stride + w * LANES, s->at[r][w]);
            else
                _mm512_mask_storeu_ps(c + r * t->c_stride + w * LANES, last_lanes(t, W),
                                      s->at[r][w]);
    }
}

/* Asks for the rows of c that come next. */
INLINE void c_prefetch(size_t R, size_t W, const struct product_block *t, size_t m)
{
    for (size_t r = m; r < m + R && r < t->rows; r++)
        UNROLL
    for (size_t w = 0; w < W; w++)
        _mm_prefetch((const char *)(t->c + r * t->c_stride + w * LANES), _MM_HINT_T0);
}

/* Memory that a tile asks for: so many cache lines with each step. */
struct asking {
    const char *at;
    size_t lines;
};

/* Even shares for all tiles, in lines of a step. */
static inline struct asking asking_of(enum word word, const struct product_block *t, size_t m)
{
    size_t tiles = (t->rows + TILE_ROWS - 1) / TILE_ROWS, tile = m / TILE_ROWS;
    size_t lines = TILE_VECTORS * word_step(word) / 64, share = (lines + tiles - 1) / tiles;
    if (!t->ahead || tile * share >= lines)
        return (struct asking){0};
    return (struct asking){(const char *)t->ahead + tile * share * t->words * 64, share};
}

/* R rows by W vectors, from row m on. */
INLINE void product_tile(enum word word, size_t R, size_t W, const struct product_block *t,
                         size_t m)
{
    size_t stride = t->a_stride * 4, a_step = t->a_step * 4, step = TILE_VECTORS * word_step(word);
    const char *a = (const char *)t->a + m * stride, *b = t->b;
    float *c = t->c + m * t->c_stride;
    struct sums s;
    sums_start(R, W, &s, t, c);
    size_t early = t->words > LATE ? t->words - LATE : 0;
    struct asking next = asking_of(word, t, m);
    for (size_t i = 0, part = 0; part < 2; part++) {
        for (size_t end = part ? t->words : early; i < end; i++, a += a_step, b += step) {
            __m512 right[TILE_VECTORS];
            UNROLL
            for (size_t w = 0; w < W; w++)
                right[w] = word_load(word, b + w * word_step(word));
            for (size_t line = 0; line < next.lines; line++, next.at += 64)
                _mm_prefetch(next.at, _MM_HINT_T1);
            UNROLL
            for (size_t r = 0; r < R; r++) {
                __m512 left = lanes_broadcast(a + r * stride);
                UNROLL
                for (size_t w = 0; w < W; w++)
                    if (word == WORD_PAIR)
                        lanes_dot_bf16(&s.at[r][w], left, right[w]);
                    else
                        lanes_fma(&s.at[r][w], left, right[w]);
            }
        }
        if (part == 0)
            c_prefetch(R, W, t, m + R);
    }
    sums_store(R, W, &s, t, c);
}

INLINE void product_width(enum word word, size_t W, const struct product_block *t)
{
    size_t m = 0;
    for (; m + TILE_ROWS <= t->rows; m += TILE_ROWS)
        product_tile(word, TILE_ROWS, W, t, m);
    switch (t->rows - m) {
    case 1:
        product_tile(word, 1, W, t, m);
        break;
    case 2:
        product_tile(word, 2, W, t, m);
        break;
    case 3:
        product_tile(word, 3, W, t, m);
        break;
    case 4:
        product_tile(word, 4, W, t, m);
        break;
    case 5:
        product_tile(word, 5, W, t, m);
        break;
    }
}

INLINE void product_any(enum word word, const struct product_block *t)
{
    switch ((t->columns + LANES - 1) / LANES) {
    case 1:
        product_width(word, 1, t);
        break;
    case 2:
        product_width(word, 2, t);
        break;
    case 3:
        product_width(word, 3, t);
        break;
    case 4:
        product_width(word, 4, t);
        break;
    }
}

/* ---- Tails ---- */

/* A block at the edge of a matrix, with zeros for what is not there. */
struct edge {
    _Alignas(64) float at[BLOCK][BLOCK];
};

static inline void edge_fill(struct edge *edge, const float *in, size_t stride, size_t rows,
                             size_t columns)
{
    __mmask16 lanes = (__mmask16)((1u << columns) - 1);
    for (size_t i = 0; i < BLOCK; i++)
        _mm512_store_ps(edge->at[i], i < rows ? _mm512_maskz_loadu_ps(lanes, in + i * stride)
                                              : _mm512_setzero_ps());
}

static inline size_t at_most(size_t a, size_t most)
{
    return a < most ? a : most;
}

#endif
