/* Dense weights of every table, panel by panel as kernel/weight.c computes them: against float64,
 * and against themselves bit for bit.
 *
 * Stored and packed weights, rows, outputs and biases end at a guard page. u = 2^-24 is the unit of
 * rounding. */
#include <math.h>
#include <stdbool.h>

#include "base/half.h"
#include "guard.h"
#include "kernel/weight_class.h"
#include "random.h"
#include "tables.h"
#include "test.h"

#define U 0x1p-24

enum { SPARE = 3, PANEL = PRODUCT_COLUMNS }; /* SPARE floats between rows that nobody may touch */

static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
enum { TYPES = sizeof types / sizeof *types };

/* y [rows][N + SPARE] from x [rows][K + SPARE]; y holds what was there before. */
struct problem {
    enum dtype type;
    size_t rows, N, K;
    bool bias, accumulate;
    char *stored; /* [N][K] of the type */
    float *x, *y, *bias_of;
};

static size_t span_of(size_t rows, size_t columns)
{
    return rows && columns ? (rows - 1) * (columns + SPARE) + columns : 0;
}

static struct problem problem_new(struct random *r, enum dtype type, size_t rows, size_t N,
                                  size_t K)
{
    struct problem p = {.type = type, .rows = rows, .N = N, .K = K};
    float *weights = guard_floats(N * K);
    random_fill(r, weights, N * K, 1);
    p.bias = random_below(r, 2);
    p.accumulate = random_below(r, 2);
    p.stored = guard_new(dtype_size(type, N * K));
    kernels_at(0)->pack(type, p.stored, weights, N * K);
    guard_free_floats(weights, N * K);
    p.x = guard_floats(span_of(rows, K));
    p.y = guard_floats(span_of(rows, N));
    p.bias_of = guard_floats(N);
    random_fill(r, p.x, span_of(rows, K), 1);
    random_fill(r, p.y, span_of(rows, N), 1);
    random_fill(r, p.bias_of, N, 1);
    return p;
}

static void problem_free(struct problem *p)
{
    guard_free(p->stored, dtype_size(p->type, p->N * p->K));
    guard_free_floats(p->x, span_of(p->rows, p->K));
    guard_free_floats(p->y, span_of(p->rows, p->N));
    guard_free_floats(p->bias_of, p->N);
}

/* Panels [first, end) of `count` rows from row `row` on, into a fresh copy of y. */
static float *multiply_part(const struct kernels *k, const struct problem *p, size_t row,
                            size_t count, size_t first, size_t end)
{
    size_t panels = (p->N + PANEL - 1) / PANEL;
    size_t bytes = weight_dense.bytes(k, p->type, p->N, p->K);
    size_t row_bytes = weight_dense.row_bytes(k, p->type, p->K);
    assert_int_equal(bytes % 64, 0);
    assert_int_equal(row_bytes % 64, 0);
    void *packed = guard_new(bytes), *prepared = guard_new(count * row_bytes);
    struct weight w = {k, p->type, p->N, p->K, packed};
    weight_dense.pack(&w, p->stored, panels / 2, panels);
    weight_dense.pack(&w, p->stored, 0, panels / 2);
    weight_dense.prepare(&w, prepared, p->x + row * (p->K + SPARE), p->K + SPARE, count);
    float *y = guard_copy(p->y, span_of(p->rows, p->N) * sizeof *y);
    struct weight_job job = {&w, y + row * (p->N + SPARE), p->N + SPARE,
                             p->bias ? p->bias_of : NULL, p->accumulate};
    weight_dense.compute(&job, prepared, count, first, end);
    guard_free(packed, bytes);
    guard_free(prepared, count * row_bytes);
    return y;
}

static float *multiply(const struct kernels *k, const struct problem *p)
{
    return multiply_part(k, p, 0, p->rows, 0, (p->N + PANEL - 1) / PANEL);
}

static float weight_at(const struct problem *p, size_t n, size_t k)
{
    float w;
    kernels_at(0)->unpack(p->type, &w, p->stored + dtype_size(p->type, n * p->K + k), 1);
    return w;
}

/* What x is multiplied as. */
static float x_at(const struct problem *p, size_t t, size_t k)
{
    float x = p->x[t * (p->K + SPARE) + k];
    return p->type == DTYPE_BF16 ? bf16_to_float(bf16_from_float(x)) : x;
}

static float start_of(const struct problem *p, size_t t, size_t n)
{
    float old = p->accumulate ? p->y[t * (p->N + SPARE) + n] : 0;
    if (!p->bias)
        return old;
    return p->accumulate ? old + p->bias_of[n] : p->bias_of[n];
}

