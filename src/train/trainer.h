/* The public trainer from the inside. */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H

#include "train/data.h"
#include "train/options.h"
#include "train/predictor.h"
#include "tributary/train.h"

struct trib_trainer {
    trib_train_options options; /* resolved; its strings are static */
    struct gguf *checkpoint;    /* what was resumed, while its vocabulary is in use; or NULL */
    uint64_t checkpoint_bytes;
    struct vocabulary vocabulary;
    struct data data;
    struct predictor predictor;
    size_t position; /* steps done */

    /* From trib_trainer_prepare on. */
    struct pass pass; /* backward, B x T */
    float *m, *v;     /* [floats] moments, as the weights lie */
    int32_t *tokens;  /* [B][T] */
    int32_t *targets; /* [B][T] */
    void *carry;      /* of the pass, put aside while something else runs in it */
};

/* True where batches are streams whose states carry over. */
bool trainer_streams(const struct trib_trainer *t);

/* A trainer with a checked predictor, without weights. `saved` is the file whose vocabulary and
 * options count, or NULL. The trainer then owns it, also after a failure. */
trib_status trainer_open(struct trib_trainer **out, const trib_train_options *options,
                         struct gguf *saved, const char *const *texts, size_t text_count,
                         trib_error *error);

/* Weights, gradients, moments, activations. */
trib_status trainer_allocate(struct trib_trainer *t, trib_error *error);

/* The checkpoint file that belongs to a model's path: PATH.state; the caller frees it. NULL: no
 * memory. */
char *trainer_state_path(const char *path);

#endif
