/* What the definition says of a fold_case, and how far the fold may be from it.
 *
 * The bound, u = 2^-24, A at least every sum |scale q_i||k_i|. The query is scaled and a score is D
 * fused steps: off by (D + 1) A u. The differences s - m, m_old - m of the chunks and of the merges
 * are rounded; each kind adds up to at most 2 A on a term's way: 8 A u. Each exponential is off by
 * 2 u: one for the key, and with one product each, one per chunk of the span and one per merge,
 * with one addition there. A sum over a span is at most min(S, SPAN) additions. So a term of d and
 * of o is off by a factor of e^E,
 *
 *     E = ((D + 9) A + 2 + 3 SPAN_CHUNKS + min(S, SPAN) + 4 ceil(S / SPAN)) u
 *     |v - exact| <= (e^(2 E + 2 u) - 1) max_i |v_i|        two sums and their quotient
 *     |s - exact| <= E + (|s| + 2 log S + 1) u              logf, and the addition of m
 *
 * and terms below 2^-149 are lost: S 2^-147 of the largest value. */
#ifndef FOLD_ORACLE_H
#define FOLD_ORACLE_H

#include "fold_case.h"
#include "test.h"

static inline double fold_error(const struct fold_case *c, double A, double u)
{
    double S = (double)c->S, D = (double)c->D, spans = ceil(S / SPAN);
    return ((D + 9) * A + 2 + 3 * SPAN_CHUNKS + fmin(S, SPAN) + 4 * spans) * u;
}

/* The largest finite |x| in row d of a [S][G][D] array. */
static inline double column_reach(const struct fold_case *c, const float *x, size_t g, size_t d)
{
    double most = 0;
    for (size_t i = 0; i < c->S; i++) {
        double one = fabs((double)x[(i * c->G + g) * c->D + d]);
        most = isfinite(one) ? fmax(most, one) : most;
    }
    return most;
}

/* What the definition says of a case, and how far a result may be from it. */
struct oracle {
    double *y, *s;           /* [T][H][D], [T][H] */
    double *y_error, *error; /* [G][D]: largest |v|; [T][H]: E */
};

static inline void *array(size_t n)
{
    void *out = calloc(n + 1, sizeof(double));
    assert_non_null(out);
    return out;
}

/* `exact`: the scores of the case have no rounding error, so A counts for nothing. */
static inline struct oracle oracle_new(const struct fold_case *c, bool exact)
{
    struct oracle o = {array(c->T * c->H * c->D), array(c->T * c->H), array(c->G * c->D),
                       array(c->T * c->H)};
    double *scores = array(c->T * c->S), *k_reach = array(c->G * c->D);
    struct definition definition = case_definition(c);
    definition_matrix(&definition, scores, o.y, o.s);
    for (size_t i = 0; i < c->G * c->D; i++) {
        o.y_error[i] = column_reach(c, c->v, i / c->D, i % c->D);
        k_reach[i] = column_reach(c, c->k, i / c->D, i % c->D);
    }
    for (size_t i = 0; i < c->T * c->H; i++) {
        double A = 0;
        size_t g = i % c->H / (c->H / c->G);
        for (size_t d = 0; d < c->D && !exact; d++)
            A += fabs((double)c->scale * c->q[i * c->D + d]) * k_reach[g * c->D + d];
        o.error[i] = fold_error(c, A, 0x1p-24);
    }
    free(scores);
    free(k_reach);
    return o;
}

static inline void oracle_free(const struct oracle *o)
{
    free(o->y);
    free(o->s);
    free(o->y_error);
    free(o->error);
}

/* Equal where infinite or NaN; else within `error`. */
static inline bool near(double got, double expected, double error)
{
    if (isnan(expected))
        return isnan(got);
    return got == expected || fabs(got - expected) <= 1.001 * error;
}

static inline void hold(const struct fold_case *c, const struct oracle *o,
                        const struct fold_result *got, const char *who, double more)
{
    double lost = (double)c->S * 0x1p-147, u = 0x1p-24;
    for (size_t i = 0; i < c->T * c->H; i++) {
        double E = o->error[i] + more, s = o->s[i];
        double s_error = E + (fabs(s) + 2 * log((double)c->S + 1) + 1) * u;
        if (!near(got->s[i], s, s_error))
            fail_msg("%s: T %zu S %zu H %zu G %zu D %zu: s[%zu] = %.9g, expected %.17g within %.3g",
                     who, c->T, c->S, c->H, c->G, c->D, i, got->s[i], s, s_error);
        size_t g = i % c->H / (c->H / c->G);
        for (size_t d = 0; d < c->D; d++) {
            double v = got->v[i * c->D + d], y = o->y[i * c->D + d];
            double error = (expm1(2 * E + 2 * u) + lost) * o->y_error[g * c->D + d];
            if (!near(v, y, error))
                fail_msg("%s: T %zu S %zu H %zu G %zu D %zu: v[%zu][%zu] = %.9g, expected %.17g "
                         "within %.3g",
                         who, c->T, c->S, c->H, c->G, c->D, i, d, v, y, error);
        }
    }
}

static inline void assert_same(const struct fold_result *a, const struct fold_result *b,
                               const char *who, const char *what)
{
    size_t n = a->T * a->H;
    if (n && (memcmp(a->s, b->s, n * sizeof *a->s) != 0 ||
              memcmp(a->v, b->v, n * a->D * sizeof *a->v) != 0))
        fail_msg("%s: other bits: %s", who, what);
}

#endif
