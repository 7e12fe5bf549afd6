/* Rotary frequencies and their scaling. */
#include "model/rope.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "kernel/ops.h"

#define PI 3.14159265358979323846

/* The pair that makes `turns` turns within the original context, as a real number:
 *     context base^(-2 i / R) = 2 pi turns */
static double pair_of(const struct model_config *c, double turns)
{
    return (double)c->rotated * log((double)c->rope_original_context / (turns * 2 * PI)) /
           (2 * log(c->rope_base));
}

/* Peng et al. 2023, "YaRN", by parts: frequencies of pairs below `low` stay, those above `high` are
 * divided by the factor, between them it goes over linearly. Scores sharpen by 0.1 ln factor + 1
 * squared, put into queries and keys. */
static void scale_yarn(struct rope *rope, const struct model_config *c)
{
    double low = fmax(floor(pair_of(c, c->rope_fast)), 0);
    double high = fmin(ceil(pair_of(c, c->rope_slow)), (double)c->rotated - 1);
    for (size_t i = 0; i < rope->half; i++) {
        double ramp = fmin(fmax(((double)i - low) / fmax(high - low, 0.001), 0), 1);
        rope->frequency[i] *= (1 - ramp) + ramp / c->rope_factor;
    }
    rope->magnitude *= 1 + 0.1 * log(c->rope_factor);
}

static trib_status check_factors(const struct model_config *c, struct rope_factors factors,
                                 const char *file_name, trib_error *error)
{
    const float *values = factors.values;
    if (!values && c->rope_scaling == ROPE_LONG)
        return error_set(error, TRIB_FORMAT,
                         "%s: expected rope_factors_long.weight and rope_factors_short.weight, as "
                         "rope.scaling.type is longrope, found none",
                         file_name);
    for (size_t i = 0; values && i < c->rotated / 2; i++)
        if (!(values[i] > 0 && isfinite(values[i])))
            return error_set(error, TRIB_FORMAT,
                             "%s: %s: expected numbers above 0, found %g at %zu", file_name,
                             factors.tensor, (double)values[i], i);
    return TRIB_OK;
}

trib_status rope_open(struct rope *rope, const struct model_config *c, struct rope_factors factors,
                      const char *file_name, trib_error *error)
{
    *rope = (struct rope){.half = c->rotated / 2, .magnitude = c->rope_magnitude};
    double local_base = c->window ? c->local_rope_base : 0;
    if (!rope->half)
        return TRIB_OK;
    trib_status status = check_factors(c, factors, file_name, error);
    if (status != TRIB_OK)
        return status;
    rope->frequency = calloc(rope->half, sizeof *rope->frequency);
    rope->local = local_base > 0 ? calloc(rope->half, sizeof *rope->local) : NULL;
    if (!rope->frequency || (local_base > 0 && !rope->local)) {
        rope_close(rope);
        return error_no_memory(error, "rotary frequencies", rope->half * sizeof(double));
    }
    rope_frequencies(rope->frequency, c->rotated, c->rope_base);
    if (rope->local)
        rope_frequencies(rope->local, c->rotated, local_base);
    if (c->rope_scaling == ROPE_YARN)
        scale_yarn(rope, c);
    for (size_t i = 0; i < rope->half; i++) {
        if (c->rope_scaling == ROPE_LINEAR)
            rope->frequency[i] /= c->rope_factor;
        if (factors.values)
            rope->frequency[i] /= (double)factors.values[i];
    }
    return TRIB_OK;
}

void rope_close(struct rope *rope)
{
    free(rope->frequency);
    free(rope->local);
    *rope = (struct rope){0};
}

void rope_turn(const struct rope *rope, bool local, size_t position, float *cosine, float *sine)
{
    const double *frequency = local && rope->local ? rope->local : rope->frequency;
    rope_angles(cosine, sine, frequency, 2 * rope->half, position);
    if (rope->magnitude != 1)
        for (size_t i = 0; i < rope->half; i++) {
            cosine[i] *= (float)rope->magnitude;
            sine[i] *= (float)rope->magnitude;
        }
}