/* A chain of K + 1 operations, of pairs 2 K + 1, each at most one rounding of all that is in it:
 * within gamma_n = n u / (1 - n u) of the sum of the magnitudes (Higham, 3.1). Of numbers below
 * 2^-126, which bf16 products take for zero, each is within 2^-126. */
static void hold_against_float64(const struct kernels *k, const struct problem *p, const float *y)
{
    double n = p->type == DTYPE_BF16 ? 2 * (double)p->K + 1 : (double)p->K + 1;
    double gamma = n * U / (1 - n * U);
    for (size_t t = 0; t < p->rows; t++)
        for (size_t j = 0; j < p->N; j++) {
            double sum = p->accumulate ? (double)p->y[t * (p->N + SPARE) + j] : 0;
            double bias = p->bias ? (double)p->bias_of[j] : 0, size = fabs(sum) + fabs(bias);
            sum += bias;
            for (size_t i = 0; i < p->K; i++) {
                double term = (double)x_at(p, t, i) * (double)weight_at(p, j, i);
                sum += term;
                size += fabs(term);
            }
            double found = (double)y[t * (p->N + SPARE) + j];
            double bound = gamma * size + (double)p->K * 0x1p-126;
            if (!(fabs(found - sum) <= bound))
                fail_msg("%s, %s: %zu x %zu x %zu: y[%zu][%zu] = %.9g, expected %.9g +- %.3g",
                         k->name, dtype_info(p->type)->name, p->rows, p->N, p->K, t, j, found, sum,
                         bound);
        }
}

static void untouched_between_rows(const struct problem *p, const float *y)
{
    for (size_t t = 0; t + 1 < p->rows; t++)
        assert_memory_equal(y + t * (p->N + SPARE) + p->N, p->y + t * (p->N + SPARE) + p->N,
                            SPARE * sizeof *y);
}

/* Tails of rows, outputs and inputs, odd numbers of bf16 and f16, and sums of several blocks. */
static void products_are_within_their_bound(void **state)
{
    (void)state;
    struct random r = random_start(1);
    static const size_t rows[] = {0, 1, 2, 3, 5, 6, 7, 12, 13, 20, 33};
    static const size_t outputs[] = {1, 15, 16, 17, 47, 63, 64, 65, 130, 200};
    static const size_t inputs[] = {1, 2, 3, 31, 32, 33, 64, 100, 127, 130, 1100, 2049};
    enum { ROWS = sizeof rows / sizeof *rows, OUTPUTS = sizeof outputs / sizeof *outputs };
    enum { INPUTS = sizeof inputs / sizeof *inputs };
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES * INPUTS; i++) {
            struct problem p = problem_new(&r, types[i % TYPES], rows[random_below(&r, ROWS)],
                                           outputs[random_below(&r, OUTPUTS)], inputs[i / TYPES]);
            float *y = multiply(k, &p);
            hold_against_float64(k, &p, y);
            untouched_between_rows(&p, y);
            guard_free_floats(y, span_of(p.rows, p.N));
            problem_free(&p);
        }
}

/* F32 and F16 are one chain of fused multiply-adds, and BF16 is where it is not taken in pairs. */
static void tables_have_the_bits_of_the_chain(void **state)
{
    (void)state;
    struct random r = random_start(2);
    for (size_t i = 0; i < 4 * TYPES; i++) {
        struct problem p = problem_new(&r, types[i % TYPES], 1 + random_below(&r, 20),
                                       1 + random_below(&r, 150), i < TYPES ? 1061 : 83);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            if (p.type == DTYPE_BF16 && k->product_pairs)
                continue;
            float *y = multiply(k, &p);
            for (size_t t = 0; t < p.rows; t++)
                for (size_t n = 0; n < p.N; n++) {
                    float sum = start_of(&p, t, n);
                    for (size_t j = 0; j < p.K; j++)
                        sum = fmaf(x_at(&p, t, j), weight_at(&p, n, j), sum);
                    if (memcmp(&sum, &y[t * (p.N + SPARE) + n], sizeof sum) != 0)
                        fail_msg("%s, %s: y[%zu][%zu] is not the chain", k->name,
                                 dtype_info(p.type)->name, t, n);
                }
            guard_free_floats(y, span_of(p.rows, p.N));
        }
        problem_free(&p);
    }
}

