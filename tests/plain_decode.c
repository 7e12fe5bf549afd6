/* Plain decoding: one session, one sampler. */
#include "plain_decode.h"

#include "engine/engine.h"
#include "must.h"

static void add(struct plain *p, trib_text text)
{
    assert_true(p->length + text.length <= PLAIN_TEXT);
    if (text.length)
        memcpy(p->text + p->length, text.bytes, text.length);
    p->length += text.length;
}

static bool is_end(const trib_request *request, const trib_model *model, int32_t id)
{
    for (size_t i = 0; i < request->end_count; i++)
        if (request->ends[i] == id)
            return true;
    return !request->go_on && trib_token_is_end(model, id);
}

/* Until something ends it. */
static void decode(struct plain *p, trib_session *session, trib_sampler *sampler,
                   trib_decoder *decoder, trib_stops *stops, const trib_model *model,
                   const trib_request *request)
{
    trib_error error = {0};
    trib_text shown;
    double sum = 0;
    for (size_t drawn = 1;; drawn++) {
        int32_t id;
        must(trib_sampler_next(sampler, trib_session_logits(session), &id, &error), &error);
        sum += (double)trib_sampler_logprob(sampler);
        p->mean = sum / (double)drawn;
        p->end = TRIB_END_TOKEN;
        if (is_end(request, model, id))
            return;
        p->ids[p->count++] = id;
        must(trib_stops_next(stops, trib_decoder_next(decoder, id), &shown, &error), &error);
        add(p, shown);
        p->end = TRIB_END_STOP;
        if (trib_stops_met(stops, NULL))
            return;
        p->end = TRIB_END_LENGTH;
        if (p->count == request->max_tokens ||
            trib_session_length(session) == trib_session_context(session))
            return;
        must(trib_session_append(session, &id, 1, &error), &error);
    }
}

void plain_decode(struct plain *p, trib_engine *engine, const trib_model *model, size_t context,
                  const trib_request *request, size_t index)
{
    const trib_session_options options = {context};
    trib_sampler_options sampling = request->sampling;
    trib_session *session;
    trib_sampler *sampler;
    trib_decoder *decoder;
    trib_stops *stops;
    trib_error error = {0};
    trib_text shown;
    assert_true(request->max_tokens <= PLAIN_MOST);
    sampling.seed += index;
    p->count = p->length = 0;
    must(trib_session_open(&session, engine, &options, &error), &error);
    must(trib_sampler_open(&sampler, engine->vocabulary, &sampling, &error), &error);
    must(trib_decoder_open(&decoder, model, !request->begin, false, &error), &error);
    must(trib_stops_open(&stops, request->stops, request->stop_count, &error), &error);
    must(trib_session_append(session, request->ids, request->count, &error), &error);
    for (size_t i = 0; i < request->count; i++)
        trib_sampler_accept(sampler, request->ids[i]);
    decode(p, session, sampler, decoder, stops, model, request);
    must(trib_stops_next(stops, trib_decoder_rest(decoder), &shown, &error), &error);
    add(p, shown);
    add(p, trib_stops_rest(stops));
    trib_stops_close(stops);
    trib_decoder_close(decoder);
    trib_sampler_close(sampler);
    trib_session_close(session);
}
