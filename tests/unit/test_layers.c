/* What the layers promise beyond their gradients: parameters and their first values, dropout as a
 * whole, packed products, and configurations that are refused. */
#include <math.h>

#include "kernel/packed.h"
#include "kernel/product.h"
#include "random.h"
#include "tables.h"
#include "test.h"
#include "train/layers.h"
#include "train/linear.h"

static void parameters_have_places_of_their_own(void **state)
{
    (void)state;
    struct parameters p = {0};
    assert_int_equal(parameters_matrix(&p, "blk.%zu.a.weight", 12, 3, 5, INIT_NORMAL, 2, NULL),
                     TRIB_OK);
    assert_int_equal(parameters_vector(&p, "b", 0, 17, INIT_ONE, 0, NULL), TRIB_OK);
    assert_int_equal(parameters_matrix(&p, "c", 0, 100, 100, INIT_UNIFORM, 0.5f, NULL), TRIB_OK);
    assert_int_equal(p.count, 3);
    assert_int_equal(p.elements, 15 + 17 + 10000);
    assert_ptr_equal(parameters_find(&p, "blk.12.a.weight"), &p.list[0]);
    assert_null(parameters_find(&p, "blk.1.a.weight"));
    assert_true(p.list[0].decay && !p.list[1].decay && p.list[2].decay);
    for (size_t i = 0, end = 0; i < 3; i++) {
        assert_true(p.list[i].offset % 16 == 0 && p.list[i].offset >= end);
        end = p.list[i].offset + p.list[i].count;
        assert_true(end <= p.floats);
    }
    assert_int_equal(parameters_matrix(&p, "huge", 0, SIZE_MAX / 2, 3, INIT_ZERO, 0, NULL),
                     TRIB_INVALID);
    assert_int_equal(parameters_allocate(&p, true, NULL), TRIB_OK);
    parameters_init(&p, 7);
    for (size_t i = 0; i < p.floats; i++) /* nothing between parameters */
        if ((i >= 15 && i < p.list[1].offset) ||
            (i >= p.list[1].offset + 17 && i < p.list[2].offset))
            assert_true(p.weights[i] == 0);
    assert_true(p.weights[p.list[1].offset + 16] == 1);
    parameters_close(&p);
}

/* The mean and variance of 10,000 uniform or normal values are within 5 standard errors of theirs:
 * variance 1/3 with fourth moment 1/5, variance 1 with 3. The seeds are fixed, so it is once and
 * for all. */
static void first_values_are_distributed_as_said(void **state)
{
    (void)state;
    const double fourth[] = {0.2, 3}, expected[] = {1 / 3.0, 1};
    for (int kind = 0; kind < 2; kind++) {
        struct parameters p = {0};
        double sum = 0, square = 0, n = 10000;
        parameters_matrix(&p, "a", 0, 100, 100, kind ? INIT_NORMAL : INIT_UNIFORM, 1, NULL);
        assert_int_equal(parameters_allocate(&p, false, NULL), TRIB_OK);
        parameters_init(&p, 3);
        for (size_t i = 0; i < 10000; i++) {
            sum += (double)p.weights[i] / n;
            square += (double)p.weights[i] * (double)p.weights[i] / n;
            assert_true(kind || fabsf(p.weights[i]) <= 1);
        }
        double v = expected[kind];
        assert_true(fabs(sum) < 5 * sqrt(v / n));
        assert_true(fabs(square - v) < 5 * sqrt((fourth[kind] - v * v) / n));
        parameters_close(&p);
    }
}

static void packed_products_are_products_bit_for_bit(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (int round = 0; round < 40; round++) {
            size_t M = 1 + random_below(&r, 9), N = 1 + random_below(&r, 150);
            size_t K = 1 + random_below(&r, 90);
            bool across = random_below(&r, 2), onto = random_below(&r, 2);
            enum dtype type = random_below(&r, 2) ? DTYPE_F32 : DTYPE_BF16;
            float *a = malloc(M * K * sizeof *a), *b = malloc(N * K * sizeof *b);
            float *c = malloc(M * N * sizeof *c), *d = malloc(M * N * sizeof *d);
            assert_true(a && b && c && d);
            random_fill(&r, a, M * K, 1);
            random_fill(&r, b, N * K, 1);
            random_fill(&r, c, M * N, 1);
            memcpy(d, c, M * N * sizeof *c);
            struct product p = {.M = M,
                                .N = N,
                                .K = K,
                                .a = a,
                                .a_m = K,
                                .a_k = 1,
                                .b = b,
                                .b_k = across ? N : 1,
                                .b_n = across ? 1 : K,
                                .c = c,
                                .c_m = N,
                                .accumulate = onto,
                                .arithmetic = type};
            void *memory = aligned_alloc(64, packed_bytes(k, type, N, K));
            void *scratch = aligned_alloc(64, packed_scratch(k, type, K, M) + 64);
            void *workspace = aligned_alloc(64, product_workspace(k, &p, 1) + 64);
            assert_true(memory && scratch && workspace);
            product(k, &p, workspace, 1);
            struct packed packed = packed_make(k, type, memory, b, p.b_k, p.b_n, N, K);
            packed_product(&packed, d, a, M, onto, scratch);
            assert_memory_equal(c, d, M * N * sizeof *c);
            void *all[] = {a, b, c, d, memory, scratch, workspace};
            for (size_t i = 0; i < 7; i++)
                free(all[i]);
        }
}

