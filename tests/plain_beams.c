/* Beam search by definition. */
#include "plain_beams.h"

#include <math.h>

#include "engine/engine.h"
#include "must.h"

enum { V = TINY_VOCABULARY };

struct found {
    int32_t ids[PLAIN_TOKENS];
    float logprobs[PLAIN_TOKENS]; /* the model's */
    size_t count;
    double logprob, score;
    bool complete;
};

struct continuation {
    struct found from;
    int32_t id;
    float model;
    double logprob;
    size_t parent, rank;
};

trib_engine *plain_engine(const trib_model *model, int threads)
{
    trib_engine_options options = {.threads = threads, .prefill_chunk = 512};
    trib_engine *engine;
    trib_error error = {0};
    must(trib_engine_open(&engine, model, &options, &error), &error);
    return engine;
}

trib_session *plain_session(trib_engine *engine, const int32_t *ids, size_t count)
{
    trib_session *session;
    trib_error error = {0};
    must(trib_session_open(&session, engine, NULL, &error), &error);
    must(trib_session_append(session, ids, count, &error), &error);
    return session;
}

/* ---- The definition ---- */

static int likeliest_first(const void *left, const void *right)
{
    const struct continuation *a = left, *b = right;
    if (a->logprob != b->logprob)
        return a->logprob > b->logprob ? -1 : 1;
    if (a->parent != b->parent)
        return a->parent < b->parent ? -1 : 1;
    return a->rank < b->rank ? -1 : 1;
}

static bool is_complete(const trib_beam_options *o, const struct found *f)
{
    for (size_t i = 0; i < o->end_count; i++)
        if (o->ends[i] == f->ids[f->count - 1])
            return true;
    return o->complete && o->complete(o->complete_context, f->ids, f->count);
}

/* Bias and constraint upon logits [V] after the hypothesis; how many tokens can still come. */
static size_t apply_rules(const trib_beam_options *o, const struct found *f, float *logits)
{
    uint8_t allowed[V];
    size_t left = 0;
    memset(allowed, 1, V);
    if (o->constrain)
        assert_int_equal(o->constrain(o->constrain_context, f->ids, f->count, allowed), TRIB_OK);
    for (size_t i = 0; i < o->bias_count; i++)
        logits[o->bias[i].id] += o->bias[i].bias;
    for (size_t i = 0; i < V; i++) {
        logits[i] = allowed[i] ? logits[i] : -INFINITY;
        left += logits[i] > -INFINITY;
    }
    return left;
}

/* out [V]: the continuations of hypothesis number `parent`; returns how many there are. */
static size_t continue_one(trib_engine *engine, const int32_t *prompt, const trib_beam_options *o,
                           const struct found *f, size_t parent, struct continuation *out)
{
    int32_t ids[PLAIN_PROMPT + PLAIN_TOKENS];
    float logits[V], model[V];
    trib_logprob all[V];
    trib_error error = {0};
    memcpy(ids, prompt, PLAIN_PROMPT * sizeof *ids);
    memcpy(ids + PLAIN_PROMPT, f->ids, f->count * sizeof *ids);
    trib_session *session = plain_session(engine, ids, PLAIN_PROMPT + f->count);
    memcpy(logits, trib_session_logits(session), sizeof logits);
    trib_session_close(session);
    must(trib_logprobs(logits, V, V, all, &error), &error);
    for (size_t i = 0; i < V; i++)
        model[all[i].id] = all[i].logprob;
    size_t left = apply_rules(o, f, logits);
    if (left)
        must(trib_logprobs(logits, V, V, all, &error), &error);
    for (size_t r = 0; r < left; r++)
        out[r] = (struct continuation){.from = *f,
                                       .id = all[r].id,
                                       .model = model[all[r].id],
                                       .logprob = f->logprob + (double)all[r].logprob,
                                       .parent = parent,
                                       .rank = r};
    return left;
}

/* found [W]: complete ones in the order they became so, then the rest; then by falling score.
 * Returns how many; *status: TRIB_INVALID where nothing was left at last. */
