/* The predictors that tests run over: every kind, cell, score and block, small. */
#ifndef PREDICTOR_CASE_H
#define PREDICTOR_CASE_H

#include "predictor_oracle.h"
#include "random.h"

struct predictor_case {
    const char *name;
    struct predictor_config config;
    size_t B, T;
};

/* Case i, or NULL after the last. */
const struct predictor_case *predictor_case_at(size_t i);

/* A predictor with weights, all of them different from 0 and 1: those of the seed plus noise. */
struct predictor case_predictor(const struct predictor_case *c, const struct kernels *kernels,
                                int threads);

/* Tokens and targets [B][T], some of which do not count. */
struct case_batch {
    int32_t *tokens, *targets;
    struct batch batch;
};

struct case_batch case_batch_new(const struct predictor_case *c, struct random *r);
void case_batch_free(struct case_batch *b);

#endif
