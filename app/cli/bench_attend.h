/* What a bench of attention times: trib_attend on one shape, and a merge of states. Everything they
 * need is made before the timing, in huge pages. */
#ifndef CLI_BENCH_ATTEND_H
#define CLI_BENCH_ATTEND_H

#include "bench_kv.h"

struct attend_shape {
    const struct bench_kv *kv;
    size_t H, S, N; /* query heads, keys, queries */
    bool causal;    /* N = S, query t sees keys 0 to t; else all see all */
    int threads;
};

/* A call of trib_attend for one set of keys and values after the other. */
struct attend_call {
    struct attend_shape shape;
    const trib_kernels *kernels;
    trib_attention attention;
    trib_queries queries;
    trib_states states;
    void *workspace;
    size_t workspace_bytes;
};

/* On failure too, attend_close is due. */
trib_status attend_open(struct attend_call *call, const trib_kernels *kernels,
                        const struct attend_shape *shape, trib_error *error);
void attend_close(struct attend_call *call);

/* Attends over set number mod the number of sets; `context` is the call. */
trib_status attend_run(void *context, size_t number, trib_error *error);

/* Bytes it takes beside keys and values; operations of a run, and bytes that it must read. */
double attend_memory(const struct attend_shape *shape);
double attend_operations(const struct attend_shape *shape);
double attend_bytes(const struct attend_shape *shape);

/* The merge of `parts` arrays of H states. */
struct merge_call {
    size_t parts, H, D;
    trib_states *from; /* [parts] */
    trib_states to;
    float *memory; /* of all parts: [parts][H][D], [parts][H], and 1 behind them for the result */
    size_t bytes;  /* of the parts */
};

bool merge_open(struct merge_call *call, size_t parts, size_t H, size_t D);
void merge_close(struct merge_call *call);
trib_status merge_run(void *context, size_t number, trib_error *error);

/* XXH3 of s and v. */
uint64_t states_hash(const trib_states *states);

#endif
