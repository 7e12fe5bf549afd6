/* The rotary frequencies of a model: with its scaling, and of layers with a window with a base of
 * their own. */
#ifndef MODEL_ROPE_H
#define MODEL_ROPE_H

#include "model/config.h"

struct rope {
    size_t half;       /* pairs of dimensions that are rotated: rotated / 2 */
    double *frequency; /* [half] of layers that see everything, radians per position */
    double *local;     /* [half] of layers with a window; NULL: the same */
    double magnitude;  /* queries and keys grow by it */
};

/* What each frequency is divided by. */
struct rope_factors {
    const float *values; /* [rotated / 2], or NULL: none is */
    const char *tensor;  /* where they stand, for messages */
};

trib_status rope_open(struct rope *rope, const struct model_config *config,
                      struct rope_factors factors, const char *file_name, trib_error *error);
void rope_close(struct rope *rope);

/* cosine and sine [half] of one position's angles, times the magnitude; of the layers with a window
 * where `local`. */
void rope_turn(const struct rope *rope, bool local, size_t position, float *cosine, float *sine);

#endif
