/* What the functions that write model files share: their threads. */
#ifndef ENGINE_FILE_JOB_H
#define ENGINE_FILE_JOB_H

#include <omp.h>

#include "base/error.h"
#include "tributary/engine.h"

/* ggml's count of changes to the block types' layouts: general.quantization_version. */
enum { QUANTISATION_VERSION = 2 };

/* Fills in a number of threads that is 0, and refuses one that is out of range. */
static inline trib_status job_threads(int *threads, trib_error *error)
{
    if (*threads == 0)
        *threads = omp_get_num_procs();
    if (*threads < 1 || *threads > TRIB_THREADS_MAX)
        return error_set(error, TRIB_INVALID, "threads: expected 1 to %d, found %d",
                         TRIB_THREADS_MAX, *threads);
    return TRIB_OK;
}

#endif
