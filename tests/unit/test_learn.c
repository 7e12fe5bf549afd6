/* Every table's kernels of training against their definitions in float64.
 *
 * Inputs and outputs end at guard pages. u = 2^-24. A sum of n terms is within n u of the sum of
 * their magnitudes; exp is within 2 u of itself, tanh within 10 (kernel/exp.h), a sigmoid within 5.
 * Bounds below count roundings with some to spare and magnitudes generously, so what fails them is
 * wrong in its terms, not in its last place; whole predictors are held to more (grad/). */
#include <math.h>

#include "base/rng.h"
#include "guard.h"
#include "kernel/kernel.h"
#include "kernel/learn.h"
#include "random.h"
#include "tables.h"
#include "test.h"

#define U 0x1p-24

/* Lengths around those of vectors. */
static const size_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100};
enum { LENGTHS = sizeof lengths / sizeof *lengths, MOST = 4 * 100, ROWS = 5 };

static float *drawn(struct random *r, size_t n, float size)
{
    float *x = guard_floats(n);
    random_fill(r, x, n, size);
    return x;
}

static void near(const struct kernels *k, const char *what, size_t n, double found, double exact,
                 double bound)
{
    if (!(fabs(found - exact) <= bound))
        fail_msg("%s: %s of %zu: %.9g, expected %.9g within %.3g", k->name, what, n, found, exact,
                 bound);
}

static double largest(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    return (double)most;
}

/* The mean and 1 / sqrt(variance + eps), or of the square about 0, in float64. */
static void moments(const float *x, size_t n, double eps, bool centred, double *mean, double *rstd)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < n && centred; i++)
        sum += (double)x[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        square += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *rstd = 1 / sqrt(square / (double)n + eps);
}

/* Both norms back, and LayerNorm there. U2 bounds u = (x - mean) rstd and its error's factor. */
static void norms(const struct kernels *k, size_t n, struct random *r)
{
    const float eps = 0.125f;
    float *x = drawn(r, n, 2), *w = drawn(r, n, 1), *b = drawn(r, n, 1), *dy = drawn(r, n, 1);
    float *y = guard_floats(n), *dx = drawn(r, n, 1);
    struct norm_row row;
    for (int centred = 0; centred < 2; centred++) {
        double mean, rstd, g_mean = 0, gu_mean = 0, N = (double)n, before[MOST];
        moments(x, n, (double)eps, centred, &mean, &rstd);
        double u2 = 1 + 4 * largest(x, n) * rstd, many = (8 * N + 40) * U;
        for (size_t i = 0; i < n; i++) {
            double g = (double)dy[i] * (double)w[i];
            g_mean += centred ? g / N : 0;
            gu_mean += g * ((double)x[i] - mean) * rstd / N;
            before[i] = centred ? 0 : (double)dx[i];
        }
        if (centred) {
            k->learn->layernorm(y, &row, x, w, b, n, eps);
            k->learn->layernorm_backward(dx, dy, x, w, &row, n);
        } else {
            k->learn->rmsnorm_backward(dx, &row, dy, x, w, n, eps);
        }
        near(k, "rstd", n, (double)row.rstd, rstd, many * rstd);
        for (size_t i = 0; i < n; i++) {
            double u = ((double)x[i] - mean) * rstd, g = (double)dy[i] * (double)w[i];
            if (centred)
                near(k, "layernorm", n, (double)y[i], u * (double)w[i] + (double)b[i], many * u2);
            near(k, centred ? "layernorm back" : "rmsnorm back", n, (double)dx[i],
                 before[i] + rstd * (g - g_mean - u * gu_mean), many * (1 + rstd * u2 * u2));
        }
    }
    float *all[] = {x, w, b, dy, y, dx};
    for (size_t i = 0; i < 6; i++)
        guard_free_floats(all[i], n);
}

