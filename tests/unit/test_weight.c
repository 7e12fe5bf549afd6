/* Products with block-quantised weights of every table: against float64, and against the bits of
 * `ref`.
 *
 * All inputs, outputs and workspaces end at a guard page. Weights are random bytes, so every code
 * and every scale of a sub-block comes up; the scales in f16 are drawn apart, to be finite.
 * u = 2^-24 is the unit of rounding. */
#include <math.h>
#include <stdbool.h>

#include "base/half.h"
#include "dequantise.h"
#include "guard.h"
#include "kernel/weight.h"
#include "random.h"
#include "tables.h"
#include "test.h"

#define U 0x1p-24

enum { SPARE = 3 }; /* floats between rows that nobody may touch */

static const enum dtype types[] = {DTYPE_Q8_0, DTYPE_Q4_0,   DTYPE_Q4_1, DTYPE_Q5_0,
                                   DTYPE_Q5_1, DTYPE_IQ4_NL, DTYPE_Q2_K, DTYPE_Q3_K,
                                   DTYPE_Q4_K, DTYPE_Q5_K,   DTYPE_Q6_K, DTYPE_IQ4_XS};

enum { TYPES = sizeof types / sizeof *types };

/* ---- A product ---- */

struct problem {
    enum dtype type;
    size_t rows, outputs, inputs;
    bool accumulate, with_bias;
    uint8_t *stored;     /* [outputs] rows of the file */
    float *x, *y, *bias; /* y as it was before */
    size_t x_floats, y_floats;
};

static size_t stored_bytes(const struct problem *p)
{
    return p->outputs * dtype_size(p->type, p->inputs);
}

/* Where the scales in f16 stand in a block; each block has one or two. */
static size_t halves_of(enum dtype type, size_t at[2])
{
    size_t bytes = dtype_info(type)->bytes;
    at[0] = 0;
    at[1] = 2;
    switch (type) {
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        return 2;
    case DTYPE_Q2_K:
        at[0] = bytes - 4;
        at[1] = bytes - 2;
        return 2;
    case DTYPE_Q3_K:
    case DTYPE_Q6_K:
        at[0] = bytes - 2;
        return 1;
    default:
        return 1;
    }
}

static void put_half(uint8_t *block, size_t at, float x)
{
    uint16_t h = f16_from_float(x);
    memcpy(block + at, &h, sizeof h);
}

static void draw_weights(struct random *r, struct problem *p)
{
    size_t bytes = stored_bytes(p), block = dtype_info(p->type)->bytes, at[2];
    for (size_t i = 0; i < bytes; i++)
        p->stored[i] = (uint8_t)random_bits(r);
    for (size_t i = 0; i < bytes; i += block)
        for (size_t j = 0; j < halves_of(p->type, at); j++)
            put_half(p->stored + i, at[j], random_between(r, -0.1f, 0.1f));
}

static struct problem problem_new(struct random *r, enum dtype type, size_t rows, size_t outputs,
                                  size_t inputs, unsigned way)
{
    struct problem p = {.type = type,
                        .rows = rows,
                        .outputs = outputs,
                        .inputs = inputs,
                        .accumulate = way & 1,
                        .with_bias = way >> 1 & 1};
    p.x_floats = rows ? rows * (inputs + SPARE) - SPARE : 0;
    p.y_floats = rows ? rows * (outputs + SPARE) - SPARE : 0;
    p.stored = guard_new(stored_bytes(&p));
    p.x = guard_floats(p.x_floats);
    p.y = guard_floats(p.y_floats);
    p.bias = guard_floats(outputs);
    draw_weights(r, &p);
    random_fill(r, p.x, p.x_floats, 2);
    random_fill(r, p.y, p.y_floats, 1);
    random_fill(r, p.bias, outputs, 1);
    return p;
}

static void problem_free(struct problem *p)
{
    guard_free(p->stored, stored_bytes(p));
    guard_free_floats(p->x, p->x_floats);
    guard_free_floats(p->y, p->y_floats);
    guard_free_floats(p->bias, p->outputs);
}

