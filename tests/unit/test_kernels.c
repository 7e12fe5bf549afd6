/* Every kernel table against ref or float64: conversions, exponential, products, rows.
 *
 * All inputs and outputs end at a guard page (guard.h), so a vector that reaches one element too
 * far is a fault. u = 2^-24 is the unit of rounding; a sum of n terms in any order is within
 * n u sum |term| of the exact one (Higham, "Accuracy and Stability of Numerical Algorithms", 3.1:
 * gamma_n, with 1.001 for what is of second order). */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "base/half.h"
#include "guard.h"
#include "kernel/exp.h"
#include "kernel/kernel.h"
#include "random.h"
#include "tables.h"
#include "test.h"

#define U 0x1p-24

static bool same_bits(const float *a, const float *b, size_t n)
{
    return n == 0 || memcmp(a, b, n * sizeof *a) == 0;
}

static void tables_are_chosen_by_name(void **state)
{
    (void)state;
    trib_error error = {TRIB_OK, ""};
    const struct kernels *found, *best = NULL;
    assert_string_equal(tables_first()->name, "ref");
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        assert_int_equal(kernels_choose(&found, k->name, &error), TRIB_OK);
        assert_ptr_equal(found, k);
        best = k;
    }
    assert_int_equal(kernels_choose(&found, NULL, &error), TRIB_OK);
    assert_ptr_equal(found, best);
    assert_int_equal(kernels_choose(&found, "", NULL), TRIB_OK);
    assert_ptr_equal(found, best);
    assert_int_equal(error.status, TRIB_OK);
    assert_int_equal(kernels_choose(&found, "avx1024", &error), TRIB_INVALID);
    assert_null(found);
    assert_non_null(strstr(error.message, "avx1024"));
}

/* Whether the cases of all programs run the table: what this processor has not is not tested here.
 */
static void table_is_run(void **state)
{
    const char *name = *state;
    const struct kernels *found;
    trib_status status = kernels_choose(&found, name, NULL);
    if (status == TRIB_UNSUPPORTED) {
        print_message("# skipped: this processor has no %s\n", name);
        skip();
    }
    assert_int_equal(status, TRIB_OK);
    for (const struct kernels *k = tables_first(); k != found; k = tables_after(k))
        assert_non_null(k);
}

/* The distance of y from exp(x) in units in the last place of exp(x). */
static double exp_error(float x, float y)
{
    double exact = exp((double)x);
    int exponent;
    frexp(exact, &exponent);
    return fabs(y - exact) / ldexp(1, exponent - 24 < -149 ? -149 : exponent - 24);
}

/* Over all 2^32 arguments the worst is 1.009 ulp, 0.750 of the smallest subnormal below 2^-126;
 * here every 1,000th or so, and the edges one by one. */
static void exp_is_within_its_bound(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (uint64_t bits = 0; bits < 1ull << 32; bits += 1 + random_below(&r, 2000)) {
        float x = float_from_bits((uint32_t)bits), y = exp_scalar(x);
        if (isnan(x))
            assert_true(isnan(y));
        else if (x > 89)
            assert_true(y == INFINITY);
        else if (x < -104)
            assert_true(y == 0 && !signbit(y));
        else if (exp((double)x) < 0x1.ffffffp127 && !(exp_error(x, y) <= 1.01))
            fail_msg("exp(%a) = %a, off by %f ulp", x, y, exp_error(x, y));
    }
    assert_true(exp_scalar(-INFINITY) == 0 && exp_scalar(INFINITY) == INFINITY);
    assert_true(exp_scalar(0.0f) == 1 && exp_scalar(-0.0f) == 1);
    assert_true(exp_scalar(0x1.62e42ep+6f) <= 0x1.fffffep127f); /* the last below overflow */
    assert_true(exp_scalar(0x1.62e430p+6f) == INFINITY);
    assert_true(exp_scalar(-0x1.9fe368p+6f) == 0x1p-149f); /* the last above half of 2^-149 */
    assert_true(exp_scalar(-0x1.9fe36ap+6f) == 0);
}

/* How far 2^x may be off, x <= 0: the polynomial 1.6 u, its last step 1, the steps before less than
 * 0.8, the fraction x - floor(x), rounded anyhow, 0.7: 4.1 u, and half of 2^-149 where subnormal.
 */
