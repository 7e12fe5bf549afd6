/* Predictors in float64, from the equations in the headers of src/train/, one sequence and one
 * token after the other, with nothing of src/ in them but the list of parameters. */
#ifndef PREDICTOR_ORACLE_H
#define PREDICTOR_ORACLE_H

#include "test.h"
#include "train/predictor.h"

enum { ORACLE_MOST = 160, ORACLE_LAYERS = 4 }; /* tokens of a text; widths; layers */

/* What is known of one sequence: its tokens, and its states. */
struct oracle_past {
    size_t count;
    int32_t tokens[ORACLE_MOST];
    double h[ORACLE_LAYERS][ORACLE_MOST], c[ORACLE_LAYERS][ORACLE_MOST]; /* the latest */
    double states[ORACLE_MOST][ORACLE_MOST]; /* of the last layer, all */
};

/* Weights [floats] in float64, in the places of p->parameters. */
double *oracle_weights(const struct predictor *p);

/* Adds to *loss the losses of T tokens that follow `past`, which then holds them too. logits
 * [T][V], or NULL. Returns how near to its kink at 0 any ReLU was, infinity without one. */
double oracle_sequence(const struct predictor *p, const double *w, struct oracle_past *past,
                       const int32_t *tokens, const int32_t *targets, size_t T, double *loss,
                       double *logits);

#endif