static struct weight pack(const struct kernels *k, const struct problem *p, int threads)
{
    struct weight w;
    size_t bytes = weight_bytes(k, p->type, p->outputs, p->inputs);
    assert_int_equal(bytes % 64, 0);
    weight_pack(&w, k, p->type, p->outputs, p->inputs, p->stored, guard_new(bytes), threads);
    return w;
}

static void weight_free(struct weight *w)
{
    guard_free(w->packed, weight_bytes(w->kernels, w->type, w->outputs, w->inputs));
}

static struct weight_job job_of(const struct problem *p, const struct weight *w, float *y)
{
    return (struct weight_job){.weight = w,
                               .y = y,
                               .y_stride = p->outputs + SPARE,
                               .bias = p->with_bias ? p->bias : NULL,
                               .accumulate = p->accumulate};
}

/* Rows [first, first + rows) into a fresh copy of theirs of y, with all between them. */
static float *multiply_rows(const struct kernels *k, const struct problem *p, size_t first,
                            size_t rows, int threads)
{
    struct weight w = pack(k, p, threads);
    size_t bytes = weight_workspace(k, rows, p->inputs, threads);
    size_t floats = rows ? rows * (p->outputs + SPARE) - SPARE : 0;
    assert_int_equal(bytes % 64, 0);
    void *workspace = guard_new(bytes);
    float *y = guard_copy(p->y + first * (p->outputs + SPARE), floats * sizeof *y);
    struct weight_job job = job_of(p, &w, y);
    weight_products(&job, 1, p->x + first * (p->inputs + SPARE), p->inputs + SPARE, rows, workspace,
                    threads);
    guard_free(workspace, bytes);
    weight_free(&w);
    return y;
}

static float *multiply(const struct kernels *k, const struct problem *p, int threads)
{
    return multiply_rows(k, p, 0, p->rows, threads);
}

/* ---- Against float64 ---- */

/* d rounded up to a multiple of an eighth of the power of two below it. */
static float level_of(float d)
{
    int e;
    float part = frexpf(d, &e);
    return ldexpf(ceilf(part * 16) / 16, e);
}

/* x as the product takes it: blocks of 32 or 256 elements, rounded to 127 steps. */
static void round_x(double *out, const float *x, size_t n, size_t block)
{
    for (size_t i = 0; i < n; i += block) {
        float most = 0;
        for (size_t k = i; k < i + block; k++)
            most = fmaxf(most, fabsf(x[k]));
        float d = most / 127, inverse = 127 / most;
        if (block == 32) {
            d = level_of(d);
            inverse = 1 / d;
        }
        for (size_t k = i; k < i + block; k++)
            out[k] = most < 0x1p-100f ? 0 : (double)d * (double)rintf(x[k] * inverse);
    }
}

/* Sums of a sub-block's whole numbers are exact. Of the roundings each term takes part in two of
 * its own, of d s and of a sum of whole numbers to float32 (or of d sum q, or m times it); in one
 * of each of the up to 16 multiply-adds of sub-blocks in its unit; in one of each multiply-add of
 * units from its own on, two for a unit at most; and in that of y + bias. So all is within n u / (1
 * - n u), n = 2 units + 19, of the sum of the magnitudes (Higham, 3.1, gamma_n), those of a weight
 * being its scale times its code, the zero taken off, and its minimum. */
