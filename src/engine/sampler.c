/* Choosing the next token: bias, constraint, penalty, top-k, top-p, min-p, temperature, a draw, in
 * this order.
 *
 * Candidates stand by falling logit, equal ones by rising id, so that no step depends on how a sort
 * breaks ties. Top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024) look at the
 * probabilities before the temperature. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "engine/logits.h"
#include "engine/rules.h"
#include "kernel/exp.h"
#include "kernel/kernel.h"
#include "tributary/sampling.h"

struct trib_sampler {
    trib_sampler_options options;
    struct rules rules;           /* bias and constraint of the options */
    size_t vocabulary;            /* V */
    uint64_t draws;               /* so far: the counter of the random numbers */
    float *logits;                /* [V] after bias, constraint and penalty */
    struct candidate *candidates; /* [V] */
    int32_t *recent;              /* [repeat_last] a ring of the last tokens */
    size_t accepted;              /* tokens ever accepted */
    int32_t *history;             /* [accepted] all of them, where there is a constraint */
    size_t history_capacity;
    bool forgot; /* a token that memory for the history could not be had for */
    float logprob;
};

trib_sampler_options trib_sampler_options_default(void)
{
    return (trib_sampler_options){.temperature = 0.8f,
                                  .top_k = 40,
                                  .top_p = 0.95f,
                                  .min_p = 0.05f,
                                  .repeat_penalty = 1,
                                  .repeat_last = 64,
                                  .seed = 0};
}

static trib_status check(const trib_sampler_options *o, trib_error *error)
{
    if (!(o->temperature >= 0 && isfinite(o->temperature)))
        return error_set(error, TRIB_INVALID, "temperature: expected 0 or more, found %g",
                         (double)o->temperature);
    if (!(o->top_p > 0 && o->top_p <= 1))
        return error_set(error, TRIB_INVALID, "top-p: expected above 0 and at most 1, found %g",
                         (double)o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1))
        return error_set(error, TRIB_INVALID, "min-p: expected 0 to 1, found %g", (double)o->min_p);
    if (!(o->repeat_penalty > 0 && isfinite(o->repeat_penalty)))
        return error_set(error, TRIB_INVALID, "repeat penalty: expected above 0, found %g",
                         (double)o->repeat_penalty);
    if (o->repeat_last > 65536)
        return error_set(error, TRIB_INVALID, "repeat-last: expected at most 65536, found %zu",
                         o->repeat_last);
    return TRIB_OK;
}

/* The tables of a new sampler. */
static trib_status take_memory(trib_sampler *s, trib_error *error)
{
    size_t V = s->vocabulary;
    s->logits = malloc((V + 1) * sizeof *s->logits);
    s->candidates = malloc((V + 1) * sizeof *s->candidates);
    s->recent = malloc((s->options.repeat_last + 1) * sizeof *s->recent);
    if (!s->logits || !s->candidates || !s->recent)
        return error_no_memory(error, "a sampler", V * (sizeof *s->logits + sizeof *s->candidates));
    return TRIB_OK;
}

trib_status trib_sampler_open(trib_sampler **out, size_t vocabulary,
                              const trib_sampler_options *options, trib_error *error)
{
    *out = NULL;
    trib_sampler_options o = options ? *options : trib_sampler_options_default();
    trib_status status = check(&o, error);
    if (status != TRIB_OK)
        return status;
    if (vocabulary > INT32_MAX)
        return error_set(error, TRIB_INVALID, "vocabulary: expected at most %d, found %zu",
                         INT32_MAX, vocabulary);
    trib_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(error, "a sampler", sizeof *s);
    s->options = o;
    s->vocabulary = vocabulary;
    s->logprob = NAN;
    s->rules = (struct rules){.vocabulary = vocabulary,
                              .bias = o.bias,
                              .bias_count = o.bias_count,
                              .constrain = o.constrain,
                              .constrain_context = o.constrain_context};
    status = rules_open(&s->rules, error);
    if (status == TRIB_OK)
        status = take_memory(s, error);
    if (status != TRIB_OK) {
        trib_sampler_close(s);
        return status;
    }
    *out = s;
    return TRIB_OK;
}

void trib_sampler_close(trib_sampler *s)
{
    if (!s)
        return;
    rules_close(&s->rules);
    free(s->logits);
    free(s->candidates);
    free(s->recent);
    free(s->history);
    free(s);
}

static void remember(trib_sampler *s, int32_t id)
{
    if (s->accepted == s->history_capacity) {
        size_t capacity = 2 * s->history_capacity + 256;
        int32_t *larger = realloc(s->history, capacity * sizeof *larger);
        s->forgot = s->forgot || !larger;
        if (!larger)
            return;
        s->history = larger;
        s->history_capacity = capacity;
    }
    s->history[s->accepted] = id;
}

