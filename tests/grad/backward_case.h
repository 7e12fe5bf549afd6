/* Running trib_attend_backward on cases: results that end at guard pages and are full of noise
 * before. */
#ifndef BACKWARD_CASE_H
#define BACKWARD_CASE_H

#include "attend_case.h"

struct gradients {
    size_t rows, keys; /* floats of dq, of dk and of dv */
    float *dq, *dk, *dv;
};

struct gradients gradients_new(const struct attend_case *c);
void gradients_free(const struct gradients *out);

/* dy [T][H][D], drawn; guard_free_floats frees it. */
float *draw_output_gradient(const struct attend_case *c, struct random *r);

/* The backward of a whole case over a segment. The workspace is as long as it has to be, full of
 * NaN, and ends at a guard page. */
void case_backward(const struct attend_case *c, const struct kernels *k,
                   const trib_segment *segment, int threads, const struct result *states,
                   const float *dy, const struct gradients *out);

/* Equal bits, or NaN in both. */
void assert_same_gradients(const struct attend_case *c, const struct kernels *k,
                           const struct gradients *a, const struct gradients *b, const char *what);

/* The same case of keys, or of queries, [from, to) alone; freed with the case it is from. Keys of a
 * mask of bits begin at a multiple of 64; queries have no parents. */
struct attend_case case_keys(const struct attend_case *c, size_t from, size_t to);
struct attend_case case_queries(const struct attend_case *c, size_t from, size_t to);

/* Shapes and positions: T S H D is at most `work`. */
void draw_shape(struct attend_case *c, struct random *r, size_t work);
void draw_positions(struct attend_case *c, struct random *r, bool aligned);

#endif
