/* The running form of a state inside a fold: (m, d, o), unnormalised, scores in units of log 2.
 *
 *     m = the largest score / ln 2,  d = sum 2^(s_i / ln 2 - m),  o = sum 2^(s_i / ln 2 - m) v_i
 *     s = m ln 2 + log d,            v = o / d;                   empty: m = -inf, d = 0, o = 0
 *
 * Against (s, v) it needs no logarithm or division per step and keeps its precision where scores
 * are large. Partials stay in float32 from the first chunk to the end. Merging them is
 * kernels.merge. */
#ifndef ATTENTION_PARTIAL_H
#define ATTENTION_PARTIAL_H

#include "kernel/kernel.h"

static inline struct partials partials_at(struct partials p, size_t row, size_t D)
{
    return (struct partials){p.m + row, p.d + row, p.o + row * value_stride(D)};
}

/* Floats that `rows` rows take, a multiple of 16, and where they lie in memory: o stands first, so
 * that its rows are whole cache lines. */
static inline size_t partials_floats(size_t rows, size_t D)
{
    return (rows * (2 + value_stride(D)) + 15) & ~(size_t)15;
}

static inline struct partials partials_in(float *memory, size_t rows, size_t D)
{
    float *m = memory + rows * value_stride(D);
    return (struct partials){m, m + rows, memory};
}

void partial_clear(struct partials p, size_t rows, size_t D);

/* Clears the rows that are empty still: 0 times a value that is not finite may have got into o. */
void partial_clear_empty(struct partials p, size_t rows, size_t D);

/* A state (s, v [D]) as a running one. */
void partial_from_state(struct partials p, float s, const float *v, size_t D);

/* Whether one row is, bit for bit, what partial_from_state makes of (s, v). */
bool partial_is_state(struct partials p, float s, const float *v, size_t D);

/* v [D] = o / d of one row; returns s. Empty: v = 0, s = -inf. The sign of a zero is dropped, and
 * what is no number is one NaN, whichever came in and by which way. */
float partial_finish(struct partials p, size_t D, float *v);

#endif
