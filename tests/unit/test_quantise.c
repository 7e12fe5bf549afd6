/* Quantising: what must hold of any weights, to the edges of what is taken. */
#include <math.h>

#include "guard.h"
#include "kernel/quantise.h"
#include "kernel/ref/ref.h"
#include "random.h"
#include "test.h"

enum { ROWS = 25, K = 512, N = ROWS * K };

static const enum dtype types[] = {
#define TYPE(name, number, text, block, bytes) DTYPE_##name,
    DTYPE_LIST(TYPE)
#undef TYPE
};

enum { TYPES = sizeof types / sizeof types[0] };

static const char *name_of(size_t t)
{
    return dtype_info(types[t])->name;
}

/* x quantised and read again. */
static void round_trip(size_t t, float *y, const float *x, int threads)
{
    static uint8_t bytes[N * sizeof(float)];
    quantise(kernels_best(), types[t], bytes, x, N, threads);
    unpack_ref(types[t], y, bytes, N);
}

static void a_block_is_a_function_of_itself(void **state)
{
    (void)state;
    struct random r = random_start(1);
    static float x[N];
    static uint8_t all[N * sizeof(float)], one[N * sizeof(float)];
    random_fill(&r, x, N, 1);
    for (size_t t = 0; t < TYPES; t++)
        for (int threads = 1; threads <= 3; threads++) {
            size_t bytes = dtype_size(types[t], K);
            quantise(kernels_best(), types[t], all, x, N, threads);
            for (size_t row = 0; row < ROWS; row++) {
                quantise(kernels_best(), types[t], one, x + row * K, K, 1);
                if (memcmp(one, all + row * bytes, bytes) != 0)
                    fail_msg("%s: row %zu of %d threads", name_of(t), row, threads);
            }
        }
}

/* Neither reads nor writes beyond its blocks. */
static void nothing_beyond_the_blocks_is_touched(void **state)
{
    (void)state;
    struct random r = random_start(2);
    for (size_t t = 0; t < TYPES; t++) {
        size_t bytes = dtype_size(types[t], K);
        float *in = guard_floats(K);
        void *out = guard_new(bytes);
        random_fill(&r, in, K, 3);
        quantise(kernels_best(), types[t], out, in, K, 1);
        guard_free_floats(in, K);
        guard_free(out, bytes);
    }
}

static void zeros_stay_zeros(void **state)
{
    (void)state;
    static float x[N], y[N];
    for (size_t t = 0; t < TYPES; t++) {
        round_trip(t, y, x, 1);
        for (size_t i = 0; i < N; i++)
            if (y[i] != 0)
                fail_msg("%s: %g of 0", name_of(t), y[i]);
    }
}

/* How far any element may be off, as a part of the largest magnitude A of its group.
 *
 * Groups of one sign of the affine K types reach from 0 to A in `most` steps, those of both signs
 * over at most 2A; the others reach over 2A in 2^bits - 1 steps, of which one side has one more.
 * Half a step is the error of the nearest level, a scale rounded to 6 (4) bits is off by a 1/126
 * (1/30) of the block's largest, and all of the A of the group where the group is small. Searches
 * may give up an extreme for the others: a whole step more is allowed. */
static double worst(enum dtype type)
{
    switch (type) {
    case DTYPE_Q2_K:
        return 2.0 / 3 * 1.5 + 1.0 / 10;
    case DTYPE_Q3_K:
        return 2.0 / 7 * 1.5 + 1.0 / 30;
    case DTYPE_Q4_0:
    case DTYPE_Q4_1:
    case DTYPE_Q4_K:
        return 2.0 / 15 * 1.5 + 1.0 / 60;
    case DTYPE_IQ4_NL: /* the widest gap of the table is 24 of 127 */
    case DTYPE_IQ4_XS:
        return 24.0 / 127 * 1.5 + 1.0 / 30;
    case DTYPE_Q5_0:
    case DTYPE_Q5_1:
    case DTYPE_Q5_K:
        return 2.0 / 31 * 1.5 + 1.0 / 60;
    case DTYPE_Q6_K:
        return 2.0 / 63 * 1.5 + 1.0 / 120;
    case DTYPE_Q8_0:
        return 1.0 / 254 + 1.0 / 2048; /* f16 rounds the scale by 2^-11 */
    case DTYPE_F32:
        return 0;
    case DTYPE_F16:
        return 1.0 / 2048;
    case DTYPE_BF16:
        return 1.0 / 256;
    }
    return 0;
}

static void fill_kind(struct random *r, float *x, size_t kind, float size)
{
    for (size_t i = 0; i < N; i++)
        x[i] = kind == 0   ? random_between(r, -size, size)
               : kind == 1 ? random_between(r, 0, size)
               : kind == 2 ? random_between(r, -size, 0)
               : kind == 3 ? (random_below(r, 2) ? size : -size)
                           : size;
}

