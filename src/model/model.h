/* A model ready to run, and its forward pass over the new tokens of any number of sequences. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "cache/kv.h"
#include "model/config.h"
#include "model/weights.h"

struct model {
    struct model_config config;
    struct weights weights;
    const struct kernels *kernels;
};

/* Binds the model in `file`, which must outlive it. */
trib_status model_open(struct model *model, const struct gguf *file, const struct kernels *kernels,
                       trib_error *error);
void model_close(struct model *model);

/* The attention of the model's layers. */
trib_attention model_attention(const struct model *model, int threads);

/* Memory for the activations of a forward pass of up to `rows` tokens, reused from pass to pass. */
struct activations {
    size_t rows;
    int threads;
    float *memory;        /* owns the arrays below */
    float *x;             /* [rows][E] the residual stream */
    float *normed;        /* [rows][E] */
    float *q;             /* [rows][H D] */
    float *k, *v;         /* [rows][G D] */
    float *attended;      /* [rows][H D] */
    float *gate, *up;     /* [rows][F] */
    float *cosine, *sine; /* [rows][D / 2] rotary angles */
    float *scratch;       /* of matmul */
    void *fold;           /* workspace of the fold, grown as contexts grow */
    size_t fold_bytes;
};

/* Bytes that activations_open will take, and what the fold takes on top at a context of `length`.
 */
size_t activations_bytes(const struct model *model, size_t rows, int threads);
size_t activations_fold_bytes(const struct model *model, size_t rows, size_t length, int threads);

trib_status activations_open(struct activations *a, const struct model *model, size_t rows,
                             int threads, trib_error *error);
void activations_close(struct activations *a);

/* The new tokens of one sequence: they continue its cache, and are in it afterwards. */
struct run {
    struct kv_cache *cache;
    const int32_t *tokens; /* [count] ids below V */
    size_t count;          /* at least 1 */
    size_t outputs;        /* how many of the last tokens to return logits for, at most count */
};

/* One forward pass over all runs, at most activations.rows tokens together. logits [sum of
 * outputs][V] in the order of the runs. On failure no cache has changed its length. */
trib_status model_forward(const struct model *model, struct activations *a, const struct run *runs,
                          size_t run_count, float *logits, trib_error *error);

#endif