static void hold_against_float64(const struct kernels *k, const struct problem *p, const float *y)
{
    size_t block = dtype_info(p->type)->block, row = dtype_size(p->type, p->inputs);
    double n = 2 * (double)p->inputs / (double)block + 19, gamma = n * U / (1 - n * U);
    double *x = malloc(p->inputs * sizeof *x), *w = malloc(p->inputs * sizeof *w);
    double *size = malloc(p->inputs * sizeof *size);
    for (size_t t = 0; t < p->rows; t++) {
        round_x(x, p->x + t * (p->inputs + SPARE), p->inputs, block);
        for (size_t o = 0; o < p->outputs; o++) {
            float before = p->y[t * (p->outputs + SPARE) + o];
            double sum =
                (p->accumulate ? (double)before : 0) + (p->with_bias ? (double)p->bias[o] : 0);
            double all = (p->accumulate ? fabs((double)before) : 0) +
                         (p->with_bias ? fabs((double)p->bias[o]) : 0);
            dequantise(p->type, w, size, p->stored + o * row, p->inputs);
            for (size_t i = 0; i < p->inputs; i++) {
                sum += x[i] * w[i];
                all += fabs(x[i]) * size[i];
            }
            double found = (double)y[t * (p->outputs + SPARE) + o];
            if (!(fabs(found - sum) <= gamma * all))
                fail_msg("%s: %s, %zu rows of %zu x %zu: y[%zu][%zu] = %.9g, expected %.9g +- %.3g",
                         k->name, dtype_info(p->type)->name, p->rows, p->outputs, p->inputs, t, o,
                         found, sum, gamma * all);
        }
    }
    free(x);
    free(w);
    free(size);
}

static void untouched_between_rows(const struct problem *p, const float *y)
{
    size_t stride = p->outputs + SPARE;
    for (size_t t = 0; t + 1 < p->rows; t++)
        assert_memory_equal(y + t * stride + p->outputs, p->y + t * stride + p->outputs,
                            SPARE * sizeof *y);
}

/* Tails of rows and of outputs; one block, some, and more than a part that is taken apart at once.
 */
static void products_are_within_their_bound(void **state)
{
    (void)state;
    struct random r = random_start(1);
    static const size_t rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 40};
    static const size_t outputs[] = {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 65};
    static const size_t blocks[] = {1, 2, 3, 5, 17};
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES; i++)
            for (size_t j = 0; j < sizeof rows / sizeof *rows; j++) {
                size_t n = outputs[random_below(&r, sizeof outputs / sizeof *outputs)];
                size_t K = blocks[random_below(&r, sizeof blocks / sizeof *blocks)];
                struct problem p = problem_new(&r, types[i], rows[j], n,
                                               K * dtype_info(types[i])->block, (unsigned)j);
                float *y = multiply(k, &p, 1 + (int)random_below(&r, 3));
                hold_against_float64(k, &p, y);
                untouched_between_rows(&p, y);
                guard_free_floats(y, p.y_floats);
                problem_free(&p);
            }
}

/* ---- Bits ---- */

static void same_bits(const struct kernels *k, const struct problem *p, const char *what,
                      const float *a, const float *b, size_t floats)
{
    if (floats && memcmp(a, b, floats * sizeof *a) != 0)
        fail_msg("%s: %s, %zu rows of %zu x %zu: %s differs", k->name, dtype_info(p->type)->name,
                 p->rows, p->outputs, p->inputs, what);
}

/* x with zeros, blocks of zeros, subnormal numbers and numbers near the largest; scales of 0 and
 * subnormal ones. */
static void draw_extremes(struct random *r, struct problem *p)
{
    static const float sizes[] = {0, 1, 0x1p-140f, 0x1p-101f, 0x1p-99f, 0x1p-60f, 0x1p60f, 0x1p99f};
    static const float scales[] = {0, 0x1p-24f, -0x3p-24f, 0x1p-15f, 1};
    size_t bytes = stored_bytes(p), block = dtype_info(p->type)->bytes, at[2];
    for (size_t i = 0; i < bytes; i += block)
        for (size_t j = 0; j < halves_of(p->type, at); j++)
            put_half(p->stored + i, at[j], scales[random_below(r, sizeof scales / sizeof *scales)]);
    for (size_t i = 0; i < p->x_floats; i += 32) {
        float size = sizes[random_below(r, sizeof sizes / sizeof *sizes)];
        for (size_t k = i; k < i + 32 && k < p->x_floats; k++)
            p->x[k] = random_between(r, -size, size);
    }
}