static size_t search(trib_engine *engine, const int32_t *prompt, const trib_beam_options *o,
                     struct found found[PLAIN_BEAMS], trib_status *status)
{
    static struct continuation all[PLAIN_BEAMS * V];
    struct found live[PLAIN_BEAMS] = {{.count = 0}};
    size_t complete = 0, count = 1;
    *status = TRIB_OK;
    for (size_t step = 0; step < o->tokens && count > 0; step++) {
        size_t n = 0, places = o->beams - complete;
        for (size_t i = 0; i < count; i++)
            n += continue_one(engine, prompt, o, &live[i], i, all + n);
        if (n == 0 && complete == 0) {
            *status = TRIB_INVALID;
            count = step ? count : 0;
            break;
        }
        qsort(all, n, sizeof *all, likeliest_first);
        count = 0;
        for (size_t i = 0; i < n && i < places; i++) {
            struct found f = all[i].from;
            f.logprobs[f.count] = all[i].model;
            f.ids[f.count++] = all[i].id;
            f.logprob = all[i].logprob;
            f.score = f.logprob / pow((double)f.count, (double)o->length_penalty);
            f.complete = is_complete(o, &f);
            if (f.complete)
                found[complete++] = f;
            else
                live[count++] = f;
        }
    }
    memcpy(found + complete, live, count * sizeof *live);
    count += complete;
    for (size_t i = 1; i < count; i++)
        for (size_t j = i; j > 0 && found[j].score > found[j - 1].score; j--) {
            struct found other = found[j];
            found[j] = found[j - 1];
            found[j - 1] = other;
        }
    return count;
}

/* ---- Comparing ---- */

trib_status plain_run(trib_beams *beams, trib_error *error)
{
    trib_status status = TRIB_OK;
    bool going = true;
    while (going && status == TRIB_OK)
        status = trib_beams_step(beams, &going, error);
    assert_false(going);
    return status;
}

void plain_no_leaks(const trib_engine *engine)
{
    struct prefix_cache_counts counts = prefix_cache_counts(engine->cache);
    assert_int_equal(counts.sequences, 0);
    assert_int_equal(counts.pages.in_use, counts.cached);
}

static void expect_equal(const trib_beams *beams, const struct found *expected, size_t count)
{
    assert_int_equal(trib_beams_count(beams), count);
    for (size_t i = 0; i < count; i++) {
        trib_hypothesis h = trib_beams_at(beams, i);
        assert_int_equal(h.count, expected[i].count);
        assert_memory_equal(h.ids, expected[i].ids, h.count * sizeof *h.ids);
        assert_memory_equal(h.logprobs, expected[i].logprobs, h.count * sizeof *h.logprobs);
        assert_memory_equal(&h.logprob, &expected[i].logprob, sizeof h.logprob);
        assert_memory_equal(&h.score, &expected[i].score, sizeof h.score);
        assert_int_equal(h.complete, expected[i].complete);
    }
}

trib_status plain_expect(const trib_model *model, const int32_t *prompt,
                         const trib_beam_options *options)
{
    struct found expected[PLAIN_BEAMS];
    trib_error error = {0};
    trib_status status;
    trib_engine *plain = plain_engine(model, 1);
    size_t count = search(plain, prompt, options, expected, &status);
    trib_engine_close(plain);
    for (int threads = 1; threads <= 3; threads++) {
        trib_engine *engine = plain_engine(model, threads);
        trib_session *session = plain_session(engine, prompt, PLAIN_PROMPT);
        trib_beams *beams;
        must(trib_beams_open(&beams, session, options, &error), &error);
        assert_int_equal(trib_beams_count(beams), 0);
        assert_int_equal(trib_session_length(session), PLAIN_PROMPT);
        trib_session_close(session);
        assert_int_equal(plain_run(beams, &error), status);
        expect_equal(beams, expected, count);
        trib_beams_close(beams);
        plain_no_leaks(engine);
        trib_engine_close(engine);
    }
    return status;
}
