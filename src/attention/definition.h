/* Attention as it is defined, in float64: the oracle that judges everything else.
 *
 * It shares no code with the kernels, the masks or the fold, and it is written twice, in the two
 * forms that the subject gives, so that the forms can be held against each other:
 *
 *     matrix:        Y = softmax(f(Q K^T) + mask) V
 *     one timestep:  y_t = sum_i a_ti v_i,  a_ti = exp(s_ti) / sum_j exp(s_tj),  s_ti = f(q_t.k_i)
 *
 * (Vaswani et al. 2017), f being what tributary/attention.h makes of a product. Query head h reads
 * KV head h / (H / G). A key that is not visible is not in the set; a query that sees nothing has
 * s = -inf and y = 0.
 */
#ifndef ATTENTION_DEFINITION_H
#define ATTENTION_DEFINITION_H

#include <stdbool.h>
#include <stddef.h>

struct definition {
    size_t T, S, H, G, D;
    const float *q; /* [T][H][D] */
    const float *k; /* [S][G][D] */
    const float *v; /* [S][G][D] */

    double scale;
    const float *additive; /* [H][D] w: scale sum_d w_d tanh(q_d + k_d); NULL: scale q.k */
    double softcap;        /* 0: off */
    const float *alibi;    /* [H] slopes, or NULL */
    double distance;       /* position of key 0 less that of query 0 */
    const float *bias;     /* [H][T][S], or NULL */

    bool (*visible)(const void *context, size_t t, size_t i); /* NULL: every key is */
    const void *context;
};

/* All queries of all heads: y [T][H][D], s [T][H]. `scores` is scratch, [T][S]. */
void definition_matrix(const struct definition *in, double *scores, double *y, double *s);

/* Query t of head h: y [D]; returns s. */
double definition_timestep(const struct definition *in, size_t t, size_t h, double *y);

#endif
