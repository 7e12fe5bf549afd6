/* A tile of attention's backward in plain C, as kernel.h writes it, and the transpose it wants. */
#include <math.h>

#include "kernel/exp.h"
#include "kernel/ref/ref.h"

void transpose_ref(float *out, size_t out_stride, const float *in, size_t in_stride, size_t rows,
                   size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            out[j * out_stride + i] = in[i * in_stride + j];
}

static bool is_seen(const struct absorb_backward *t, size_t r, size_t j)
{
    return j >= t->from && j < t->to && (!t->visible || t->visible[r] >> j & 1);
}

/* y += a x, n floats; a zero is written without its sign. */
static void add_scaled(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf(a, x[i], y[i]) + 0.0f;
}

/* out [rows][CHUNK] = a [rows][Dv] b [D][CHUNK] where a key is seen, 0 elsewhere. */
static void products(const struct absorb_backward *t, const float *a, const float *b, float *out)
{
    size_t Dv = value_stride(t->head_dim);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t j = 0; j < CHUNK; j++) {
            float sum = 0;
            for (size_t i = 0; i < t->head_dim && is_seen(t, r, j); i++)
                sum = fmaf(a[r * Dv + i], b[i * CHUNK + j], sum);
            out[r * CHUNK + j] = sum;
        }
}

void absorb_backward_ref(const struct absorb_backward *t)
{
    size_t Dv = value_stride(t->head_dim);
    products(t, t->q, t->k_dims, t->p);
    products(t, t->dy, t->v_dims, t->ds);
    if (t->score)
        t->score(t->context, t->p, t->slope);
    for (size_t r = 0; r < t->rows; r++)
        for (size_t j = 0; j < CHUNK; j++) {
            size_t at = r * CHUNK + j;
            if (!is_seen(t, r, j))
                continue;
            float x = fmaf(t->factor, t->p[at], t->shift[r]);
            float p = exp2_scalar(x > 0 ? 0 : x);
            float ds = t->scale * (p * (t->ds[at] - t->delta[r]));
            if (t->slope)
                ds *= t->slope[at];
            add_scaled(t->dv + j * Dv, p, t->dy + r * Dv, Dv);
            add_scaled(t->dk + j * Dv, ds, t->q + r * Dv, Dv);
            add_scaled(t->dq + r * Dv, ds, t->k + j * Dv, Dv);
        }
}
