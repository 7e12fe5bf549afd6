/* Predictors: y_t = f(x_1 .. x_t), the logits of the token that follows, built in three ways.
 *
 *     direct       an MLP over the embeddings of the last n tokens (Bengio et al. 2003)
 *     rnn          a latent state h_t = g(h_{t-1}, x_t), with or without attention over past states
 *     transformer  attention over all positions up to t, in the lecture's block or the modern one
 *
 * One contract for all: forward over a batch gives losses, backward right after it adds gradients;
 * step continues one sequence by one token and gives its next logits, bit for bit those of forward
 * at the same place without dropout. No logit depends on a later token, on the other rows of the
 * batch or on the number of threads; no gradient depends on the number of threads.
 *
 * A predictor is opened with its list of parameters only, so that its size can be told before
 * memory is taken. Order of use: predictor_open, parameters_allocate, parameters_init (or weights
 * from a file), pass_open, then pass_forward and pass_backward as often as wanted.
 */
#ifndef TRAIN_PREDICTOR_H
#define TRAIN_PREDICTOR_H

#include "base/dtype.h"
#include "kernel/kernel.h"
#include "train/parameters.h"

/* The choices of each kind; their names, in the same order and ended by NULL, are how options and
 * files spell them. */
enum predictor_model { MODEL_DIRECT, MODEL_RNN, MODEL_TRANSFORMER };
enum predictor_activation { ACTIVATION_TANH, ACTIVATION_RELU };
enum predictor_cell { CELL_ELMAN, CELL_GRU, CELL_LSTM };
enum predictor_attention { ATTENTION_NONE, ATTENTION_DOT, ATTENTION_GENERAL, ATTENTION_ADDITIVE };
enum predictor_block { BLOCK_LECTURE, BLOCK_MODERN };
enum predictor_positions { POSITIONS_LEARNED, POSITIONS_SINUSOIDAL };

extern const char *const predictor_models[];         /* "direct", "rnn", "transformer" */
extern const char *const predictor_activations[];    /* "tanh", "relu" */
extern const char *const predictor_cells[];          /* "elman", "gru", "lstm" */
extern const char *const predictor_attentions[];     /* "none", "dot", "general", "additive" */
extern const char *const predictor_blocks[];         /* "lecture", "modern" */
extern const char *const predictor_position_kinds[]; /* "learned", "sinusoidal" */

/* What a predictor is made of. What a kind does not use is not looked at. */
struct predictor_config {
    enum predictor_model model;
    size_t vocabulary; /* V */
    size_t width;      /* E: of embeddings, states and rows */
    size_t layers;     /* L: hidden layers, cells or blocks */
    size_t context;    /* T at most; of direct the window n; of rnn how far back attention sees */

    size_t ffn; /* F: hidden width of direct and transformer */

    enum predictor_activation activation; /* direct */

    enum predictor_cell cell;           /* rnn */
    enum predictor_attention attention; /* rnn */

    enum predictor_block block;         /* transformer */
    enum predictor_positions positions; /* transformer, lecture */
    size_t heads;                       /* H, divides E; transformer */
    size_t kv_heads;                    /* G, divides H; transformer */
    bool tied;                          /* the output matrix is the embedding; transformer */
    float norm_eps;                     /* transformer */
    float rope_base;                    /* transformer, modern */

    float dropout;      /* of what joins the residual stream, and of hidden rows; below 1 */
    enum dtype product; /* DTYPE_F32, or DTYPE_BF16: factors of products are rounded to it */
};

/* A small transformer of the modern block, the defaults of everything that has one. */
struct predictor_config predictor_config_default(void);

/* ---- A predictor ---- */

struct predictor {
    struct predictor_config config;
    const struct predictor_kind *kind;
    const struct kernels *kernels;
    int threads; /* at least 1; the same while a pass or a state is in use */
    struct parameters parameters;
};

/* Checks the configuration (TRIB_INVALID: the message names the option, expected and found) and
 * lists the parameters; weights are allocated by the caller. */
trib_status predictor_open(struct predictor *p, const struct predictor_config *config,
                           const struct kernels *kernels, int threads, trib_error *error);
void predictor_close(struct predictor *p);

