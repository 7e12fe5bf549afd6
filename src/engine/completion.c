/* A completion: tokens chosen one by one, spelt, told of, and its end. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/scheduler.h"

/* ---- Beginning ---- */

void completion_leave(struct completion *c)
{
    if (!c->session)
        return;
    trib_session_close(c->session);
    c->session = NULL;
    c->request->scheduler->active--;
}

/* All but the text, which may be wanted later. */
static void close_tools(struct completion *c)
{
    completion_leave(c);
    trib_sampler_close(c->sampler);
    trib_decoder_close(c->decoder);
    trib_stops_close(c->strings);
    c->sampler = NULL;
    c->decoder = NULL;
    c->strings = NULL;
}

static trib_status grow_ids(struct completion *c, size_t count)
{
    if (count <= c->capacity)
        return TRIB_OK;
    size_t prompt = c->request->asked.count, capacity = count + count / 2 + 16;
    int32_t *ids = realloc(c->ids, capacity * sizeof *ids);
    if (ids)
        c->ids = ids;
    float *logprobs = c->request->asked.logprobs && ids
                          ? realloc(c->logprobs, (capacity - prompt) * sizeof *logprobs)
                          : c->logprobs;
    if (!ids || (c->request->asked.logprobs && !logprobs))
        return error_no_memory(&c->failure, "the tokens of a text", capacity * sizeof *ids);
    c->logprobs = logprobs;
    c->capacity = capacity;
    return TRIB_OK;
}

/* A sampler that has seen the prompt, and what spells. */
static trib_status open_tools(struct completion *c)
{
    const trib_request *asked = &c->request->asked;
    const trib_scheduler *s = c->request->scheduler;
    trib_sampler_options sampling = asked->sampling;
    sampling.seed += c->index;
    trib_status status = trib_sampler_open(&c->sampler, s->vocabulary, &sampling, &c->failure);
    for (size_t i = 0; i < asked->count && status == TRIB_OK; i++)
        trib_sampler_accept(c->sampler, asked->ids[i]);
    if (status == TRIB_OK && s->model)
        status = trib_decoder_open(&c->decoder, s->model, !asked->begin, false, &c->failure);
    if (status == TRIB_OK && s->model)
        status = trib_stops_open(&c->strings, asked->stops, asked->stop_count, &c->failure);
    return status;
}

trib_status completion_make_ready(struct completion *c)
{
    const trib_request *asked = &c->request->asked;
    if (c->ready)
        return TRIB_OK;
    trib_status status = grow_ids(c, asked->count + 1);
    if (status == TRIB_OK)
        status = open_tools(c);
    if (status != TRIB_OK) {
        close_tools(c);
        return status;
    }
    memcpy(c->ids, asked->ids, asked->count * sizeof *c->ids);
    c->count = asked->count;
    c->ready = true;
    return TRIB_OK;
}

bool completion_is_read(const struct completion *c)
{
    return c->session && trib_session_length(c->session) == c->count &&
           trib_session_logits(c->session);
}

/* ---- Text ---- */

static trib_status add_text(struct completion *c, trib_text text)
{
    if (c->text_length + text.length > c->text_capacity) {
        size_t capacity = 2 * c->text_capacity + text.length;
        char *larger = realloc(c->text, capacity);
        if (!larger)
            return error_no_memory(&c->failure, "a text", capacity);
        c->text = larger;
        c->text_capacity = capacity;
    }
    if (text.length)
        memcpy(c->text + c->text_length, text.bytes, text.length);
    c->text_length += text.length;
    return TRIB_OK;
}

/* What a piece of the decoder's makes certain joins the text. */
static trib_status spell(struct completion *c, trib_text piece)
{
    trib_text shown;
    trib_status status = trib_stops_next(c->strings, piece, &shown, &c->failure);
    return status == TRIB_OK ? add_text(c, shown) : status;
}

/* What was held back, since no more comes. The completion ends either way: text that there is no
 * memory for makes the end an error. */
