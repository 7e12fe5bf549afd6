/* Every predictor trained for 20 steps from the weights that PyTorch had, on the same text.
 *
 * tools/train_golden.py made golden/data/train.json. Gradients of the first step are compared by
 * their norms, losses one by one. Both sides compute in float32 in different orders, so a loss is
 * off by some 2^-24 at first; AdamW divides a gradient by its own size, so that where one is nearly
 * nothing its rounding decides the step, and losses drift apart: 1e-3 relative is allowed for all
 * 20, 1e-5 for the first and 1e-4 for norms of gradients, in which terms cancel.
 */
#include <jansson.h>
#include <math.h>

#include "base/rng.h"
#include "test.h"
#include "train/adamw.h"
#include "train/predictor.h"

struct golden {
    json_t *file, *one; /* the case at hand */
    size_t steps, B, T, V;
};

static double number(const json_t *object, const char *name, double otherwise)
{
    const json_t *value = json_object_get(object, name);
    return value ? json_number_value(value) : otherwise;
}

static size_t count(const json_t *object, const char *name)
{
    return (size_t)number(object, name, 0);
}

/* The place of the name that `object` has, in a list of names; 0 where it has none. */
static size_t choice(const json_t *object, const char *name, const char *const *names)
{
    const char *value = json_string_value(json_object_get(object, name));
    size_t i = 0;
    while (value && strcmp(names[i], value) != 0)
        assert_non_null(names[++i]);
    return i;
}

