/* What attention is measured beside: other ways to compute the same, on the same data.
 *
 * A peer may prepare the queries as it likes; that is not timed. */
#ifndef CLI_BENCH_PEERS_H
#define CLI_BENCH_PEERS_H

#include "bench.h"
#include "bench_attend.h"

/* Queries that attend over one of several sets of keys and values. With `causal`, T = S and query t
 * sees keys 0 to t. */
struct peer_problem {
    size_t T, S, H, G, D;
    bool causal, bf16; /* bf16: of k and v; else float32 */
    float scale;
    int threads;
    const float *q;   /* [T][H][D] */
    char *k, *v;      /* [sets][G][S][D] */
    size_t set_bytes; /* of k, and of v */
};

struct peer {
    const char *name;
    double most_operations; /* of a run: above it takes too long or too much memory */
    bool reads_bf16;
    trib_status (*open)(void **state, const struct peer_problem *problem, trib_error *error);
    trib_status (*run)(void *state, size_t set, trib_error *error);
    float (*output)(const void *state, size_t t, size_t h, size_t d); /* of the last run */
    void (*close)(void *state);                                       /* NULL is allowed */
};

extern const struct peer peer_naive, peer_onednn;

/* Times a peer on the data of `ours`, whose states stand there for set 0: fills in the row's
 * timing, hash, table and layout, and the largest difference of an output. Of `subject` what to
 * measure is read, not what to run. */
trib_status peer_time(const struct peer *peer, const struct attend_call *ours,
                      struct bench_subject subject, double seconds, size_t repeat,
                      struct bench_row *row, double *difference, trib_error *error);

#endif