static double exp2_error(double exact)
{
    return 4.1 * U * exact + 0x1p-150;
}

static void exp2_is_within_its_bound(void **state)
{
    (void)state;
    struct random r = random_start(11);
    for (uint64_t bits = 0x80000000u; bits < 0xff800000u; bits += 1 + random_below(&r, 2000)) {
        float x = float_from_bits((uint32_t)bits), y = exp2_scalar(x);
        double exact = exp2((double)x);
        if (!(fabs(y - exact) <= exp2_error(exact)))
            fail_msg("exp2(%a) = %a", x, y);
    }
    assert_true(exp2_scalar(0.0f) == 1 && exp2_scalar(-0.0f) == 1 && exp2_scalar(-1) == 0.5f);
    assert_true(exp2_scalar(-INFINITY) == 0 && exp2_scalar(-FLT_MAX) == 0);
    assert_true(exp2_scalar(-149) == 0x1p-149f && isnan(exp2_scalar(NAN)));
}

/* Absorbing 16 keys that score x_j <= 0 into a state of m = 0, with one-hot values, leaves
 * 2^(x_j - 0) in o: the exponential of the table as it is, to its bound. That of base e shows
 * through swiglu of up = 1, which is x / (1 + exp(-x)), and is the scalar one bit for bit. */
static void vector_exponentials_are_those_of_exp_h(void **state)
{
    (void)state;
    struct random r = random_start(2);
    enum { D = VALUE_ALIGN };
    static float keys[D][D], values[D][D];
    static _Alignas(64) char memory[2 * D * CHUNK * sizeof(float)];
    uint64_t visible = 0xffff;
    const uint64_t *const words = &visible;
    const bool finite = true;
    float q[D] = {1}, x[CHUNK], ones[CHUNK], got[CHUNK], expected[CHUNK];
    for (size_t j = 0; j < D; j++)
        values[j][j] = 1;
    for (size_t j = 0; j < CHUNK; j++)
        ones[j] = 1;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t trial = 0; trial < 6000; trial++) {
            float m = 0, d = 0, o[D] = {0};
            for (size_t j = 0; j < D; j++)
                keys[j][0] = trial & 1
                                 ? random_between(&r, -155, 0)
                                 : -fabsf(float_from_bits((uint32_t)random_bits(&r) % 0x7f800001));
            struct chunk_rows rows = {
                DTYPE_F32, false, (char *)keys, (char *)values, sizeof keys[0], 0, D};
            struct panel panel;
            const struct panel *const panels = &panel;
            k->panel_load(&panel, memory, &rows, D, PANEL_ONCE);
            k->absorb(&(struct absorb){.rows = 1,
                                       .head_dim = D,
                                       .chunks = 1,
                                       .q = q,
                                       .panels = &panels,
                                       .visible = &words,
                                       .finite = &finite,
                                       .m = &m,
                                       .d = &d,
                                       .o = o});
            for (size_t j = 0; j < D; j++) {
                double exact = exp2((double)keys[j][0]);
                if (!(fabs(o[j] - exact) <= exp2_error(exact)))
                    fail_msg("%s: exp2(%a) = %a", k->name, keys[j][0], o[j]);
            }
            assert_true(keys[0][0] != 0 || o[0] == 1);
            for (size_t j = 0; j < CHUNK; j++)
                x[j] = random_between(&r, -90, 90);
            k->swiglu(got, x, ones, CHUNK);
            tables_first()->swiglu(expected, x, ones, CHUNK);
            for (size_t j = 0; j < CHUNK; j++)
                if (!isnan(expected[j]) && float_bits(got[j]) != float_bits(expected[j]))
                    fail_msg("%s: silu(%a) = %a, ref %a", k->name, x[j], got[j], expected[j]);
        }
}

static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0};

/* One stored element by its definition. */
static float element(enum dtype type, const unsigned char *in, size_t i)
{
    uint16_t half;
    float f;
    switch (type) {
    case DTYPE_F32:
        return memcpy(&f, in + 4 * i, 4), f;
    case DTYPE_F16:
        return memcpy(&half, in + 2 * i, 2), f16_to_float(half);
    case DTYPE_BF16:
        return memcpy(&half, in + 2 * i, 2), bf16_to_float(half);
    default:
        memcpy(&half, in + i / 32 * 34, 2);
        return f16_to_float(half) * (float)(int8_t)in[i / 32 * 34 + 2 + i % 32];
    }
}

