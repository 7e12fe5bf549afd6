/* Chunks absorbed into the running states of a tile of rows, and the merge of such states. Contract
 * and equations: kernel.h. For AVX2: AVX-512 has bodies of its own.
 *
 * Both products, q K and p V, are the same small matrix product: ROWS x (WIDTH vectors)
 * accumulators that stay in registers, one broadcast of the left side and one row of the right side
 * per step. A row's accumulators never meet another row's, so its bits do not depend on its
 * neighbours.
 */
#include "kernel/chunk.h"
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

enum {
    ROWS = TILE_ROWS_AVX2,
    WIDTH = 2, /* vectors: 12 of 16 registers hold sums */
    COLUMNS = WIDTH * LANES,
    SCALES_MOST = HEAD_DIM_MOST / 32 * COLUMNS, /* more than the CHUNK of values */
    SOON = 8, /* rows on, asked for from the caches: 3% of prefill with D = 128 */
};

/* The right side of a product: rows of float32, float16 or bfloat16, which are widened as they are
 * loaded, or of Q8_0 as kernel/chunk.h lays them out, where a row has the bytes of two terms. */
struct right {
    const char *at;         /* [to] rows, or [to / 2] */
    size_t stride;          /* bytes from row to row */
    const char *ahead;      /* what to ask memory for, in its order; NULL: no more than is read */
    size_t ahead_step;      /* bytes, for each row that is read */
    const uint16_t *scales; /* of Q8_0, as stored */
    const float *scale;     /* those of the columns at hand, as step_scales brings them */
    bool keys;              /* a scale is for 32 terms of a column, else 32 columns of a term */
};

struct product {
    size_t from, to; /* the terms of the sums */
    const float *a;  /* [R][a_stride] */
    size_t a_stride;
    struct right b;
    float *c; /* [R][c_stride] */
    size_t c_stride;
};

/* Bytes of LANES columns of a row. */
INLINE size_t vector_bytes(enum dtype form)
{
    return LANES * (form == DTYPE_Q8_0 ? 2 : form_size(form));
}

/* LANES columns of term k, which stand in `row`. */
INLINE vf load_as(enum dtype form, const struct right *b, const char *row, size_t k, size_t w)
{
    const char *p = row + w * vector_bytes(form);
    if (form == DTYPE_F16)
        return vf_from_f16((const uint16_t *)(const void *)p);
    if (form == DTYPE_BF16)
        return vf_from_bf16((const uint16_t *)(const void *)p);
    if (form == DTYPE_F32)
        return vf_load((const float *)(const void *)p);
    vf scale = b->keys ? vf_load(b->scale + k / 32 * COLUMNS + w * LANES) : vf_set(b->scale[k]);
    return vf_mul(scale, vf_from_byte(p, k % 2));
}

/* sum += a b of term k, which stands in `row`. */
INLINE void product_term(enum dtype form, const struct product *t, const char *row, size_t k,
                         size_t R, size_t W, const uint64_t *use, vf sum[ROWS][WIDTH])
{
    vf b[WIDTH];
    for (size_t w = 0; w < W; w++)
        b[w] = load_as(form, &t->b, row, k, w);
    for (size_t r = 0; r < R; r++) {
        if (use && !(use[r] >> k & 1))
            continue;
        vf a = vf_set(t->a[r * t->a_stride + k]);
        for (size_t w = 0; w < W; w++)
            sum[r][w] = vf_fma(a, b[w], sum[r][w]);
    }
}

/* c = a b, or with `scale` [R] c = scale c + a b, over R rows and W vectors. With `use` [R], term k
 * counts in row r only where bit k of use[r] is set. The form, R, W and what is NULL are constants
 * where this is inlined. The first-level cache asks the second for what is read soon. */
