/* Tributary: training sequence predictors from text.
 *
 *     trib_train_options options = trib_train_options_default();
 *     options.model = "rnn";
 *     trib_trainer *trainer;
 *     trib_trainer_open(&trainer, &options, (const char *[]){"text.txt"}, 1, &error);
 *     while (trib_trainer_position(trainer) < trib_trainer_info(trainer).steps &&
 *            trib_trainer_step(trainer, &step, &error) == TRIB_OK)
 *         ...
 *     trib_trainer_save(trainer, "model.gguf", &error);
 *     trib_trainer_close(trainer);
 *
 * Same options, same texts, same kernel table: the same bits, for any number of threads, and
 * whether or not the training was saved and resumed in between.
 *
 * A saved training is two files, each written whole or not at all. PATH is the model alone, for
 * engine.h and, where it is a transformer of the modern block, for every program that reads GGUF
 * files of the Llama architecture. PATH.state is what training goes on from: weights in float32,
 * the optimiser's moments, the step, the options, the vocabulary.
 *
 * Strings that an options struct points to must stay until the call returns; a trainer keeps
 * nothing of them. Threads: a trainer is used by one thread at a time; a call uses as many OpenMP
 * threads as the options say.
 */
#ifndef TRIBUTARY_TRAIN_H
#define TRIBUTARY_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What to train and how. Names are those of the command line. What a predictor does not use must be
 * in its range, too, and changes nothing. */
typedef struct trib_train_options {
    /* The predictor. */
    const char *model;      /* "direct", "rnn", "transformer" */
    const char *block;      /* transformer: "lecture", "modern" */
    const char *positions;  /* transformer of the lecture's block: "learned", "sinusoidal" */
    const char *cell;       /* rnn: "elman", "gru", "lstm" */
    const char *attention;  /* rnn, over its past states: "none", "dot", "general", "additive" */
    const char *activation; /* direct: "tanh", "relu" */
    size_t layers;          /* L: hidden layers, cells or blocks */
    size_t heads;           /* H, divides the width */
    size_t kv_heads;        /* G, divides H; 0: H */
    size_t width;           /* E */
    size_t ffn;             /* F; 0: 4 E, or of the modern block 8/3 E rounded up to 32 */
    size_t context;         /* T: tokens of a window; of direct also the tokens it sees */
    bool tied;              /* transformer: the embedding is the output matrix too */
    const char *dtype;      /* the factors of matrix products: "f32", "bf16" */

    /* The text. */
    const char *vocabulary; /* "bytes", "chars", or a GGUF file whose tokenizer is taken, but for
                               BOS and EOS, which neither the texts nor the model's prompts get */
    float validation;       /* the last share of the text, not trained on; 0 to below 1 */

    /* The training. */
    size_t batch;      /* B: windows of a batch */
    size_t accumulate; /* batches of a step */
    size_t steps;      /* until the learning rate is at its minimum; 0: 2,000, or what the training
                          that is resumed has */
    float lr;          /* the highest learning rate */
    float min_lr;      /* what it falls to behind the last step; negative: a tenth of lr */
    size_t warmup;     /* steps over which the rate rises to lr; SIZE_MAX: 100, or all steps where
                          they are fewer */
    float beta1, beta2, eps, weight_decay; /* of AdamW; weight decay of matrices alone */
    float clip;                            /* the norm of a gradient at most; 0: any */
    float dropout;                         /* 0 to 0.99 */
    uint64_t seed;

    const char *save_type; /* of matrices in the model's file: "f32", "f16", "bf16", "q8_0"; NULL:
                              "f32", or what the training that is resumed has */
    int threads;           /* 0: one for each processor */
    const char *kernels;   /* "ref", "avx2", "avx512"; NULL: $TRIB_CPU, or the best that runs */
} trib_train_options;

/* A small transformer of the modern block over bytes: 4 layers, 4 heads, width 128, context 64,
 * batch 12, 2,000 steps, lr 1e-3 after 100 steps of warm-up (all steps where they are fewer), betas
 * 0.9 and 0.99, weight decay 0.1, clip 1, validation 0.1, f32, seed 1. */
trib_train_options trib_train_options_default(void);

typedef struct trib_trainer trib_trainer;

