/* Operations over whole activations: matmul is the table's dots of the unpacked weights, whatever
 * the threads and the number of rows; rotary embedding is a rotation. */
#include <math.h>
#include <stdbool.h>

#include "guard.h"
#include "kernel/ops.h"
#include "random.h"
#include "tables.h"
#include "test.h"

/* A stored matrix of small numbers, ending at a guard page; `floats` is what it holds, unpacked. */
static void *matrix_draw(struct random *r, enum dtype type, size_t n, float *floats)
{
    size_t bytes = dtype_size(type, n);
    unsigned char *data = guard_new(bytes);
    random_fill(r, floats, n, 1);
    if (type == DTYPE_Q8_0)
        for (size_t i = 0; i < bytes; i++)
            data[i] = i % 34 == 1 ? 0x20 : (unsigned char)random_bits(r); /* scales near 2^-7 */
    else
        tables_first()->pack(type, data, floats, n);
    tables_first()->unpack(type, floats, data, n);
    return data;
}

/* Each element has the bits of dots of its row and its output alone: so it depends neither on T,
 * nor on the threads, nor on the blocks that outputs are unpacked in. The scratch ends at a guard.
 */
static void matmul_is_dots_of_each_element(void **state)
{
    (void)state;
    struct random r = random_start(1);
    enum { N = 75, K = 96, MOST = 9 };
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0};
    static const int threads[] = {1, 2, 3, 5};
    static float w[N * K];
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < 4; i++) {
            void *data = matrix_draw(&r, types[i], N * K, w);
            struct matrix matrix = {types[i], data, N, K};
            for (size_t T = 1; T <= MOST; T++) {
                float *x = guard_floats(T * K), *y = guard_floats(T * N);
                random_fill(&r, x, T * K, 1);
                for (size_t j = 0; j < 4; j++) {
                    size_t floats = matmul_scratch(K, threads[j]);
                    float *scratch = guard_floats(floats);
                    memset(y, 0xff, T * N * sizeof *y);
                    matmul(k, y, x, &matrix, T, scratch, threads[j]);
                    for (size_t at = 0; at < T * N; at++) {
                        float alone;
                        k->dots(&alone, 1, x + at / N * K, 1, w + at % N * K, 1, K);
                        if (float_bits(alone) != float_bits(y[at]))
                            fail_msg("%s: %s, T = %zu, %d threads: [%zu][%zu]", k->name,
                                     dtype_info(types[i])->name, T, threads[j], at / N, at % N);
                    }
                    guard_free_floats(scratch, floats);
                }
                guard_free_floats(x, T * K);
                guard_free_floats(y, T * N);
            }
            guard_free(data, dtype_size(types[i], N * K));
        }
}

/* Against the rotation in float64: cosine and sine are rounded, two products and their sum, so each
 * element is within 3 u (|even| + |odd|). Heads of one row turn by the same angles; position 0 is
 * the identity; D = 2 and an angle beyond 2^20 too. */
static void rope_rotates_pairs(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const size_t dims[] = {2, 8, 40, 128};
    static const size_t positions[] = {0, 1, 77, 4095, 2000003};
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 5; j++) {
            size_t D = dims[i], heads = 3;
            double frequency[64], base = j & 1 ? 10000 : 500000;
            float cosine[64], sine[64], before[3 * 128];
            float *x = guard_floats(heads * D);
            random_fill(&r, x, heads * D, 2);
            memcpy(before, x, heads * D * sizeof *x);
            rope_frequencies(frequency, D, base);
            rope_angles(cosine, sine, frequency, D, positions[j]);
            rope(x, cosine, sine, heads, D);
            for (size_t at = 0; at < heads * D; at += 2) {
                double angle = (double)positions[j] * pow(base, -(double)(at % D) / (double)D);
                double even = before[at], odd = before[at + 1], u = 0x1p-24;
                double error = 1.001 * 3 * u * (fabs(even) + fabs(odd));
                error += fabs(angle) * 0x1p-50 * 4; /* of the angle itself */
                assert_true(fabs(x[at] - (even * cos(angle) - odd * sin(angle))) <= error);
                assert_true(fabs(x[at + 1] - (even * sin(angle) + odd * cos(angle))) <= error);
            }
            if (positions[j] == 0)
                assert_memory_equal(x, before, heads * D * sizeof *x);
            guard_free_floats(x, heads * D);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul_is_dots_of_each_element),
        cmocka_unit_test(rope_rotates_pairs),
    };
    random_seed();
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
