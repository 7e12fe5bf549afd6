/* What training adds to the kernel table: forms that are saved for the way back, and the way back.
 *
 * The same rule holds: a row of output depends on the row's own inputs alone. Sums over rows
 * (`norm_sums`, `column_sums`) are one chain per column over ascending rows, so they are cut by
 * columns. Nothing needs alignment; what is written overlaps nothing else unless it says so.
 */
#ifndef KERNEL_LEARN_H
#define KERNEL_LEARN_H

#include <stddef.h>
#include <stdint.h>

/* What a normalised row was shifted and scaled by. */
struct norm_row {
    float mean; /* 0 for RMSNorm */
    float rstd; /* 1 / sqrt(variance + eps), or of the mean square */
};

/* One row of LSTM units, n of them; gates in the order i, f, g, o. */
struct lstm_row {
    float *gates;      /* [4][n]: input products in, activated gates out */
    const float *h_in; /* [4][n]: recurrent products */
    const float *bias; /* [4][n]: of the recurrent products */
    const float *c_in; /* [n]: cell before */
    float *c, *h;      /* [n] */
};

/* One row of GRU units; gates in the order r, z, n. */
struct gru_row {
    float *gates;        /* [3][n]: input products in, activated gates out */
    float *h_in;         /* [3][n]: recurrent products in; of gate n the sum with its bias out */
    const float *bias;   /* [3][n] */
    const float *before; /* [n]: h before */
    float *h;            /* [n] */
};

struct learn_kernels {
    /* y = (x - mean(x)) / sqrt(var(x) + eps) * w + b, the variance over n. (Ba et al. 2016.) */
    void (*layernorm)(float *y, struct norm_row *row, const float *x, const float *w,
                      const float *b, size_t n, float eps);

    /* With g = dy w and u = (x - mean) rstd:
     *     dx = rstd (g - mean(g) - u mean(g u)) */
    void (*layernorm_backward)(float *dx, const float *dy, const float *x, const float *w,
                               const struct norm_row *row, size_t n);

    /* With g = dy w and u = x rstd, which goes to `row`:
     *     dx += rstd (g - u mean(g u)) */
    void (*rmsnorm_backward)(float *dx, struct norm_row *row, const float *dy, const float *x,
                             const float *w, size_t n, float eps);

    /* dw += sum_r dy_r u_r, db += sum_r dy_r over n columns of rows `stride` floats apart, u as
     * above; db may be NULL. */
    void (*norm_sums)(float *dw, float *db, const float *dy, const float *x,
                      const struct norm_row *norms, size_t rows, size_t stride, size_t n);

    /* db += sum_r dy_r over n columns. */
    void (*column_sums)(float *db, const float *dy, size_t rows, size_t stride, size_t n);

    /* y = max(x, 0); dx = dy where y > 0, else 0. y may be x, dx may be dy. */
    void (*relu)(float *y, const float *x, size_t n);
    void (*relu_backward)(float *dx, const float *dy, const float *y, size_t n);

    /* y = tanh(x); dx = dy (1 - y^2). y may be x, dx may be dy. */
    void (*tanh)(float *y, const float *x, size_t n);
    void (*tanh_backward)(float *dx, const float *dy, const float *y, size_t n);

    /* Of y = silu(gate) up, with s = 1 / (1 + exp(-gate)):
     *     dgate = dy up s (1 + gate (1 - s)),  dup = dy gate s
     * dgate may be gate, dup may be up. */
    void (*swiglu_backward)(float *dgate, float *dup, const float *dy, const float *gate,
                            const float *up, size_t n);

    /* log sum_v exp(x_v), by the largest x first and the sum then; n is 1 or more. */
    float (*log_sum_exp)(const float *x, size_t n);

    /* x = scale (exp(x - lse) - [v = target]): the gradient of scale (lse - x_target). */
    void (*softmax_backward)(float *x, size_t n, float lse, size_t target, float scale);

    /* y = x / (1 - p) where draw i of `seed` keeps it, else 0, for p = drop / 2^16; i counts from
     * `first`, a multiple of 4: draw i is bits 16 (i mod 4) and on of rng_bits(seed, i / 4), kept
     * from `drop` on. y may be x. (Srivastava et al. 2014; inverted.) */
    void (*dropout)(float *y, const float *x, size_t n, uint64_t seed, uint64_t first,
                    uint32_t drop);

    /* i, f, o = sigmoid(...), g = tanh(...);  c = f c_in + i g,  h = o tanh(c).
     * (Hochreiter and Schmidhuber 1997; PyTorch's gates.) */
    void (*lstm)(const struct lstm_row *row, size_t n);

    /* dh and dc, the gradients of h and c, give those of the sums before the gates, `d` [4][n], and
     * in dc that of c_in. `gates` as left by lstm. */
    void (*lstm_backward)(float *d, float *dc, const float *dh, const float *gates, const float *c,
                          const float *c_in, size_t n);

    /* r, z = sigmoid(...), n = tanh(x_n + r (h_n + bias_n));  h = (1 - z) n + z before.
     * (Cho et al. 2014; PyTorch's form.) */
    void (*gru)(const struct gru_row *row, size_t n);

    /* dh gives the gradients of the input products, dx [3][n], of the recurrent ones, dr [3][n]
     * (they differ in gate n), and replaces itself with the direct share of `before`: dh z. */
    void (*gru_backward)(float *dx, float *dr, float *dh, const float *gates, const float *h_in,
                         const float *before, size_t n);

    /* Of s_j = sum_d w_d tanh(q_d + k_dj) over 64 keys, with t the tanh and ds [64]:
     *     dw_d += sum_j ds_j t,  dq_d += sum_j ds_j w_d (1 - t^2),  dk_dj += ds_j w_d (1 - t^2)
     * k and dk [D][64]. */
    void (*additive_backward)(float *dq, float *dk, float *dw, const float *ds, const float *q,
                              const float *k, const float *w, size_t D);
};

extern const struct learn_kernels learn_ref, learn_avx2, learn_avx512;

#endif
