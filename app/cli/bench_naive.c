/* The naive peer: attention in three loops, as one writes it first. Work is cut over threads by
 * head and query; there are no tiles, and the compiler is all the optimisation it gets. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench_peers.h"

struct naive {
    struct peer_problem p;
    float *scores; /* [threads][S] */
    float *y;      /* [T][H][D] */
};

/* y = sum_i softmax(scale q.k)_i v_i */
static void attend(const struct naive *n, size_t set, size_t t, size_t h, float *scores)
{
    const struct peer_problem *p = &n->p;
    size_t D = p->D, seen = p->causal ? t + 1 : p->S;
    size_t begin = h / (p->H / p->G) * p->S * D;
    const float *k = (const float *)(void *)(p->k + set * p->set_bytes) + begin;
    const float *v = (const float *)(void *)(p->v + set * p->set_bytes) + begin;
    const float *q = p->q + (t * p->H + h) * D;
    float *y = n->y + (t * p->H + h) * D, largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < seen; i++) {
        float dot = 0;
        for (size_t d = 0; d < D; d++)
            dot += q[d] * k[i * D + d];
        scores[i] = p->scale * dot;
        largest = fmaxf(largest, scores[i]);
    }
    for (size_t i = 0; i < seen; i++)
        sum += scores[i] = expf(scores[i] - largest);
    for (size_t d = 0; d < D; d++)
        y[d] = 0;
    for (size_t i = 0; i < seen; i++)
        for (size_t d = 0; d < D; d++)
            y[d] += scores[i] / sum * v[i * D + d];
}

static trib_status naive_run(void *state, size_t set, trib_error *error)
{
    const struct naive *n = state;
    (void)error;
#pragma omp parallel for schedule(dynamic) collapse(2) num_threads(n->p.threads)
    for (size_t h = 0; h < n->p.H; h++)
        for (size_t t = 0; t < n->p.T; t++)
            attend(n, set, t, h, n->scores + (size_t)omp_get_thread_num() * n->p.S);
    return TRIB_OK;
}

static void naive_close(void *state)
{
    struct naive *n = state;
    if (!n)
        return;
    free(n->scores);
    free(n->y);
    free(n);
}

static trib_status naive_open(void **state, const struct peer_problem *p, trib_error *error)
{
    struct naive *n = calloc(1, sizeof *n);
    *state = n;
    if (n) {
        n->p = *p;
        n->scores = calloc((size_t)p->threads * p->S, sizeof *n->scores);
        n->y = calloc(p->T * p->H * p->D, sizeof *n->y);
    }
    if (n && n->scores && n->y)
        return TRIB_OK;
    error->status = TRIB_NO_MEMORY;
    snprintf(error->message, sizeof error->message, "naive: no memory for scores and output");
    return TRIB_NO_MEMORY;
}

static float naive_output(const void *state, size_t t, size_t h, size_t d)
{
    const struct naive *n = state;
    return n->y[(t * n->p.H + h) * n->p.D + d];
}

const struct peer peer_naive = {
    .name = "naive",
    .most_operations = 2e10,
    .open = naive_open,
    .run = naive_run,
    .output = naive_output,
    .close = naive_close,
};
