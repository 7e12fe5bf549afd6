/* Timing a peer on the keys, values and queries that attention was timed on, and holding its result
 * against the states. */
#include "bench_peers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* A peer with what it reads. */
struct peer_call {
    const struct peer *peer;
    void *state;
    struct peer_problem problem;
    size_t sets, bytes;
};

static trib_status peer_run(void *context, size_t number, trib_error *error)
{
    const struct peer_call *c = context;
    return c->peer->run(c->state, number % c->sets, error);
}

static trib_status peer_open(struct peer_call *c, const struct attend_call *ours, trib_error *error)
{
    const struct attend_shape *s = &ours->shape;
    size_t width = s->kv->type == TRIB_KV_BF16 ? 2 : 4, set = s->S * s->kv->G * s->kv->D * width;
    c->sets = bench_kv_sets(s->kv, s->S);
    c->bytes = c->sets * set;
    c->problem = (struct peer_problem){.T = s->N,
                                       .S = s->S,
                                       .H = s->H,
                                       .G = s->kv->G,
                                       .D = s->kv->D,
                                       .causal = s->causal,
                                       .bf16 = s->kv->type == TRIB_KV_BF16,
                                       .scale = ours->attention.scale,
                                       .threads = s->threads,
                                       .q = ours->queries.q,
                                       .k = bench_memory(c->bytes, s->threads),
                                       .v = bench_memory(c->bytes, s->threads),
                                       .set_bytes = set};
    if (!c->problem.k || !c->problem.v)
        return bench_no_memory(error);
    for (size_t i = 0; i < c->sets; i++)
        bench_kv_dense(s->kv, s->S, i, c->problem.k + i * set, c->problem.v + i * set, s->threads);
    return c->peer->open(&c->state, &c->problem, error);
}

static void peer_close(struct peer_call *c)
{
    c->peer->close(c->state);
    bench_memory_free(c->problem.k, c->bytes);
    bench_memory_free(c->problem.v, c->bytes);
}

/* The hash of the output, and its largest difference from the states. */
static uint64_t peer_check(const struct peer_call *c, const trib_states *states, double *difference)
{
    const struct peer_problem *p = &c->problem;
    XXH64_hash_t hash = 0;
    *difference = 0;
    for (size_t t = 0; t < p->T; t++)
        for (size_t h = 0; h < p->H; h++) {
            float row[1024];
            for (size_t d = 0; d < p->D; d++) {
                row[d] = c->peer->output(c->state, t, h, d);
                double off = fabs((double)row[d] - states->v[(t * p->H + h) * p->D + d]);
                *difference = off <= *difference ? *difference : off; /* a NaN stays */
            }
            hash = XXH3_64bits_withSeed(row, p->D * sizeof *row, hash);
        }
    return hash;
}

trib_status peer_time(const struct peer *peer, const struct attend_call *ours,
                      struct bench_subject subject, double seconds, size_t repeat,
                      struct bench_row *row, double *difference, trib_error *error)
{
    struct peer_call call = {.peer = peer};
    subject.run = peer_run;
    subject.context = &call;
    trib_status status = peer_open(&call, ours, error);
    if (status == TRIB_OK)
        status = bench_time(&subject, seconds, repeat, &row->timing, error);
    if (status == TRIB_OK)
        status = peer_run(&call, 0, error);
    if (status == TRIB_OK)
        row->hash = peer_check(&call, &ours->states, difference);
    row->table = peer->name;
    row->layout = "rows";
    peer_close(&call);
    return status;
}
