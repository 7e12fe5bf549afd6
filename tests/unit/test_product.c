/* Matrix products of every table: against float64, and against themselves bit for bit.
 *
 * All inputs, outputs and workspaces end at a guard page. u = 2^-24 is the unit of rounding. */
#include <math.h>
#include <stdbool.h>

#include "base/half.h"
#include "guard.h"
#include "kernel/product.h"
#include "random.h"
#include "tables.h"
#include "test.h"

#define U 0x1p-24

enum { SPARE = 3 }; /* floats between rows that nobody may touch */

/* A product with operands of its own; strides are those of rows or columns plus SPARE. */
struct problem {
    struct product p;
    float *a, *b, *c, *bias; /* c as it was before */
    size_t a_floats, b_floats, c_floats;
};

struct shape {
    size_t M, N, K;
    bool a_across, b_across; /* stored [K][M], and [N][K]: the strides of m and k are 1 */
    bool bias, accumulate;
    enum dtype arithmetic;
};

/* Floats from the first to behind the last of `rows` rows. */
static size_t span_of(size_t rows, size_t columns)
{
    return rows && columns ? (rows - 1) * (columns + SPARE) + columns : 0;
}

static struct problem problem_new(struct random *r, struct shape s)
{
    struct problem q = {.a_floats = s.a_across ? span_of(s.K, s.M) : span_of(s.M, s.K),
                        .b_floats = s.b_across ? span_of(s.N, s.K) : span_of(s.K, s.N),
                        .c_floats = span_of(s.M, s.N)};
    q.a = guard_floats(q.a_floats);
    q.b = guard_floats(q.b_floats);
    q.c = guard_floats(q.c_floats);
    q.bias = guard_floats(s.N);
    random_fill(r, q.a, q.a_floats, 1);
    random_fill(r, q.b, q.b_floats, 1);
    random_fill(r, q.c, q.c_floats, 1);
    random_fill(r, q.bias, s.N, 1);
    q.p = (struct product){.M = s.M,
                           .N = s.N,
                           .K = s.K,
                           .a = q.a,
                           .a_m = s.a_across ? 1 : s.K + SPARE,
                           .a_k = s.a_across ? s.M + SPARE : 1,
                           .b = q.b,
                           .b_k = s.b_across ? 1 : s.N + SPARE,
                           .b_n = s.b_across ? s.K + SPARE : 1,
                           .c_m = s.N + SPARE,
                           .bias = s.bias ? q.bias : NULL,
                           .accumulate = s.accumulate,
                           .arithmetic = s.arithmetic};
    return q;
}

static void problem_free(struct problem *q)
{
    guard_free_floats(q->a, q->a_floats);
    guard_free_floats(q->b, q->b_floats);
    guard_free_floats(q->c, q->c_floats);
    guard_free_floats(q->bias, q->p.N);
}

/* The product into a fresh copy of c, with all between its rows. */
static float *multiply(const struct kernels *k, const struct problem *q, int threads)
{
    struct product p = q->p;
    size_t bytes = product_workspace(k, &p, threads);
    assert_int_equal(bytes % 64, 0);
    void *workspace = guard_new(bytes);
    p.c = guard_copy(q->c, q->c_floats * sizeof *q->c);
    product(k, &p, workspace, threads);
    guard_free(workspace, bytes);
    return p.c;
}

static float a_at(const struct product *p, size_t m, size_t k)
{
    return p->a[m * p->a_m + k * p->a_k];
}

static float b_at(const struct product *p, size_t k, size_t n)
{
    return p->b[k * p->b_k + n * p->b_n];
}

static double rounded(const struct product *p, float x)
{
    return p->arithmetic == DTYPE_BF16 ? (double)bf16_to_float(bf16_from_float(x)) : (double)x;
}

/* A chain of n = K + 1 rounded operations from its start, each at most one rounding of all that is
 * in it: within n u / (1 - n u) times the sum of the magnitudes (Higham, 3.1, gamma_n). In pairs of
 * bf16 a step may round each product and each addition, two roundings a term: 2 K + 1. Operands are
 * multiples of 2^-24 of at most 1: no product is near the subnormal numbers. */
