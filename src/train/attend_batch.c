/* Sequences over threads, or threads within a sequence where there are fewer sequences: which of
 * both shows in no bit. */
#include "train/attend_batch.h"

#include <assert.h>
#include <omp.h>

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Bytes for one call with so many threads, a multiple of 64. */
static size_t call_bytes(const struct crew *crew, const trib_attention *attention, int threads,
                         size_t tokens, size_t keys, bool backward)
{
    trib_attention a = *attention;
    a.threads = threads;
    size_t bytes = trib_attend_workspace(crew->kernels, &a, tokens, keys);
    if (backward)
        bytes = larger(bytes, trib_attend_backward_workspace(crew->kernels, &a, tokens, keys));
    return (bytes + 63) & ~(size_t)63;
}

size_t attend_batch_workspace(const struct crew *crew, const trib_attention *attention,
                              size_t tokens, size_t keys, bool backward)
{
    size_t alone = call_bytes(crew, attention, 1, tokens, keys, backward);
    return larger((size_t)crew->threads * alone,
                  call_bytes(crew, attention, crew->threads, tokens, keys, backward));
}

/* The gradients of a batch; all NULL on the way there. */
struct gradients {
    const float *dy;
    float *dq, *dk, *dv;
};

static void run_sequence(const struct crew *crew, const struct attend_batch *batch,
                         const struct gradients *gradients, size_t b, int threads, void *workspace,
                         size_t bytes)
{
    trib_attention a = batch->attention;
    size_t HD = a.heads * a.head_dim, GD = a.kv_heads * a.head_dim;
    size_t rows = b * batch->T, keys = b * batch->S;
    a.threads = threads;
    trib_queries queries = {.q = batch->q + b * batch->q_sequence,
                            .tokens = batch->T,
                            .token_stride = batch->q_token,
                            .first = batch->first_query};
    trib_segment segment = {.type = TRIB_KV_F32,
                            .layout = TRIB_KV_ROWS,
                            .length = batch->S,
                            .first = batch->first_key,
                            .k = batch->k + b * batch->kv_sequence,
                            .v = batch->v + b * batch->kv_sequence,
                            .key_stride = batch->kv_token * sizeof(float),
                            .head_stride = a.head_dim * sizeof(float)};
    trib_states states = {.s = batch->s + rows * a.heads,
                          .v = batch->y + rows * HD,
                          .count = batch->T * a.heads,
                          .head_dim = a.head_dim};
    trib_status status;
    if (gradients->dy)
        status = trib_attend_backward(crew->kernels, &a, &queries, &segment, &states,
                                      gradients->dy + rows * HD, gradients->dq + rows * HD,
                                      gradients->dk + keys * GD, gradients->dv + keys * GD,
                                      workspace, bytes, NULL);
    else
        status =
            trib_attend(crew->kernels, &a, &queries, &segment, &states, workspace, bytes, NULL);
    assert(status == TRIB_OK);
    (void)status;
}

static void run(const struct crew *crew, const struct attend_batch *batch,
                const struct gradients *gradients)
{
    size_t keys = batch->first_key + batch->S;
    bool apart = crew->threads > 1 && batch->B >= (size_t)crew->threads;
    int threads = apart ? 1 : crew->threads;
    size_t bytes =
        call_bytes(crew, &batch->attention, threads, batch->T, keys, gradients->dy != NULL);
    if (!apart) { /* not within a region: teams in a team are made anew at each call */
        for (size_t b = 0; b < batch->B; b++)
            run_sequence(crew, batch, gradients, b, threads, crew->workspace, bytes);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(crew->threads)
    for (size_t b = 0; b < batch->B; b++)
        run_sequence(crew, batch, gradients, b, threads,
                     (char *)crew->workspace + (size_t)omp_get_thread_num() * bytes, bytes);
}

void attend_batch(const struct crew *crew, const struct attend_batch *batch)
{
    run(crew, batch, &(struct gradients){0});
}

void attend_batch_backward(const struct crew *crew, const struct attend_batch *batch,
                           const float *dy, float *dq, float *dk, float *dv)
{
    run(crew, batch, &(struct gradients){dy, dq, dk, dv});
}
