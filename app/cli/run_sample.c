/* trib run: completions that are sampled, each by its own seed, all of them forks of one session
 * that pass in one step per token. What one of them is does not depend on the others. */
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "run.h"

trib_status completion_grow(struct completion *c, size_t top, trib_error *error)
{
    if (c->count < c->capacity)
        return TRIB_OK;
    size_t capacity = 2 * c->capacity + 64;
    int32_t *ids = realloc(c->ids, capacity * sizeof *ids);
    if (ids)
        c->ids = ids;
    float *logprobs = realloc(c->logprobs, capacity * sizeof *logprobs);
    if (logprobs)
        c->logprobs = logprobs;
    trib_logprob *likeliest = realloc(c->top, (capacity * top + 1) * sizeof *likeliest);
    if (likeliest)
        c->top = likeliest;
    if (!ids || !logprobs || !likeliest)
        return failure(error, TRIB_NO_MEMORY, "no memory for the tokens");
    c->capacity = capacity;
    return TRIB_OK;
}

/* ---- Text ---- */

static trib_status put(const struct job *job, struct completion *c, trib_text piece,
                       trib_error *error)
{
    if (c->length + piece.length > c->text_capacity) {
        size_t capacity = 2 * c->text_capacity + piece.length;
        char *larger = realloc(c->text, capacity);
        if (!larger)
            return failure(error, TRIB_NO_MEMORY, "no memory for the text");
        c->text = larger;
        c->text_capacity = capacity;
    }
    if (piece.length)
        memcpy(c->text + c->length, piece.bytes, piece.length);
    c->length += piece.length;
    return job->streams ? print_at_once(piece, error) : TRIB_OK;
}

trib_status completion_text(const struct job *job, struct completion *c, trib_text piece,
                            trib_error *error)
{
    trib_text shown;
    trib_status status = trib_stops_next(c->stops, piece, &shown, error);
    if (status == TRIB_OK)
        status = put(job, c, shown, error);
    if (trib_stops_met(c->stops, NULL))
        c->stop = "string";
    return status;
}

trib_status completion_rest(const struct job *job, struct completion *c, trib_error *error)
{
    trib_status status = completion_text(job, c, trib_decoder_rest(c->decoder), error);
    return status == TRIB_OK ? put(job, c, trib_stops_rest(c->stops), error) : status;
}

/* ---- Sampling ---- */

static trib_status open_one(const struct job *job, const struct run_values *v, size_t number,
                            trib_error *error)
{
    struct completion *c = &job->completions[number];
    trib_sampler_options sampler = v->sampler;
    trib_status status;
    c->number = number;
    c->seed = sampler.seed += number;
    if ((status = trib_session_fork(&c->session, job->session, error)) ||
        (status = trib_sampler_open(&c->sampler, job->vocabulary, &sampler, error)) ||
        (status = sampling_stops(&c->stops, &v->stop, NULL, 0, error)) ||
        (status = trib_decoder_open(&c->decoder, job->model, job->prompt_length > 0, false, error)))
        return status;
    for (size_t i = 0; i < job->prompt_count; i++)
        trib_sampler_accept(c->sampler, job->prompt_ids[i]);
    return TRIB_OK;
}

/* The next token of one completion, and its text; *id is what to append. */
static trib_status choose(const struct job *job, const struct run_values *v, struct completion *c,
                          trib_error *error)
{
    const float *logits =
        job->count == 1 ? speculation_logits(&job->speculation) : trib_session_logits(c->session);
    size_t V = job->vocabulary, top = v->logprobs == NOT_GIVEN ? 0 : v->logprobs;
    int32_t id;
    c->hash = XXH3_64bits_withSeed(logits, V * sizeof *logits, c->hash);
    trib_status status = completion_grow(c, top, error);
    if (status == TRIB_OK && top)
        status = trib_logprobs(logits, V, top, c->top + c->count * top, error);
    if (status == TRIB_OK)
        status = trib_sampler_next(c->sampler, logits, &id, error);
    if (status != TRIB_OK)
        return status;
    c->logprob += (double)trib_sampler_logprob(c->sampler);
    c->chosen++;
    if (trib_token_is_end(job->model, id)) {
        c->stop = "end";
        return TRIB_OK;
    }
    c->ids[c->count] = id;
    c->logprobs[c->count++] = trib_sampler_logprob(c->sampler);
    status = completion_text(job, c, trib_decoder_next(c->decoder, id), error);
    if (!c->stop && c->count == job->most)
        c->stop = job->most < v->count ? "context" : "length";
    return status;
}

