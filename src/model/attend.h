/* What the attention of a pass works with: the parts of its keys, and which rows see them. */
#ifndef MODEL_ATTEND_H
#define MODEL_ATTEND_H

#include "attention/cascade.h"
#include "cache/cascade_plan.h"

/* Memory that is reused from pass to pass, and does not keep what is in it when it grows. */
struct scratch {
    void *memory; /* aligned to MEMORY_ALIGN */
    size_t bytes;
};

/* The pages of one part. */
struct part_pages {
    size_t first, count; /* of the pages of its sequences' paths */
    size_t length;       /* positions */
    size_t at;           /* where they are in `pages` */
};

/* The rows of a pass stand in the order of the plan, so that those which share keys are
 * neighbours; the rows of runs that are not kept come last. A zeroed struct is empty. */
struct attending {
    size_t kept;   /* runs that have a sequence: order[0] to order[kept - 1] */
    size_t *order; /* [runs] a permutation of their numbers */
    size_t *row;   /* [runs] the first row of each run, by its number */
    size_t *rows;  /* [runs] how many it has: its last tokens */
    bool together; /* by cascade; else part i is all that order[i] sees, and its own fold */
    size_t part_count;
    struct cascade_part *parts;    /* [part_count] */
    struct part_pages *part_pages; /* [part_count] */
    struct page **pages;           /* of all parts */
    const void **k, **v; /* where the keys and values of the layer at hand begin in them */

    /* private: what the arrays lie in, and what is made of it */
    struct cascade_plan plan;
    struct sequence **sequences; /* [kept] in the order of the runs */
    size_t *numbers;             /* [kept] their runs */
    int *last;                   /* [kept] the last part so far, in the plan's order */
    struct scratch of_runs, of_parts, workspace;
};

void attending_close(struct attending *g);

#endif
