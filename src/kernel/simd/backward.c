/* A tile of attention's backward, and the transposes it wants. Contract and equations: kernel.h.
 *
 * All five products are one small matrix product: ROWS x (WIDTH vectors) of sums that stay in
 * registers, one broadcast of the left side and one row of the right side per step. Which rows
 * share a step changes no sum.
 *
 * Where rows see a part of the chunk, products run over the keys and the rows that somebody sees:
 * what is left out is zero times something finite, and zeros are written without a sign.
 */
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

enum {
    ROWS = 6,
    WIDTH = LANES == 16 ? 4 : 2, /* vectors: 24 of 32 registers, or 12 of 16, hold sums */
    COLUMNS = WIDTH * LANES,
    TILES = (BACKWARD_ROWS + ROWS - 1) / ROWS,
};

/* The product over its R rows and W vectors; R and W are constants where this is inlined. */
struct product {
    const float *a; /* element (r, k) at r * a_row + k * a_term */
    size_t a_row, a_term;
    const float *b; /* [terms][b_stride] */
    size_t b_stride;
    float *c; /* [R][c_stride] */
    size_t c_stride;
    bool onto; /* c += a b, else c = a b */
};

/* From `from` to below `to`. */
struct run {
    size_t from, to;
};

static inline __attribute__((always_inline)) void product(const struct product *t, struct run terms,
                                                          size_t column, size_t R, size_t W)
{
    vf sum[ROWS][WIDTH];
    const float *a = t->a + terms.from * t->a_term, *b = t->b + terms.from * t->b_stride + column;
    float *c = t->c + column;
    size_t a_row = t->a_row, a_term = t->a_term, b_stride = t->b_stride, c_stride = t->c_stride;
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t w = 0; w < W; w++)
            sum[r][w] = t->onto ? vf_load(c + r * c_stride + w * LANES) : vf_set(0);
    for (size_t k = terms.from; k < terms.to; k++, a += a_term, b += b_stride) {
        vf right[WIDTH];
#pragma GCC unroll 4
        for (size_t w = 0; w < W; w++)
            right[w] = vf_load(b + w * LANES);
#pragma GCC unroll 6
        for (size_t r = 0; r < R; r++) {
            vf left = vf_set(a[r * a_row]);
#pragma GCC unroll 4
            for (size_t w = 0; w < W; w++)
                sum[r][w] = vf_fma(left, right[w], sum[r][w]);
        }
    }
#pragma GCC unroll 6
    for (size_t r = 0; r < R; r++)
#pragma GCC unroll 4
        for (size_t w = 0; w < W; w++)
            vf_store(c + r * c_stride + w * LANES, vf_add(sum[r][w], vf_set(0)));
}

static inline __attribute__((always_inline)) void
product_width(const struct product *t, struct run terms, size_t column, size_t R, size_t width)
{
    if (width == WIDTH)
        product(t, terms, column, R, WIDTH);
#if defined(__AVX512F__)
    else if (width == 3)
        product(t, terms, column, R, 3);
    else if (width == 2)
        product(t, terms, column, R, 2);
    else
        product(t, terms, column, R, 1);
#endif
}

/* Up to ROWS rows by up to WIDTH vectors. */
static void product_tile(struct product t, size_t rows, struct run terms, size_t column,
                         size_t width)
{
    while (rows) {
        size_t step = rows >= 6 ? 6 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        if (step == 6)
            product_width(&t, terms, column, 6, width);
        else if (step == 4)
            product_width(&t, terms, column, 4, width);
        else if (step == 2)
            product_width(&t, terms, column, 2, width);
        else
            product_width(&t, terms, column, 1, width);
        rows -= step;
        t.a += step * t.a_row;
        t.c += step * t.c_stride;
    }
}

/* All rows by all columns, a multiple of VALUE_ALIGN; tile i of ROWS rows has the terms of
 * terms[i]. */
static void product_all(struct product t, size_t rows, const struct run terms[TILES],
                        size_t columns)
{
    for (size_t column = 0, width; column < columns; column += width * LANES) {
        width = columns - column >= COLUMNS ? (size_t)WIDTH : (columns - column) / LANES;
        struct product at = t;
        for (size_t r = 0; r < rows; r += ROWS) {
            struct run run = terms[r / ROWS];
            if (run.from < run.to || !t.onto)
                product_tile(at, rows - r < ROWS ? rows - r : ROWS, run, column, width);
            at.a += ROWS * t.a_row;
            at.c += ROWS * t.c_stride;
        }
    }
}

