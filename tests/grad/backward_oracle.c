/* Gradients of attention by their formulas in float64, and the bound of backward_oracle.h. */
#include "backward_oracle.h"

static double *doubles(size_t n)
{
    double *out = calloc(n + 1, sizeof *out);
    assert_non_null(out);
    return out;
}

static double *widened(const float *x, size_t n)
{
    double *out = doubles(n);
    for (size_t i = 0; i < n; i++)
        out[i] = (double)x[i];
    return out;
}

struct problem problem_new(const struct attend_case *c, const float *dy)
{
    size_t rows = c->T * c->H * c->D, keys = c->S * c->G * c->D;
    return (struct problem){c, widened(c->q, rows), widened(c->k, keys), widened(c->v, keys),
                            widened(dy, rows)};
}

void problem_free(const struct problem *problem)
{
    free(problem->q);
    free(problem->k);
    free(problem->v);
    free(problem->dy);
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* Where row (t, h) and key i of its KV head stand. */
static size_t row_at(const struct attend_case *c, size_t t, size_t h)
{
    return (t * c->H + h) * c->D;
}

static size_t key_at(const struct attend_case *c, size_t i, size_t h)
{
    return (i * c->G + h / (c->H / c->G)) * c->D;
}

/* The score and its derivative after scale q.k. */
static double score(const struct problem *in, size_t t, size_t h, size_t i, double *slope)
{
    const struct attend_case *c = in->c;
    const trib_attention *a = &c->attention;
    double cap = (double)a->softcap;
    double s = (double)a->scale * dot(in->q + row_at(c, t, h), in->k + key_at(c, i, h), c->D);
    *slope = 1;
    if (cap > 0) {
        double y = tanh(s / cap);
        s = cap * y;
        *slope = 1 - y * y;
    }
    if (a->alibi)
        s += (double)a->alibi[h] * ((double)(c->key_first + i) - (double)(c->query_first + t));
    if (a->bias)
        s += (double)c->bias[(h * c->T + t) * c->S + i];
    return s;
}

/* p [S] of a row, and the slopes of its scores; zeros where it sees nothing. */
static void probabilities(const struct problem *in, size_t t, size_t h, double *p, double *slope)
{
    const struct attend_case *c = in->c;
    double most = -(double)INFINITY, sum = 0;
    for (size_t i = 0; i < c->S; i++) {
        p[i] = case_sees(c, t, i) ? score(in, t, h, i, slope + i) : -(double)INFINITY;
        most = fmax(most, p[i]);
    }
    for (size_t i = 0; i < c->S; i++)
        sum += p[i] = p[i] == -(double)INFINITY ? 0 : exp(p[i] - most);
    for (size_t i = 0; i < c->S && sum > 0; i++)
        p[i] /= sum;
}

double problem_loss(const struct problem *in)
{
    const struct attend_case *c = in->c;
    double *p = doubles(c->S), *slope = doubles(c->S), loss = 0;
    for (size_t t = 0; t < c->T; t++)
        for (size_t h = 0; h < c->H; h++) {
            probabilities(in, t, h, p, slope);
            for (size_t i = 0; i < c->S; i++)
                loss += p[i] * dot(in->dy + row_at(c, t, h), in->v + key_at(c, i, h), c->D);
        }
    free(p);
    free(slope);
    return loss;
}

/* One row's share of all three gradients. */
static void add_row(const struct exact *out, const struct problem *in, size_t t, size_t h,
                    double *slope)
{
    const struct attend_case *c = in->c;
    size_t row = row_at(c, t, h);
    double *p = out->p + (t * c->H + h) * c->S, mean = 0;
    probabilities(in, t, h, p, slope);
    for (size_t i = 0; i < c->S; i++)
        mean += p[i] * dot(in->dy + row, in->v + key_at(c, i, h), c->D);
    for (size_t i = 0; i < c->S; i++) {
        size_t key = key_at(c, i, h);
        if (p[i] == 0)
            continue;
        double ds = p[i] * (dot(in->dy + row, in->v + key, c->D) - mean) * slope[i] *
                    (double)c->attention.scale;
        for (size_t d = 0; d < c->D; d++) {
            out->dq[row + d] += ds * in->k[key + d];
            out->dk[key + d] += ds * in->q[row + d];
            out->dv[key + d] += p[i] * in->dy[row + d];
        }
    }
}

struct exact exact_new(const struct problem *in)
{
    const struct attend_case *c = in->c;
    size_t rows = c->T * c->H, keys = c->S * c->G * c->D;
    struct exact out = {doubles(rows * c->S), doubles(rows * c->D), doubles(keys), doubles(keys),
                        doubles(rows * c->D), doubles(keys),        doubles(keys), NULL};
    double *slope = doubles(c->S);
    out.rows = calloc(rows + 1, sizeof *out.rows);
    assert_non_null(out.rows);
    for (size_t row = 0; row < rows; row++) {
        add_row(&out, in, row / c->H, row % c->H, slope);
        case_expect(c, row / c->H, row % c->H, out.rows + row);
    }
    free(slope);
    return out;
}

void exact_free(const struct exact *exact)
{
    free(exact->p);
    free(exact->dq);
    free(exact->dk);
    free(exact->dv);
    free(exact->dq_error);
    free(exact->dk_error);
    free(exact->dv_error);
    free(exact->rows);
}

/* sum_d |dy_d| max_i |v_id| over the keys that count. */
static double reach(const struct exact *exact, const struct problem *in, size_t t, size_t h)
{
    const struct attend_case *c = in->c;
    const double *p = exact->p + (t * c->H + h) * c->S;
    double sum = 0;
    for (size_t d = 0; d < c->D; d++) {
        double most = 0;
        for (size_t i = 0; i < c->S; i++)
            if (p[i] > 0)
                most = fmax(most, fabs(in->v[key_at(c, i, h) + d]));
        sum += fabs(in->dy[row_at(c, t, h) + d]) * most;
    }
    return sum;
}

static void add_bound(const struct exact *exact, const struct problem *in, const struct kernels *k,
                      double more, size_t t, size_t h)
{
    const struct attend_case *c = in->c;
    const struct expected *x = exact->rows + t * c->H + h;
    const double *p = exact->p + (t * c->H + h) * c->S, *dy = in->dy + row_at(c, t, h);
    double u = 0x1p-24, E = case_error(c, k, x) + more, S = (double)c->S, D = (double)c->D;
    double R = (double)(c->T * (c->H / c->G)), scale = fabs((double)c->attention.scale);
    double N = reach(exact, in, t, h), n = (2 * D + 4) * u * N, slope = 0;
    double s = isinf(x->s) ? 0 : fabs(x->s);
    double s_error = E + (3 * x->M + s + 2 * log(S + 1) + 2) * u;
    double e = x->E[0] + s_error + (2 * s + 2 * (x->M + s) + 5) * u;
    for (size_t d = 0; d < c->D; d++)
        n += fabs(dy[d]) * expm1(2 * E + 2 * u) * x->reach[d];
    if (c->attention.softcap > 0)
        slope = 30 * u + x->E[0] / (double)c->attention.softcap;
    double w = 2 * N * (expm1(e) + 8 * u + slope) + n * exp(e);
    for (size_t i = 0; i < c->S; i++)
        for (size_t d = 0; d < c->D; d++) {
            size_t row = row_at(c, t, h) + d, key = key_at(c, i, h) + d;
            exact->dq_error[row] += scale * p[i] * fabs(in->k[key]) * (w + 2 * N * exp(e) * S * u);
            exact->dk_error[key] += scale * p[i] * fabs(in->q[row]) * (w + 2 * N * exp(e) * R * u);
            exact->dv_error[key] += p[i] * fabs(dy[d]) * (expm1(e) + exp(e) * R * u);
        }
}

void exact_bound(const struct exact *exact, const struct problem *in, const struct kernels *k,
                 double more)
{
    const struct attend_case *c = in->c;
    for (size_t i = 0; i < c->T * c->H * c->D; i++)
        exact->dq_error[i] = 0x1p-120;
    for (size_t i = 0; i < c->S * c->G * c->D; i++)
        exact->dk_error[i] = exact->dv_error[i] = 0x1p-120;
    for (size_t row = 0; row < c->T * c->H; row++)
        add_bound(exact, in, k, more, row / c->H, row % c->H);
}
