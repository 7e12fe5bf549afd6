/* The cascade plan of a step: which pages are attended for which sequences together.
 *
 * Several sequences stand in the prefix tree. A run of pages that some of them share is attended
 * once for all their queries; then each group splits where its paths do, until what remains is
 * each sequence's own (Ye et al. 2024, "Cascade inference"; Juravsky et al. 2024, "Hydragen").
 *
 *     order    A  B  C  D
 *     runs     [==== 0 ====]      pages 0 to 40 of all four
 *              [= 1 =]            pages 41 to 60 of A and B
 *                 [2]             pages 61 to 63 of B
 *                    [= 3 =]      pages 41 to 99 of C and D
 *
 * Runs follow each other so that each comes after the runs of the pages before it: a query that
 * carries its running state from run to run folds its keys in ascending position, which is the
 * canonical order (attention/fold.h). A run may begin and end inside a span.
 *
 * Ownership: a plan is its caller's, and reused from step to step; the pages belong to the
 * sequences. It is valid until one of them commits, rewinds or closes. */
#ifndef CACHE_CASCADE_PLAN_H
#define CACHE_CASCADE_PLAN_H

#include "cache/prefix_cache.h"

struct plan_run {
    size_t first, count; /* pages of each of its sequences' paths */
    size_t from, to;     /* its sequences are order[from] to order[to - 1] */
    struct page **pages; /* [count] */
};

struct cascade_plan {
    size_t *order; /* [sequences] a permutation of their numbers */
    struct plan_run *runs;
    size_t run_count;

    /* private: storage */
    size_t order_capacity, run_capacity, page_capacity, page_count;
    struct page **pages;
};

/* Plans a step over the full pages of `count` sequences of one cache. The order is fixed by that of
 * the arguments alone. The positions behind the full pages are each sequence's own, in no run.
 * TRIB_NO_MEMORY; the plan is then empty. A zeroed struct is an empty plan. */
trib_status cascade_plan_make(struct cascade_plan *plan, struct sequence *const *sequences,
                              size_t count, trib_error *error);

void cascade_plan_free(struct cascade_plan *plan);

#endif