/* ---- Forward and backward ---- */

/* B sequences of T tokens. */
struct batch {
    size_t B, T;
    const int32_t *tokens;  /* [B][T], each from 0 to V - 1 */
    const int32_t *targets; /* [B][T]: the token that follows, or -1: not counted */
    bool continues;         /* row b goes on where row b of the last forward ended, with the same B:
                               rnn carries its states over, direct the tokens of its window;
                               transformer begins anew in any case */
    bool training;          /* drop out */
    uint64_t seed, draw;    /* of dropout: no two batches of a training have the same draw */
};

/* -log p(target), natural logarithm, summed in a fixed order over the targets that count. */
struct loss {
    double sum;
    size_t count;
};

/* The memory of forward and backward over batches of up to B x T, one allocation. */
struct pass {
    const struct predictor *predictor;
    size_t B, T; /* at most */
    bool backward;
    size_t bytes;
    char *memory;
    void *activations; /* of the kind, within memory */
    float *losses;     /* [B][T] of the last forward: 0 where not counted */

    /* What one batch hands to the next that continues it: to be kept in checkpoints. Forward fills
     * it; zero at first. Its size depends on the predictor and the B and T of the pass. */
    void *carry;
    size_t carry_bytes;
};

/* Bytes that pass_open takes, to the byte, or SIZE_MAX where no memory is that large; `backward`
 * false: forward alone, for evaluation. */
size_t pass_bytes(const struct predictor *p, size_t B, size_t T, bool backward);
trib_status pass_open(struct pass *pass, const struct predictor *p, size_t B, size_t T,
                      bool backward, trib_error *error);
void pass_close(struct pass *pass);

/* The loss of a batch; losses of its positions in pass->losses, [B][T] of the batch. Weights are
 * only read. Cannot fail for a batch within the pass's B and T; a loss that is not finite is shown
 * as it is. */
struct loss pass_forward(struct pass *pass, const struct batch *batch);

/* gradients += scale times the gradient of the sum of losses of the forward just before, whose
 * batch this is: with scale = 1 / (targets counted, over all batches of a step) micro-batches add
 * up to the gradient of the mean. Once for each forward: it uses its activations up. */
void pass_backward(struct pass *pass, const struct batch *batch, float scale);

/* The logits [V] at (b, t) of the last forward; valid until backward. */
const float *pass_logits(const struct pass *pass, size_t b, size_t t);

/* ---- Step by step ---- */

/* Bytes of the state of one sequence, aligned to 64. Direct keeps its window, rnn h (and with
 * attention the last `context` states), transformer keys and values of `context` positions. */
size_t predictor_state_bytes(const struct predictor *p);

/* The state before the first token. */
void predictor_state_reset(const struct predictor *p, void *state);

/* Tokens the state has seen. */
size_t predictor_state_position(const struct predictor *p, const void *state);

/* Appends a token: logits [V] of the one that follows, or NULL. TRIB_FULL, and nothing changed,
 * when a transformer's `context` positions are used up; the others go on for ever. */
trib_status predictor_step(const struct predictor *p, void *state, int32_t token, float *logits,
                           trib_error *error);

/* ---- The kinds ---- */

/* What a kind is: one of these in each of direct.c, rnn.c and transformer.c. */
struct predictor_kind {
    trib_status (*check)(const struct predictor_config *config, trib_error *error);
    trib_status (*list)(const struct predictor_config *config, struct parameters *parameters,
                        trib_error *error);
    /* Lays activations out from pass->memory, or with NULL there only counts pass->bytes. */
    void (*layout)(struct pass *pass);
    struct loss (*forward)(struct pass *pass, const struct batch *batch);
    void (*backward)(struct pass *pass, const struct batch *batch, float scale);
    const float *(*logits)(const struct pass *pass, size_t b, size_t t);
    size_t (*state_bytes)(const struct predictor *p);
    void (*state_reset)(const struct predictor *p, void *state);
    trib_status (*step)(const struct predictor *p, void *state, int32_t token, float *logits,
                        trib_error *error);
};

extern const struct predictor_kind predictor_direct, predictor_rnn, predictor_transformer;

#endif