/* The same, term k of row r only where the row's query sees the key: what does not count may be
 * infinite or NaN here. The rows of c are queries, or keys. */
static void product_seen(const struct product *t, struct run rows, struct run terms, size_t columns,
                         const uint64_t *visible, bool rows_are_keys)
{
    for (size_t r = rows.from; r < rows.to; r++)
        for (size_t k = terms.from; k < terms.to; k++) {
            if (!(rows_are_keys ? visible[k] >> r & 1 : visible[r] >> k & 1))
                continue;
            vf left = vf_set(t->a[r * t->a_row + k * t->a_term]);
            float *c = t->c + r * t->c_stride;
            for (size_t j = 0; j < columns; j += LANES) {
                vf sum = vf_fma(left, vf_load(t->b + k * t->b_stride + j), vf_load(c + j));
                vf_store(c + j, vf_add(sum, vf_set(0)));
            }
        }
}

/* What rows see, a tile of ROWS rows at a time, and who sees a tile of ROWS keys. */
struct view {
    struct run keys[TILES], rows[TILES];
};

static struct view view_of(const struct absorb_backward *t)
{
    struct view view;
    for (size_t i = 0; i < TILES; i++) {
        view.keys[i] = (struct run){t->from, t->to};
        view.rows[i] = (struct run){0, t->rows};
    }
    if (!t->visible)
        return view;
    for (size_t i = 0; i * ROWS < t->rows; i++) {
        uint64_t any = 0;
        for (size_t r = i * ROWS; r < (i + 1) * ROWS && r < t->rows; r++)
            any |= t->visible[r];
        view.keys[i] = (struct run){0, 0};
        if (any)
            view.keys[i] =
                (struct run){(size_t)__builtin_ctzll(any), CHUNK - (size_t)__builtin_clzll(any)};
    }
    for (size_t j = t->from, i = 0; j < t->to; j += ROWS, i++) {
        uint64_t keys = (((uint64_t)1 << ROWS) - 1) << j;
        struct run *run = &view.rows[i];
        while (run->from < run->to && !(t->visible[run->from] & keys))
            run->from++;
        while (run->from < run->to && !(t->visible[run->to - 1] & keys))
            run->to--;
    }
    return view;
}

/* Whether n floats, a multiple of VALUE_ALIGN, are all finite: 0 times each is 0. */
static bool all_finite(const float *x, size_t n)
{
    vf sum = vf_set(0);
    for (size_t i = 0; i < n; i += LANES)
        sum = vf_fma(vf_load(x + i), vf_set(0), sum);
    return !isnan(vf_sum(sum));
}

/* The columns, whole vectors, that hold a run of keys. */
static struct run columns_of(struct run keys)
{
    return (struct run){keys.from / VALUE_ALIGN * VALUE_ALIGN,
                        (keys.to + VALUE_ALIGN - 1) / VALUE_ALIGN * VALUE_ALIGN};
}

/* c [rows][CHUNK] = a [rows][Dv] b [D][CHUNK], in the columns of the keys that a tile sees. */
static void product_chunk(const struct absorb_backward *t, const struct view *view, const float *a,
                          const float *b, float *c)
{
    size_t Dv = value_stride(t->head_dim);
    struct run terms = {0, t->head_dim};
    for (size_t r = 0; r < t->rows; r += ROWS) {
        struct product p = {a + r * Dv, Dv, 1, b, CHUNK, c + r * CHUNK, CHUNK, false};
        struct run columns = columns_of(view->keys[r / ROWS]);
        for (size_t j = columns.from, width; j < columns.to; j += width * LANES) {
            width = columns.to - j >= COLUMNS ? (size_t)WIDTH : (columns.to - j) / LANES;
            product_tile(p, t->rows - r < ROWS ? t->rows - r : ROWS, terms, j, width);
        }
    }
}

