/* The running form of a state inside a fold: (m, d, o), unnormalised.
 *
 *     m = the largest score,  d = sum exp(s_i - m),  o = sum exp(s_i - m) v_i
 *     s = m + log d,          v = o / d;             empty: m = -inf, d = 0, o = 0
 *
 * Against (s, v) it needs no logarithm or division per step and keeps its precision where scores
 * are large. Partials stay in float32 from the first chunk to the end. */
#ifndef ATTENTION_PARTIAL_H
#define ATTENTION_PARTIAL_H

#include <math.h>
#include <stddef.h>

/* Rows of partials. Dv floats per row of o, of which D count. */
struct partials {
    float *m; /* [rows] */
    float *d; /* [rows] */
    float *o; /* [rows][Dv] */
};

static inline struct partials partials_at(struct partials p, size_t row, size_t Dv)
{
    return (struct partials){p.m + row, p.d + row, p.o + row * Dv};
}

void partial_clear(struct partials p, size_t rows, size_t Dv);

/* into = into merged with from, row by row: the span before with the span after. */
void partial_merge(struct partials into, struct partials from, size_t rows, size_t Dv);

/* v [D] = o / d of one row; returns s. Empty: v = 0, s = -inf. The sign of a zero is dropped. */
float partial_finish(struct partials p, size_t D, float *v);

#endif
