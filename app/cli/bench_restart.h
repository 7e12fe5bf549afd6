/* What a restart costs: a prefix that is computed, against the same one found in a folder. */
#ifndef CLI_BENCH_RESTART_H
#define CLI_BENCH_RESTART_H

#include "bench.h"
#include "tributary/engine.h"

struct bench_restart {
    const trib_model *model;
    trib_engine_options engine;
    const int32_t *ids; /* [prefix + 1] */
    size_t prefix, vocabulary;
    const void *reading; /* TRIB_MEASURE_BYTES */
};

struct bench_restart_result {
    double prefill; /* seconds to the logits behind ids, of an engine that knows nothing */
    struct bench_timing timing; /* of one that has the folder of the first; limits.read alone */
    uint64_t hash;              /* of the logits, which are the same */
    char table[32];
};

/* Computes the prefix once, in an engine whose folder is made for this and removed at the end, and
 * then opens new engines on that folder, `repeat` of them; what they read the system has in memory.
 * The time is that of the append alone: of looking into the folder, mapping, checking and
 * attending. TRIB_STOPPED after Ctrl-C. */
trib_status bench_restart(const struct bench_restart *bench, size_t repeat,
                          struct bench_restart_result *result, trib_error *error);

#endif
