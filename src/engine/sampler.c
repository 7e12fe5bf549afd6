/* Choosing the next token: penalty, top-k, top-p, min-p, temperature, a draw, in this order.
 *
 * Candidates are sorted by falling logit, equal ones by rising id, so that no step depends on how a
 * sort breaks ties. Top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024) look at the
 * probabilities before the temperature. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "kernel/exp.h"
#include "tributary/engine.h"

struct candidate {
    float logit;
    int32_t id;
};

struct trib_sampler {
    trib_sampler_options options;
    size_t vocabulary;
    uint64_t draws;               /* so far: the counter of the random numbers */
    struct candidate *candidates; /* [V] scratch */
    int32_t *recent;              /* [repeat_last] a ring of the last tokens */
    size_t accepted;              /* tokens ever accepted */
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

trib_status trib_sampler_open(trib_sampler **out, size_t vocabulary,
                              const trib_sampler_options *options, trib_error *error)
{
    *out = NULL;
    trib_sampler_options o = options ? *options : trib_sampler_options_default();
    trib_status status = check(&o, error);
    if (status != TRIB_OK)
        return status;
    trib_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(error, "a sampler", sizeof *s);
    s->options = o;
    s->vocabulary = vocabulary;
    s->candidates = malloc((vocabulary + 1) * sizeof *s->candidates);
    s->recent = malloc((o.repeat_last + 1) * sizeof *s->recent);
    if (!s->candidates || !s->recent) {
        trib_sampler_close(s);
        return error_no_memory(error, "a sampler", vocabulary * sizeof *s->candidates);
    }
    *out = s;
    return TRIB_OK;
}

void trib_sampler_close(trib_sampler *s)
{
    if (!s)
        return;
    free(s->candidates);
    free(s->recent);
    free(s);
}

void trib_sampler_accept(trib_sampler *s, int32_t id)
{
    if (s->options.repeat_last)
        s->recent[s->accepted++ % s->options.repeat_last] = id;
}

static int by_id(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Each recent token once, however often it came. (Keskar et al. 2019, "CTRL".) The candidates are
 * still in the order of their ids. */
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
        float *logit = &s->candidates[ids[i]].logit;
        *logit =
            *logit > 0 ? *logit / s->options.repeat_penalty : *logit * s->options.repeat_penalty;
    }
    free(ids);
    return TRIB_OK;
}

static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Sorts so that the first min(k, n) candidates are the best ones in order; k = 0: all. A small k is
 * picked in one pass that keeps the best so far sorted, since few candidates ever enter them. */
static void sort_best(struct candidate *c, size_t n, size_t k)
{
    enum { SMALL = 256 };
    if (k == 0 || k > SMALL) {
        qsort(c, n, sizeof *c, by_logit);
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct candidate next = c[i];
        if (kept == k && by_logit(&next, &c[kept - 1]) > 0)
            continue;
        size_t at = kept < k ? kept++ : kept - 1;
        for (; at > 0 && by_logit(&next, &c[at - 1]) < 0; at--)
            c[at] = c[at - 1];
        c[at] = next;
    }
}

static double weight(const struct candidate *c, size_t i, float temperature)
{
    return (double)exp_scalar((c[i].logit - c[0].logit) / temperature);
}

/* How many of the n sorted candidates stay after top-k, top-p and min-p; at least one. */
static size_t cut(const trib_sampler_options *o, const struct candidate *c, size_t n)
{
    if (o->top_k && o->top_k < n)
        n = o->top_k;
    if (o->top_p < 1) {
        double sum = 0, reached = 0;
        for (size_t i = 0; i < n; i++)
            sum += weight(c, i, 1);
        size_t kept = 0;
        while (kept < n && reached < (double)o->top_p * sum)
            reached += weight(c, kept++, 1);
        n = kept;
    }
    while (n > 1 && weight(c, n - 1, 1) < (double)o->min_p)
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
    bool any = false;
    for (size_t i = 0; i < s->vocabulary; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return error_set(error, TRIB_INVALID, "the logit of token %zu is %s", i,
                             isnan(logits[i]) ? "not a number" : "infinite");
        any = any || logits[i] > -INFINITY;
        s->candidates[i] = (struct candidate){logits[i], (int32_t)i};
    }
    if (!any)
        return error_set(error, TRIB_INVALID, "no token has a logit above minus infinity");
    trib_status status = penalize(s, error);
    if (status != TRIB_OK)
        return status;
    if (s->options.temperature == 0) {
        size_t best = 0;
        for (size_t i = 1; i < s->vocabulary; i++)
            if (s->candidates[i].logit > s->candidates[best].logit)
                best = i;
        *id = (int32_t)best;
    } else {
        sort_best(s->candidates, s->vocabulary, s->options.top_k);
        *id = draw(s, cut(&s->options, s->candidates, s->vocabulary));
    }
    trib_sampler_accept(s, *id);
    return TRIB_OK;
}
