/* A row of logits, x [V]: whether it is sound, the sum behind its softmax, its best tokens. What
 * chooses tokens is made of these, so that all of it ranks and counts alike. */
#ifndef ENGINE_LOGITS_H
#define ENGINE_LOGITS_H

#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

struct kernels;

struct candidate {
    float logit;
    int32_t id;
};

/* The largest logit goes to *most. TRIB_INVALID where one is NaN or infinite, or none is a number.
 */
trib_status logits_check(const float *x, size_t V, float *most, trib_error *error);

/* The largest logit. */
float logits_most(const float *x, size_t V);

/* log sum_i exp(x_i), with `most` the largest x: the same bits in every kernel table. */
double logits_log_sum_exp(const struct kernels *kernels, const float *x, size_t V, float most);

/* Whether a comes before b: the larger logit, of equal ones the lower id. */
static inline int candidate_before(struct candidate a, struct candidate b)
{
    return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/* The best k of the V tokens (k at most V) in their order. out [k]. */
void logits_best(const float *x, size_t V, size_t k, struct candidate *out);

#endif
