/* Scores that are more than a scaled dot product: additive, soft-capped, with ALiBi or a bias. */
#ifndef ATTENTION_SCORE_H
#define ATTENTION_SCORE_H

#include "kernel/kernel.h"
#include "tributary/attention.h"

/* Whether the products need work before they are scores. */
bool score_is_more(const trib_attention *attention);

/* The tile whose scores are asked for. */
struct score_tile {
    const struct kernels *kernels;
    const trib_attention *attention;
    const trib_queries *queries;
    const trib_segment *segment;
    size_t g, row, rows; /* rows of KV head g, as the fold counts them */
    const struct panel *const *panels;
    const size_t *starts; /* positions of the chunks */
};

/* Turns s [rows][CHUNK], the products scale q.k of chunk c, into scores in units of log 2.
 * `context` is a struct score_tile. */
void score_transform(const void *context, size_t c, float *s);

#endif
