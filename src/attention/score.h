/* Scores that are more than a scaled dot product: additive, soft-capped, with ALiBi or a bias. */
#ifndef ATTENTION_SCORE_H
#define ATTENTION_SCORE_H

#include <float.h>
#include <math.h>

#include "kernel/kernel.h"
#include "tributary/attention.h"

static const float log2e = 0x1.715476p+0f;

/* A score in units of log 2. What is finite stays so: -FLT_MAX, by which some mask, is a score. */
static inline float score_to_log2(float s)
{
    float x = s * log2e;
    return fabsf(x) > FLT_MAX && fabsf(s) <= FLT_MAX ? copysignf(FLT_MAX, s) : x;
}

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