void trib_sampler_accept(trib_sampler *s, int32_t id)
{
    if (s->options.constrain)
        remember(s, id);
    if (s->options.repeat_last)
        s->recent[s->accepted % s->options.repeat_last] = id;
    s->accepted++;
}

/* ---- What changes logits ---- */

static int by_id(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Each recent token once, however often it came. (Keskar et al. 2019, "CTRL".) */
static trib_status penalize(trib_sampler *s, trib_error *error)
{
    size_t n = s->accepted < s->options.repeat_last ? s->accepted : s->options.repeat_last;
    if (s->options.repeat_penalty == 1 || n == 0)
        return TRIB_OK;
    int32_t *ids = malloc(n * sizeof *ids);
    if (!ids)
        return error_no_memory(error, "the recent tokens", n * sizeof *ids);
    memcpy(ids, s->recent, n * sizeof *ids);
    qsort(ids, n, sizeof *ids, by_id);
    for (size_t i = 0; i < n; i++) {
        if ((i > 0 && ids[i] == ids[i - 1]) || ids[i] < 0 || (size_t)ids[i] >= s->vocabulary)
            continue;
        float *logit = &s->logits[ids[i]];
        *logit =
            *logit > 0 ? *logit / s->options.repeat_penalty : *logit * s->options.repeat_penalty;
    }
    free(ids);
    return TRIB_OK;
}

/* The logits that the choice is made by; one is above -inf, and none is +inf: what a bias or a
 * penalty makes too large for a number is held at the largest. */
static trib_status adjust(trib_sampler *s, const float *logits, trib_error *error)
{
    size_t V = s->vocabulary, allowed;
    if (s->forgot)
        return error_no_memory(error, "the tokens of a constraint", s->accepted * sizeof(int32_t));
    memcpy(s->logits, logits, V * sizeof *logits);
    trib_status status =
        rules_apply(&s->rules, s->history, s->accepted, s->logits, &allowed, error);
    if (status != TRIB_OK)
        return status;
    if (allowed == 0)
        return error_set(error, TRIB_INVALID,
                         "the constraint on tokens allows none of the %zu after %zu tokens", V,
                         s->accepted);
    status = penalize(s, error);
    if (status != TRIB_OK)
        return status;
    float most = logits_most(s->logits, V);
    if (most == -INFINITY)
        return error_set(error, TRIB_INVALID,
                         "bias and constraint leave no token with a logit above minus infinity");
    for (size_t i = 0; i < V && most == INFINITY; i++)
        s->logits[i] = s->logits[i] < FLT_MAX ? s->logits[i] : FLT_MAX;
    return TRIB_OK;
}

/* ---- The choice ---- */

static double weight(const struct candidate *c, size_t i, float temperature)
{
    return (double)exp_scalar((c[i].logit - c[0].logit) / temperature);
}

/* How many of the n sorted candidates, of which top-k left no more, stay after top-p and min-p: at
 * least one, and none that is forbidden. */
static size_t cut(const trib_sampler_options *o, const struct candidate *c, size_t n)
{
    if (o->top_p < 1) {
        double sum = 0, reached = 0;
        for (size_t i = 0; i < n; i++)
            sum += weight(c, i, 1);
        size_t kept = 0;
        while (kept < n && reached < (double)o->top_p * sum)
            reached += weight(c, kept++, 1);
        n = kept;
    }
    while (n > 1 && (c[n - 1].logit == -INFINITY || weight(c, n - 1, 1) < (double)o->min_p))
        n--;
    return n;
}

static int32_t draw(trib_sampler *s, size_t n)
{
    const struct candidate *c = s->candidates;
    double sum = 0, reached = 0;
    for (size_t i = 0; i < n; i++)
        sum += weight(c, i, s->options.temperature);
    double target = rng_uniform(s->options.seed, s->draws++) * sum;
    for (size_t i = 0; i + 1 < n; i++) {
        reached += weight(c, i, s->options.temperature);
        if (target < reached)
            return c[i].id;
    }
    return c[n - 1].id;
}

trib_status trib_sampler_next(trib_sampler *s, const float *logits, int32_t *id, trib_error *error)
{
    size_t V = s->vocabulary, k = s->options.top_k;
    float most;
    trib_status status = logits_check(logits, V, &most, error);
    if (status == TRIB_OK)
        status = adjust(s, logits, error);
    if (status != TRIB_OK)
        return status;
    if (s->options.temperature == 0)
        k = 1;
    k = k && k < V ? k : V;
    logits_best(s->logits, V, k, s->candidates);
    *id = s->options.temperature == 0 ? s->candidates[0].id
                                      : draw(s, cut(&s->options, s->candidates, k));
    s->logprob = (float)((double)logits[*id] - logits_log_sum_exp(kernels_best(), logits, V, most));
    trib_sampler_accept(s, *id);
    return TRIB_OK;
}

float trib_sampler_logprob(const trib_sampler *s)
{
    return s->logprob;
}