/* Stored bytes at odd addresses too: tensors in files are aligned to what the file says. */
static void hold_unpack(const struct kernels *k, enum dtype type, const void *stored, size_t n,
                        size_t shift)
{
    size_t bytes = dtype_size(type, n);
    char *in = guard_new(bytes + shift);
    float *out = guard_floats(n);
    memcpy(in, stored, bytes);
    k->unpack(type, out, in, n);
    for (size_t i = 0; i < n; i++) {
        float expected = element(type, stored, i);
        if (float_bits(out[i]) != float_bits(expected) && !(isnan(expected) && isnan(out[i])))
            fail_msg("%s: %s [%zu] of %zu: %a, expected %a", k->name, dtype_info(type)->name, i, n,
                     out[i], expected);
    }
    guard_free(in, bytes + shift);
    guard_free_floats(out, n);
}

static void unpack_is_exact_at_every_length(void **state)
{
    (void)state;
    struct random r = random_start(3);
    static unsigned char stored[65536 * 2];
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            for (size_t n = 0; n <= 130; n++) {
                if (n % dtype_info(types[t])->block)
                    continue;
                for (size_t i = 0; i < dtype_size(types[t], n); i++)
                    stored[i] = (unsigned char)random_bits(&r);
                hold_unpack(k, types[t], stored, n, 0);
                if (types[t] != DTYPE_F32)
                    hold_unpack(k, types[t], stored, n, 1);
            }
    for (size_t h = 0; h < 65536; h++)
        memcpy(stored + 2 * h, &(uint16_t){(uint16_t)h}, 2);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        hold_unpack(k, DTYPE_F16, stored, 65536, 0);
        hold_unpack(k, DTYPE_BF16, stored, 65536, 0);
    }
}

/* Any float, and the midpoints between 16-bit neighbours and their neighbours, where rounding
 * decides; NaN stays NaN with its sign and leading bits. half.h has tests of its own in test_base.
 */
static void pack_rounds_as_half_does(void **state)
{
    (void)state;
    struct random r = random_start(4);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t t = 0; t < 3; t++)
            for (size_t n = 0; n <= 130; n++) {
                float *in = guard_floats(n);
                size_t bytes = dtype_size(types[t], n);
                unsigned char *out = guard_new(bytes), expected[130 * 4];
                for (size_t i = 0; i < n; i++) {
                    uint16_t half = (uint16_t)random_bits(&r);
                    uint32_t near = types[t] == DTYPE_F16 ? float_bits(f16_to_float(half)) + 0x1000
                                                          : ((uint32_t)half << 16) + 0x8000;
                    in[i] = random_below(&r, 2)
                                ? random_any_float(&r)
                                : float_from_bits(near + (uint32_t)random_below(&r, 3) - 1);
                    uint16_t bits =
                        types[t] == DTYPE_F16 ? f16_from_float(in[i]) : bf16_from_float(in[i]);
                    if (types[t] == DTYPE_F32)
                        memcpy(expected + 4 * i, in + i, 4);
                    else
                        memcpy(expected + 2 * i, &bits, 2);
                }
                k->pack(types[t], out, in, n);
                if (n && memcmp(out, expected, bytes) != 0)
                    fail_msg("%s: packing %zu to %s", k->name, n, dtype_info(types[t])->name);
                guard_free(out, bytes);
                guard_free_floats(in, n);
            }
}

static const size_t lengths[] = {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 257, 1000};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

/* |y - exact| <= gamma_K sum |x||w| for every element; and, element by element, the bits do not
 * depend on how many rows and outputs are computed together nor on where in them it stands. What
 * lies between the rows of y is not written. */
