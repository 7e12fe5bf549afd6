/* Beam search (tributary/sampling.h): W hypotheses, each a fork of one session, one step per token.
 *
 * A step ranks the continuations, makes the hypotheses that stay, and only then changes anything:
 * the first child of a hypothesis takes its session over, the others fork it. Complete hypotheses
 * stand before those under way, in the order in which they became so. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/logits.h"
#include "engine/rules.h"
#include "engine/session.h"
#include "kernel/kernel.h"
#include "tributary/sampling.h"

/* With larger penalties scores leave the range of a double. */
enum { BEAMS_MOST = 1024, PENALTY_MOST = 10 };

struct hypothesis {
    int32_t *ids;    /* [count] */
    float *logprobs; /* [count] by the model */
    size_t count;
    double logprob;
    bool complete;
    size_t parent;         /* its number, while a step is made */
    trib_session *session; /* NULL where it is not followed */
};

/* A hypothesis, continued by one token. */
struct continuation {
    double logprob;
    size_t parent, rank; /* among the continuations of the parent */
    int32_t id;
    float model; /* the token's log probability without bias and constraint */
};

/* The logits behind a hypothesis, [V], and log sum_i exp(x_i) of them. */
struct outlook {
    const float *model, *ranked; /* the same without bias and constraint */
    double model_sum, ranked_sum;
};

struct trib_beams {
    trib_engine *engine;
    trib_beam_options options;
    int32_t *ends; /* [end_count] */
    struct rules rules;
    float *logits; /* [V] after bias and constraint; NULL: there is neither */
    size_t most;   /* tokens that options and context have room for */
    size_t steps;  /* done */
    bool over;
    size_t count, first;           /* hypotheses; those from `first` on are under way */
    struct hypothesis *hypotheses; /* [W] */
    struct hypothesis *next;       /* [W] */
    size_t *order;                 /* [count] by falling score */
    struct candidate *best;        /* [W] */
    struct continuation *all;      /* [W * W] */
    trib_append *appends;          /* [W] */
};

trib_beam_options trib_beam_options_default(void)
{
    return (trib_beam_options){.beams = 4, .tokens = 256, .length_penalty = 1};
}

/* ---- Opening and closing ---- */

static trib_status check(const trib_beam_options *o, const trib_session *session, trib_error *error)
{
    if (o->beams == 0 || o->beams > BEAMS_MOST)
        return error_set(error, TRIB_INVALID, "beams: expected 1 to %d, found %zu", BEAMS_MOST,
                         o->beams);
    if (o->tokens == 0)
        return error_set(error, TRIB_INVALID, "tokens of a beam: expected at least 1, found 0");
    if (!(fabsf(o->length_penalty) <= PENALTY_MOST))
        return error_set(error, TRIB_INVALID, "length penalty: expected -%d to %d, found %g",
                         PENALTY_MOST, PENALTY_MOST, (double)o->length_penalty);
    if (!trib_session_logits(session))
        return error_set(error, TRIB_INVALID, "a beam search of a session without logits");
    return TRIB_OK;
}

/* The tables of a new search, and its first hypothesis: the session as it is. */
static trib_status begin(trib_beams *beams, const trib_session *session, trib_error *error)
{
    const trib_beam_options *o = &beams->options;
    size_t W = o->beams, ends = o->end_count * sizeof *beams->ends;
    size_t row = beams->engine->vocabulary * sizeof *beams->logits;
    bool ruled = o->bias_count || o->constrain;
    beams->rules = (struct rules){.vocabulary = beams->engine->vocabulary,
                                  .bias = o->bias,
                                  .bias_count = o->bias_count,
                                  .constrain = o->constrain,
                                  .constrain_context = o->constrain_context};
    trib_status status = rules_open(&beams->rules, error);
    if (status != TRIB_OK)
        return status;
    beams->logits = ruled ? malloc(row) : NULL;
    beams->ends = malloc(ends + 1);
    beams->hypotheses = calloc(W, sizeof *beams->hypotheses);
    beams->next = calloc(W, sizeof *beams->next);
    beams->order = calloc(W, sizeof *beams->order);
    beams->best = malloc(W * sizeof *beams->best);
    beams->all = malloc(W * W * sizeof *beams->all);
    beams->appends = malloc(W * sizeof *beams->appends);
    if (!beams->ends || !beams->hypotheses || !beams->next || !beams->order || !beams->best ||
        !beams->all || !beams->appends || (ruled && !beams->logits))
        return error_no_memory(error, "a beam search", W * W * sizeof *beams->all + row);
    if (ends)
        memcpy(beams->ends, o->ends, ends);
    beams->count = 1;
    return trib_session_fork(&beams->hypotheses[0].session, session, error);
}

