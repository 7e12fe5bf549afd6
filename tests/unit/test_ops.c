/* Rotary position embedding is a rotation, of adjacent pairs or of halves. */
#include <math.h>

#include "guard.h"
#include "kernel/ops.h"
#include "random.h"
#include "test.h"

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

/* Halves are adjacent pairs in another order, and dimensions behind them stay. */
static void halves_are_pairs_apart(void **state)
{
    (void)state;
    enum { D = 10, R = 6, HEADS = 2 };
    struct random r = random_start(3);
    float cosine[R / 2], sine[R / 2], pairs[HEADS * R], x[HEADS * D], before[HEADS * D];
    double frequency[R / 2];
    rope_frequencies(frequency, R, 10000);
    rope_angles(cosine, sine, frequency, R, 1234);
    random_fill(&r, x, HEADS * D, 2);
    memcpy(before, x, sizeof x);
    for (size_t h = 0; h < HEADS; h++)
        for (size_t i = 0; i < R; i++)
            pairs[h * R + i] = x[h * D + i / 2 + i % 2 * R / 2];
    rope(pairs, cosine, sine, HEADS, R);
    rope_halves(x, cosine, sine, HEADS, D, R);
    for (size_t h = 0; h < HEADS; h++) {
        for (size_t i = 0; i < R; i++)
            assert_true(x[h * D + i / 2 + i % 2 * R / 2] == pairs[h * R + i]);
        assert_memory_equal(x + h * D + R, before + h * D + R, (D - R) * sizeof *x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_rotates_pairs),
        cmocka_unit_test(halves_are_pairs_apart),
    };
    random_seed();
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
