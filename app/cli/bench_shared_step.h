/* The sequences of a row of `trib bench shared`, and their steps. */
#ifndef CLI_BENCH_SHARED_STEP_H
#define CLI_BENCH_SHARED_STEP_H

#include "bench.h"
#include "tributary/engine.h"

/* Each has the prefix, tokens of its own behind it, and a token more with each step. */
struct shared_step {
    trib_engine *engine;
    trib_append *appends; /* [count] */
    int32_t *ids;         /* [count] */
    size_t count, V;
    size_t first, most; /* tokens before the first step, and at most: then they go back */
    size_t hashed;      /* runs, from the first on, whose logits are hashed */
    uint64_t hash;
    double fork; /* seconds that each fork of the prefix took */
};

/* `count` forks of `prefix` with `suffix` tokens of their own each, computed here, for `steps`
 * steps. shared_step_close also after a failure. */
trib_status shared_step_open(struct shared_step *step, trib_engine *engine,
                             const trib_session *prefix, size_t count, size_t suffix, size_t steps,
                             size_t V, trib_error *error);
void shared_step_close(struct shared_step *step);

/* A token for each: bench_subject's run. */
trib_status shared_step_run(void *step, size_t number, trib_error *error);

#endif