/* Appends the last token of the completion, which is the only one. */
static trib_status append_one(struct job *job, size_t *going, trib_error *error)
{
    struct completion *c = &job->completions[0];
    trib_status status =
        c->stop ? TRIB_OK : speculation_append(&job->speculation, c->ids[c->count - 1], error);
    if (status == TRIB_FULL)
        c->stop = "cache";
    *going = !c->stop;
    return status == TRIB_FULL ? TRIB_OK : status;
}

/* Appends the last token of every completion that goes on. One for which the cache has no room ends
 * there, the others go on. */
static trib_status append(struct job *job, trib_append *appends, size_t *going, trib_error *error)
{
    size_t n = 0, at = 0;
    if (job->count == 1)
        return append_one(job, going, error);
    for (size_t i = 0; i < job->count; i++) {
        const struct completion *c = &job->completions[i];
        if (!c->stop)
            appends[n++] =
                (trib_append){.session = c->session, .ids = c->ids + c->count - 1, .count = 1};
    }
    trib_status status = trib_step(job->engine, appends, n, error);
    *going = n;
    for (size_t i = 0; i < job->count && status != TRIB_OK; i++) {
        if (job->completions[i].stop)
            continue;
        trib_status own = appends[at++].status;
        if (own != TRIB_OK && own != TRIB_FULL)
            return status;
        if (own == TRIB_FULL) {
            job->completions[i].stop = "cache";
            *going -= 1;
        }
    }
    return TRIB_OK;
}

static trib_status decode(struct job *job, const struct run_values *v, trib_error *error)
{
    trib_append *appends = malloc((job->count + 1) * sizeof *appends);
    trib_status status = appends ? TRIB_OK : failure(error, TRIB_NO_MEMORY, "no memory for a step");
    struct progress bar;
    progress_open(&bar, 0, job->most);
    if (status == TRIB_OK && job->count == 1)
        status = speculation_begin(&job->speculation, job->completions[0].session, error);
    for (size_t done = 0, going = job->most ? job->count : 0; going && status == TRIB_OK; done++) {
        for (size_t i = 0; i < job->count && status == TRIB_OK; i++)
            if (!job->completions[i].stop)
                status = choose(job, v, &job->completions[i], error);
        if (status == TRIB_OK)
            status = append(job, appends, &going, error);
        if (!job->streams && progress_seconds() - bar.start > 1)
            progress_show(&bar, done + 1, "tokens of each");
    }
    progress_clear(&bar);
    speculation_end(&job->speculation);
    free(appends);
    return status;
}

/* By falling score, equal ones by rising seed. */
static int compare(const void *left, const void *right)
{
    const struct completion *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

trib_status run_sample(struct job *job, const struct run_values *v, trib_error *error)
{
    bool chooses = v->best_of != NOT_GIVEN;
    trib_status status = TRIB_OK;
    job->wanted = v->n == NOT_GIVEN ? 1 : v->n;
    size_t count = chooses ? v->best_of : job->wanted;
    job->streams = count == 1 && !v->json && v->logprobs == NOT_GIVEN;
    if (job->streams && v->echo)
        fwrite(job->prompt, 1, job->prompt_length, stdout);
    job->completions = calloc(count, sizeof *job->completions);
    if (!job->completions)
        return failure(error, TRIB_NO_MEMORY, "no memory for the completions");
    for (; job->count < count && status == TRIB_OK; job->count++)
        status = open_one(job, v, job->count, error);
    double start = progress_seconds();
    if (status == TRIB_OK)
        status = decode(job, v, error);
    job->decode_seconds = progress_seconds() - start;
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        struct completion *c = &job->completions[i];
        if (!c->stop)
            c->stop = v->count ? "context" : "length";
        status = completion_rest(job, c, error);
        c->score = c->chosen ? c->logprob / (double)c->chosen : 0;
    }
    if (chooses)
        qsort(job->completions, count, sizeof *job->completions, compare);
    return status;
}
