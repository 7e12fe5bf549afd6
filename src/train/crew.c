/* Rows over threads, memory over arrays. */
#include "train/crew.h"

#include <omp.h>

/* Below this many floats waking the team costs more than it saves. */
enum { SMALL_WORK = 1 << 14 };

void crew_run(const struct crew *crew, size_t count, size_t work,
              void (*body)(const void *context, size_t from, size_t to), const void *context)
{
    if (crew->threads == 1 || work < SMALL_WORK) {
        body(context, 0, count);
        return;
    }
#pragma omp parallel num_threads(crew->threads)
    {
        size_t index = (size_t)omp_get_thread_num(), team = (size_t)omp_get_num_threads();
        size_t from = count * index / team, to = count * (index + 1) / team;
        if (from < to)
            body(context, from, to);
    }
}

void *carve(struct carver *carver, size_t bytes)
{
    void *out = carver->base ? carver->base + carver->bytes : NULL;
    carver->bytes += (bytes + 63) & ~(size_t)63;
    return out;
}

float *carve_floats(struct carver *carver, size_t floats)
{
    return carve(carver, floats * sizeof(float));
}