static void hold_against_float64(const struct kernels *k, const struct problem *q, const float *c)
{
    const struct product *p = &q->p;
    double n = p->arithmetic == DTYPE_BF16 ? 2 * (double)p->K + 1 : (double)p->K + 1;
    double gamma = n * U / (1 - n * U);
    for (size_t m = 0; m < p->M; m++)
        for (size_t j = 0; j < p->N; j++) {
            double before = p->accumulate ? (double)q->c[m * p->c_m + j] : 0;
            double bias = p->bias ? (double)p->bias[j] : 0;
            double sum = before + bias, size = fabs(before) + fabs(bias);
            for (size_t i = 0; i < p->K; i++) {
                double term = rounded(p, a_at(p, m, i)) * rounded(p, b_at(p, i, j));
                sum += term;
                size += fabs(term);
            }
            double found = (double)c[m * p->c_m + j];
            if (!(fabs(found - sum) <= gamma * size))
                fail_msg("%s: %zu x %zu x %zu, %s: c[%zu][%zu] = %.9g, expected %.9g +- %.3g",
                         k->name, p->M, p->N, p->K, dtype_info(p->arithmetic)->name, m, j, found,
                         sum, gamma * size);
        }
}

static void untouched_between_rows(const struct problem *q, const float *c)
{
    for (size_t m = 0; m + 1 < q->p.M && q->p.N; m++)
        assert_memory_equal(c + m * q->p.c_m + q->p.N, q->c + m * q->p.c_m + q->p.N,
                            SPARE * sizeof *c);
}

/* Every way to lie, to begin and to round, for one size. */
static void hold_size(struct random *r, const struct kernels *k, size_t M, size_t N, size_t K)
{
    for (unsigned way = 0; way < 32; way++) {
        struct shape s = {M,
                          N,
                          K,
                          way & 1,
                          way >> 1 & 1,
                          way >> 2 & 1,
                          way >> 3 & 1,
                          way >> 4 & 1 ? DTYPE_BF16 : DTYPE_F32};
        struct problem q = problem_new(r, s);
        float *c = multiply(k, &q, 1 + (int)random_below(r, 3));
        hold_against_float64(k, &q, c);
        untouched_between_rows(&q, c);
        guard_free_floats(c, q.c_floats);
        problem_free(&q);
    }
}

/* Tails in every dimension: of rows, of vectors, of pairs, of blocks of terms. */
static void products_are_within_their_bound(void **state)
{
    (void)state;
    struct random r = random_start(1);
    static const size_t rows[] = {0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 25};
    static const size_t columns[] = {0, 1, 15, 16, 17, 31, 33, 48, 63, 64, 65, 130};
    static const size_t terms[] = {0, 1, 2, 3, 15, 16, 17, 31, 33, 64, 65, 100};
    enum { ROWS = sizeof rows / sizeof *rows };
    enum { COLUMNS = sizeof columns / sizeof *columns };
    enum { TERMS = sizeof terms / sizeof *terms };
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        for (size_t i = 0; i < ROWS; i++)
            hold_size(&r, k, rows[i], columns[random_below(&r, COLUMNS)],
                      terms[random_below(&r, TERMS)]);
        for (size_t i = 0; i < COLUMNS; i++)
            hold_size(&r, k, rows[random_below(&r, ROWS)], columns[i],
                      terms[random_below(&r, TERMS)]);
        for (size_t i = 0; i < TERMS; i++)
            hold_size(&r, k, rows[random_below(&r, ROWS)], columns[random_below(&r, COLUMNS)],
                      terms[i]);
        hold_size(&r, k, 7, 19, 1100);
        hold_size(&r, k, 19, 7, 2307);
        hold_size(&r, k, 131, 70, 9);
    }
}

