/* What bears on logits before anything is chosen by them: bias and constraint, as the options of
 * tributary/sampling.h have them. Samplers and beam searches take them from here, so that both mean
 * the same. */
#ifndef ENGINE_RULES_H
#define ENGINE_RULES_H

#include "tributary/sampling.h"

/* The first five are given to rules_open, the rest is its own. */
struct rules {
    size_t vocabulary;           /* V */
    const trib_logit_bias *bias; /* [bias_count] the caller's; once open, `copy` */
    size_t bias_count;
    trib_status (*constrain)(void *context, const int32_t *ids, size_t count, uint8_t *allowed);
    void *constrain_context;
    trib_logit_bias *copy; /* [bias_count] */
    uint8_t *allowed;      /* [V] where there is a constraint */
};

/* Checks the bias and copies it. TRIB_INVALID, TRIB_NO_MEMORY; rules_close is allowed then too. */
trib_status rules_open(struct rules *r, trib_error *error);
void rules_close(struct rules *r);

/* Adds the bias to logits [V] of the token after ids [count], and gives -inf to those that the
 * constraint does not allow; *allowed: how many it does. Failures are the constraint's. */
trib_status rules_apply(const struct rules *r, const int32_t *ids, size_t count, float *logits,
                        size_t *allowed, trib_error *error);

#endif
