/* Gradients of whole predictors, against central differences of the same predictor in float64.
 *
 * With w one weight, (loss(w + e) - loss(w - e)) / 2e for e = 1e-6: cut off after e^2 / 6 times the
 * third derivative, below 1e-10, and rounded in loss / e 2^-52, below 1e-8 for losses under 100; so
 * the differences are good to 1e-7 of a gradient of size 0.1. A float32 gradient is a sum whose
 * terms have each passed some 100 roundings of 2^-24, 6e-6 of their size at worst, and in the mean
 * far less; 1e-4 of the norm of the parameter's gradient allows the terms to cancel to a tenth.
 * They may cancel wholly: where a query sees one key alone its softmax is 1 whatever q and k are,
 * and the gradient of zero is the difference of two sums below 1, each rounded in 2^-24, times the
 * scale.
 *
 * At a ReLU's kink there is no gradient to compare with. A weight that moves by e moves the input
 * of a ReLU by some e, and float32 rounds that input by less than e; so only batches count in which
 * no ReLU's input is within 20 e of 0. Of those drawn for the largest case that is four in five.
 */
#include <math.h>

#include "predictor_case.h"
#include "tables.h"

enum { BATCHES = 2 }; /* the second continues the first */

static const double step = 1e-6, allowed = 1e-4, kink = 20 * step;

/* Elements of a parameter whose differences are taken: all, or of large ones some. */
static size_t elements_of(const struct parameter *one, const struct predictor_case *c)
{
    size_t most = strncmp(c->name, "large", 5) == 0 ? 5 : 60;
    return one->count < most ? one->count : most;
}

/* *nearest: how near to its kink any ReLU was. */
static double total_loss(const struct predictor *p, const double *w, const struct oracle_past *past,
                         const struct batch *batch, double *nearest)
{
    static struct oracle_past after;
    double loss = 0;
    *nearest = INFINITY;
    for (size_t b = 0; b < batch->B; b++) {
        after = past[b];
        double near = oracle_sequence(p, w, &after, batch->tokens + b * batch->T,
                                      batch->targets + b * batch->T, batch->T, &loss, NULL);
        *nearest = fmin(*nearest, near);
    }
    return loss;
}

/* A batch that follows `past`, with every ReLU off its kink, and its loss. */
static struct case_batch smooth_batch(const struct predictor_case *c, const struct predictor *p,
                                      const double *w, const struct oracle_past *past,
                                      struct random *r, double *loss)
{
    for (int tries = 0; tries < 100; tries++) {
        struct case_batch b = case_batch_new(c, r);
        double nearest;
        *loss = total_loss(p, w, past, &b.batch, &nearest);
        if (nearest > kink)
            return b;
        case_batch_free(&b);
    }
    fail_msg("%s: a ReLU at its kink in every batch", c->name);
    return (struct case_batch){0};
}

static void compare_parameter(const struct predictor_case *c, const struct predictor *p, double *w,
                              const struct oracle_past *past, const struct batch *batch,
                              const struct parameter *one, struct random *r, float scale)
{
    size_t n = elements_of(one, c);
    double norm = 0, error = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = one->offset + (n == one->count ? i : random_below(r, one->count));
        double kept = w[at], high, low, ignored;
        w[at] = kept + step;
        high = total_loss(p, w, past, batch, &ignored);
        w[at] = kept - step;
        low = total_loss(p, w, past, batch, &ignored);
        w[at] = kept;
        double expected = (double)scale * (high - low) / (2 * step);
        double found = (double)p->parameters.gradients[at];
        norm += expected * expected;
        error += (expected - found) * (expected - found);
    }
    double cancelled = (double)scale * 0x1p-24 * sqrt((double)n);
    if (!(sqrt(error) <= allowed * sqrt(norm)) && !(sqrt(error) <= cancelled))
        fail_msg("%s: %s: gradient off by %.3g of %.3g", c->name, one->name, sqrt(error),
                 sqrt(norm));
}

/* Losses of float32 and float64: each position has passed less than a thousand roundings that
 * matter. */
static void compare_loss(const struct predictor_case *c, double found, double expected)
{
    if (!(fabs(found - expected) <= 1000 * 0x1p-24 * expected))
        fail_msg("%s: loss %.9g, expected %.9g", c->name, found, expected);
}

static void check_gradients(const struct predictor_case *c, const struct kernels *kernels)
{
    struct predictor p = case_predictor(c, kernels, 2);
    struct pass pass;
    struct random r = random_start(1);
    struct oracle_past *past = calloc(c->B, sizeof *past);
    double *w = oracle_weights(&p);
    const float scale = 0.25f;
    assert_non_null(past);
    assert_int_equal(pass_open(&pass, &p, c->B, c->T, true, NULL), TRIB_OK);
    for (int i = 0; i < BATCHES; i++) {
        double expected;
        struct case_batch b = smooth_batch(c, &p, w, past, &r, &expected);
        b.batch.continues = i > 0;
        struct loss loss = pass_forward(&pass, &b.batch);
        compare_loss(c, loss.sum, expected);
        memset(p.parameters.gradients, 0, p.parameters.floats * sizeof(float));
        pass_backward(&pass, &b.batch, scale);
        for (size_t n = 0; n < p.parameters.count; n++)
            compare_parameter(c, &p, w, past, &b.batch, &p.parameters.list[n], &r, scale);
        for (size_t row = 0; row < c->B; row++) {
            double ignored = 0;
            oracle_sequence(&p, w, &past[row], b.batch.tokens + row * c->T,
                            b.batch.targets + row * c->T, c->T, &ignored, NULL);
        }
        case_batch_free(&b);
    }
    pass_close(&pass);
    predictor_close(&p);
    free(w);
    free(past);
}

