/* A session that runs ahead where that is wanted. */
#include "speculation.h"

#include <string.h>

#include "load.h"

struct speculation_values speculation_values_default(void)
{
    trib_speculate_options options = trib_speculate_options_default();
    return (struct speculation_values){NULL, options.draft_tokens, options.draft_branches};
}

trib_status speculation_open(struct speculation *s, const struct speculation_values *values,
                             const trib_engine_options *engine, trib_error *error)
{
    trib_engine_options own = *engine;
    trib_status status = TRIB_OK;
    own.kv_type = trib_engine_options_default().kv_type;
    s->wanted = values->source != NULL;
    if (s->wanted && strcmp(values->source, "lookup") != 0) {
        status = trib_model_open(&s->model, values->source, error);
        if (status == TRIB_OK)
            status = load_engine(&s->engine, s->model, own, error);
    }
    s->options = (trib_speculate_options){values->tokens, values->branches, s->engine};
    return status;
}

void speculation_close(struct speculation *s)
{
    speculation_end(s);
    trib_engine_close(s->engine);
    trib_model_close(s->model);
    *s = (struct speculation){0};
}

trib_status speculation_begin(struct speculation *s, trib_session *session, trib_error *error)
{
    s->session = session;
    return s->wanted ? trib_speculator_open(&s->speculator, session, &s->options, error) : TRIB_OK;
}

void speculation_end(struct speculation *s)
{
    if (s->speculator) {
        trib_speculation counts = trib_speculator_counts(s->speculator);
        s->counts.appended += counts.appended;
        s->counts.steps += counts.steps;
        s->counts.drafted += counts.drafted;
        s->counts.accepted += counts.accepted;
    }
    trib_speculator_close(s->speculator);
    s->speculator = NULL;
    s->session = NULL;
}

trib_status speculation_append(struct speculation *s, int32_t id, trib_error *error)
{
    return s->speculator ? trib_speculator_append(s->speculator, id, error)
                         : trib_session_append(s->session, &id, 1, error);
}

const float *speculation_logits(const struct speculation *s)
{
    return s->speculator ? trib_speculator_logits(s->speculator) : trib_session_logits(s->session);
}

size_t speculation_length(const struct speculation *s)
{
    return s->speculator ? trib_speculator_length(s->speculator) : trib_session_length(s->session);
}