static struct predictor_config config_of(const struct golden *g)
{
    const json_t *c = json_object_get(g->one, "config");
    return (struct predictor_config){
        .model = (enum predictor_model)choice(c, "model", predictor_models),
        .vocabulary = g->V,
        .width = count(c, "width"),
        .layers = count(c, "layers"),
        .context = count(c, "context"),
        .ffn = count(c, "ffn"),
        .activation = (enum predictor_activation)choice(c, "activation", predictor_activations),
        .cell = (enum predictor_cell)choice(c, "cell", predictor_cells),
        .attention = (enum predictor_attention)choice(c, "attention", predictor_attentions),
        .block = (enum predictor_block)choice(c, "block", predictor_blocks),
        .positions = (enum predictor_positions)choice(c, "positions", predictor_position_kinds),
        .heads = count(c, "heads"),
        .kv_heads = count(c, "kv_heads"),
        .tied = json_is_true(json_object_get(c, "tied")),
        .norm_eps = (float)number(c, "norm_eps", 0),
        .rope_base = (float)number(c, "rope_base", 0),
        .product = DTYPE_F32,
    };
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* first_weights of tools/train_golden.py. */
static void fill(const struct parameters *p)
{
    for (size_t n = 0; n < p->count; n++) {
        const struct parameter *one = &p->list[n];
        float size = 0.125f, middle = ends_with(one->name, "norm.weight") ? 1 : 0;
        if (ends_with(one->name, "embd.weight"))
            size = 1;
        else if (one->dims == 2)
            size = ldexpf(1, -(int)(log2((double)one->inputs) / 2));
        for (size_t i = 0; i < one->count; i++) {
            float unit = (float)((double)(rng_bits(n + 1, i) >> 40) * 0x1p-23 - 1);
            p->weights[one->offset + i] = middle + unit * size;
        }
    }
}

/* text of tools/train_golden.py: token i of sequence b. */
static int32_t token_at(const struct golden *g, size_t b, size_t i)
{
    i += 1000 * b;
    return (int32_t)((i % 7 * 4 + i / 7 % 5) % g->V);
}

static void compare_norms(const struct golden *g, const struct predictor *p, const char *name)
{
    const json_t *gradients = json_object_get(g->one, "gradients");
    assert_int_equal(json_array_size(gradients), p->parameters.count);
    for (size_t n = 0; n < p->parameters.count; n++) {
        const struct parameter *one = &p->parameters.list[n];
        const json_t *row = json_array_get(gradients, n);
        assert_string_equal(json_string_value(json_array_get(row, 0)), one->name);
        double expected = json_real_value(json_array_get(row, 1));
        double found = gradient_norm(p->parameters.gradients + one->offset, one->count, 1);
        if (!(fabs(found - expected) <= 1e-4 * expected))
            fail_msg("%s: %s: norm of the gradient %.9g, PyTorch's %.9g", name, one->name, found,
                     expected);
    }
}

static void update(const struct golden *g, const struct predictor *p, float *moments, size_t step)
{
    const json_t *a = json_object_get(g->file, "adamw");
    const struct parameters *all = &p->parameters;
    for (size_t n = 0; n < all->count; n++) {
        const struct parameter *one = &all->list[n];
        struct adamw u = {.lr = number(a, "lr", 0),
                          .beta1 = number(a, "beta1", 0),
                          .beta2 = number(a, "beta2", 0),
                          .eps = number(a, "eps", 0),
                          .weight_decay = one->decay ? number(a, "weight_decay", 0) : 0,
                          .t = step + 1,
                          .scale = 1};
        adamw_update(&u, all->weights + one->offset, all->gradients + one->offset,
                     moments + one->offset, moments + all->floats + one->offset, one->count,
                     p->threads);
    }
}

static void train(const struct golden *g, const char *name)
{
    struct predictor p;
    struct pass pass;
    struct predictor_config config = config_of(g);
    const struct kernels *kernels;
    size_t n = g->B * g->T;
    int32_t *tokens = malloc(2 * n * sizeof *tokens), *targets = tokens + n;
    assert_non_null(tokens);
    assert_int_equal(kernels_choose(&kernels, getenv("TRIB_CPU"), NULL), TRIB_OK);
    assert_int_equal(predictor_open(&p, &config, kernels, 2, NULL), TRIB_OK);
    assert_int_equal(parameters_allocate(&p.parameters, true, NULL), TRIB_OK);
    assert_int_equal(pass_open(&pass, &p, g->B, g->T, true, NULL), TRIB_OK);
    float *moments = calloc(2 * p.parameters.floats, sizeof *moments);
    assert_non_null(moments);
    fill(&p.parameters);
    for (size_t step = 0; step < g->steps; step++) {
        for (size_t i = 0; i < n; i++) {
            tokens[i] = token_at(g, i / g->T, step * g->T + i % g->T);
            targets[i] = token_at(g, i / g->T, step * g->T + i % g->T + 1);
        }
        struct batch batch = {
            .B = g->B, .T = g->T, .tokens = tokens, .targets = targets, .continues = step > 0};
        struct loss loss = pass_forward(&pass, &batch);
        double found = loss.sum / (double)loss.count;
        double expected = json_real_value(json_array_get(json_object_get(g->one, "losses"), step));
        if (!(fabs(found - expected) <= (step ? 1e-3 : 1e-5) * expected))
            fail_msg("%s: step %zu: loss %.9g, PyTorch's %.9g", name, step, found, expected);
        memset(p.parameters.gradients, 0, p.parameters.floats * sizeof(float));
        pass_backward(&pass, &batch, 1 / (float)n);
        if (step == 0)
            compare_norms(g, &p, name);
        update(g, &p, moments, step);
    }
    free(moments);
    free(tokens);
    pass_close(&pass);
    predictor_close(&p);
}

/* The cases of one model. */
static void losses_are_those_of_pytorch(const char *model)
{
    char path[4096];
    json_error_t error;
    const char *folder = getenv("TRIB_GOLDEN");
    snprintf(path, sizeof path, "%s/train.json", folder ? folder : "tests/golden/data");
    struct golden g = {.file = json_load_file(path, 0, &error)};
    size_t tried = 0, i;
    json_t *one;
    if (!g.file)
        fail_msg("train.json: %s, line %d", error.text, error.line);
    g.steps = count(g.file, "steps");
    g.B = count(g.file, "B");
    g.T = count(g.file, "T");
    g.V = count(g.file, "V");
    json_array_foreach(json_object_get(g.file, "cases"), i, one)
    {
        char *name = json_dumps(json_object_get(one, "config"), JSON_COMPACT);
        g.one = one;
        if (strcmp(predictor_models[config_of(&g).model], model) == 0) {
            train(&g, name);
            tried++;
        }
        free(name);
    }
    assert_true(tried >= 2);
    json_decref(g.file);
}

static void direct_trains_as_in_pytorch(void **state)
{
    (void)state;
    losses_are_those_of_pytorch("direct");
}

static void rnn_trains_as_in_pytorch(void **state)
{
    (void)state;
    losses_are_those_of_pytorch("rnn");
}

static void transformer_trains_as_in_pytorch(void **state)
{
    (void)state;
    losses_are_those_of_pytorch("transformer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_trains_as_in_pytorch),
        cmocka_unit_test(rnn_trains_as_in_pytorch),
        cmocka_unit_test(transformer_trains_as_in_pytorch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