static void same_elements(const struct kernels *k, const char *what, const float *whole,
                          size_t stride, const float *part, size_t part_stride, size_t rows,
                          size_t columns)
{
    for (size_t m = 0; m < rows; m++)
        if (memcmp(whole + m * stride, part + m * part_stride, columns * sizeof *whole) != 0)
            fail_msg("%s: %s: row %zu of %zu differs", k->name, what, m, rows);
}

/* Rows [m, m + rows) and columns [n, n + columns) of a product, alone. */
static void hold_part(const struct kernels *k, const struct problem *q, const float *whole,
                      size_t m, size_t rows, size_t n, size_t columns, int threads)
{
    struct problem part = *q;
    size_t c_m = q->p.c_m;
    part.p.M = rows;
    part.p.N = columns;
    part.p.a += m * q->p.a_m;
    part.p.b += n * q->p.b_n;
    part.p.bias = q->p.bias ? q->p.bias + n : NULL;
    part.c += m * c_m + n;
    part.c_floats = (rows - 1) * c_m + columns;
    float *c = multiply(k, &part, threads);
    same_elements(k, "a part alone", whole + m * c_m + n, c_m, c, c_m, rows, columns);
    guard_free_floats(c, part.c_floats);
}

/* {1, 2, 3, 5 threads} x {whole, single rows, single columns, blocks of any place and size}. */
static void parts_have_the_bits_of_the_whole(void **state)
{
    (void)state;
    struct random r = random_start(2);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (unsigned way = 0; way < 16; way++) {
            struct shape s = {37,
                              150,
                              way & 1 ? 1100 : 131,
                              way & 1,
                              way >> 1 & 1,
                              way >> 2 & 1,
                              true,
                              way >> 3 & 1 ? DTYPE_BF16 : DTYPE_F32};
            struct problem q = problem_new(&r, s);
            float *whole = multiply(k, &q, 1);
            for (int threads = 2; threads <= 5; threads++) {
                float *again = multiply(k, &q, threads);
                assert_memory_equal(whole, again, q.c_floats * sizeof *whole);
                guard_free_floats(again, q.c_floats);
            }
            for (size_t trial = 0; trial < 12; trial++) {
                size_t rows = 1 + random_below(&r, trial % 2 ? 18 : s.M);
                size_t columns = 1 + random_below(&r, trial % 3 ? s.N : 3);
                hold_part(k, &q, whole, random_below(&r, s.M - rows + 1), rows,
                          random_below(&r, s.N - columns + 1), columns, 1 + (int)trial % 3);
            }
            guard_free_floats(whole, q.c_floats);
            problem_free(&q);
        }
}

/* The same numbers stored the other way, of either side, give the same bits. */
static void strides_change_no_bit(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (unsigned way = 0; way < 4; way++) {
            struct shape s = {45, 97, 83, way & 1, way >> 1, true, true, DTYPE_F32};
            for (int type = 0; type < 2; type++) {
                s.arithmetic = type ? DTYPE_BF16 : DTYPE_F32;
                struct problem q = problem_new(&r, s), t = q;
                float *a = guard_floats(s.M * s.K), *b = guard_floats(s.K * s.N);
                for (size_t m = 0; m < s.M; m++)
                    for (size_t i = 0; i < s.K; i++)
                        a[s.a_across ? m * s.K + i : i * s.M + m] = a_at(&q.p, m, i);
                for (size_t i = 0; i < s.K; i++)
                    for (size_t n = 0; n < s.N; n++)
                        b[s.b_across ? i * s.N + n : n * s.K + i] = b_at(&q.p, i, n);
                t.p.a = a;
                t.p.a_m = s.a_across ? s.K : 1;
                t.p.a_k = s.a_across ? 1 : s.M;
                t.p.b = b;
                t.p.b_k = s.b_across ? s.N : 1;
                t.p.b_n = s.b_across ? 1 : s.K;
                float *c = multiply(k, &q, 2), *d = multiply(k, &t, 3);
                assert_memory_equal(c, d, q.c_floats * sizeof *c);
                guard_free_floats(a, s.M * s.K);
                guard_free_floats(b, s.K * s.N);
                guard_free_floats(c, q.c_floats);
                guard_free_floats(d, q.c_floats);
                problem_free(&q);
            }
        }
}