/* p and ds of one row, which take the places of the score and of dy.v; 0 where nothing is seen. */
static void probabilities(const struct absorb_backward *t, size_t r, struct run columns)
{
    float *p = t->p + r * CHUNK, *ds = t->ds + r * CHUNK;
    vf factor = vf_set(t->factor), scale = vf_set(t->scale), zero = vf_set(0);
    vf shift = vf_set(t->shift[r]), delta = vf_set(t->delta[r]);
    uint64_t visible = t->visible ? t->visible[r] : UINT64_MAX;
    for (size_t j = 0; j < CHUNK; j += LANES) {
        if (j < columns.from || j >= columns.to) {
            vf_store(p + j, zero);
            vf_store(ds + j, zero);
            continue;
        }
        vm mask = vm_from_bits(visible >> j);
        vf x = vf_fma(factor, vf_load(p + j), shift);
        vf one = vf_exp2(vf_min(zero, x)); /* min keeps a NaN that stands second */
        vf change = vf_mul(scale, vf_mul(one, vf_sub(vf_load(ds + j), delta)));
        if (t->slope)
            change = vf_mul(change, vf_load(t->slope + r * CHUNK + j));
        vf_store(p + j, vf_select(mask, one, zero));
        vf_store(ds + j, vf_select(mask, change, zero));
    }
}

/* dv += p^T dy, dk += ds^T q, dq += ds k */
static void gradients(const struct absorb_backward *t, const struct view *view)
{
    size_t Dv = value_stride(t->head_dim), from = t->from, keys = t->to - t->from;
    struct product dq = {t->ds, CHUNK, 1, t->k, Dv, t->dq, Dv, true};
    struct product dv = {t->p + from, 1, CHUNK, t->dy, Dv, t->dv + from * Dv, Dv, true};
    struct product dk = {t->ds + from, 1, CHUNK, t->q, Dv, t->dk + from * Dv, Dv, true};
    product_all(dq, t->rows, view->keys, Dv);
    product_all(dv, keys, view->rows, Dv);
    product_all(dk, keys, view->rows, Dv);
}

static void gradients_seen(const struct absorb_backward *t)
{
    size_t Dv = value_stride(t->head_dim);
    struct run rows = {0, t->rows}, keys = {t->from, t->to};
    struct product dq = {t->ds, CHUNK, 1, t->k, Dv, t->dq, Dv, true};
    struct product dv = {t->p, 1, CHUNK, t->dy, Dv, t->dv, Dv, true};
    struct product dk = {t->ds, 1, CHUNK, t->q, Dv, t->dk, Dv, true};
    product_seen(&dq, rows, keys, Dv, t->visible, false);
    product_seen(&dv, keys, rows, Dv, t->visible, true);
    product_seen(&dk, keys, rows, Dv, t->visible, true);
}

void SIMD(absorb_backward)(const struct absorb_backward *t)
{
    size_t Dv = value_stride(t->head_dim);
    struct view view = view_of(t);
    product_chunk(t, &view, t->q, t->k_dims, t->p);
    if (t->score)
        t->score(t->context, t->p, t->slope);
    product_chunk(t, &view, t->dy, t->v_dims, t->ds);
    for (size_t r = 0; r < t->rows; r++)
        probabilities(t, r, columns_of(view.keys[r / ROWS]));
    if (!t->visible || (all_finite(t->q, t->rows * Dv) && all_finite(t->dy, t->rows * Dv) &&
                        all_finite(t->k + t->from * Dv, (t->to - t->from) * Dv)))
        gradients(t, &view);
    else
        gradients_seen(t);
}

void SIMD(transpose)(float *out, size_t out_stride, const float *in, size_t in_stride, size_t rows,
                     size_t columns)
{
    size_t i = 0;
    for (; i + LANES <= rows; i += LANES) {
        size_t j = 0;
        for (; j + LANES <= columns; j += LANES) {
            vf r[LANES];
            for (size_t n = 0; n < LANES; n++)
                r[n] = vf_load(in + (i + n) * in_stride + j);
            vf_transpose(r);
            for (size_t n = 0; n < LANES; n++)
                vf_store(out + (j + n) * out_stride + i, r[n]);
        }
        for (; j < columns; j++)
            for (size_t n = i; n < i + LANES; n++)
                out[j * out_stride + n] = in[n * in_stride + j];
    }
    for (; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            out[j * out_stride + i] = in[i * in_stride + j];
}
