/* GELU of every table: within its bound of the definition in float64, the same bits in all tables,
 * NaN visible. u = 2^-24. */
#include <math.h>

#include "guard.h"
#include "kernel/kernel.h"
#include "random.h"
#include "tables.h"
#include "test.h"

#define U 0x1p-24

/* The argument w of the exponential has six roundings, relative; exp adds two: its error reaches
 * the result in the share e / (1 + e). Two more at the end. Where exp overflows the result is 0
 * instead of less than 1e-36. */
static double tanh_form(double x, double *bound)
{
    double w = -2 * sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x), e = exp(w);
    double exact = isinf(e) ? 0 : x / (1 + e), share = isinf(e) ? 1 : e / (1 + e);
    *bound = 1.001 * ((2 + 6 * fabs(w)) * share + 2) * U * fabs(exact) + 1e-36;
    return exact;
}

/* a Phi(-a): exp two, and its argument's rounding a^2 / 2; t two; Horner's eight steps, two
 * roundings each, on magnitudes at most twice the sum; the fit 0.84; three products. One at the
 * end. Beyond 10 the fit promises nothing, but the value is below 1e-22. */
static double erf_form(double x, double *bound)
{
    double a = fabs(x), tail = a * 0.5 * erfc(a * sqrt(0.5)), exact = (x > 0 ? x : 0) - tail;
    *bound = 1.001 * U * ((40 + a * a / 2) * tail + fabs(exact)) + (a > 10 ? 1e-22 : 1e-40);
    return exact;
}

static float drawn(struct random *r, size_t trial)
{
    return trial % 3 == 0 ? random_between(r, -4, 4) : random_between(r, -40, 40);
}

static void each_form_is_within_its_bound(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t n = 0; n <= 70; n++)
            for (size_t trial = 0; trial < 12; trial++) {
                float *x = guard_floats(n), *up = guard_floats(n), *y = guard_floats(n);
                bool of_erf = trial % 2;
                for (size_t i = 0; i < n; i++)
                    x[i] = drawn(&r, trial);
                random_fill(&r, up, n, 3);
                (of_erf ? k->gelu_erf : k->gelu_tanh)(y, x, n);
                for (size_t i = 0; i < n; i++) {
                    double bound, exact = (of_erf ? erf_form : tanh_form)((double)x[i], &bound);
                    if (!(fabs((double)y[i] - exact) <= bound))
                        fail_msg("%s: gelu %d of %a = %a, expected %a", k->name, of_erf, x[i], y[i],
                                 exact);
                }
                k->gelu_tanh(y, x, n);
                k->geglu(x, x, up, n);
                for (size_t i = 0; i < n; i++)
                    assert_true(float_bits(x[i]) == float_bits(y[i] * up[i]));
                guard_free_floats(x, n);
                guard_free_floats(up, n);
                guard_free_floats(y, n);
            }
}

static void tables_agree_bit_for_bit(void **state)
{
    (void)state;
    struct random r = random_start(2);
    enum { N = 64 };
    float x[N], y[N], expected[N];
    for (size_t trial = 0; trial < 4000; trial++) {
        for (size_t i = 0; i < N; i++)
            x[i] = trial & 1 ? drawn(&r, trial) : random_any_float(&r);
        for (int form = 0; form < 2; form++)
            for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
                const struct kernels *first = tables_first();
                (form ? first->gelu_erf : first->gelu_tanh)(expected, x, N);
                (form ? k->gelu_erf : k->gelu_tanh)(y, x, N);
                for (size_t i = 0; i < N; i++) {
                    assert_true(!isnan(x[i]) || isnan(y[i]));
                    if (isnan(expected[i]) ? !isnan(y[i])
                                           : float_bits(y[i]) != float_bits(expected[i]))
                        fail_msg("%s: gelu %d of %a = %a, ref %a", k->name, form, x[i], y[i],
                                 expected[i]);
                }
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_within_its_bound),
        cmocka_unit_test(tables_agree_bit_for_bit),
    };
    random_seed();
    return cmocka_run_group_tests_name("gelu", tests, NULL, NULL);
}
