/* Bias and constraint of samplers and beam searches. */
#include "engine/rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Finite biases are small enough to take no logit to infinity. */
static trib_status check(const struct rules *r, trib_error *error)
{
    for (size_t i = 0; i < r->bias_count; i++) {
        const trib_logit_bias *b = &r->bias[i];
        if (b->id < 0 || (size_t)b->id >= r->vocabulary)
            return error_set(error, TRIB_INVALID, "logit bias: expected an id below %zu, found %d",
                             r->vocabulary, b->id);
        if (!(fabsf(b->bias) <= 1e6f) && b->bias != -INFINITY)
            return error_set(error, TRIB_INVALID,
                             "logit bias of token %d: expected -1e6 to 1e6, or -inf, found %g",
                             b->id, (double)b->bias);
    }
    return TRIB_OK;
}

trib_status rules_open(struct rules *r, trib_error *error)
{
    size_t V = r->vocabulary, bytes = r->bias_count * sizeof *r->copy;
    trib_status status = check(r, error);
    if (status != TRIB_OK)
        return status;
    r->copy = malloc(bytes + 1);
    r->allowed = r->constrain ? malloc(V + 1) : NULL;
    if (!r->copy || (r->constrain && !r->allowed))
        return error_no_memory(error, "bias and constraint", bytes + V);
    if (bytes)
        memcpy(r->copy, r->bias, bytes);
    r->bias = r->copy;
    return TRIB_OK;
}

void rules_close(struct rules *r)
{
    free(r->copy);
    free(r->allowed);
}

trib_status rules_apply(const struct rules *r, const int32_t *ids, size_t count, float *logits,
                        size_t *allowed, trib_error *error)
{
    size_t V = r->vocabulary;
    *allowed = V;
    for (size_t i = 0; i < r->bias_count; i++)
        logits[r->bias[i].id] += r->bias[i].bias;
    if (!r->constrain)
        return TRIB_OK;
    memset(r->allowed, 1, V);
    trib_status status = r->constrain(r->constrain_context, ids, count, r->allowed);
    if (status != TRIB_OK)
        return error_set(error, status, "the constraint on tokens failed after %zu of them: %s",
                         count, trib_status_meaning(status));
    *allowed = 0;
    for (size_t i = 0; i < V; i++) {
        *allowed += r->allowed[i] != 0;
        logits[i] = r->allowed[i] ? logits[i] : -INFINITY;
    }
    return TRIB_OK;
}
