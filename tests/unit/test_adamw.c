/* The optimiser: AdamW against its equations in float64, the norm against a plain sum, both the
 * same bits for any number of threads; clipping and the schedule at the points that define them. */
#include <math.h>

#include "random.h"
#include "test.h"
#include "train/adamw.h"

enum { N = 50021 }; /* enough for a team, and no multiple of anything */

struct state {
    float w[N], m[N], v[N], g[N];
};

static struct state *state_draw(struct random *r)
{
    struct state *s = malloc(sizeof *s);
    random_fill(r, s->w, N, 1);
    random_fill(r, s->g, N, 0.1f);
    random_fill(r, s->m, N, 0.1f);
    for (size_t i = 0; i < N; i++)
        s->v[i] = random_between(r, 0, 0.01f);
    return s;
}

/* One update from the same float32 numbers. Where each operation is rounded by half a unit in the
 * last place, u = 2^-24 of its result, then with the largest magnitudes that take part
 *
 *     m': one subtraction, two products, one sum             4 u (|m| + |g|)
 *     v': two products, a square of a product, one sum       5 u v'
 *     w': decay u |w|, sum u |w'|; the step s = lr' m' / (sqrt(v') / c + eps): of its denominator
 *         3 u for v' under the root, 3 more for root, quotient and sum; 2 for product and quotient:
 *         8 u |s| and the error of m' times s / m'
 *
 * and u for each constant that was rounded to float32 (1 - beta, lr', c, keep): at most 3 in a
 * chain. The bounds below are those sums. */
static void update_is_the_equation(void **state)
{
    (void)state;
    struct random r = random_start(1);
    const double u = 0x1p-24;
    for (uint64_t t = 1; t <= 1000; t *= 10) {
        struct state *before = state_draw(&r), *after = malloc(sizeof *after);
        const struct adamw a = {.lr = 0.01,
                                .beta1 = 0.9,
                                .beta2 = 0.99,
                                .eps = 1e-8,
                                .weight_decay = 0.1,
                                .t = t,
                                .scale = 0.5};
        *after = *before;
        adamw_update(&a, after->w, after->g, after->m, after->v, N, 2);
        double size = a.lr / (1 - pow(a.beta1, (double)t)),
               root = sqrt(1 - pow(a.beta2, (double)t));
        for (size_t i = 0; i < N; i++) {
            double g = (double)before->g[i] * a.scale, old = (double)before->m[i];
            double m = old + (1 - a.beta1) * (g - old);
            double v = a.beta2 * (double)before->v[i] + (1 - a.beta2) * g * g;
            double per = size / (sqrt(v) / root + a.eps);
            double w = (1 - a.lr * a.weight_decay) * (double)before->w[i] - per * m;
            double m_bound = 7 * u * (fabs(old) + fabs(g));
            double w_bound = 2 * u * (fabs((double)before->w[i]) + fabs(w)) +
                             11 * u * fabs(per * m) + per * m_bound;
            assert_true(fabs((double)after->m[i] - m) <= m_bound);
            assert_true(fabs((double)after->v[i] - v) <= 8 * u * v);
            assert_true(fabs((double)after->w[i] - w) <= w_bound);
        }
        free(before);
        free(after);
    }
}

/* What PyTorch's AdamW and clip_grad_norm_ make of the same gradients (tools/adamw_golden.py). Each
 * of the 10 steps changes a parameter by 0.01 at most, and both sides round about 10 times on the
 * way to that, 2^-24 each: 2e-8 of it in the worst case; and they round the parameter itself, of up
 * to 1, by 2^-24 in each step. */
static void updates_are_those_of_pytorch(void **state)
{
    (void)state;
    enum { COUNT = 8, STEPS = 10 };
    static const float golden[COUNT] = {-0x1.9eb55ep-1f, -0x1.4f9248p-1f, -0x1.508360p-2f,
                                        -0x1.263088p-3f, 0x1.306880p-3f,  0x1.81b38ap-2f,
                                        0x1.2f79e2p-1f,  0x1.d333d2p-1f};
    float w[COUNT], g[COUNT], m[COUNT] = {0}, v[COUNT] = {0};
    double norm = 0;
    for (size_t i = 0; i < COUNT; i++)
        w[i] = ((float)i - 3.5f) / 4;
    for (size_t step = 0; step < STEPS; step++) {
        for (size_t i = 0; i < COUNT; i++)
            g[i] = (float)((int)((i * 37 + step * 11) % 64) - 32) / 64;
        norm = gradient_norm(g, COUNT, 1);
        const struct adamw a = {0.01, 0.9, 0.99, 1e-8, 0.1, step + 1, gradient_clip(norm, 0.7)};
        adamw_update(&a, w, g, m, v, COUNT, 1);
    }
    assert_true(fabs(norm - 0x1.8f5c08p-1) < 1e-6);
    for (size_t i = 0; i < COUNT; i++)
        assert_true(fabsf(w[i] - golden[i]) <= STEPS * (2 * 0x1p-24f + 2e-8f));
}