static trib_status spell_rest(struct completion *c)
{
    trib_status status = TRIB_OK;
    if (c->strings && c->decoder)
        status = spell(c, trib_decoder_rest(c->decoder));
    if (status == TRIB_OK && c->strings)
        status = add_text(c, trib_stops_rest(c->strings));
    return status;
}

static trib_text untold(const struct completion *c)
{
    return (trib_text){c->text ? c->text + c->told : "", c->text_length - c->told};
}

/* ---- Choosing ---- */

static bool is_end(const struct completion *c, int32_t id)
{
    const trib_request *asked = &c->request->asked;
    const trib_model *model = c->request->scheduler->model;
    for (size_t i = 0; i < asked->end_count; i++)
        if (asked->ends[i] == id)
            return true;
    return model && !asked->go_on && trib_token_is_end(model, id);
}

/* Of what was chosen last; where nobody wants it, it is not computed. */
static float logprob_of(struct completion *c)
{
    const struct request *r = c->request;
    if (!r->asked.logprobs && r->made == r->asked.completions)
        return NAN;
    float logprob = trib_sampler_logprob(c->sampler);
    c->logprob_sum += (double)logprob;
    c->logprob_count++;
    return logprob;
}

static trib_status keep(struct completion *c, int32_t id, float logprob)
{
    const trib_request *asked = &c->request->asked;
    trib_status status = grow_ids(c, c->count + 1);
    if (status != TRIB_OK)
        return status;
    if (asked->logprobs)
        c->logprobs[c->count - asked->count] = logprob;
    c->ids[c->count++] = id;
    c->request->scheduler->counts.chosen++;
    return c->decoder ? spell(c, trib_decoder_next(c->decoder, id)) : TRIB_OK;
}

static void tell(struct completion *c, int32_t id, float logprob)
{
    const struct request *r = c->request;
    const trib_chosen chosen = {.request = r->id,
                                .completion = c->index,
                                .id = id,
                                .logprob = r->asked.logprobs ? logprob : NAN,
                                .logits = trib_session_logits(c->session),
                                .text = untold(c)};
    if (!r->asked.on_token)
        return;
    c->told = c->text_length;
    r->asked.on_token(r->asked.context, &chosen);
}

void completion_choose(struct completion *c)
{
    const struct request *r = c->request;
    int32_t id;
    trib_status status =
        trib_sampler_next(c->sampler, trib_session_logits(c->session), &id, &c->failure);
    if (status != TRIB_OK) {
        completion_fail(c);
        return;
    }
    float logprob = logprob_of(c);
    if (is_end(c, id)) {
        completion_end(c, TRIB_END_TOKEN);
        return;
    }
    if (keep(c, id, logprob) != TRIB_OK) {
        completion_fail(c);
        return;
    }
    tell(c, id, logprob);
    if (c->stage == OVER) /* cancelled when told */
        return;
    c->stage = RUNNING;
    if (c->strings && trib_stops_met(c->strings, NULL))
        completion_end(c, TRIB_END_STOP);
    else if (c->count - r->asked.count == r->asked.max_tokens ||
             trib_session_length(c->session) == r->scheduler->context)
        completion_end(c, TRIB_END_LENGTH);
}

/* ---- Ending ---- */

void completion_close(struct completion *c)
{
    close_tools(c);
    free(c->ids);
    free(c->logprobs);
    free(c->text);
}

void completion_end(struct completion *c, trib_end end)
{
    trib_scheduler *s = c->request->scheduler;
    c->end = spell_rest(c) == TRIB_OK ? end : TRIB_END_ERROR;
    if (end == TRIB_END_STOP)
        trib_stops_met(c->strings, &c->stop);
    if (c->session)
        s->full = false;
    close_tools(c);
    scheduler_remove(s, c);
    c->stage = OVER;
    request_ended_one(c->request, c);
}

void completion_fail(struct completion *c)
{
    completion_end(c, TRIB_END_ERROR);
}