/* Of float32 every table computes the one chain that the contract says. */
static void float32_has_one_value(void **state)
{
    (void)state;
    struct random r = random_start(4);
    for (unsigned way = 0; way < 16; way++) {
        struct shape s = {23, 83, 1061, way & 1, way >> 1 & 1, way >> 2 & 1, way >> 3, DTYPE_F32};
        struct problem q = problem_new(&r, s);
        float *expected = guard_copy(q.c, q.c_floats * sizeof *q.c);
        for (size_t m = 0; m < s.M; m++)
            for (size_t n = 0; n < s.N; n++) {
                float *c = &expected[m * q.p.c_m + n], sum = s.accumulate ? *c : 0;
                sum = s.bias ? (s.accumulate ? sum + q.bias[n] : q.bias[n]) : sum;
                for (size_t i = 0; i < s.K; i++)
                    sum = fmaf(a_at(&q.p, m, i), b_at(&q.p, i, n), sum);
                *c = sum;
            }
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            float *c = multiply(k, &q, 2);
            same_elements(k, "the chain", expected, q.p.c_m, c, q.p.c_m, s.M, s.N);
            guard_free_floats(c, q.c_floats);
        }
        guard_free_floats(expected, q.c_floats);
        problem_free(&q);
    }
}

/* A NaN and an infinity in a row of a, and in a column of b, show there and nowhere else; the
 * infinity may become NaN. */
static void what_is_not_finite_stays_in_its_row_and_column(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (unsigned way = 0; way < 8; way++)
            for (size_t M = 1; M <= 33; M += 16) {
                struct shape s = {M,
                                  67,
                                  29,
                                  way & 1,
                                  way >> 1 & 1,
                                  false,
                                  false,
                                  way >> 2 ? DTYPE_BF16 : DTYPE_F32};
                struct problem q = problem_new(&r, s);
                size_t row = random_below(&r, s.M), column = random_below(&r, s.N), last = s.K - 1;
                q.a[row * q.p.a_m + last * q.p.a_k] = way & 1 ? NAN : INFINITY;
                q.b[column * q.p.b_n + random_below(&r, s.K) * q.p.b_k] = way & 2 ? INFINITY : NAN;
                float *c = multiply(k, &q, 2);
                for (size_t m = 0; m < s.M; m++)
                    for (size_t n = 0; n < s.N; n++)
                        assert_int_equal(isfinite(c[m * q.p.c_m + n]), m != row && n != column);
                guard_free_floats(c, q.c_floats);
                problem_free(&q);
            }
}

/* What c held does not matter where nothing is added to it. */
static void old_values_are_not_read(void **state)
{
    (void)state;
    struct random r = random_start(6);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t K = 0; K <= 70; K += 35) {
            struct shape s = {20, 70, K, false, true, K == 35, false, DTYPE_F32};
            struct problem q = problem_new(&r, s);
            float *c = multiply(k, &q, 1);
            for (size_t i = 0; i < q.c_floats; i++)
                q.c[i] = NAN;
            float *d = multiply(k, &q, 1);
            same_elements(k, "over NaN", c, q.p.c_m, d, q.p.c_m, s.M, s.N);
            guard_free_floats(c, q.c_floats);
            guard_free_floats(d, q.c_floats);
            problem_free(&q);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_within_their_bound),
        cmocka_unit_test(parts_have_the_bits_of_the_whole),
        cmocka_unit_test(strides_change_no_bit),
        cmocka_unit_test(float32_has_one_value),
        cmocka_unit_test(what_is_not_finite_stays_in_its_row_and_column),
        cmocka_unit_test(old_values_are_not_read),
    };
    random_seed();
    return cmocka_run_group_tests_name("product", tests, NULL, NULL);
}
