/* trib_attend and trib_state_merge_all, made ready to be timed. */
#include "bench_attend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bench.h"

uint64_t states_hash(const trib_states *states)
{
    XXH64_hash_t hash = XXH3_64bits(states->s, states->count * sizeof *states->s);
    return XXH3_64bits_withSeed(states->v, states->count * states->head_dim * sizeof *states->v,
                                hash);
}

/* ---- Attend ---- */

static size_t state_count(const struct attend_shape *s)
{
    return s->N * s->H;
}

static size_t value_bytes(const struct attend_shape *s)
{
    return state_count(s) * s->kv->D * sizeof(float);
}

double attend_memory(const struct attend_shape *s)
{
    return 2.0 * (double)s->N * (double)s->H * (double)s->kv->D * sizeof(float);
}

double attend_operations(const struct attend_shape *s)
{
    double seen = (double)s->S, queries = (double)s->N;
    double scores = s->causal ? queries * (queries + 1) / 2 : queries * seen;
    return 4.0 * (double)s->kv->D * (double)s->H * scores;
}

double attend_bytes(const struct attend_shape *s)
{
    return 2.0 * (double)s->S * (double)s->kv->G * bench_kv_row_bytes(s->kv->type, s->kv->D);
}

static void fill_queries(float *q, const struct attend_shape *s)
{
    size_t n = state_count(s) * s->kv->D;
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (size_t i = 0; i < n; i++)
        q[i] = bench_random(3, i);
}

trib_status attend_open(struct attend_call *c, const trib_kernels *kernels,
                        const struct attend_shape *s, trib_error *error)
{
    size_t count = state_count(s), D = s->kv->D;
    *c = (struct attend_call){.shape = *s, .kernels = kernels};
    c->attention = (trib_attention){.heads = s->H,
                                    .kv_heads = s->kv->G,
                                    .head_dim = D,
                                    .scale = 1 / sqrtf((float)D),
                                    .mask.causal = s->causal,
                                    .threads = s->threads};
    c->workspace_bytes = trib_attend_workspace(kernels, &c->attention, s->N, s->S);
    c->workspace = bench_memory(c->workspace_bytes, s->threads);
    float *q = bench_memory(value_bytes(s), s->threads);
    c->queries = (trib_queries){q, s->N, s->H * D, 0};
    c->states = (trib_states){bench_memory(count * sizeof(float), s->threads),
                              bench_memory(value_bytes(s), s->threads), count, D};
    if (!c->workspace || !q || !c->states.s || !c->states.v)
        return bench_no_memory(error);
    fill_queries(q, s);
    return TRIB_OK;
}

void attend_close(struct attend_call *c)
{
    bench_memory_free(c->workspace, c->workspace_bytes);
    bench_memory_free(c->states.s, c->states.count * sizeof(float));
    bench_memory_free(c->states.v, value_bytes(&c->shape));
    bench_memory_free((float *)(uintptr_t)c->queries.q, value_bytes(&c->shape));
}

trib_status attend_run(void *context, size_t number, trib_error *error)
{
    const struct attend_call *c = context;
    const struct bench_kv *kv = c->shape.kv;
    size_t set = number % bench_kv_sets(kv, c->shape.S);
    trib_segment segment = bench_kv_segment(kv, c->shape.S, set);
    return trib_attend(c->kernels, &c->attention, &c->queries, &segment, &c->states, c->workspace,
                       c->workspace_bytes, error);
}

/* ---- Merge ---- */

bool merge_open(struct merge_call *c, size_t parts, size_t H, size_t D)
{
    size_t v = H * D;
    *c = (struct merge_call){.parts = parts, .H = H, .D = D};
    c->bytes = parts * (v + H) * sizeof *c->memory;
    c->memory = bench_memory(c->bytes + (v + H) * sizeof *c->memory, 1);
    c->from = malloc(parts * sizeof *c->from);
    if (!c->memory || !c->from)
        return false;
    for (size_t i = 0; i < parts * (v + H); i++)
        c->memory[i] = bench_random(4, i);
    float *s = c->memory + parts * v;
    for (size_t p = 0; p < parts; p++)
        c->from[p] = (trib_states){s + p * H, c->memory + p * v, H, D};
    s += parts * H;
    c->to = (trib_states){s, s + H, H, D};
    return true;
}

void merge_close(struct merge_call *c)
{
    bench_memory_free(c->memory, c->bytes + c->H * (c->D + 1) * sizeof *c->memory);
    free(c->from);
}

trib_status merge_run(void *context, size_t number, trib_error *error)
{
    const struct merge_call *c = context;
    (void)number;
    return trib_state_merge_all(&c->to, c->from, c->parts, error);
}