/* How far an element may be off where scales are small: an f16 is then a multiple of 2^-24, off by
 * 2^-25 at most, and an element is at most as many of them as its level says, and of the affine
 * types a least one more. Of the K types and IQ4_XS the f16 is of the scales, which are up to 128
 * of it, and levels are up to 32 of those; scales are searched too. */
static double least(enum dtype type)
{
    switch (type) {
    case DTYPE_F32:
    case DTYPE_BF16:
        return 1e-38;
    case DTYPE_F16:
        return 0x1p-25;
    case DTYPE_Q4_0:
        return 8 * 0x1p-25;
    case DTYPE_Q4_1:
    case DTYPE_Q5_0:
        return 16 * 0x1p-25;
    case DTYPE_Q5_1:
        return 32 * 0x1p-25;
    case DTYPE_Q8_0:
    case DTYPE_IQ4_NL:
        return 127 * 0x1p-25;
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
    case DTYPE_Q6_K:
    case DTYPE_IQ4_XS:
        return 128 * 32 * 0x1p-24;
    }
    return 0;
}

/* From below the least f16 to the largest number that is taken: errors stay in proportion to the
 * block's largest, or to the least step of an f16 where that is coarser. */
static void errors_are_in_proportion(void **state)
{
    (void)state;
    struct random r = random_start(3);
    static float x[N], y[N];
    static const float sizes[] = {QUANTISE_MOST, 1000, 1, 1e-3f, 1e-6f, 1e-30f, 1e-45f};
    for (size_t kind = 0; kind < 5; kind++)
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            fill_kind(&r, x, kind, sizes[s]);
            for (size_t t = 0; t < TYPES; t++) {
                round_trip(t, y, x, 2);
                double bound = worst(types[t]) * (double)sizes[s] + least(types[t]);
                for (size_t i = 0; i < N; i++)
                    if (!(fabs((double)y[i] - x[i]) <= bound))
                        fail_msg("%s: kind %zu of size %g: %g became %g", name_of(t), kind,
                                 sizes[s], x[i], y[i]);
            }
        }
}

/* The best of simple rounding with float32 scales of each group, which no block can store. */
static double simple_error(const float *x, size_t n, float levels, bool affine)
{
    double sum = 0;
    for (size_t g = 0; g < N; g += n) {
        float low = 0, high = 0;
        for (size_t i = g; i < g + n; i++) {
            low = x[i] < low ? x[i] : low;
            high = x[i] > high ? x[i] : high;
        }
        float most = high > -low ? high : -low;
        float step = affine ? (high - low) / levels : 2 * most / levels;
        float from = affine ? low : -most;
        for (size_t i = g; i < g + n; i++) {
            double off = from + step * roundf((x[i] - from) / step) - x[i];
            sum += off * off;
        }
    }
    return sqrt(sum / N);
}

/* Searching gains more than rounding the scales to few bits costs. */
static void searches_beat_simple_rounding(void **state)
{
    (void)state;
    static const struct {
        enum dtype type;
        size_t n;
        float levels;
        bool affine;
    } cases[] = {{DTYPE_Q2_K, 16, 3, true},    {DTYPE_Q3_K, 16, 7, false},
                 {DTYPE_Q4_K, 32, 15, true},   {DTYPE_Q5_K, 32, 31, true},
                 {DTYPE_Q6_K, 16, 63, false},  {DTYPE_IQ4_NL, 32, 15, false},
                 {DTYPE_IQ4_XS, 32, 15, false}};
    struct random r = random_start(4);
    static float x[N], y[N];
    for (size_t i = 0; i < N; i++)
        x[i] = random_normal(&r);
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        double sum = 0, simple = simple_error(x, cases[c].n, cases[c].levels, cases[c].affine);
        size_t t = 0;
        while (types[t] != cases[c].type)
            t++;
        round_trip(t, y, x, 2);
        for (size_t i = 0; i < N; i++)
            sum += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
        print_message("# %-6s %.5f, simple rounding %.5f\n", name_of(t), sqrt(sum / N), simple);
        assert_true(sqrt(sum / N) < simple);
    }
}

static void what_is_no_weight_is_found(void **state)
{
    (void)state;
    float x[8] = {0, -QUANTISE_MOST, QUANTISE_MOST, 1e-45f, 0, 0, 0, 0};
    size_t at = 99;
    assert_true(quantise_takes(x, 8, &at));
    assert_int_equal(at, 99);
    static const float others[] = {NAN, INFINITY, -INFINITY, 65505.0f};
    for (size_t i = 0; i < 4; i++) {
        x[5] = others[i];
        assert_false(quantise_takes(x, 8, &at));
        assert_int_equal(at, 5);
        at = 99;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_a_function_of_itself),
        cmocka_unit_test(nothing_beyond_the_blocks_is_touched),
        cmocka_unit_test(zeros_stay_zeros),
        cmocka_unit_test(errors_are_in_proportion),
        cmocka_unit_test(searches_beat_simple_rounding),
        cmocka_unit_test(what_is_no_weight_is_found),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
