/* The weights of a model: bound to the tensors of its file by name, checked for shape, and packed.
 *
 * Matrices are packed once for products; vectors become float32; tables of rows (embeddings) stay
 * where the file has them, since a pass reads only some of their rows. After a matrix is packed,
 * the pages of the file it came from are let go, so that loading does not take the model twice.
 */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "file/fingerprint.h"
#include "kernel/weight.h"
#include "model/config.h"

/* y = w x + bias */
struct linear {
    struct weight weight; /* [outputs][inputs] */
    const float *bias;    /* [outputs], or NULL */
};

struct norm {
    const float *scale; /* NULL: there is no such norm */
    const float *shift; /* of LayerNorm */
};

/* Rows in the file's memory. */
struct row_table {
    enum dtype type;
    const void *data; /* [rows][columns] */
    size_t rows, columns;
};

/* One transformer block; what its architecture does not have is zero. */
struct layer_weights {
    struct norm attention_norm;         /* [E] */
    struct linear query;                /* [H D][E] */
    struct linear key, value;           /* [G D][E] */
    const float *query_norm, *key_norm; /* [D] of each head */
    struct linear attention_output;     /* [E][H D] */
    struct norm attention_post_norm;    /* [E] of attention's output */
    struct norm attention_sum_norm;     /* [E] of the stream after it */
    struct norm ffn_norm;               /* [E] */
    struct linear gate, up;             /* [F][E] */
    struct linear down;                 /* [E][F] */
    struct norm ffn_post_norm, ffn_sum_norm;
};

struct weights {
    struct row_table embedding;   /* [V][E] */
    struct row_table positions;   /* [positions][E] */
    struct row_table token_types; /* [token_types][E] */
    struct norm embedding_norm;   /* [E] */
    struct layer_weights *layers; /* [L] */
    struct norm final_norm;       /* [E] */
    struct linear output;         /* [V][E]; of the embedding where the file has no other */
    const float *rope_factors;    /* [rotated / 2], or NULL */
    const float *rope_long;       /* likewise, beyond the original context */
    const float *rope_short;      /* and within it; neither without the other */
    float *vectors;               /* owns norms, biases and factors */
    void *packed;                 /* owns the matrices */
};

/* Who wants to know of loading. */
struct load_watch {
    /* Told after each tensor how many of all bytes are packed; NULL: nobody is. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    struct fingerprint *fingerprint; /* gets each tensor just before it is packed, while it is read
                                        anyway; NULL: there is none */
};

/* What loading will take. A tensor that is missing or has another shape is TRIB_FORMAT; one that
 * the architecture does not know is TRIB_UNSUPPORTED, because leaving it out would change what the
 * model computes. */
trib_status weights_measure(const struct model_config *config, const struct gguf *file,
                            const struct kernels *kernels, uint64_t *bytes, trib_error *error);

/* Checks the same and loads; `file` must outlive the weights. */
trib_status weights_load(struct weights *weights, const struct model_config *config,
                         const struct gguf *file, const struct kernels *kernels, int threads,
                         struct load_watch watch, trib_error *error);
void weights_close(struct weights *weights);

#endif
