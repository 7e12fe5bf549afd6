/* The gradients of attention in float64, from the words of tributary/attention.h, with nothing of
 * src/ in them, and how far from them the float32 ones may be.
 *
 * The bound, u = 2^-24. For one row, attend_case.h gives M, E0 (the E of float32 arithmetic, which
 * is more than the error of any score of the row), E (that of the table that made the state), and
 * with it the errors s_error and y_error of the state. N = sum_d |dy_d| max_i |v_id|. Then
 *
 *     p          s log2(e), rounded twice, its sum with the score, 2^x (5):
 *                a factor within exp(e),  e = E0 + s_error + (2 |s| + 2 (M + |s|) + 5) u
 *     dy.v - dy.y    two chains of D steps, the difference, y:
 *                n = (2 D + 4) u N + sum_d |dy_d| y_error_d
 *     slope      tanh (9), its square, 1 minus that, and by the product it is of, which is within
 *                E0: 30 u + E0 / cap; without a softcap 0
 *     ds         four products: scale p w, where
 *                w = 2 N (exp(e) - 1 + 8 u + slope) + n exp(e),  and |ds| <= scale p 2 N
 *
 * and sums of R terms add R u of the sum of magnitudes:
 *
 *     |dq - exact| <= scale sum_i p |k| (w + 2 N exp(e) S u)
 *     |dk - exact| <= scale sum_t p |q| (w + 2 N exp(e) R u)      R = T H / G
 *     |dv - exact| <= sum_t p |dy| (exp(e) - 1 + exp(e) R u)
 *
 * What is below 2^-149 is lost: 2^-120 of everything is more. */
#ifndef BACKWARD_ORACLE_H
#define BACKWARD_ORACLE_H

#include "attend_case.h"

/* A case with the gradient of its output. In float64, so that it can be moved by very little. */
struct problem {
    const struct attend_case *c;
    double *q, *k, *v, *dy; /* [T][H][D], [S][G][D], [S][G][D], [T][H][D] */
};

struct problem problem_new(const struct attend_case *c, const float *dy);
void problem_free(const struct problem *problem);

/* sum dy.y, the loss whose gradients are asked for. */
double problem_loss(const struct problem *problem);

struct exact {
    double *p;                              /* [T][H][S] */
    double *dq, *dk, *dv;                   /* as q, k and v */
    double *dq_error, *dk_error, *dv_error; /* of the table last asked for */
    struct expected *rows;                  /* [T][H] */
};

struct exact exact_new(const struct problem *problem);
void exact_free(const struct exact *exact);

/* The bounds for kernels k; `more` is error that the test adds to the states. */
void exact_bound(const struct exact *exact, const struct problem *problem, const struct kernels *k,
                 double more);

#endif