/* Every table, 1 to 3 threads. */
static void tables_and_threads_agree(void **state)
{
    (void)state;
    struct random r = random_start(2);
    for (size_t i = 0; i < TYPES; i++)
        for (size_t rows = 1; rows <= 17; rows++) {
            size_t block = dtype_info(types[i])->block;
            size_t inputs = block * (1 + random_below(&r, 2048 / block));
            struct problem p =
                problem_new(&r, types[i], rows, 1 + random_below(&r, 150), inputs, (unsigned)rows);
            if (rows % 3 == 0)
                draw_extremes(&r, &p);
            float *expected = multiply(tables_first(), &p, 1);
            for (const struct kernels *k = tables_first(); k; k = tables_after(k))
                for (int threads = 1; threads <= 3; threads++) {
                    float *y = multiply(k, &p, threads);
                    same_bits(k, &p, "a table or a number of threads", expected, y, p.y_floats);
                    guard_free_floats(y, p.y_floats);
                }
            guard_free_floats(expected, p.y_floats);
            problem_free(&p);
        }
}

/* Any run of rows has the bits of the same rows among all. */
static void rows_do_not_see_each_other(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES; i++) {
            struct problem p = problem_new(&r, types[i], 23, 70, 3 * 256, 3);
            size_t stride = p.outputs + SPARE;
            float *whole = multiply(k, &p, 2);
            for (size_t rows = 1; rows <= 13; rows++) {
                size_t first = random_below(&r, p.rows - rows + 1);
                float *part = multiply_rows(k, &p, first, rows, 1 + (int)rows % 3);
                same_bits(k, &p, "a part of the rows", whole + first * stride, part,
                          rows * stride - SPARE);
                guard_free_floats(part, rows * stride - SPARE);
            }
            guard_free_floats(whole, p.y_floats);
            problem_free(&p);
        }
}

/* Jobs of all types over one x have the bits of each alone. */
static void jobs_do_not_see_each_other(void **state)
{
    (void)state;
    enum { ROWS = 5, INPUTS = 1024 };
    struct random r = random_start(4);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (int threads = 1; threads <= 3; threads++) {
            struct problem p[TYPES];
            struct weight w[TYPES];
            struct weight_job jobs[TYPES];
            float *x = NULL;
            for (size_t i = 0; i < TYPES; i++) {
                /* the last two have fewer inputs */
                size_t inputs = i + 2 < TYPES ? INPUTS : INPUTS / 2;
                p[i] =
                    problem_new(&r, types[i], ROWS, 1 + random_below(&r, 200), inputs, (unsigned)i);
                x = i == 0 ? p[0].x : x;
                for (size_t t = 0; t < ROWS && i > 0; t++)
                    memcpy(p[i].x + t * (inputs + SPARE), x + t * (INPUTS + SPARE),
                           inputs * sizeof *x);
                w[i] = pack(k, &p[i], threads);
                jobs[i] = job_of(&p[i], &w[i], guard_copy(p[i].y, p[i].y_floats * sizeof(float)));
            }
            size_t bytes = weight_workspace(k, ROWS, INPUTS, threads);
            void *workspace = guard_new(bytes);
            weight_products(jobs, TYPES, x, INPUTS + SPARE, ROWS, workspace, threads);
            for (size_t i = 0; i < TYPES; i++) {
                float *alone = multiply(k, &p[i], 1);
                same_bits(k, &p[i], "a job among others", alone, jobs[i].y, p[i].y_floats);
                guard_free_floats(alone, p[i].y_floats);
                guard_free_floats(jobs[i].y, p[i].y_floats);
                weight_free(&w[i]);
                problem_free(&p[i]);
            }
            guard_free(workspace, bytes);
        }
}

static void make_row(const void *context, size_t row, float *out)
{
    const struct problem *p = context;
    memcpy(out, p->x + row * (p->inputs + SPARE), p->inputs * sizeof *out);
}