/* Any rows and any panels alone: the same bits there, and nothing written elsewhere. */
static void parts_have_the_bits_of_the_whole(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES * 3; i++) {
            static const size_t inputs[] = {96, 131, 2306};
            struct problem p = problem_new(&r, types[i % TYPES], 40, 200, inputs[i / TYPES]);
            float *whole = multiply(k, &p);
            for (size_t trial = 0; trial < 10; trial++) {
                size_t count = 1 + random_below(&r, trial % 2 ? p.rows : 7);
                size_t row = random_below(&r, p.rows - count + 1);
                size_t first = random_below(&r, 4), end = first + 1 + random_below(&r, 4 - first);
                float *y = multiply_part(k, &p, row, count, first, end);
                for (size_t j = 0; j < span_of(p.rows, p.N); j++) {
                    size_t t = j / (p.N + SPARE), n = j % (p.N + SPARE);
                    bool in = t >= row && t < row + count && n < p.N && n / PANEL >= first &&
                              n / PANEL < end;
                    assert_memory_equal(y + j, (in ? whole : p.y) + j, sizeof *y);
                }
                guard_free_floats(y, span_of(p.rows, p.N));
            }
            guard_free_floats(whole, span_of(p.rows, p.N));
            problem_free(&p);
        }
}

/* A file may place numbers of two bytes anywhere; where they lie changes no bit. */
static void stored_bytes_may_begin_anywhere(void **state)
{
    (void)state;
    struct random r = random_start(4);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 1; i < TYPES; i++) {
            struct problem p = problem_new(&r, types[i], 3, 70, 34), moved = p;
            size_t bytes = dtype_size(p.type, p.N * p.K);
            char *memory = guard_new(bytes + 2);
            moved.stored = memcpy(memory, p.stored, bytes);
            assert_true((uintptr_t)p.stored % 4 != (uintptr_t)memory % 4);
            float *y = multiply(k, &p), *z = multiply(k, &moved);
            assert_memory_equal(y, z, span_of(p.rows, p.N) * sizeof *y);
            guard_free_floats(y, span_of(p.rows, p.N));
            guard_free_floats(z, span_of(p.rows, p.N));
            guard_free(memory, bytes + 2);
            problem_free(&p);
        }
}

/* A NaN or infinity in a row of x, and in a row of w, shows there and nowhere else; an infinity may
 * become NaN. */
static void what_is_not_finite_stays_in_its_row_and_column(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES * 6; i++) {
            struct problem p = problem_new(&r, types[i % TYPES], 1 + i / TYPES * 5, 67, 29 + i % 2);
            size_t row = random_below(&r, p.rows), column = random_below(&r, p.N);
            size_t term = i % 4 ? random_below(&r, p.K) : p.K - 1;
            float bad = i % 2 ? NAN : INFINITY;
            p.x[row * (p.K + SPARE) + random_below(&r, p.K)] = bad;
            k->pack(p.type, p.stored + dtype_size(p.type, column * p.K + term), &bad, 1);
            float *y = multiply(k, &p);
            for (size_t t = 0; t < p.rows; t++)
                for (size_t n = 0; n < p.N; n++)
                    assert_int_equal(isfinite(y[t * (p.N + SPARE) + n]), t != row && n != column);
            guard_free_floats(y, span_of(p.rows, p.N));
            problem_free(&p);
        }
}

/* What y held does not matter where nothing is added to it. */
static void old_values_are_not_read(void **state)
{
    (void)state;
    struct random r = random_start(6);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES; i++) {
            struct problem p = problem_new(&r, types[i], 9, 70, 1030);
            p.accumulate = false;
            for (size_t j = 0; j < span_of(p.rows, p.N); j++)
                p.y[j] = NAN;
            float *y = multiply(k, &p);
            for (size_t t = 0; t < p.rows; t++)
                for (size_t n = 0; n < p.N; n++)
                    assert_true(isfinite(y[t * (p.N + SPARE) + n]));
            guard_free_floats(y, span_of(p.rows, p.N));
            problem_free(&p);
        }
}

/* The bytes of the file, and what fills up the last panel and an odd number of pairs. */
static void packed_is_as_large_as_stored(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES; i++) {
            bool pairs = types[i] == DTYPE_BF16 && k->product_pairs;
            assert_int_equal(weight_dense.bytes(k, types[i], 640, 128),
                             dtype_size(types[i], (size_t)640 * 128));
            assert_int_equal(weight_dense.bytes(k, types[i], 65, 33),
                             dtype_size(types[i], (size_t)128 * (pairs ? 34 : 33)));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_within_their_bound),
        cmocka_unit_test(tables_have_the_bits_of_the_chain),
        cmocka_unit_test(parts_have_the_bits_of_the_whole),
        cmocka_unit_test(stored_bytes_may_begin_anywhere),
        cmocka_unit_test(what_is_not_finite_stays_in_its_row_and_column),
        cmocka_unit_test(old_values_are_not_read),
        cmocka_unit_test(packed_is_as_large_as_stored),
    };
    random_seed();
    return cmocka_run_group_tests_name("weight_dense", tests, NULL, NULL);
}