/* Checks the options, reads the texts (files, one after the other), and makes a predictor with
 * random weights; takes no memory beyond the text and the list of its parameters yet (see
 * trib_trainer_info). On failure *out is NULL: TRIB_INVALID (an option, named; a text that is too
 * short, or no UTF-8 where characters are wanted), TRIB_IO, TRIB_FORMAT, TRIB_UNSUPPORTED (a
 * vocabulary), TRIB_NO_MEMORY. */
trib_status trib_trainer_open(trib_trainer **out, const trib_train_options *options,
                              const char *const *texts, size_t text_count, trib_error *error);

/* Continues the training that was saved at `path`, on the same texts. Of the options these count:
 * steps (at least those that are done), threads, kernels, save_type; every other must be its
 * default or what the training has (TRIB_INVALID names it otherwise), but that of a vocabulary file
 * only that it is one: the vocabulary is in the training. TRIB_FORMAT for a file that is malformed
 * or damaged. With the same kernel table the continuation has the bits of a training that was never
 * interrupted. */
trib_status trib_trainer_resume(trib_trainer **out, const char *path,
                                const trib_train_options *options, const char *const *texts,
                                size_t text_count, trib_error *error);

/* NULL is allowed. */
void trib_trainer_close(trib_trainer *trainer);

/* What a trainer is. Fixed from the moment it is open. */
typedef struct trib_train_info {
    uint64_t parameters;
    size_t vocabulary;   /* V */
    uint64_t text_bytes; /* of all texts */
    uint64_t train_tokens, validation_tokens;
    size_t steps;           /* of the training */
    size_t tokens_per_step; /* batch x context x accumulate */
    const char *kernels;    /* the name of the table; static storage */
    int threads;

    /* Bytes of memory. Peak is the most that training and saving take at one time; to read the
     * texts, which is done by now, may have taken more. */
    uint64_t text_memory;
    uint64_t weights_memory; /* weights, gradients, moments */
    uint64_t activations_memory;
    uint64_t peak_memory;
} trib_train_info;

trib_train_info trib_trainer_info(const trib_trainer *trainer);

/* The options as they are in use, defaults filled in. Strings are static storage, or valid until
 * the trainer is closed. */
trib_train_options trib_trainer_options(const trib_trainer *trainer);

/* Takes the memory for training. The first step does it otherwise. */
trib_status trib_trainer_prepare(trib_trainer *trainer, trib_error *error);

size_t trib_trainer_position(const trib_trainer *trainer); /* steps done */

typedef struct trib_train_step {
    size_t step; /* its number, from 1 */
    double loss; /* mean over the step's tokens, nats per token, before the update */
    double norm; /* of the gradient, before clipping */
    double lr;
    size_t tokens; /* trained on */
} trib_train_step;

/* One update of the weights. TRIB_INVALID where the loss or the gradient is not finite: the weights
 * are then as before the step, and the step does not count. */
trib_status trib_trainer_step(trib_trainer *trainer, trib_train_step *out, trib_error *error);

typedef struct trib_train_score {
    double loss;          /* mean, nats per token */
    double bits_per_byte; /* loss / ln 2 x tokens / bytes, over all texts */
    size_t tokens;
} trib_train_score;

/* The loss on the part of the text that validates, without dropout: up to `batches` batches, the
 * same at each call; 0: all. Training goes on as if it had not been called. TRIB_INVALID where
 * nothing validates. */
trib_status trib_trainer_evaluate(trib_trainer *trainer, size_t batches, trib_train_score *out,
                                  trib_error *error);

/* A text of `tokens` tokens that the predictor makes up, each drawn from softmax(logits /
 * temperature) as the seed says; temperature 0 takes the likeliest. It is what follows
 * a newline, or the first token of the text where the vocabulary has none. The caller gives *text,
 * which is not terminated, to trib_free (model.h). */
trib_status trib_trainer_sample(trib_trainer *trainer, float temperature, uint64_t seed,
                                size_t tokens, char **text, size_t *length, trib_error *error);

/* Saves PATH.state and then PATH. When that fails (TRIB_IO: a full disk, a folder that cannot be
 * written to), each is still what it was before, or PATH.state the new one, and whole. */
trib_status trib_trainer_save(trib_trainer *trainer, const char *path, trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
