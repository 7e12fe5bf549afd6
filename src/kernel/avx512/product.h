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

enum { PANEL_STEP = PRODUCT_COLUMNS * 4, BLOCK = 16 };

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

/* R rows by W vectors, from row m on. */
INLINE void product_tile(enum dtype form, size_t R, size_t W, const struct product_block *t,
                         size_t m)
{
    size_t stride = t->a_stride * 4;
    const char *a = (const char *)t->a + m * stride, *b = t->b;
    float *c = t->c + m * t->c_stride;
    struct sums s;
    sums_start(R, W, &s, t, c);
    size_t early = t->words > LATE ? t->words - LATE : 0;
    for (size_t i = 0, part = 0; part < 2; part++) {
        for (size_t end = part ? t->words : early; i < end; i++, a += 4, b += PANEL_STEP) {
            __m512 right[TILE_VECTORS];
            UNROLL
            for (size_t w = 0; w < W; w++)
                right[w] = lanes_load(b + 64 * w);
            UNROLL
            for (size_t r = 0; r < R; r++) {
                __m512 left = lanes_broadcast(a + r * stride);
                UNROLL
                for (size_t w = 0; w < W; w++)
                    if (form == DTYPE_BF16)
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

INLINE void product_width(enum dtype form, size_t W, const struct product_block *t)
{
    size_t m = 0;
    for (; m + TILE_ROWS <= t->rows; m += TILE_ROWS)
        product_tile(form, TILE_ROWS, W, t, m);
    switch (t->rows - m) {
    case 1:
        product_tile(form, 1, W, t, m);
        break;
    case 2:
        product_tile(form, 2, W, t, m);
        break;
    case 3:
        product_tile(form, 3, W, t, m);
        break;
    case 4:
        product_tile(form, 4, W, t, m);
        break;
    case 5:
        product_tile(form, 5, W, t, m);
        break;
    }
}

INLINE void product_any(enum dtype form, const struct product_block *t)
{
    switch ((t->columns + LANES - 1) / LANES) {
    case 1:
        product_width(form, 1, t);
        break;
    case 2:
        product_width(form, 2, t);
        break;
    case 3:
        product_width(form, 3, t);
        break;
    case 4:
        product_width(form, 4, t);
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
