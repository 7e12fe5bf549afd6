/* Recurrent cells and the additive score, on the way there and back. */
#include <math.h>

#include "kernel/exp.h"
#include "kernel/kernel.h"
#include "kernel/learn_ops.h"

static float sigmoid(float x)
{
    return 1 / (1 + exp_scalar(-x));
}

void lstm_ref(const struct lstm_row *row, size_t n)
{
    float *i = row->gates, *f = i + n, *g = f + n, *o = g + n;
    for (size_t j = 0; j < 4 * n; j++) {
        float x = row->gates[j] + (row->h_in[j] + row->bias[j]);
        row->gates[j] = j / n == 2 ? tanh_scalar(x) : sigmoid(x);
    }
    for (size_t j = 0; j < n; j++) {
        row->c[j] = fmaf(f[j], row->c_in[j], i[j] * g[j]);
        row->h[j] = o[j] * tanh_scalar(row->c[j]);
    }
}

void lstm_backward_ref(float *d, float *dc, const float *dh, const float *gates, const float *c,
                       const float *c_in, size_t n)
{
    const float *i = gates, *f = i + n, *g = f + n, *o = g + n;
    for (size_t j = 0; j < n; j++) {
        float y = tanh_scalar(c[j]), sum = fmaf(dh[j] * o[j], 1 - y * y, dc[j]);
        d[j] = sum * g[j] * (i[j] * (1 - i[j]));
        d[n + j] = sum * c_in[j] * (f[j] * (1 - f[j]));
        d[2 * n + j] = sum * i[j] * (1 - g[j] * g[j]);
        d[3 * n + j] = dh[j] * y * (o[j] * (1 - o[j]));
        dc[j] = sum * f[j];
    }
}

void gru_ref(const struct gru_row *row, size_t n)
{
    float *r = row->gates, *z = r + n, *candidate = z + n, *h_n = row->h_in + 2 * n;
    for (size_t j = 0; j < 2 * n; j++)
        row->gates[j] = sigmoid(row->gates[j] + (row->h_in[j] + row->bias[j]));
    for (size_t j = 0; j < n; j++) {
        h_n[j] += row->bias[2 * n + j];
        candidate[j] = tanh_scalar(fmaf(r[j], h_n[j], candidate[j]));
        row->h[j] = fmaf(z[j], row->before[j] - candidate[j], candidate[j]);
    }
}

void gru_backward_ref(float *dx, float *dr, float *dh, const float *gates, const float *h_in,
                      const float *before, size_t n)
{
    const float *r = gates, *z = r + n, *candidate = z + n, *h_n = h_in + 2 * n;
    for (size_t j = 0; j < n; j++) {
        float dn = dh[j] * (1 - z[j]) * (1 - candidate[j] * candidate[j]);
        dx[j] = dr[j] = dn * h_n[j] * (r[j] * (1 - r[j]));
        dx[n + j] = dr[n + j] = dh[j] * (before[j] - candidate[j]) * (z[j] * (1 - z[j]));
        dx[2 * n + j] = dn;
        dr[2 * n + j] = dn * r[j];
        dh[j] *= z[j];
    }
}

void additive_backward_ref(float *dq, float *dk, float *dw, const float *ds, const float *q,
                           const float *k, const float *w, size_t D)
{
    for (size_t d = 0; d < D; d++) {
        float change = 0, share = 0;
        for (size_t j = 0; j < CHUNK; j++) {
            float t = tanh_scalar(q[d] + k[d * CHUNK + j]);
            float e = ds[j] * w[d] * (1 - t * t);
            dk[d * CHUNK + j] += e;
            change += e;
            share = fmaf(ds[j], t, share);
        }
        dq[d] += change;
        dw[d] += share;
    }
}
