/* The parameters of a predictor: all in one flat float32 array, and their gradients in another of
 * the same layout.
 *
 * A predictor lists its parameters once, under the names they have in a GGUF file; the list alone
 * says how many there are and what memory they take. Optimiser, checkpoints and files walk the list
 * or the flat array and need to know nothing about the predictor. Each parameter begins at a
 * multiple of 64 bytes; the floats between two parameters are zero, have zero gradients, and stay
 * so under any optimiser that maps zero to zero.
 */
#ifndef TRAIN_PARAMETERS_H
#define TRAIN_PARAMETERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

/* What a parameter is before training. */
enum parameter_init {
    INIT_ZERO,
    INIT_ONE,
    INIT_NORMAL,  /* of standard deviation `size` */
    INIT_UNIFORM, /* from -size to size */
};

/* A matrix [outputs][inputs], or a vector [outputs] (inputs is 1, dims too). In a GGUF file the
 * shape is {inputs, outputs}, or {outputs}. */
struct parameter {
    char name[48];
    uint32_t dims; /* 1 or 2 */
    size_t outputs, inputs;
    size_t offset; /* floats, in the flat array */
    size_t count;  /* outputs * inputs */
    bool decay;    /* weight decay applies: to matrices, not to norms and biases */
    enum parameter_init init;
    float size; /* of the initial values */
};

struct parameters {
    struct parameter *list; /* [count] */
    size_t count;
    size_t elements;  /* floats that are parameters */
    size_t floats;    /* of each flat array: those, and the zeros between */
    float *weights;   /* [floats]; NULL until allocated */
    float *gradients; /* [floats]; NULL until allocated */
};

/* Appends a matrix with decay, or a vector without. `name` is a format for `number`, which it need
 * not use: "blk.%zu.attn_q.weight". */
trib_status parameters_matrix(struct parameters *p, const char *name, size_t number, size_t outputs,
                              size_t inputs, enum parameter_init init, float size,
                              trib_error *error);
trib_status parameters_vector(struct parameters *p, const char *name, size_t number, size_t outputs,
                              enum parameter_init init, float size, trib_error *error);

/* Both arrays, zeroed; gradients only where asked for. */
trib_status parameters_allocate(struct parameters *p, bool gradients, trib_error *error);
void parameters_close(struct parameters *p);

/* Initial weights. Each is a function of the seed, the number of its parameter and its index there,
 * and of nothing else. */
void parameters_init(const struct parameters *p, uint64_t seed);

/* The parameter of that name, or NULL. */
const struct parameter *parameters_find(const struct parameters *p, const char *name);

#endif
