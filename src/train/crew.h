/* Who computes a layer, and how rows are cut over threads: the one place that does it.
 *
 * A body gets a run of rows (or of columns, where sums run over rows) and writes what belongs to
 * that run alone, so nothing depends on how many threads there are.
 */
#ifndef TRAIN_CREW_H
#define TRAIN_CREW_H

#include "base/dtype.h"
#include "kernel/kernel.h"
#include "kernel/learn.h"

struct crew {
    const struct kernels *kernels;
    int threads;
    enum dtype product; /* arithmetic of matrix products */
    void *workspace;    /* of products, as linear_workspace says */
};

/* Calls body(context, from, to) with runs that make up [0, count), each from one thread. `work` is
 * what all of it costs, in floats touched: little of it stays in the calling thread. */
void crew_run(const struct crew *crew, size_t count, size_t work,
              void (*body)(const void *context, size_t from, size_t to), const void *context);

/* Columns that go to one thread together: whole cache lines, so that no two threads write one. */
enum { CREW_COLUMNS = 16 };

/* A run of blocks of CREW_COLUMNS columns in columns. */
static inline size_t crew_column(size_t block, size_t columns)
{
    return block * CREW_COLUMNS < columns ? block * CREW_COLUMNS : columns;
}

/* Bytes that are handed out one array after the other, each aligned to 64; with a NULL base they
 * are only counted. */
struct carver {
    char *base;
    size_t bytes;
};

void *carve(struct carver *carver, size_t bytes);
float *carve_floats(struct carver *carver, size_t floats);

#endif