/* Rows that are made have the bits of the same rows in memory: of one form and of two. */
static void made_rows_are_rows(void **state)
{
    (void)state;
    enum { MOST_ROWS = 13, INPUTS = 1280 };
    struct random r = random_start(6);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t rows = 1; rows <= MOST_ROWS; rows += 4)
            for (int threads = 1; threads <= 3; threads++) {
                struct problem p[2];
                struct weight w[2];
                struct weight_job jobs[2];
                for (size_t i = 0; i < 2; i++) {
                    p[i] = problem_new(&r, i ? DTYPE_Q6_K : DTYPE_Q8_0, rows, 77, INPUTS, 2);
                    memcpy(p[i].x, p[0].x, p[0].x_floats * sizeof(float));
                    w[i] = pack(k, &p[i], threads);
                    jobs[i] =
                        job_of(&p[i], &w[i], guard_copy(p[i].y, p[i].y_floats * sizeof(float)));
                }
                size_t bytes = weight_workspace(k, rows, INPUTS, threads);
                void *workspace = guard_new(bytes);
                struct weight_rows made = {make_row, &p[0]};
                weight_products_of(jobs, 2, &made, rows, workspace, threads);
                for (size_t i = 0; i < 2; i++) {
                    float *alone = multiply(k, &p[i], 1);
                    same_bits(k, &p[i], "rows as they are made", alone, jobs[i].y, p[i].y_floats);
                    guard_free_floats(alone, p[i].y_floats);
                    guard_free_floats(jobs[i].y, p[i].y_floats);
                    weight_free(&w[i]);
                    problem_free(&p[i]);
                }
                guard_free(workspace, bytes);
            }
}

/* ---- What is not finite ---- */

/* A NaN or an infinity in a row of x, and in a scale of an output, shows there and nowhere else,
 * even where it meets zeros. */
static void what_is_not_finite_stays_in_its_row_and_output(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES; i++)
            for (unsigned way = 0; way < 8; way++) {
                size_t rows = way & 4 ? 9 : 1 + way % 2, at[2];
                struct problem p = problem_new(&r, types[i], rows, 45, 1024, 0);
                size_t row = random_below(&r, rows), output = random_below(&r, p.outputs);
                size_t halves = halves_of(types[i], at), block = dtype_info(types[i])->bytes;
                size_t blocks = p.inputs / dtype_info(types[i])->block;
                p.x[row * (p.inputs + SPARE) + random_below(&r, p.inputs)] =
                    way & 1 ? NAN : INFINITY;
                uint8_t *bad = p.stored + (output * blocks + random_below(&r, blocks)) * block;
                memset(bad, 0, block);
                put_half(bad, at[random_below(&r, halves)], way & 2 ? NAN : INFINITY);
                float *y = multiply(k, &p, 2);
                for (size_t t = 0; t < rows; t++)
                    for (size_t o = 0; o < p.outputs; o++)
                        if (isfinite(y[t * (p.outputs + SPARE) + o]) != (t != row && o != output))
                            fail_msg("%s: %s: y[%zu][%zu] = %g; x is not finite in row %zu, w in "
                                     "output %zu",
                                     k->name, dtype_info(types[i])->name, t, o,
                                     (double)y[t * (p.outputs + SPARE) + o], row, output);
                guard_free_floats(y, p.y_floats);
                problem_free(&p);
            }
}

/* A whole matrix packed has at most 1.05 of the bytes of the file. */
static void packing_costs_little_memory(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < TYPES; i++)
            assert_true((double)weight_bytes(k, types[i], 2048, 2048) <=
                        1.05 * 2048 * (double)dtype_size(types[i], 2048));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_within_their_bound),
        cmocka_unit_test(tables_and_threads_agree),
        cmocka_unit_test(rows_do_not_see_each_other),
        cmocka_unit_test(jobs_do_not_see_each_other),
        cmocka_unit_test(made_rows_are_rows),
        cmocka_unit_test(what_is_not_finite_stays_in_its_row_and_output),
        cmocka_unit_test(packing_costs_little_memory),
    };
    random_seed();
    return cmocka_run_group_tests_name("weight", tests, NULL, NULL);
}