static void sums(const struct kernels *k, size_t n, struct random *r)
{
    float *x = drawn(r, ROWS * n, 2), *dy = drawn(r, ROWS * n, 1);
    float *dw = drawn(r, n, 1), *db = drawn(r, n, 1);
    double w[MOST], b[MOST];
    struct norm_row rows[ROWS];
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = (struct norm_row){random_between(r, -1, 1), random_between(r, 0.5f, 2)};
    for (size_t i = 0; i < n; i++) {
        w[i] = (double)dw[i];
        b[i] = (double)db[i];
        for (size_t j = 0; j < ROWS; j++) {
            double u = ((double)x[j * n + i] - (double)rows[j].mean) * (double)rows[j].rstd;
            w[i] += (double)dy[j * n + i] * u;
            b[i] += 2 * (double)dy[j * n + i];
        }
    }
    k->learn->norm_sums(dw, db, dy, x, rows, ROWS, n, n);
    k->learn->column_sums(db, dy, ROWS, n, n);
    for (size_t i = 0; i < n; i++) {
        near(k, "norm sums", n, (double)dw[i], w[i], (ROWS + 4) * U * (1 + ROWS * 6));
        near(k, "column sums", n, (double)db[i], b[i], (2 * ROWS + 1) * U * (1 + 2 * ROWS));
    }
    guard_free_floats(x, ROWS * n);
    guard_free_floats(dy, ROWS * n);
    guard_free_floats(dw, n);
    guard_free_floats(db, n);
}

static void activations(const struct kernels *k, size_t n, struct random *r)
{
    float *x = drawn(r, n, 4), *up = drawn(r, n, 2), *dy = drawn(r, n, 1), *y = guard_floats(n);
    float *dx = guard_floats(n), *dup = guard_floats(n);
    k->learn->relu(y, x, n);
    k->learn->relu_backward(dx, dy, y, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(y[i] == (x[i] > 0 ? x[i] : 0));
        assert_true(dx[i] == (x[i] > 0 ? dy[i] : 0));
    }
    k->learn->tanh(y, x, n);
    k->learn->tanh_backward(dx, dy, y, n);
    for (size_t i = 0; i < n; i++) {
        double t = tanh((double)x[i]);
        near(k, "tanh", n, (double)y[i], t, 10 * U * fabs(t));
        near(k, "tanh back", n, (double)dx[i], (double)dy[i] * (1 - t * t), 24 * U);
    }
    k->learn->swiglu_backward(dx, dup, dy, x, up, n);
    for (size_t i = 0; i < n; i++) {
        double a = (double)x[i], s = 1 / (1 + exp(-a)), d = (double)dy[i];
        near(k, "swiglu back, gate", n, (double)dx[i], d * (double)up[i] * s * (1 + a * (1 - s)),
             20 * U * 2 * (1 + fabs(a)));
        near(k, "swiglu back, up", n, (double)dup[i], d * a * s, 10 * U * fabs(a));
    }
    float *all[] = {x, up, dy, y, dx, dup};
    for (size_t i = 0; i < 6; i++)
        guard_free_floats(all[i], n);
}

static void losses(const struct kernels *k, size_t n, struct random *r)
{
    float *x = drawn(r, n, 30), *d = guard_copy(x, n * sizeof *x);
    size_t target = random_below(r, n);
    double sum = 0, most = largest(x, n);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    double lse = most + log(sum);
    float found = k->learn->log_sum_exp(x, n);
    near(k, "log sum exp", n, (double)found, lse, ((double)n + 40) * U);
    k->learn->softmax_backward(d, n, found, target, 0.5f);
    for (size_t i = 0; i < n; i++) {
        double p = exp((double)x[i] - lse);
        near(k, "softmax back", n, (double)d[i], 0.5 * (p - (i == target ? 1 : 0)),
             p * ((double)n + 110) * U + U);
    }
    guard_free_floats(x, n);
    guard_free_floats(d, n);
}