trib_status trib_beams_open(trib_beams **out, const trib_session *session,
                            const trib_beam_options *options, trib_error *error)
{
    trib_beam_options o = options ? *options : trib_beam_options_default();
    trib_status status = check(&o, session, error);
    *out = NULL;
    if (status != TRIB_OK)
        return status;
    trib_beams *beams = calloc(1, sizeof *beams);
    if (!beams)
        return error_no_memory(error, "a beam search", sizeof *beams);
    size_t room = trib_session_context(session) - trib_session_length(session) + 1;
    beams->engine = session->engine;
    beams->options = o;
    beams->most = o.tokens < room ? o.tokens : room; /* the last one is not appended */
    status = begin(beams, session, error);
    if (status != TRIB_OK) {
        trib_beams_close(beams);
        return status;
    }
    *out = beams;
    return TRIB_OK;
}

static void drop(struct hypothesis *h)
{
    trib_session_close(h->session);
    free(h->ids);
    free(h->logprobs);
    *h = (struct hypothesis){0};
}

void trib_beams_close(trib_beams *beams)
{
    if (!beams)
        return;
    for (size_t i = 0; i < beams->count && beams->hypotheses; i++)
        drop(&beams->hypotheses[i]);
    rules_close(&beams->rules);
    free(beams->logits);
    free(beams->ends);
    free(beams->hypotheses);
    free(beams->next);
    free(beams->order);
    free(beams->best);
    free(beams->all);
    free(beams->appends);
    free(beams);
}

/* ---- Continuations ---- */

static int compare(const void *left, const void *right)
{
    const struct continuation *a = left, *b = right;
    if (a->logprob != b->logprob)
        return a->logprob > b->logprob ? -1 : 1;
    if (a->parent != b->parent)
        return a->parent < b->parent ? -1 : 1;
    return a->rank < b->rank ? -1 : a->rank > b->rank;
}

/* What comes after a hypothesis; where bias and constraint leave no token, all that is ranked is
 * -inf. */
static trib_status look(const trib_beams *beams, const struct hypothesis *h, struct outlook *out,
                        trib_error *error)
{
    size_t V = beams->engine->vocabulary, allowed;
    float most;
    out->model = out->ranked = trib_session_logits(h->session);
    trib_status status = logits_check(out->model, V, &most, error);
    if (status != TRIB_OK)
        return status;
    out->model_sum = out->ranked_sum = logits_log_sum_exp(kernels_best(), out->model, V, most);
    if (!beams->logits)
        return TRIB_OK;
    memcpy(beams->logits, out->model, V * sizeof *beams->logits);
    status = rules_apply(&beams->rules, h->ids, h->count, beams->logits, &allowed, error);
    most = logits_most(beams->logits, V);
    out->ranked = beams->logits;
    if (most > -INFINITY)
        out->ranked_sum = logits_log_sum_exp(kernels_best(), out->ranked, V, most);
    return status;
}

/* The continuations of all hypotheses under way, likeliest first, as many as there are places. Each
 * hypothesis has no more of them than that. */
static trib_status rank(trib_beams *beams, size_t *count, trib_error *error)
{
    size_t V = beams->engine->vocabulary, places = beams->options.beams - beams->first, n = 0;
    size_t k = places < V ? places : V;
    for (size_t i = beams->first; i < beams->count; i++) {
        const struct hypothesis *h = &beams->hypotheses[i];
        struct outlook seen;
        trib_status status = look(beams, h, &seen, error);
        if (status != TRIB_OK)
            return status;
        logits_best(seen.ranked, V, k, beams->best);
        for (size_t r = 0; r < k && beams->best[r].logit > -INFINITY; r++) {
            struct candidate c = beams->best[r];
            float logprob = (float)((double)c.logit - seen.ranked_sum);
            beams->all[n++] = (struct continuation){
                .logprob = h->logprob + (double)logprob,
                .parent = i,
                .rank = r,
                .id = c.id,
                .model = (float)((double)seen.model[c.id] - seen.model_sum),
            };
        }
    }
    qsort(beams->all, n, sizeof *beams->all, compare);
    *count = n < places ? n : places;
    if (n == 0 && beams->first == 0)
        return error_set(error, TRIB_INVALID,
                         "bias and constraint leave no hypothesis a token after %zu tokens",
                         beams->steps);
    return TRIB_OK;
}

static bool is_complete(const trib_beams *beams, const struct hypothesis *h)
{
    const trib_beam_options *o = &beams->options;
    for (size_t i = 0; i < o->end_count; i++)
        if (beams->ends[i] == h->ids[h->count - 1])
            return true;
    return o->complete && o->complete(o->complete_context, h->ids, h->count);
}