static void dots_are_exact_and_alone(void **state)
{
    (void)state;
    struct random r = random_start(5);
    enum { MOST = 9, STRIDE = MOST + 2 };
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t l = 0; l < LENGTHS; l++) {
            size_t K = lengths[l];
            float *x = guard_floats(MOST * K), *w = guard_floats(MOST * K), alone[MOST][MOST];
            for (size_t i = 0; i < MOST * K; i++) {
                x[i] = random_normal(&r);
                w[i] = random_between(&r, -2, 2);
            }
            for (size_t i = 0; i < MOST; i++)
                for (size_t n = 0; n < MOST; n++) {
                    double exact = 0, size = 0;
                    for (size_t j = 0; j < K; j++) {
                        exact += (double)x[i * K + j] * w[n * K + j];
                        size += fabs((double)x[i * K + j] * w[n * K + j]);
                    }
                    k->dots(&alone[i][n], 1, x + i * K, 1, w + n * K, 1, K);
                    if (!(fabs(alone[i][n] - exact) <= 1.001 * (double)K * U * size))
                        fail_msg("%s: K = %zu: %.9g, expected %.17g", k->name, K, alone[i][n],
                                 exact);
                }
            for (size_t rows = 1; rows <= MOST; rows++)
                for (size_t outputs = 1; outputs <= MOST; outputs++) {
                    size_t first = MOST - rows, from = MOST - outputs; /* end at the guards */
                    size_t floats = (rows - 1) * STRIDE + outputs;
                    float *y = guard_floats(floats), untouched;
                    memset(&untouched, 0xa5, sizeof untouched);
                    k->dots(y, STRIDE, x + first * K, rows, w + from * K, outputs, K);
                    for (size_t i = 0; i < floats; i++) {
                        bool inside = i % STRIDE < outputs;
                        const float *expected =
                            inside ? &alone[first + i / STRIDE][from + i % STRIDE] : &untouched;
                        if (!same_bits(y + i, expected, 1))
                            fail_msg("%s: K = %zu, %zu rows, %zu outputs: [%zu][%zu]", k->name, K,
                                     rows, outputs, i / STRIDE, i % STRIDE);
                    }
                    guard_free_floats(y, floats);
                }
            guard_free_floats(x, MOST * K);
            guard_free_floats(w, MOST * K);
        }
}

/* A NaN or an infinity of a row or of an output shows there and in no other element. */
static void dots_keep_nan_in_its_place(void **state)
{
    (void)state;
    struct random r = random_start(6);
    enum { MOST = 6, K = 37 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t trial = 0; trial < 200; trial++) {
            float x[MOST * K], w[MOST * K], clean[MOST * MOST], y[MOST * MOST];
            size_t row = random_below(&r, MOST), output = random_below(&r, MOST);
            random_fill(&r, x, MOST * K, 1);
            random_fill(&r, w, MOST * K, 1);
            k->dots(clean, MOST, x, MOST, w, MOST, K);
            x[row * K + random_below(&r, K)] = bad[trial % 3];
            w[output * K + random_below(&r, K)] = bad[trial / 3 % 3];
            k->dots(y, MOST, x, MOST, w, MOST, K);
            for (size_t i = 0; i < MOST * MOST; i++) {
                bool hit = i / MOST == row || i % MOST == output;
                assert_true(hit ? !isfinite(y[i]) : same_bits(y + i, clean + i, 1));
            }
        }
}

/* The sum of squares is within n u (all terms have one sign), halved by the root; 6 more roundings:
 * two divisions, eps, the root (halves two of them), two products. */
static void rmsnorm_is_within_its_bound(void **state)
{
    (void)state;
    struct random r = random_start(7);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t l = 1; l < LENGTHS; l++)
            for (size_t trial = 0; trial < 8; trial++) {
                size_t n = lengths[l];
                float *x = guard_floats(n), *w = guard_floats(n), *y = guard_floats(n);
                float eps = trial & 1 ? 1e-5f : 1e-6f;
                double squares = 0;
                for (size_t i = 0; i < n; i++) {
                    x[i] = random_normal(&r) * (trial & 2 ? 1e-4f : 1e4f);
                    w[i] = random_normal(&r);
                    squares += (double)x[i] * x[i];
                }
                k->rmsnorm(y, x, w, n, eps);
                for (size_t i = 0; i < n; i++) {
                    double exact = x[i] / sqrt(squares / (double)n + eps) * w[i];
                    if (!(fabs(y[i] - exact) <= 1.001 * ((double)n / 2 + 6) * U * fabs(exact)))
                        fail_msg("%s: n = %zu: %.9g, expected %.17g", k->name, n, y[i], exact);
                }
                k->rmsnorm(x, x, w, n, eps);
                assert_true(same_bits(x, y, n));
                x[n / 2] = NAN;
                k->rmsnorm(y, x, w, n, eps);
                for (size_t i = 0; i < n; i++)
                    assert_true(isnan(y[i]));
                guard_free_floats(x, n);
                guard_free_floats(w, n);
                guard_free_floats(y, n);
            }
}

