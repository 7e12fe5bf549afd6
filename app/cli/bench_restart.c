/* The case of a restart: engines that are opened on a temporary folder, one after the other. */
#include "bench_restart.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "progress.h"
#include "tributary/cache.h"

enum { REPEAT_MOST = 64 };

/* Keeps what went wrong in the folder first. */
static void hear(void *context, const char *message)
{
    trib_error *first = context;
    if (first->status == TRIB_OK)
        failure(first, TRIB_IO, "%s", message);
}

/* Opens an engine and times the append of all ids, of which `cached` must be found. */
static trib_status time_append(const struct bench_restart *b, const trib_engine_options *options,
                               size_t cached, double *seconds, struct bench_restart_result *result,
                               trib_error *error)
{
    trib_engine *engine = NULL;
    trib_session *session = NULL;
    trib_status status = trib_engine_open(&engine, b->model, options, error);
    if (status == TRIB_OK)
        status = trib_session_open(&session, engine, NULL, error);
    if (status == TRIB_OK) {
        double start = progress_seconds();
        status = trib_session_append(session, b->ids, b->prefix + 1, error);
        *seconds = progress_seconds() - start;
    }
    if (status == TRIB_OK && trib_session_cached(session) != cached)
        status = failure(error, TRIB_IO, "the folder did not keep the prefix");
    if (status == TRIB_OK) {
        const float *logits = trib_session_logits(session);
        result->hash = XXH3_64bits(logits, b->vocabulary * sizeof *logits);
        snprintf(result->table, sizeof result->table, "%s", trib_engine_kernels(engine));
    }
    trib_session_close(session);
    trib_engine_close(engine);
    return status == TRIB_OK && interrupted() ? failure(error, TRIB_STOPPED, "interrupted")
                                              : status;
}

static int by_size(const void *left, const void *right)
{
    const double *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static trib_status time_restarts(const struct bench_restart *b, const trib_engine_options *options,
                                 size_t repeat, struct bench_restart_result *result,
                                 trib_error *error)
{
    double seconds[REPEAT_MOST] = {0}, reads[REPEAT_MOST] = {0};
    uint64_t expected = result->hash;
    trib_status status = TRIB_OK;
    repeat = repeat < REPEAT_MOST ? repeat : REPEAT_MOST;
    for (size_t i = 0; i < repeat && status == TRIB_OK; i++) {
        status = time_append(b, options, b->prefix, &seconds[i], result, error);
        if (status == TRIB_OK && result->hash != expected)
            status = failure(error, TRIB_IO, "the logits behind the restored prefix are others");
        if (status == TRIB_OK)
            status = trib_measure_limits(&result->timing.limits, TRIB_MEASURE_READ, b->reading,
                                         TRIB_MEASURE_BYTES, options->threads, error);
        reads[i] = result->timing.limits.read;
    }
    if (status != TRIB_OK)
        return status;
    qsort(seconds, repeat, sizeof *seconds, by_size);
    qsort(reads, repeat, sizeof *reads, by_size);
    result->timing.median = seconds[repeat / 2];
    result->timing.least = seconds[0];
    result->timing.runs = repeat;
    result->timing.limits.read = reads[repeat / 2];
    return TRIB_OK;
}

trib_status bench_restart(const struct bench_restart *bench, size_t repeat,
                          struct bench_restart_result *result, trib_error *error)
{
    char folder[512];
    const char *place = getenv("TMPDIR");
    trib_error heard = {0};
    trib_engine_options options = bench->engine;
    trib_cache_prune_options nothing = {.bytes = 0};
    trib_cache_pruned pruned;
    *result = (struct bench_restart_result){0};
    catch_interrupts();
    snprintf(folder, sizeof folder, "%s/trib-bench-XXXXXX", place && *place ? place : "/tmp");
    if (!mkdtemp(folder))
        return failure(error, TRIB_IO, "no folder can be made below $TMPDIR or /tmp");
    options.cache_dir = folder;
    options.cache_dir_bytes = UINT64_MAX;
    options.report = hear;
    options.report_context = &heard;
    trib_status status = time_append(bench, &options, 0, &result->prefill, result, error);
    if (status == TRIB_OK)
        status = time_restarts(bench, &options, repeat, result, error);
    if (heard.status != TRIB_OK) { /* the reason of what else may have failed */
        *error = heard;
        status = heard.status;
    }
    (void)trib_cache_prune(folder, &nothing, &pruned, NULL);
    (void)rmdir(folder);
    return status;
}