static void drops(const struct kernels *k, size_t n, struct random *r)
{
    const uint32_t drop = 20000;
    float *x = drawn(r, n, 1), *y = guard_floats(n);
    uint64_t seed = random_bits(r), first = 4 * random_below(r, 1000);
    k->learn->dropout(y, x, n, seed, first, drop);
    k->learn->dropout(x, x, n, seed, first, drop); /* in place: the same */
    for (size_t i = 0; i < n; i++) {
        uint64_t draw = rng_bits(seed, (first + i) / 4) >> 16 * ((first + i) % 4) & 0xffff;
        assert_true(x[i] == y[i]);
        assert_true((y[i] != 0) == (draw >= drop));
    }
    guard_free_floats(x, n);
    guard_free_floats(y, n);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* Inputs of cells stay within 6, so that all gates together are good to 100 u, and what is made of
 * them and of gradients within 2 to 800 u. */
static void lstm(const struct kernels *k, size_t n, struct random *r)
{
    float *gates = drawn(r, 4 * n, 2), *in = drawn(r, 4 * n, 2), *bias = drawn(r, 4 * n, 2);
    float *c_in = drawn(r, n, 1), *c = guard_floats(n), *h = guard_floats(n);
    float *d = guard_floats(4 * n), *dc = drawn(r, n, 1), *dh = drawn(r, n, 1);
    double a[MOST];
    for (size_t i = 0; i < 4 * n; i++) {
        double x = (double)gates[i] + (double)in[i] + (double)bias[i];
        a[i] = i / n == 2 ? tanh(x) : sigmoid(x);
    }
    struct lstm_row row = {gates, in, bias, c_in, c, h};
    float *dc_in = guard_copy(dc, n * sizeof *dc);
    k->learn->lstm(&row, n);
    k->learn->lstm_backward(d, dc, dh, gates, c, c_in, n);
    for (size_t j = 0; j < n; j++) {
        double i = a[j], f = a[n + j], g = a[2 * n + j], o = a[3 * n + j], before = (double)c_in[j];
        double cell = f * before + i * g, y = tanh(cell), e = (double)dh[j];
        double sum = (double)dc_in[j] + e * o * (1 - y * y);
        near(k, "lstm c", n, (double)c[j], cell, 100 * U);
        near(k, "lstm h", n, (double)h[j], o * y, 100 * U);
        near(k, "lstm di", n, (double)d[j], sum * g * i * (1 - i), 800 * U);
        near(k, "lstm df", n, (double)d[n + j], sum * before * f * (1 - f), 800 * U);
        near(k, "lstm dg", n, (double)d[2 * n + j], sum * i * (1 - g * g), 800 * U);
        near(k, "lstm do", n, (double)d[3 * n + j], e * y * o * (1 - o), 800 * U);
        near(k, "lstm dc", n, (double)dc[j], sum * f, 800 * U);
    }
    float *one[] = {c_in, c, h, dc, dh, dc_in}, *four[] = {gates, in, bias, d};
    for (size_t i = 0; i < 6; i++)
        guard_free_floats(one[i], n);
    for (size_t i = 0; i < 4; i++)
        guard_free_floats(four[i], 4 * n);
}

static void gru(const struct kernels *k, size_t n, struct random *r)
{
    float *gates = drawn(r, 3 * n, 2), *in = drawn(r, 3 * n, 2), *bias = drawn(r, 3 * n, 2);
    float *before = drawn(r, n, 1), *h = guard_floats(n), *dh = drawn(r, n, 1);
    float *dx = guard_floats(3 * n), *dr = guard_floats(3 * n);
    float *dh_in = guard_copy(dh, n * sizeof *dh);
    double a[MOST], hidden[MOST];
    for (size_t j = 0; j < n; j++) {
        for (size_t gate = 0; gate < 2; gate++) {
            size_t i = gate * n + j;
            a[i] = sigmoid((double)gates[i] + (double)in[i] + (double)bias[i]);
        }
        hidden[j] = (double)in[2 * n + j] + (double)bias[2 * n + j];
        a[2 * n + j] = tanh((double)gates[2 * n + j] + a[j] * hidden[j]);
    }
    struct gru_row row = {gates, in, bias, before, h};
    k->learn->gru(&row, n);
    k->learn->gru_backward(dx, dr, dh, gates, in, before, n);
    for (size_t j = 0; j < n; j++) {
        double reset = a[j], z = a[n + j], fresh = a[2 * n + j], b = (double)before[j];
        double e = (double)dh_in[j], dn = e * (1 - z) * (1 - fresh * fresh);
        double d_reset = dn * hidden[j] * reset * (1 - reset), dz = e * (b - fresh) * z * (1 - z);
        near(k, "gru h", n, (double)h[j], (1 - z) * fresh + z * b, 200 * U);
        near(k, "gru dr", n, (double)dx[j], d_reset, 800 * U);
        near(k, "gru dz", n, (double)dx[n + j], dz, 800 * U);
        near(k, "gru dn", n, (double)dx[2 * n + j], dn, 800 * U);
        assert_true(dr[j] == dx[j] && dr[n + j] == dx[n + j]);
        near(k, "gru recurrent dn", n, (double)dr[2 * n + j], dn * reset, 800 * U);
        near(k, "gru dh", n, (double)dh[j], e * z, 100 * U);
    }
    float *one[] = {before, h, dh, dh_in}, *three[] = {gates, in, bias, dx, dr};
    for (size_t i = 0; i < 4; i++)
        guard_free_floats(one[i], n);
    for (size_t i = 0; i < 5; i++)
        guard_free_floats(three[i], 3 * n);
}

static void additive(const struct kernels *k, size_t D, struct random *r)
{
    float *q = drawn(r, D, 1), *w = drawn(r, D, 1), *ds = drawn(r, CHUNK, 1);
    float *keys = drawn(r, D * CHUNK, 1), *dk = drawn(r, D * CHUNK, 1);
    float *dq = drawn(r, D, 1), *dw = drawn(r, D, 1);
    float *before = guard_copy(dk, D * CHUNK * sizeof *dk), *dq_in = guard_copy(dq, D * sizeof *dq);
    float *dw_in = guard_copy(dw, D * sizeof *dw);
    k->learn->additive_backward(dq, dk, dw, ds, q, keys, w, D);
    for (size_t d = 0; d < D; d++) {
        double change = (double)dq_in[d], share = (double)dw_in[d];
        for (size_t j = 0; j < CHUNK; j++) {
            size_t at = d * CHUNK + j;
            double t = tanh((double)q[d] + (double)keys[at]);
            double e = (double)ds[j] * (double)w[d] * (1 - t * t);
            near(k, "additive dk", D, (double)dk[at], (double)before[at] + e, 30 * U);
            change += e;
            share += (double)ds[j] * t;
        }
        near(k, "additive dq", D, (double)dq[d], change, (CHUNK + 30) * U * (1 + CHUNK));
        near(k, "additive dw", D, (double)dw[d], share, (CHUNK + 30) * U * (1 + CHUNK));
    }
    float *some[] = {q, w, dq, dw, dq_in, dw_in};
    for (size_t i = 0; i < 6; i++)
        guard_free_floats(some[i], D);
    guard_free_floats(ds, CHUNK);
    guard_free_floats(keys, D * CHUNK);
    guard_free_floats(dk, D * CHUNK);
    guard_free_floats(before, D * CHUNK);
}

static void for_all(void (*check)(const struct kernels *k, size_t n, struct random *r),
                    uint64_t salt)
{
    struct random r = random_start(salt);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < LENGTHS; i++)
            for (int round = 0; round < 5; round++)
                check(k, lengths[i], &r);
}

static void norms_go_back(void **state)
{
    (void)state;
    for_all(norms, 1);
    for_all(sums, 2);
}

static void activations_go_back(void **state)
{
    (void)state;
    for_all(activations, 3);
}

static void the_loss_goes_back(void **state)
{
    (void)state;
    for_all(losses, 4);
}

static void dropout_is_a_function_of_seed_and_place(void **state)
{
    (void)state;
    for_all(drops, 5);
}

static void cells_go_there_and_back(void **state)
{
    (void)state;
    for_all(lstm, 6);
    for_all(gru, 7);
}

static void the_additive_score_goes_back(void **state)
{
    (void)state;
    for_all(additive, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_go_back),
        cmocka_unit_test(activations_go_back),
        cmocka_unit_test(the_loss_goes_back),
        cmocka_unit_test(dropout_is_a_function_of_seed_and_place),
        cmocka_unit_test(cells_go_there_and_back),
        cmocka_unit_test(the_additive_score_goes_back),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