/* exp 2 u, and three roundings; where exp(-x) overflows (x < -88.7) the result is 0 instead of
 * x exp(x), less than 3e-37. */
static void swiglu_is_within_its_bound(void **state)
{
    (void)state;
    struct random r = random_start(8);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t n = 0; n <= 100; n++)
            for (size_t trial = 0; trial < 4; trial++) {
                float *gate = guard_floats(n), *up = guard_floats(n), *y = guard_floats(n);
                float *over = guard_floats(n);
                random_fill(&r, gate, n, trial & 1 ? 120 : 8);
                random_fill(&r, up, n, 4);
                k->swiglu(y, gate, up, n);
                for (size_t i = 0; i < n; i++) {
                    double exact = gate[i] / (1 + exp(-(double)gate[i])) * up[i];
                    if (!(fabs(y[i] - exact) <=
                          1.001 * 5 * U * fabs(exact) + 3e-37 * fabs((double)up[i])))
                        fail_msg("%s: silu(%a) %a = %a, expected %a", k->name, gate[i], up[i], y[i],
                                 exact);
                }
                for (size_t i = 0; i < n; i++)
                    over[i] = trial & 2 ? gate[i] : up[i];
                k->swiglu(over, trial & 2 ? over : gate, trial & 2 ? up : over, n);
                assert_true(same_bits(over, y, n));
                if (n) {
                    gate[n - 1] = trial & 1 ? NAN : gate[n - 1];
                    up[n - 1] = trial & 1 ? up[n - 1] : NAN;
                    k->swiglu(over, gate, up, n);
                    assert_true(isnan(over[n - 1]) && same_bits(over, y, n - 1));
                }
                guard_free_floats(gate, n);
                guard_free_floats(up, n);
                guard_free_floats(y, n);
                guard_free_floats(over, n);
            }
}

static void add_is_exact(void **state)
{
    (void)state;
    struct random r = random_start(9);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t n = 0; n <= 100; n++) {
            float *x = guard_floats(n), *y = guard_floats(n), expected[100];
            for (size_t i = 0; i < n; i++) {
                x[i] = random_any_float(&r);
                y[i] = random_any_float(&r);
                expected[i] = y[i] + x[i];
            }
            k->add(y, x, n);
            for (size_t i = 0; i < n; i++)
                assert_true(same_bits(y + i, expected + i, 1) ||
                            (isnan(y[i]) && isnan(expected[i])));
            guard_free_floats(x, n);
            guard_free_floats(y, n);
        }
}

/* What sampling and merging states are made of has one scalar's bits in every table and length,
 * between guard pages: merging takes no table from its caller, so no table may show. */
static void exp_has_the_same_bits_everywhere(void **state)
{
    (void)state;
    struct random r = random_start(12);
    for (size_t n = 0; n < 300; n++) {
        float *x = guard_floats(n), first[300];
        random_fill(&r, first, n, 10);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            memcpy(x, first, n * sizeof *x);
            k->exp(x, n);
            for (size_t j = 0; j < n; j++)
                if (float_bits(x[j]) != float_bits(exp_scalar(first[j])))
                    fail_msg("%s: exp(%a) = %a", k->name, (double)first[j], (double)x[j]);
        }
        guard_free_floats(x, n);
    }
}

