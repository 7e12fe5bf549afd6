/* Small predictors with weights that no term of a gradient leaves out. */
#include "predictor_case.h"

#define COMMON                                                                                     \
    .vocabulary = 7, .width = 8, .layers = 2, .context = 6, .ffn = 12, .norm_eps = 1e-5f,          \
    .rope_base = 100, .heads = 4, .kv_heads = 2, .product = DTYPE_F32
#define RNN(c, a)                                                                                  \
    {                                                                                              \
        COMMON, .model = MODEL_RNN, .cell = (c), .attention = (a)                                  \
    }
#define TRANSFORMER(b) COMMON, .model = MODEL_TRANSFORMER, .block = (b)

/* Those of `large` go over more than one chunk of attention, and over more than one vector. */
static const struct predictor_case cases[] = {
    {"direct tanh", {COMMON, .model = MODEL_DIRECT}, 2, 5},
    {"direct relu", {COMMON, .model = MODEL_DIRECT, .activation = ACTIVATION_RELU}, 3, 9},
    {"elman", RNN(CELL_ELMAN, ATTENTION_NONE), 2, 5},
    {"gru", RNN(CELL_GRU, ATTENTION_NONE), 3, 5},
    {"lstm", RNN(CELL_LSTM, ATTENTION_NONE), 2, 6},
    {"elman dot", RNN(CELL_ELMAN, ATTENTION_DOT), 2, 5},
    {"gru general", RNN(CELL_GRU, ATTENTION_GENERAL), 2, 9},
    {"lstm additive", RNN(CELL_LSTM, ATTENTION_ADDITIVE), 3, 5},
    {"lecture learned", {TRANSFORMER(BLOCK_LECTURE)}, 2, 6},
    {"lecture sinusoidal", {TRANSFORMER(BLOCK_LECTURE), .positions = POSITIONS_SINUSOIDAL}, 3, 5},
    {"modern", {TRANSFORMER(BLOCK_MODERN)}, 2, 6},
    {"modern tied", {TRANSFORMER(BLOCK_MODERN), .tied = true}, 1, 5},
    {"large gru additive",
     {.model = MODEL_RNN,
      .vocabulary = 19,
      .width = 36,
      .layers = 1,
      .context = 70,
      .cell = CELL_GRU,
      .attention = ATTENTION_ADDITIVE,
      .product = DTYPE_F32},
     2,
     75},
    {"large lstm dot",
     {.model = MODEL_RNN,
      .vocabulary = 19,
      .width = 20,
      .layers = 2,
      .context = 66,
      .cell = CELL_LSTM,
      .attention = ATTENTION_DOT,
      .product = DTYPE_F32},
     3,
     67},
    {"large modern",
     {.model = MODEL_TRANSFORMER,
      .block = BLOCK_MODERN,
      .vocabulary = 33,
      .width = 48,
      .layers = 2,
      .context = 75,
      .ffn = 70,
      .heads = 6,
      .kv_heads = 3,
      .norm_eps = 1e-5f,
      .rope_base = 10000,
      .product = DTYPE_F32},
     2,
     70},
    {"large lecture",
     {.model = MODEL_TRANSFORMER,
      .block = BLOCK_LECTURE,
      .vocabulary = 33,
      .width = 40,
      .layers = 2,
      .context = 75,
      .ffn = 70,
      .heads = 5,
      .kv_heads = 5,
      .norm_eps = 1e-5f,
      .rope_base = 10000,
      .product = DTYPE_F32},
     1,
     75},
};

const struct predictor_case *predictor_case_at(size_t i)
{
    return i < sizeof cases / sizeof *cases ? &cases[i] : NULL;
}

/* The seed is fixed, because a ReLU so near to its kink that float32 or a difference steps over it
 * is no error of the gradient, and some seed in a hundred has one. */
struct predictor case_predictor(const struct predictor_case *c, const struct kernels *kernels,
                                int threads)
{
    struct predictor p;
    struct random r = {1};
    trib_error error = {TRIB_OK, ""};
    if (predictor_open(&p, &c->config, kernels, threads, &error) != TRIB_OK)
        fail_msg("%s: %s", c->name, error.message);
    assert_int_equal(parameters_allocate(&p.parameters, true, &error), TRIB_OK);
    parameters_init(&p.parameters, 1);
    for (size_t n = 0; n < p.parameters.count; n++) {
        const struct parameter *one = &p.parameters.list[n];
        for (size_t i = 0; i < one->count; i++)
            p.parameters.weights[one->offset + i] += random_between(&r, -0.3f, 0.3f);
    }
    return p;
}

struct case_batch case_batch_new(const struct predictor_case *c, struct random *r)
{
    size_t n = c->B * c->T;
    struct case_batch b = {malloc(n * sizeof *b.tokens), malloc(n * sizeof *b.targets), {0}};
    assert_true(b.tokens && b.targets);
    for (size_t i = 0; i < n; i++) {
        b.tokens[i] = (int32_t)random_below(r, c->config.vocabulary);
        b.targets[i] = i % 4 == 2 ? -1 : (int32_t)random_below(r, c->config.vocabulary);
    }
    b.batch = (struct batch){.B = c->B, .T = c->T, .tokens = b.tokens, .targets = b.targets};
    return b;
}

void case_batch_free(struct case_batch *b)
{
    free(b->tokens);
    free(b->targets);
}
