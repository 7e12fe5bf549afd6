/* The way back through attention with the additive score, s_ti = w . tanh(q_t + k_i):
 *
 *     p_ti = exp(s_ti - s_t),  dv_i = sum_t p_ti dy_t,  ds_ti = p_ti (dy_t . v_i - dy_t . y_t)
 *     dq_t = sum_i ds_ti u,  dk_i = sum_t ds_ti u,  dw = sum_ti ds_ti tanh(q_t + k_i)
 *     with u = w (1 - tanh^2(q_t + k_i))
 *
 * chunk after chunk of keys, each against the queries that see it, in ascending order: one thread
 * has a whole sequence, so no sum depends on how many there are. */
#include <omp.h>
#include <string.h>

#include "kernel/exp.h"
#include "train/past_attention.h"

/* What one thread works with, for the keys [first, first + count) of sequence b. */
struct worker {
    float *k, *dk; /* [E][CHUNK] */
    float *v, *dv; /* [CHUNK][E] */
    size_t first, count;
};

static size_t worker_floats(size_t E)
{
    return 4 * CHUNK * E;
}

size_t additive_batch_workspace(const struct crew *crew, size_t E)
{
    return (size_t)crew->threads * worker_floats(E) * sizeof(float);
}

static struct worker worker_in(const struct crew *crew, size_t E)
{
    float *memory = crew->workspace;
    struct worker w = {.k = memory + (size_t)omp_get_thread_num() * worker_floats(E)};
    w.dk = w.k + CHUNK * E;
    w.v = w.dk + CHUNK * E;
    w.dv = w.v + CHUNK * E;
    return w;
}

static void load(const struct crew *crew, const struct attend_batch *a, struct worker *w, size_t b)
{
    size_t E = a->attention.head_dim, at = b * a->kv_sequence + w->first * a->kv_token;
    memset(w->k, 0, worker_floats(E) * sizeof *w->k);
    crew->kernels->transpose(w->k, CHUNK, a->k + at, a->kv_token, w->count, E);
    for (size_t j = 0; j < w->count; j++)
        memcpy(w->v + j * E, a->v + at + j * a->kv_token, E * sizeof *w->v);
}

/* ds [CHUNK] of query t, zero where it does not see the key; and its share of dv. False: it sees
 * none. */
static bool score_gradients(const struct crew *crew, const struct attend_batch *a,
                            const struct worker *w, size_t b, size_t t, const float *dy, float *ds)
{
    const trib_attention *o = &a->attention;
    size_t E = o->head_dim, row = b * a->T + t;
    size_t key = a->first_key + w->first, query = a->first_query + t; /* positions */
    size_t to = query + 1 < key + w->count ? query + 1 : key + w->count;
    size_t from = o->mask.window && query >= o->mask.window ? query + 1 - o->mask.window : 0;
    from = from > key ? from : key;
    if (from >= to)
        return false;
    float s[CHUNK], dp[CHUNK], delta;
    crew->kernels->additive(s, a->q + b * a->q_sequence + t * a->q_token, o->additive, w->k, E);
    crew->kernels->dots(dp, w->count, dy, 1, w->v, w->count, E);
    crew->kernels->dots(&delta, 1, dy, 1, a->y + row * E, 1, E);
    memset(ds, 0, CHUNK * sizeof *ds);
    for (size_t j = from - key; j < to - key; j++) {
        float p = exp_scalar(s[j] - a->s[row]), *dv = w->dv + j * E;
        ds[j] = p * (dp[j] - delta);
        for (size_t i = 0; i < E; i++)
            dv[i] += p * dy[i];
    }
    return true;
}

void additive_batch_backward(const struct crew *crew, const struct attend_batch *a, const float *dy,
                             float *dq, float *dk, float *dv, float *dw)
{
    size_t E = a->attention.head_dim;
    memset(dq, 0, a->B * a->T * E * sizeof *dq);
    memset(dw, 0, a->B * E * sizeof *dw);
#pragma omp parallel for schedule(static) num_threads(crew->threads)
    for (size_t b = 0; b < a->B; b++) {
        struct worker w = worker_in(crew, E);
        float ds[CHUNK];
        for (w.first = 0; w.first < a->S; w.first += CHUNK) {
            w.count = a->S - w.first < CHUNK ? a->S - w.first : CHUNK;
            load(crew, a, &w, b);
            for (size_t t = 0; t < a->T; t++) {
                size_t row = (b * a->T + t) * E;
                if (score_gradients(crew, a, &w, b, t, dy + row, ds))
                    crew->kernels->learn->additive_backward(
                        dq + row, w.dk, dw + b * E, ds, a->q + b * a->q_sequence + t * a->q_token,
                        w.k, a->attention.additive, E);
            }
            size_t at = (b * a->S + w.first) * E;
            crew->kernels->transpose(dk + at, E, w.dk, CHUNK, E, w.count);
            memcpy(dv + at, w.dv, w.count * E * sizeof *dv);
        }
    }
}
