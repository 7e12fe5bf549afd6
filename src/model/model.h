/* A model ready to run, and its forward pass over the new tokens of any number of sequences. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "model/attend.h"
#include "model/config.h"
#include "model/rope.h"
#include "model/weights.h"

struct model {
    struct model_config config;
    struct weights weights;
    struct rope rope;
    const struct kernels *kernels;
};

/* Loads the model in `file`, which must outlive it, for a context of at most `context` tokens, 0
 * for all that it was trained for. */
trib_status model_open(struct model *model, const struct gguf *file, size_t context,
                       const struct kernels *kernels, int threads, struct load_watch watch,
                       trib_error *error);
void model_close(struct model *model);

/* The attention of a layer. */
trib_attention model_attention(const struct model *model, size_t layer, int threads);

/* The new tokens of one sequence: they continue it, and are committed to it afterwards. Without one
 * they are a whole sequence, which is not kept; bidirectional models know no other. The sequences
 * of a pass differ, and are of one cache. */
struct run {
    struct sequence *sequence; /* or NULL */
    const int32_t *tokens;     /* [count] ids below V */
    size_t count;              /* at least 1 */
    size_t outputs; /* how many of the last tokens to return something for, at most count */
    float *out;     /* [outputs][V] logits, or [outputs][E] hidden states */
};

/* One token of a pass. */
struct row {
    struct sequence *sequence; /* of its run */
    int32_t token;
};

/* Memory for the activations of a forward pass of up to `rows` tokens, reused from pass to pass. */
struct activations {
    size_t rows;
    int threads;
    void *memory;        /* owns the arrays below */
    float *x;            /* [rows][E] the residual stream */
    float *normed;       /* [rows][E] */
    float *q;            /* [rows][H D] */
    float *k, *v;        /* [rows][G D] */
    float *attended;     /* [rows][H D] */
    float *gate, *up;    /* [rows][F] */
    float *cosine[2];    /* [rows][rotated / 2] rotary angles: of layers that see everything, and
                            of those with a window where they turn otherwise */
    float *sine[2];      /* likewise */
    void *workspace;     /* of products */
    struct row *of_rows; /* [rows] */
    size_t *positions;   /* [rows] */
    bool apart;          /* runs are not to read keys together */
    struct attending attending; /* grown as contexts and the number of runs grow */
    struct scratch logits;      /* [some rows][V] of several runs, before each gets its own */
};

/* Bytes that activations_open will take, and what attention takes on top at a context of `length`.
 */
size_t activations_bytes(const struct model *model, size_t rows, int threads);
size_t activations_fold_bytes(const struct model *model, size_t rows, size_t length, int threads);

trib_status activations_open(struct activations *a, const struct model *model, size_t rows,
                             int threads, trib_error *error);
void activations_close(struct activations *a);

/* One forward pass over all runs, at most activations.rows tokens together; gives logits, of a
 * model that has them. On failure no sequence has changed its length, and some may have reserved
 * pages, which the next pass uses; but that a commit meets TRIB_NO_MEMORY, the others are
 * committed. */
trib_status model_forward(const struct model *model, struct activations *a, const struct run *runs,
                          size_t run_count, trib_error *error);

/* The same, but gives what the head would get: hidden states. */
trib_status model_hidden(const struct model *model, struct activations *a, const struct run *runs,
                         size_t run_count, trib_error *error);

#endif
