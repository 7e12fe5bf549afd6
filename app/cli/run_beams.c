/* trib run: completions found by beam search. */
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "run.h"

/* What says whether the text of a hypothesis has met a stop string. */
struct reader {
    const struct job *job;
    const struct run_values *v;
    trib_status status; /* TRIB_NO_MEMORY, once it was met */
};

static trib_status open_texts(const struct job *job, const struct run_values *v,
                              struct completion *c, trib_error *error)
{
    trib_status status = sampling_stops(&c->stops, &v->stop, NULL, 0, error);
    return status == TRIB_OK
               ? trib_decoder_open(&c->decoder, job->model, job->prompt_length > 0, false, error)
               : status;
}

static bool meets_stop(void *context, const int32_t *ids, size_t count)
{
    struct reader *reader = context;
    struct completion c = {0};
    trib_error error;
    trib_status status = open_texts(reader->job, reader->v, &c, &error);
    for (size_t i = 0; i < count && status == TRIB_OK && !c.stop; i++)
        status = completion_text(reader->job, &c, trib_decoder_next(c.decoder, ids[i]), &error);
    trib_decoder_close(c.decoder);
    trib_stops_close(c.stops);
    free(c.text);
    if (status != TRIB_OK)
        reader->status = status;
    return c.stop != NULL;
}

/* Every token that ends a text; the caller frees *ends. */
static trib_status list_ends(const struct job *job, int32_t **ends, size_t *count,
                             trib_error *error)
{
    *count = 0;
    *ends = malloc((job->vocabulary + 1) * sizeof **ends);
    if (!*ends)
        return failure(error, TRIB_NO_MEMORY, "no memory for the tokens that end a text");
    for (size_t id = 0; id < job->vocabulary; id++)
        if (trib_token_is_end(job->model, (int32_t)id))
            (*ends)[(*count)++] = (int32_t)id;
    return TRIB_OK;
}

static trib_status search(struct job *job, trib_beams *beams, trib_error *error)
{
    trib_status status = TRIB_OK;
    bool going = true;
    struct progress bar;
    progress_open(&bar, 0, job->most);
    for (size_t done = 1; going && status == TRIB_OK; done++) {
        status = trib_beams_step(beams, &going, error);
        if (progress_seconds() - bar.start > 1)
            progress_show(&bar, done, "tokens of each");
    }
    progress_clear(&bar);
    return status;
}

static trib_status read_one(const struct job *job, const struct run_values *v, trib_hypothesis h,
                            size_t top, struct completion *c, trib_error *error)
{
    trib_status status = open_texts(job, v, c, error);
    bool end = h.count && trib_token_is_end(job->model, h.ids[h.count - 1]);
    for (size_t i = 0; i + end < h.count && status == TRIB_OK; i++) {
        status = completion_grow(c, top, error);
        if (status != TRIB_OK)
            break;
        c->logprobs[c->count] = h.logprobs[i];
        c->ids[c->count++] = h.ids[i];
        status = completion_text(job, c, trib_decoder_next(c->decoder, h.ids[i]), error);
    }
    if (!c->stop)
        c->stop = end ? "end" : job->most < v->count ? "context" : "length";
    for (size_t i = 0; i < h.count; i++)
        c->logprob += (double)h.logprobs[i];
    c->chosen = h.count;
    c->score = h.score;
    return status == TRIB_OK ? completion_rest(job, c, error) : status;
}

static trib_status read_all_of(struct job *job, const struct run_values *v, const trib_beams *beams,
                               size_t top, trib_error *error)
{
    size_t found = trib_beams_count(beams);
    trib_status status = TRIB_OK;
    job->completions = calloc(found + 1, sizeof *job->completions);
    if (!job->completions)
        return failure(error, TRIB_NO_MEMORY, "no memory for the completions");
    for (; job->count < found && status == TRIB_OK; job->count++) {
        job->completions[job->count].number = job->count;
        status = read_one(job, v, trib_beams_at(beams, job->count), top,
                          &job->completions[job->count], error);
    }
    job->wanted = job->wanted < found ? job->wanted : found;
    return status;
}

/* The likeliest tokens in the place of each that is printed. The search keeps no logits, and the
 * same tokens give the same again. */
static trib_status find_top(const struct job *job, size_t top, struct completion *c,
                            trib_error *error)
{
    enum { PIECE = 32 };
    size_t V = job->vocabulary;
    trib_session *session = NULL;
    float *logits = malloc(PIECE * V * sizeof *logits); /* [PIECE][V] */
    trib_status status = logits ? trib_session_fork(&session, job->session, error)
                                : failure(error, TRIB_NO_MEMORY, "no memory for logits");
    if (status == TRIB_OK && c->count)
        status = trib_logprobs(trib_session_logits(session), V, top, c->top, error);
    for (size_t at = 1; at < c->count && status == TRIB_OK;) {
        size_t n = c->count - at < PIECE ? c->count - at : PIECE;
        status = trib_session_score(session, c->ids + at - 1, n, logits, error);
        for (size_t i = 0; i < n && status == TRIB_OK; i++, at++)
            status = trib_logprobs(logits + i * V, V, top, c->top + at * top, error);
    }
    trib_session_close(session);
    free(logits);
    return status;
}

trib_status run_beams(struct job *job, const struct run_values *v, trib_error *error)
{
    struct reader reader = {job, v, TRIB_OK};
    size_t top = v->logprobs == NOT_GIVEN ? 0 : v->logprobs;
    int32_t *ends = NULL;
    trib_beams *beams = NULL;
    trib_beam_options options = {.beams = v->beams,
                                 .tokens = v->count,
                                 .length_penalty = v->length_penalty,
                                 .complete = v->stop.count ? meets_stop : NULL,
                                 .complete_context = &reader,
                                 .bias = v->sampler.bias,
                                 .bias_count = v->sampler.bias_count};
    job->wanted = v->n == NOT_GIVEN ? 1 : v->n;
    trib_status status = list_ends(job, &ends, &options.end_count, error);
    options.ends = ends;
    if (status == TRIB_OK)
        status = trib_beams_open(&beams, job->session, &options, error);
    double start = progress_seconds();
    if (status == TRIB_OK)
        status = search(job, beams, error);
    job->decode_seconds = progress_seconds() - start;
    if (status == TRIB_OK && reader.status != TRIB_OK)
        status = failure(error, reader.status, "no memory for the texts of the beams");
    if (status == TRIB_OK)
        status = read_all_of(job, v, beams, top, error);
    trib_beams_close(beams); /* before find_top: what it holds of the cache is free again */
    free(ends);
    for (size_t i = 0; i < job->wanted && top && status == TRIB_OK; i++)
        status = find_top(job, top, &job->completions[i], error);
    return status;
}
