/* Sequences that part behind a prefix: by tokens of their own, which begin with different ones as
 * far as the vocabulary has so many, or by the tokens of the steps. */
#include "bench_shared_step.h"

#include <omp.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static int32_t id_of(const struct shared_step *s, size_t sequence, size_t number)
{
    return (int32_t)((number * 7919 + sequence * 31 + 5) % s->V);
}

static trib_status fork_all(struct shared_step *s, const trib_session *prefix, size_t count,
                            trib_error *error)
{
    trib_status status = TRIB_OK;
    double start = omp_get_wtime();
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        status = trib_session_fork(&s->appends[i].session, prefix, error);
        s->count += status == TRIB_OK;
    }
    s->fork = (omp_get_wtime() - start) / (double)count;
    return status;
}

/* What each has of its own, in one step. */
static trib_status append_suffixes(struct shared_step *s, size_t suffix, trib_error *error)
{
    int32_t *ids = malloc(s->count * suffix * sizeof *ids);
    if (!ids)
        return bench_no_memory(error);
    for (size_t i = 0; i < s->count; i++) {
        for (size_t j = 0; j < suffix; j++)
            ids[i * suffix + j] = id_of(s, i, j);
        s->appends[i].ids = ids + i * suffix;
        s->appends[i].count = suffix;
    }
    trib_status status = trib_step(s->engine, s->appends, s->count, error);
    free(ids);
    return status;
}

trib_status shared_step_open(struct shared_step *s, trib_engine *engine, const trib_session *prefix,
                             size_t count, size_t suffix, size_t steps, size_t V, trib_error *error)
{
    size_t first = trib_session_length(prefix) + suffix;
    *s = (struct shared_step){.engine = engine,
                              .appends = calloc(count, sizeof *s->appends),
                              .ids = calloc(count, sizeof *s->ids),
                              .V = V,
                              .first = first,
                              .most = first + steps,
                              .hashed = steps};
    trib_status status = s->appends && s->ids ? TRIB_OK : bench_no_memory(error);
    if (status == TRIB_OK)
        status = fork_all(s, prefix, count, error);
    if (status == TRIB_OK && suffix)
        status = append_suffixes(s, suffix, error);
    for (size_t i = 0; i < s->count; i++) {
        s->appends[i].ids = &s->ids[i];
        s->appends[i].count = 1;
    }
    return status;
}

trib_status shared_step_run(void *context, size_t number, trib_error *error)
{
    struct shared_step *s = context;
    trib_status status = TRIB_OK;
    bool back = trib_session_length(s->appends[0].session) == s->most;
    for (size_t i = 0; i < s->count && back && status == TRIB_OK; i++)
        status = trib_session_rewind(s->appends[i].session, s->first, error);
    for (size_t i = 0; i < s->count; i++)
        s->ids[i] = id_of(s, i, number);
    if (status == TRIB_OK)
        status = trib_step(s->engine, s->appends, s->count, error);
    for (size_t i = 0; i < s->count && status == TRIB_OK && number < s->hashed; i++)
        s->hash = XXH3_64bits_withSeed(trib_session_logits(s->appends[i].session),
                                       s->V * sizeof(float), s->hash);
    return status;
}

void shared_step_close(struct shared_step *s)
{
    for (size_t i = 0; i < s->count; i++)
        trib_session_close(s->appends[i].session);
    free(s->appends);
    free(s->ids);
}