INLINE void product(enum dtype form, bool asks, const struct product *t, size_t R, size_t W,
                    const float *scale, const uint64_t *use)
{
    size_t terms = form == DTYPE_Q8_0 ? 2 : 1; /* of a row */
    vf sum[ROWS][WIDTH];
    for (size_t r = 0; r < R; r++)
        for (size_t w = 0; w < W; w++)
            sum[r][w] = scale
                            ? vf_mul(vf_set(scale[r]), vf_load(t->c + r * t->c_stride + w * LANES))
                            : vf_set(0);
    const char *row = t->b.at + t->from / terms * t->b.stride;
    const char *ahead = t->b.ahead + t->from / terms * t->b.ahead_step;
    for (size_t k = t->from / terms * terms; k < t->to; k += terms) {
        if (asks)
            __builtin_prefetch(ahead, 0, 2);
        __builtin_prefetch(row + SOON * t->b.stride, 0, 3);
        UNROLL
        for (size_t n = 0; n < terms; n++)
            if (terms == 1 || (k + n >= t->from && k + n < t->to))
                product_term(form, t, row, k + n, R, W, use, sum);
        row += t->b.stride;
        ahead += t->b.ahead_step;
    }
    for (size_t r = 0; r < R; r++)
        for (size_t w = 0; w < W; w++)
            vf_store(t->c + r * t->c_stride + w * LANES, sum[r][w]);
}

/* The scales of Q8_0 for COLUMNS columns from j on, widened once for all rows and terms: of keys
 * [terms / 32][COLUMNS], of values [CHUNK]. */
INLINE void step_scales(const struct right *b, size_t terms, size_t j, float *scale)
{
    const uint16_t *at = b->scales + (b->keys ? j : j / 32 * CHUNK);
    size_t rows = b->keys ? terms / 32 : 1, row = b->keys ? COLUMNS : CHUNK;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < row; i += LANES)
            vf_store(scale + r * row + i, vf_from_f16(at + r * CHUNK + i));
}

/* The product over R rows and all columns of c, `columns` of them, a multiple of VALUE_ALIGN. The
 * right side are keys, or the values of a panel. It is read by columns, but memory is asked for in
 * its own order, which takes two thirds of the time in float32; where there is nothing to ask for,
 * for what is read. */
INLINE void product_columns(enum dtype form, bool asks, struct product t, size_t R, size_t columns,
                            const struct panel *values, const float *scale, const uint64_t *use)
{
    size_t vector = vector_bytes(form), step;
    size_t rows = (values ? CHUNK : t.to) / (form == DTYPE_Q8_0 ? 2 : 1);
    struct right all = t.b;
    float scales[SCALES_MOST];
    t.b.scale = scales;
    for (size_t j = 0; j < columns; j += step, t.c += step) {
        step = j + COLUMNS <= columns ? COLUMNS : LANES;
        struct panel_values b = {all.at + j / LANES * vector, all.stride};
        if (values)
            b = panel_values(form, values, columns, j);
        t.b.at = b.at;
        t.b.stride = b.stride;
        t.b.ahead = (all.ahead ? all.ahead : all.at) + j / LANES * vector * rows;
        t.b.ahead_step = step / LANES * vector;
        if (form == DTYPE_Q8_0)
            step_scales(&all, t.to, j, scales);
        if (step == COLUMNS)
            product(form, asks, &t, R, WIDTH, scale, use);
        else
            product(form, asks, &t, R, 1, scale, use);
    }
}

/* Turns a row of scores into probabilities in place and moves (m, d) on. Returns the factor for o;
 * a row that sees nothing is left alone, with probabilities of 0 and a factor of 1. */
