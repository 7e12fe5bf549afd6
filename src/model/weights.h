/* The weights of a model, bound to the tensors of its file by name and checked for shape. */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "kernel/ops.h"
#include "model/config.h"

/* One transformer block. Matrices are [outputs][inputs], in the file's memory. */
struct layer_weights {
    const float *attention_norm;    /* [E] */
    struct matrix query;            /* [H D][E] */
    struct matrix key, value;       /* [G D][E] */
    struct matrix attention_output; /* [E][H D] */
    const float *ffn_norm;          /* [E] */
    struct matrix gate, up;         /* [F][E] */
    struct matrix down;             /* [E][F] */
};

struct weights {
    struct matrix embedding;      /* [V][E] */
    struct layer_weights *layers; /* [L] */
    const float *output_norm;     /* [E] */
    struct matrix output;         /* [V][E]; the embedding where the file has no other */
    double *rope_frequency;       /* [D / 2] */
    float *norms;                 /* owns the norms in float32, [2 L + 1][E] */
};

/* Binds every tensor; `file` must outlive the weights. A tensor that is missing or has another
 * shape is TRIB_FORMAT; one that the architecture does not know is TRIB_UNSUPPORTED, because
 * leaving it out would change what the model computes. */
trib_status weights_bind(struct weights *weights, const struct model_config *config,
                         const struct gguf *file, trib_error *error);
void weights_close(struct weights *weights);

#endif
