/* One forward pass from the inside: what forward.c tells its parts. */
#ifndef MODEL_PASS_H
#define MODEL_PASS_H

#include "model/model.h"

struct pass {
    const struct model *model;
    struct activations *a;
    const struct run *runs;
    size_t run_count;
    size_t rows;      /* T, of all runs, as far as they still pass */
    float *x, *other; /* [T][E] the residual stream, and room for a second one */
};

/* ---- attend.c: the keys of the pass, and attention over them. ---- */

trib_status scratch_grow(struct scratch *scratch, size_t bytes, const char *what,
                         trib_error *error);

/* Puts the runs in an order and finds the parts of their keys, whose pages are reserved. */
trib_status attend_prepare(const struct pass *pass, trib_error *error);

/* In the last layer, once its keys are stored: of sequences, only rows that something is asked for
 * go on, side by side in x, a->q and a->positions. The others' would be looked at by nobody. */
void attend_keep_outputs(struct pass *pass);

/* attended [T][H D] = each row's queries over the keys of its own sequence. */
void attend_rows(const struct pass *pass, size_t layer);

/* ---- rows.c: what is done to each row by itself, cut over threads by rows. ---- */

/* x [T][E] = what the first block gets; and the rotary angles of each row's position. */
void embed_rows(const struct pass *pass);

/* y [rows][E] = norm(x). y may be x where the model's norms are RMSNorm. */
void norm_rows(const struct pass *pass, const struct norm *norm, const float *x, float *y,
               size_t rows);

/* x [T][E] += norm(y); y is lost. */
void add_normed_rows(const struct pass *pass, const struct norm *norm, float *x, float *y);

/* q [T][H D] and k [T][G D]: each head normed, then rotated; k and v go to the caches. */
void finish_heads(const struct pass *pass, size_t layer);

/* Rows that products take as they are made (kernel/weight.h): out [E] = norm(x), */
struct normed {
    const struct pass *pass;
    const struct norm *norm;
    const float *x; /* [T][E] */
};

void make_normed(const void *normed, size_t row, float *out);

/* and out [F] = the activation of up, or of gate and up, of a pass. */
void make_activated(const void *pass, size_t row, float *out);

/* logits [rows][V] through the soft-cap. */
void cap_rows(const struct pass *pass, float *logits, size_t rows);

#endif