static inline float softmax_row(float s[CHUNK], uint64_t visible, float *m, float *d)
{
    enum { VECTORS = CHUNK / LANES };
    vf x[VECTORS], largest = vf_set(-INFINITY), nan = vf_set(0);
    for (size_t w = 0; w < VECTORS; w++)
        x[w] = vf_load(s + w * LANES);
    if (visible != UINT64_MAX)
        for (size_t w = 0; w < VECTORS; w++)
            x[w] = vf_select(vm_from_bits(visible >> w * LANES), x[w], vf_set(-INFINITY));
    for (size_t w = 0; w < VECTORS; w++)
        largest = vf_max(x[w], largest); /* keeps the number where x is NaN */
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

INLINE const uint16_t *panel_scales(enum dtype form, const void *chunk, size_t D)
{
    if (form != DTYPE_Q8_0)
        return NULL;
    return (const uint16_t *)(const void *)((const char *)chunk + chunk_scales(D));
}

/* Of tiles that share in asking, the first does it all. */
INLINE void absorb_rows(enum dtype form, bool asks, const struct absorb *t, size_t R)
{
    size_t D = t->head_dim, Dv = value_stride(D);
    const struct stored_chunk *ahead = asks && t->part == 0 ? t->ahead : NULL;
    float s[ROWS][CHUNK], scale[ROWS];

    for (size_t c = 0; c < t->chunks; c++) {
        const struct panel *panel = t->panels[c];
        const uint64_t *visible = t->visible[c];
        size_t column = vector_bytes(form) / LANES;
        struct right k = {.at = panel->k,
                          .stride = CHUNK * column,
                          .ahead = ahead ? ahead[c].k : NULL,
                          .scales = panel_scales(form, panel->k, D),
                          .keys = true};
        struct right v = {.at = panel->v,
                          .ahead = ahead ? ahead[c].v : NULL,
                          .scales = panel_scales(form, panel->v, D)};

        struct product qk = {0, D, t->q, D, k, s[0], CHUNK};
        product_columns(form, asks, qk, R, CHUNK, NULL, NULL, NULL);
        if (t->score)
            t->score(t->context, c, s[0]);
        for (size_t r = 0; r < R; r++)
            scale[r] = softmax_row(s[r], visible ? visible[r] : UINT64_MAX, t->m + r, t->d + r);

        struct product pv = {panel->from, panel->to, s[0], CHUNK, v, t->o, Dv};
        if (visible && !t->finite[c])
            product_columns(form, asks, pv, R, Dv, panel, scale, visible);
        else
            product_columns(form, asks, pv, R, Dv, panel, scale, NULL);
    }
}

INLINE void absorb_form(enum dtype form, bool asks, const struct absorb *t)
{
    switch (t->rows) {
    case 1:
        absorb_rows(form, asks, t, 1);
        break;
    case 2:
        absorb_rows(form, asks, t, 2);
        break;
    case 3:
        absorb_rows(form, asks, t, 3);
        break;
    case 4:
        absorb_rows(form, asks, t, 4);
        break;
    case 5:
        absorb_rows(form, asks, t, 5);
        break;
    case 6:
        absorb_rows(form, asks, t, 6);
        break;
    }
}

static void absorb_f32(const struct absorb *t)
{
    absorb_form(DTYPE_F32, false, t);
}

static void absorb_f32_asking(const struct absorb *t)
{
    absorb_form(DTYPE_F32, true, t);
}

static void absorb_f16(const struct absorb *t)
{
    absorb_form(DTYPE_F16, true, t);
}

static void absorb_bf16(const struct absorb *t)
{
    absorb_form(DTYPE_BF16, true, t);
}

static void absorb_q8_0(const struct absorb *t)
{
    absorb_form(DTYPE_Q8_0, true, t);
}

void SIMD(absorb)(const struct absorb *t)
{
    enum dtype form = t->panels[0]->form;
    if (form == DTYPE_F16)
        absorb_f16(t);
    else if (form == DTYPE_BF16)
        absorb_bf16(t);
    else if (form == DTYPE_Q8_0)
        absorb_q8_0(t);
    else if (t->ahead && t->part == 0)
        absorb_f32_asking(t);
    else
        absorb_f32(t);
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