/* With the empty state's score, and NaN, among them. */
static void state_weights_have_the_same_bits_everywhere(void **state)
{
    (void)state;
    struct random r = random_start(14);
    enum { PARTS = 20 };
    for (size_t parts = 0; parts < PARTS; parts++) {
        size_t n = parts * MERGE_ROWS;
        float *s = guard_floats(n), *largest = guard_floats(MERGE_ROWS),
              *least = guard_floats(MERGE_ROWS), *sum = guard_floats(MERGE_ROWS),
              first[PARTS * MERGE_ROWS], before[MERGE_ROWS];
        random_fill(&r, first, n, 10);
        random_fill(&r, before, MERGE_ROWS, 10);
        for (size_t i = 0; i < n; i += 1 + random_below(&r, 60))
            first[i] = i % 2 ? -INFINITY : NAN;
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            memcpy(s, first, n * sizeof *s);
            memcpy(largest, before, sizeof before);
            memcpy(least, before, sizeof before);
            memcpy(sum, before, sizeof before);
            k->state_range(largest, least, s, parts);
            k->state_weights(s, sum, largest, parts);
            for (size_t row = 0; row < MERGE_ROWS; row++) {
                float a = before[row], b = before[row], total = before[row];
                for (size_t i = row; i < n; i += MERGE_ROWS) {
                    a = first[i] > a ? first[i] : a;
                    b = first[i] < b ? first[i] : b;
                }
                assert_true(largest[row] == a && least[row] == b);
                for (size_t i = row; i < n; i += MERGE_ROWS) {
                    float weight = exp_scalar(first[i] - a);
                    total += weight;
                    assert_true(same_bits(s + i, &weight, 1) || (isnan(s[i]) && isnan(weight)));
                }
                assert_true(same_bits(sum + row, &total, 1) || (isnan(sum[row]) && isnan(total)));
            }
        }
        guard_free_floats(s, n);
        guard_free_floats(largest, MERGE_ROWS);
        guard_free_floats(least, MERGE_ROWS);
        guard_free_floats(sum, MERGE_ROWS);
    }
}

static void weigh_has_the_same_bits_everywhere(void **state)
{
    (void)state;
    struct random r = random_start(13);
    enum { PARTS = 21, ROWS = 9, WIDEST = 300 };
    static const size_t widths[] = {32, 64, 128};
    for (size_t trial = 0; trial < 300; trial++) {
        size_t n = trial % 2 ? widths[random_below(&r, 3)] : 1 + random_below(&r, WIDEST);
        size_t rows = random_below(&r, ROWS + 1), from = random_below(&r, 20), all = rows * n;
        size_t parts = random_below(&r, PARTS + 1), stride = rows + random_below(&r, 3);
        float *x[PARTS], *y = guard_floats(all), w[PARTS * (ROWS + 2)], first[ROWS * WIDEST];
        for (size_t p = 0; p < PARTS; p++) {
            x[p] = guard_floats(from + all);
            random_fill(&r, x[p], from + all, 10);
        }
        random_fill(&r, w, PARTS * (ROWS + 2), 1);
        random_fill(&r, first, all, 10);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            memcpy(y, first, all * sizeof *y);
            k->weigh(y, w, stride, (const float *const *)x, parts, from, rows, n);
            for (size_t i = 0; i < all; i++) {
                float sum = first[i];
                for (size_t p = 0; p < parts; p++)
                    sum = fmaf(w[p * stride + i / n], x[p][from + i], sum);
                if (float_bits(y[i]) != float_bits(sum))
                    fail_msg("%s: weigh [%zu] of %zu x %zu: %a, expected %a", k->name, i, rows, n,
                             (double)y[i], (double)sum);
            }
        }
        for (size_t p = 0; p < PARTS; p++)
            guard_free_floats(x[p], from + all);
        guard_free_floats(y, all);
    }
}

#define TABLE(name)                                                                                \
    {                                                                                              \
        "table " name " is run", table_is_run, NULL, NULL, (void *)(uintptr_t)name                 \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_chosen_by_name),
        TABLE("avx2"),
        TABLE("avx512"),
        TABLE("avx512bf16"),
        cmocka_unit_test(exp_is_within_its_bound),
        cmocka_unit_test(exp2_is_within_its_bound),
        cmocka_unit_test(vector_exponentials_are_those_of_exp_h),
        cmocka_unit_test(unpack_is_exact_at_every_length),
        cmocka_unit_test(pack_rounds_as_half_does),
        cmocka_unit_test(dots_are_exact_and_alone),
        cmocka_unit_test(dots_keep_nan_in_its_place),
        cmocka_unit_test(rmsnorm_is_within_its_bound),
        cmocka_unit_test(swiglu_is_within_its_bound),
        cmocka_unit_test(add_is_exact),
        cmocka_unit_test(exp_has_the_same_bits_everywhere),
        cmocka_unit_test(state_weights_have_the_same_bits_everywhere),
        cmocka_unit_test(weigh_has_the_same_bits_everywhere),
    };
    random_seed();
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
