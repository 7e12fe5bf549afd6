/* Chunks absorbed into the running states of a tile of rows, and the merge of such states. Contract
 * and equations: kernel.h.
 *
 * Both products, q K and p V, are the same small matrix product: ROWS x (WIDTH vectors)
 * accumulators that stay in registers, one broadcast of the left side and one row of the right side
 * per step. A row's accumulators never meet another row's, so its bits do not depend on its
 * neighbours.
 */
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

enum {
    ROWS = LANES == 16 ? TILE_ROWS_AVX512 : TILE_ROWS_AVX2,
    WIDTH = LANES == 16 ? 4 : 2, /* vectors: 24 of 32 registers, or 12 of 16, hold sums */
    COLUMNS = WIDTH * LANES,
};

struct product {
    size_t from, to; /* the terms of the sums */
    const float *a;  /* [R][a_stride] */
    size_t a_stride;
    const float *b; /* [to][b_stride] */
    size_t b_stride;
    float *c; /* [R][c_stride] */
    size_t c_stride;
};

/* c = a b, or with `scale` [R] c = scale c + a b, over R rows and W vectors. With `use` [R], term k
 * counts in row r only where bit k of use[r] is set. R, W and what is NULL are constants where this
 * is inlined. */
static inline __attribute__((always_inline)) void
product(const struct product *t, size_t R, size_t W, const float *scale, const uint64_t *use)
{
    vf sum[ROWS][WIDTH];
    for (size_t r = 0; r < R; r++)
        for (size_t w = 0; w < W; w++)
            sum[r][w] = scale
                            ? vf_mul(vf_set(scale[r]), vf_load(t->c + r * t->c_stride + w * LANES))
                            : vf_set(0);
    for (size_t k = t->from; k < t->to; k++) {
        vf b[WIDTH];
        for (size_t w = 0; w < W; w++)
            b[w] = vf_load(t->b + k * t->b_stride + w * LANES);
        for (size_t r = 0; r < R; r++) {
            if (use && !(use[r] >> k & 1))
                continue;
            vf a = vf_set(t->a[r * t->a_stride + k]);
            for (size_t w = 0; w < W; w++)
                sum[r][w] = vf_fma(a, b[w], sum[r][w]);
        }
    }
    for (size_t r = 0; r < R; r++)
        for (size_t w = 0; w < W; w++)
            vf_store(t->c + r * t->c_stride + w * LANES, sum[r][w]);
}

/* The product over R rows and all columns of c, `columns` of them, a multiple of VALUE_ALIGN. */
static inline __attribute__((always_inline)) void
product_columns(struct product t, size_t R, size_t columns, const float *scale, const uint64_t *use)
{
    size_t j = 0;
    for (; j + COLUMNS <= columns; j += COLUMNS, t.b += COLUMNS, t.c += COLUMNS)
        product(&t, R, WIDTH, scale, use);
    for (; j < columns; j += LANES, t.b += LANES, t.c += LANES)
        product(&t, R, 1, scale, use);
}

/* Turns a row of scores into probabilities in place and moves (m, d) on. Returns the factor for o;
 * a row that sees nothing is left alone, with probabilities of 0 and a factor of 1. */
static inline float softmax_row(float s[CHUNK], uint64_t visible, float *m, float *d)
{
    enum { VECTORS = CHUNK / LANES };
    vf x[VECTORS], largest = vf_set(-INFINITY), nan = vf_set(0);
    for (size_t w = 0; w < VECTORS; w++) {
        vm mask = vm_from_bits(visible >> w * LANES);
        x[w] = vf_select(mask, vf_load(s + w * LANES), vf_set(-INFINITY));
        largest = vf_max(x[w], largest); /* keeps the number where x is NaN */
    }
    float top = vf_largest(largest), old = *m;
    top = top > old ? top : old; /* a NaN in `old` stays */
    if (top == -INFINITY) {
        for (size_t w = 0; w < VECTORS; w++)
            nan = vf_add(nan, vf_max(vf_set(0), x[w])); /* 0 for -inf, NaN for NaN */
        if (!isnan(vf_sum(nan))) {
            memset(s, 0, CHUNK * sizeof *s);
            return 1;
        }
        top = NAN;
    }
    vf sum = vf_set(0);
    for (size_t w = 0; w < VECTORS; w++) {
        vf p = vf_exp2(vf_sub(x[w], vf_set(top)));
        vf_store(s + w * LANES, p);
        sum = vf_add(sum, p);
    }
    float scale = exp2_scalar(old - top);
    *d = fmaf(*d, scale, vf_sum(sum));
    *m = top;
    return scale;
}

static inline __attribute__((always_inline)) void absorb_rows(const struct absorb *t, size_t R)
{
    size_t D = t->head_dim, Dv = value_stride(D);
    float s[ROWS][CHUNK], scale[ROWS];

    for (size_t c = 0; c < t->chunks; c++) {
        const struct panel *panel = t->panels[c];
        const uint64_t *visible = t->visible[c];
        struct product qk = {0, D, t->q, D, panel->k, CHUNK, s[0], CHUNK};
        product_columns(qk, R, CHUNK, NULL, NULL);
        if (t->score)
            t->score(t->context, c, s[0]);
        for (size_t r = 0; r < R; r++)
            scale[r] = softmax_row(s[r], visible ? visible[r] : UINT64_MAX, t->m + r, t->d + r);

        struct product pv = {panel->from, panel->to,       s[0], CHUNK,
                             panel->v,    panel->v_stride, t->o, Dv};
        if (visible && !t->finite[c])
            product_columns(pv, R, Dv, scale, visible);
        else
            product_columns(pv, R, Dv, scale, NULL);
    }
}

void SIMD(absorb)(const struct absorb *t)
{
    switch (t->rows) {
    case 1:
        absorb_rows(t, 1);
        break;
    case 2:
        absorb_rows(t, 2);
        break;
    case 3:
        absorb_rows(t, 3);
        break;
    case 4:
        absorb_rows(t, 4);
        break;
    case 5:
        absorb_rows(t, 5);
        break;
    case 6:
        absorb_rows(t, 6);
        break;
    }
}

void SIMD(merge)(const struct partials *into, const struct partials *from, size_t rows, size_t D)
{
    size_t Dv = value_stride(D);
    for (size_t r = 0; r < rows; r++) {
        float *a = into->o + r * Dv, *b = from->o + r * Dv, m1 = into->m[r], m2 = from->m[r];
        if (m2 == -INFINITY)
            continue;
        float m = m1 > m2 ? m1 : m2;
        float x1 = m1 == -INFINITY ? 0 : exp2_scalar(m1 - m), x2 = exp2_scalar(m2 - m);
        into->m[r] = m;
        into->d[r] = fmaf(x1, into->d[r], x2 * from->d[r]);
        for (size_t i = 0; i < Dv; i += LANES)
            vf_store(a + i, vf_fma(vf_set(x1), vf_load(a + i), vf_mul(vf_set(x2), vf_load(b + i))));
    }
}