/* Where parameter and gradient are zero, and the moments too, they stay so: what lies between two
 * parameters. */
static void zero_stays_zero(void **state)
{
    (void)state;
    float w[40] = {0}, g[40] = {0}, m[40] = {0}, v[40] = {0}, zero[40] = {0};
    const struct adamw a = {0.01, 0.9, 0.99, 1e-8, 0.1, 1, 1};
    adamw_update(&a, w, g, m, v, 40, 1);
    assert_memory_equal(w, zero, sizeof w);
    assert_memory_equal(m, zero, sizeof m);
    assert_memory_equal(v, zero, sizeof v);
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    struct random r = random_start(2);
    struct state *before = state_draw(&r), *one = malloc(sizeof *one), *more = malloc(sizeof *more);
    const struct adamw a = {0.01, 0.9, 0.99, 1e-8, 0.1, 3, 0.7};
    *one = *before;
    adamw_update(&a, one->w, one->g, one->m, one->v, N, 1);
    double norm = gradient_norm(before->g, N, 1);
    for (int threads = 2; threads <= 5; threads++) {
        *more = *before;
        adamw_update(&a, more->w, more->g, more->m, more->v, N, threads);
        assert_memory_equal(one, more, sizeof *one);
        double again = gradient_norm(before->g, N, threads);
        assert_memory_equal(&norm, &again, sizeof norm);
    }
    free(before);
    free(one);
    free(more);
}

/* Sums of n non-negative terms, each rounded: n 2^-53 of the sum at most, half of it after the
 * root.
 */
static void norm_is_the_root_of_the_squares(void **state)
{
    (void)state;
    struct random r = random_start(3);
    struct state *s = state_draw(&r);
    static const size_t counts[] = {0, 1, 7, 8, 63, 64, 65, 1000, 16384, N};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        long double sum = 0;
        for (size_t i = 0; i < counts[c]; i++)
            sum += (long double)s->g[i] * (long double)s->g[i];
        double expected = (double)sqrtl(sum), found = gradient_norm(s->g, counts[c], 2);
        assert_true(fabs(found - expected) <= ((double)counts[c] + 2) * 0x1p-53 * expected);
    }
    s->g[N / 3] = NAN;
    assert_true(isnan(gradient_norm(s->g, N, 2)));
    s->g[N / 3] = INFINITY;
    assert_true(isinf(gradient_norm(s->g, N, 2)));
    free(s);
}

static void clipping(void **state)
{
    (void)state;
    assert_true(gradient_clip(0.5, 1) == 1);
    assert_true(gradient_clip(100, 0) == 1);
    assert_true(fabs(gradient_clip(4, 1) - 0.25) < 1e-6);
    assert_true(gradient_clip(0, 1) == 1);
}

static void schedule(void **state)
{
    (void)state;
    const struct schedule s = {.high = 1, .low = 0.1, .warmup = 10, .steps = 110};
    for (size_t step = 0; step < 10; step++)
        assert_true(fabs(schedule_rate(&s, step) - (double)(step + 1) / 11) < 1e-15);
    assert_true(schedule_rate(&s, 10) == 1);
    assert_true(fabs(schedule_rate(&s, 60) - 0.55) < 1e-15);
    assert_true(schedule_rate(&s, 110) == 0.1);
    assert_true(schedule_rate(&s, 1000) == 0.1);
    for (size_t step = 10; step < 110; step++)
        assert_true(schedule_rate(&s, step) > schedule_rate(&s, step + 1));
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(update_is_the_equation),
        cmocka_unit_test(updates_are_those_of_pytorch),
        cmocka_unit_test(zero_stays_zero),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(norm_is_the_root_of_the_squares),
        cmocka_unit_test(clipping),
        cmocka_unit_test(schedule),
    };
    return cmocka_run_group_tests_name("adamw", tests, NULL, NULL);
}