/* A hypothesis and one token more, without a session yet. */
static trib_status lengthen(const trib_beams *beams, const struct continuation *c,
                            struct hypothesis *out, trib_error *error)
{
    const struct hypothesis *parent = &beams->hypotheses[c->parent];
    size_t bytes = parent->count * sizeof *out->ids;
    *out = (struct hypothesis){.ids = malloc(bytes + sizeof *out->ids),
                               .logprobs = malloc(bytes + sizeof *out->logprobs),
                               .count = parent->count + 1,
                               .logprob = c->logprob,
                               .parent = c->parent};
    if (!out->ids || !out->logprobs)
        return error_no_memory(error, "a hypothesis", bytes + sizeof *out->ids);
    if (bytes) {
        memcpy(out->ids, parent->ids, bytes);
        memcpy(out->logprobs, parent->logprobs, bytes);
    }
    out->ids[parent->count] = c->id;
    out->logprobs[parent->count] = c->model;
    out->complete = is_complete(beams, out);
    return TRIB_OK;
}

/* ---- A step ---- */

/* Whether a hypothesis before number i of `next` is to take the session of its parent. */
static bool is_taken(const trib_beams *beams, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (!beams->next[j].complete && beams->next[j].parent == beams->next[i].parent)
            return true;
    return false;
}

/* next [count]: the hypotheses that stay, with forks where a session is wanted more than once. */
static trib_status make_next(trib_beams *beams, size_t count, bool last, trib_error *error)
{
    trib_status status = TRIB_OK;
    size_t made = 0;
    for (; made < count && status == TRIB_OK; made++) {
        struct hypothesis *h = &beams->next[made];
        status = lengthen(beams, &beams->all[made], h, error);
        if (status == TRIB_OK && !last && !h->complete && is_taken(beams, made))
            status = trib_session_fork(&h->session, beams->hypotheses[h->parent].session, error);
    }
    while (status != TRIB_OK && made-- > 0)
        drop(&beams->next[made]);
    return status;
}

/* Puts them in the place of those they continue: complete ones first. */
static void replace(trib_beams *beams, size_t count, bool last)
{
    for (size_t i = 0; i < count && !last; i++) {
        struct hypothesis *h = &beams->next[i];
        if (h->complete || h->session)
            continue;
        h->session = beams->hypotheses[h->parent].session;
        beams->hypotheses[h->parent].session = NULL;
    }
    for (size_t i = beams->first; i < beams->count; i++)
        drop(&beams->hypotheses[i]);
    beams->count = beams->first;
    for (size_t i = 0; i < count; i++)
        if (beams->next[i].complete)
            beams->hypotheses[beams->count++] = beams->next[i];
    beams->first = beams->count;
    for (size_t i = 0; i < count; i++)
        if (!beams->next[i].complete)
            beams->hypotheses[beams->count++] = beams->next[i];
}

static double score(const trib_beams *beams, const struct hypothesis *h)
{
    return h->logprob / pow((double)h->count, (double)beams->options.length_penalty);
}

/* By insertion: there are few, and those that were complete are in order already. */
static void put_in_order(trib_beams *beams)
{
    for (size_t i = 0; i < beams->count; i++) {
        double own = score(beams, &beams->hypotheses[i]);
        size_t at = i;
        for (; at > 0 && score(beams, &beams->hypotheses[beams->order[at - 1]]) < own; at--)
            beams->order[at] = beams->order[at - 1];
        beams->order[at] = i;
    }
}

static trib_status append(trib_beams *beams, trib_error *error)
{
    size_t live = beams->count - beams->first;
    for (size_t i = 0; i < live; i++) {
        const struct hypothesis *h = &beams->hypotheses[beams->first + i];
        beams->appends[i] =
            (trib_append){.session = h->session, .ids = h->ids + h->count - 1, .count = 1};
    }
    return trib_step(beams->engine, beams->appends, live, error);
}

trib_status trib_beams_step(trib_beams *beams, bool *going, trib_error *error)
{
    bool last = beams->steps + 1 >= beams->most;
    size_t count;
    *going = false;
    if (beams->over)
        return TRIB_OK;
    beams->over = true;
    trib_status status = rank(beams, &count, error);
    if (status == TRIB_OK)
        status = make_next(beams, count, last, error);
    if (status != TRIB_OK)
        return status;
    replace(beams, count, last);
    put_in_order(beams);
    beams->steps++;
    if (last || beams->first == beams->count)
        return TRIB_OK;
    status = append(beams, error);
    beams->over = status != TRIB_OK;
    *going = !beams->over;
    return status;
}

/* ---- Results ---- */

size_t trib_beams_count(const trib_beams *beams)
{
    return beams->steps ? beams->count : 0;
}

trib_hypothesis trib_beams_at(const trib_beams *beams, size_t i)
{
    const struct hypothesis *h = &beams->hypotheses[beams->order[i]];
    return (trib_hypothesis){.ids = h->ids,
                             .logprobs = h->logprobs,
                             .count = h->count,
                             .logprob = h->logprob,
                             .score = score(beams, h),
                             .complete = h->complete};
}
