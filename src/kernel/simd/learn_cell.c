/* Recurrent cells and the additive score, on the way there and back. Contracts: kernel/learn.h. */
#include "kernel/kernel.h"
#include "kernel/learn_ops.h"
#include "kernel/simd/some.h"

static inline vf vf_sigmoid(vf x)
{
    return vf_div(vf_set(1), vf_add(vf_set(1), vf_exp(vf_sub(vf_set(0), x))));
}

/* 1 - y^2 and y (1 - y): the derivatives of tanh and of the sigmoid by their results. */
static inline vf tanh_slope(vf y)
{
    return vf_sub(vf_set(1), vf_mul(y, y));
}

static inline vf sigmoid_slope(vf y)
{
    return vf_mul(y, vf_sub(vf_set(1), y));
}

/* Gate `gate` of unit i before its activation. */
static inline vf lstm_sum(const struct lstm_row *row, size_t gate, size_t n, size_t i)
{
    size_t at = gate * n + i, left = n - i;
    vf h = vf_add(vf_load_some(row->h_in + at, left), vf_load_some(row->bias + at, left));
    return vf_add(vf_load_some(row->gates + at, left), h);
}

void SIMD(lstm)(const struct lstm_row *row, size_t n)
{
    for (size_t at = 0; at < n; at += LANES) {
        size_t left = n - at;
        float *gates = row->gates + at;
        vf i = vf_sigmoid(lstm_sum(row, 0, n, at)), f = vf_sigmoid(lstm_sum(row, 1, n, at));
        vf g = vf_tanh(lstm_sum(row, 2, n, at)), o = vf_sigmoid(lstm_sum(row, 3, n, at));
        vf c = vf_fma(f, vf_load_some(row->c_in + at, left), vf_mul(i, g));
        vf_store_some(gates, i, left);
        vf_store_some(gates + n, f, left);
        vf_store_some(gates + 2 * n, g, left);
        vf_store_some(gates + 3 * n, o, left);
        vf_store_some(row->c + at, c, left);
        vf_store_some(row->h + at, vf_mul(o, vf_tanh(c)), left);
    }
}

void SIMD(lstm_backward)(float *d, float *dc, const float *dh, const float *gates, const float *c,
                         const float *c_in, size_t n)
{
    for (size_t at = 0; at < n; at += LANES) {
        size_t left = n - at;
        vf i = vf_load_some(gates + at, left), f = vf_load_some(gates + n + at, left);
        vf g = vf_load_some(gates + 2 * n + at, left), o = vf_load_some(gates + 3 * n + at, left);
        vf y = vf_tanh(vf_load_some(c + at, left)), dy = vf_load_some(dh + at, left);
        vf sum = vf_fma(vf_mul(dy, o), tanh_slope(y), vf_load_some(dc + at, left));
        vf di = vf_mul(vf_mul(sum, g), sigmoid_slope(i));
        vf df = vf_mul(vf_mul(sum, vf_load_some(c_in + at, left)), sigmoid_slope(f));
        vf_store_some(d + at, di, left);
        vf_store_some(d + n + at, df, left);
        vf_store_some(d + 2 * n + at, vf_mul(vf_mul(sum, i), tanh_slope(g)), left);
        vf_store_some(d + 3 * n + at, vf_mul(vf_mul(dy, y), sigmoid_slope(o)), left);
        vf_store_some(dc + at, vf_mul(sum, f), left);
    }
}

static inline vf gru_sum(const struct gru_row *row, size_t gate, size_t n, size_t i)
{
    size_t at = gate * n + i, left = n - i;
    vf h = vf_add(vf_load_some(row->h_in + at, left), vf_load_some(row->bias + at, left));
    return vf_add(vf_load_some(row->gates + at, left), h);
}

void SIMD(gru)(const struct gru_row *row, size_t n)
{
    for (size_t at = 0; at < n; at += LANES) {
        size_t left = n - at;
        float *gates = row->gates + at, *h_n = row->h_in + 2 * n + at;
        vf r = vf_sigmoid(gru_sum(row, 0, n, at)), z = vf_sigmoid(gru_sum(row, 1, n, at));
        vf h = vf_add(vf_load_some(h_n, left), vf_load_some(row->bias + 2 * n + at, left));
        vf candidate = vf_tanh(vf_fma(r, h, vf_load_some(gates + 2 * n, left)));
        vf before = vf_load_some(row->before + at, left);
        vf_store_some(gates, r, left);
        vf_store_some(gates + n, z, left);
        vf_store_some(gates + 2 * n, candidate, left);
        vf_store_some(h_n, h, left);
        vf_store_some(row->h + at, vf_fma(z, vf_sub(before, candidate), candidate), left);
    }
}

void SIMD(gru_backward)(float *dx, float *dr, float *dh, const float *gates, const float *h_in,
                        const float *before, size_t n)
{
    for (size_t at = 0; at < n; at += LANES) {
        size_t left = n - at;
        vf r = vf_load_some(gates + at, left), z = vf_load_some(gates + n + at, left);
        vf candidate = vf_load_some(gates + 2 * n + at, left), d = vf_load_some(dh + at, left);
        vf h_n = vf_load_some(h_in + 2 * n + at, left);
        vf dn = vf_mul(vf_mul(d, vf_sub(vf_set(1), z)), tanh_slope(candidate));
        vf of_r = vf_mul(vf_mul(dn, h_n), sigmoid_slope(r));
        vf of_z = vf_sub(vf_load_some(before + at, left), candidate);
        of_z = vf_mul(vf_mul(d, of_z), sigmoid_slope(z));
        vf_store_some(dx + at, of_r, left);
        vf_store_some(dr + at, of_r, left);
        vf_store_some(dx + n + at, of_z, left);
        vf_store_some(dr + n + at, of_z, left);
        vf_store_some(dx + 2 * n + at, dn, left);
        vf_store_some(dr + 2 * n + at, vf_mul(dn, r), left);
        vf_store_some(dh + at, vf_mul(d, z), left);
    }
}

void SIMD(additive_backward)(float *dq, float *dk, float *dw, const float *ds, const float *q,
                             const float *k, const float *w, size_t D)
{
    for (size_t d = 0; d < D; d++) {
        vf change = vf_set(0), share = vf_set(0), query = vf_set(q[d]), weight = vf_set(w[d]);
        for (size_t j = 0; j < CHUNK; j += LANES) {
            size_t at = d * CHUNK + j;
            vf t = vf_tanh(vf_add(query, vf_load(k + at))), s = vf_load(ds + j);
            vf e = vf_mul(vf_mul(s, weight), tanh_slope(t));
            vf_store(dk + at, vf_add(vf_load(dk + at), e));
            change = vf_add(change, e);
            share = vf_fma(s, t, share);
        }
        dq[d] += vf_sum(change);
        dw[d] += vf_sum(share);
    }
}