/* Tables differ in their kernels alone: every one with the small cases, the best with all. */
static void gradients_are_those_of_central_differences(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; predictor_case_at(i); i++)
            if (strncmp(predictor_case_at(i)->name, "large", 5) != 0 || !tables_after(k))
                check_gradients(predictor_case_at(i), k);
}

/* Two forwards with two backwards add up, whatever was in the gradients: g(a) + g(b) bit for bit
 * where b starts from what a left, as one chain. */
static void gradients_accumulate(void **state)
{
    (void)state;
    for (size_t i = 0; predictor_case_at(i); i++) {
        const struct predictor_case *c = predictor_case_at(i);
        struct random r = random_start(2);
        const struct kernels *kernels = tables_first();
        struct predictor p = case_predictor(c, kernels, 1);
        struct pass pass;
        size_t floats = p.parameters.floats;
        float *once = calloc(floats, sizeof *once);
        assert_non_null(once);
        assert_int_equal(pass_open(&pass, &p, c->B, c->T, true, NULL), TRIB_OK);
        struct case_batch b = case_batch_new(c, &r);
        for (int round = 0; round < 2; round++) {
            pass_forward(&pass, &b.batch);
            pass_backward(&pass, &b.batch, 1);
            if (round == 0)
                memcpy(once, p.parameters.gradients, floats * sizeof *once);
        }
        double error = 0, norm = 0;
        for (size_t n = 0; n < floats; n++) {
            double twice = (double)p.parameters.gradients[n], single = (double)once[n];
            error += (twice - 2 * single) * (twice - 2 * single);
            norm += single * single;
        }
        if (!(error <= 1e-10 * norm)) /* chains of roundings that go on: 1e-5 of it is far off */
            fail_msg("%s: twice the gradient is off by %g of %g", c->name, sqrt(error), sqrt(norm));
        case_batch_free(&b);
        free(once);
        pass_close(&pass);
        predictor_close(&p);
    }
}

static double dropped_loss(struct pass *pass, const struct batch *batch)
{
    return pass_forward(pass, batch).sum;
}

/* The largest change of a position's loss when nothing is dropped: a sum could stay by chance. */
static double change_without_dropout(struct pass *pass, struct batch *batch)
{
    size_t count = batch->B * batch->T;
    float most = 0;
    float *dropped = malloc(count * sizeof *dropped);
    assert_non_null(dropped);
    memcpy(dropped, pass->losses, count * sizeof *dropped);
    batch->training = false;
    dropped_loss(pass, batch);
    batch->training = true;
    for (size_t n = 0; n < count; n++)
        most = fmaxf(most, fabsf(pass->losses[n] - dropped[n]));
    free(dropped);
    return (double)most;
}

/* How many times as fast as its gradient is long the loss climbs along it, under the masks of a
 * seed; the weights are as before then. */
static double climb(struct pass *pass, const struct predictor *p, struct batch *batch,
                    uint64_t seed)
{
    const struct parameters *all = &p->parameters;
    double square = 0, losses[2];
    float *kept = malloc(all->floats * sizeof *kept);
    assert_non_null(kept);
    batch->seed = seed;
    dropped_loss(pass, batch);
    memset(all->gradients, 0, all->floats * sizeof *all->gradients);
    pass_backward(pass, batch, 1);
    assert_true(change_without_dropout(pass, batch) > 1e-3);
    for (size_t n = 0; n < all->floats; n++)
        square += (double)all->gradients[n] * (double)all->gradients[n];
    memcpy(kept, all->weights, all->floats * sizeof *kept);
    for (int side = 0; side < 2; side++) {
        double far = (side ? -0.01 : 0.01) / square;
        for (size_t n = 0; n < all->floats; n++)
            all->weights[n] = (float)((double)kept[n] + far * (double)all->gradients[n]);
        losses[side] = dropped_loss(pass, batch);
    }
    memcpy(all->weights, kept, all->floats * sizeof *kept);
    free(kept);
    return (losses[0] - losses[1]) / 0.02;
}

/* With dropout, whose draws stay the same: along its own direction the loss climbs as fast as the
 * gradient is long. Moved to and fro so far that it changes by 0.02 in all, a loss of 100 is off by
 * 100 x 2^-24 x 10 roundings, 0.3% of that, and the curve by less; a mask that differed on the way
 * back would show by tens of percent, with every draw. A ReLU that turns on or off on the way shows
 * by some percent, with few draws: one in 40, so three in a row by one in 60,000. */
static void gradients_go_through_dropout(void **state)
{
    (void)state;
    for (size_t i = 0; predictor_case_at(i); i++) {
        struct predictor_case c = *predictor_case_at(i);
        c.config.dropout = 0.3f;
        struct predictor p = case_predictor(&c, tables_first(), 1);
        struct pass pass;
        struct random r = random_start(3);
        struct case_batch b = case_batch_new(&c, &r);
        double climbed = 0;
        assert_int_equal(pass_open(&pass, &p, c.B, c.T, true, NULL), TRIB_OK);
        b.batch.training = true;
        for (uint64_t seed = 9; seed < 12 && !(fabs(climbed - 1) < 0.02); seed++)
            climbed = climb(&pass, &p, &b.batch, seed);
        if (!(fabs(climbed - 1) < 0.02))
            fail_msg("%s: the loss climbs %g times as fast as its gradient", c.name, climbed);
        case_batch_free(&b);
        pass_close(&pass);
        predictor_close(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_are_those_of_central_differences),
        cmocka_unit_test(gradients_accumulate),
        cmocka_unit_test(gradients_go_through_dropout),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