/* Of 2^16 values a quarter is dropped, within 5 standard deviations; what is kept carries the rest,
 * and another place or draw keeps others. */
static void dropout_keeps_the_mean(void **state)
{
    (void)state;
    enum { N = 1 << 16 };
    static float x[N], y[N], z[N];
    struct crew crew = {tables_first(), 2, DTYPE_F32, NULL};
    struct predictor p = {.config = {.dropout = 0.25f}};
    struct batch batch = {.training = true, .seed = 1, .draw = 2};
    struct dropping dropping = dropping_of(&p, &batch);
    size_t dropped = 0, same = 0;
    for (size_t i = 0; i < N; i++)
        x[i] = 3;
    dropout(&crew, &dropping, 5, y, x, N);
    dropout(&crew, &dropping, 6, z, x, N);
    for (size_t i = 0; i < N; i++) {
        assert_true(y[i] == 0 || y[i] == 4);
        dropped += y[i] == 0;
        same += y[i] == z[i];
    }
    assert_true(fabs((double)dropped - N / 4.0) < 5 * sqrt(N * 0.25 * 0.75));
    assert_true(fabs((double)same - N * 0.625) < 5 * sqrt(N * 0.625 * 0.375));
    batch.draw = 3;
    dropping = dropping_of(&p, &batch);
    dropout(&crew, &dropping, 5, z, x, N);
    assert_memory_not_equal(y, z, sizeof y);
    batch.training = false;
    dropping = dropping_of(&p, &batch);
    dropout(&crew, &dropping, 5, z, x, N);
    assert_memory_equal(x, z, sizeof x);
}

static void senseless_configurations_are_refused_by_name(void **state)
{
    (void)state;
    struct predictor_config good = predictor_config_default();
    good.context = (size_t)1 << 24;
    good.layers = 8;
    const struct {
        size_t offset, value;
        const char *name;
    } numbers[] = {
        {offsetof(struct predictor_config, vocabulary), 0, "vocabulary"},
        {offsetof(struct predictor_config, width), 0, "width"},
        {offsetof(struct predictor_config, layers), 0, "layers"},
        {offsetof(struct predictor_config, layers), 100000, "layers"},
        {offsetof(struct predictor_config, context), SIZE_MAX, "context"},
        {offsetof(struct predictor_config, width), (size_t)1 << 24, "memory"},
        {offsetof(struct predictor_config, ffn), 0, "ffn"},
        {offsetof(struct predictor_config, heads), 5, "heads"},
        {offsetof(struct predictor_config, heads), 128, "heads"},
        {offsetof(struct predictor_config, kv_heads), 3, "kv-heads"},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct predictor_config c = good;
        struct predictor p;
        trib_error error = {TRIB_OK, ""};
        memcpy((char *)&c + numbers[i].offset, &numbers[i].value, sizeof(size_t));
        assert_int_equal(predictor_open(&p, &c, tables_first(), 1, &error), TRIB_INVALID);
        if (!strstr(error.message, numbers[i].name))
            fail_msg("expected a message about %s, found: %s", numbers[i].name, error.message);
    }
    struct predictor p;
    struct pass pass;
    good.context = 64;
    good.dropout = NAN;
    assert_int_equal(predictor_open(&p, &good, tables_first(), 1, NULL), TRIB_INVALID);
    good.dropout = 0;
    assert_int_equal(predictor_open(&p, &good, tables_first(), 1, NULL), TRIB_OK);
    assert_int_equal(pass_open(&pass, &p, 1, good.context + 1, true, NULL), TRIB_INVALID);
    assert_int_equal(pass_open(&pass, &p, 0, 1, true, NULL), TRIB_INVALID);
    assert_true(pass_bytes(&p, SIZE_MAX / 2, 64, true) == SIZE_MAX);
    assert_int_equal(pass_open(&pass, &p, (size_t)1 << 30, 64, true, NULL), TRIB_NO_MEMORY);
    predictor_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_have_places_of_their_own),
        cmocka_unit_test(first_values_are_distributed_as_said),
        cmocka_unit_test(packed_products_are_products_bit_for_bit),
        cmocka_unit_test(dropout_keeps_the_mean),
        cmocka_unit_test(senseless_configurations_are_refused_by_name),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
