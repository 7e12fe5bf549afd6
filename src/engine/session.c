/* Sessions: the timeline of one sequence. A model's is a sequence of the engine's cache; a
 * predictor's is its state. What is appended passes in a step (step.c). */
#include "engine/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* Predictors that have no end to their context. */
enum { ENDLESS = INT32_MAX };

trib_session_options trib_session_options_default(void)
{
    return (trib_session_options){.context = 0};
}

size_t session_predictor_context(const struct predictor_config *config)
{
    return config->model == MODEL_TRANSFORMER ? config->context : ENDLESS;
}

trib_status session_context(const trib_session_options *options, size_t most, size_t *context,
                            trib_error *error)
{
    size_t asked = options ? options->context : 0;
    if (asked > most)
        return error_set(error, TRIB_INVALID,
                         "context: expected at most %zu, what the model was trained for or the "
                         "engine opened for, found %zu",
                         most, asked);
    *context = asked ? asked : most;
    return TRIB_OK;
}

static trib_status open_sequence(trib_session *session, const trib_session_options *options,
                                 trib_error *error)
{
    const struct model_config *config = &session->engine->model.config;
    if (config->bidirectional)
        return error_set(error, TRIB_UNSUPPORTED,
                         "a %s model sees a text in both directions: it gives vectors "
                         "(trib_embed), and continues none",
                         config->architecture->name);
    trib_status status = session_context(options, session->engine->context, &session->limit, error);
    if (status == TRIB_OK)
        status = sequence_open(&session->sequence, session->engine->cache, NULL, 0, error);
    return status;
}

static trib_status take_state(trib_session *session, trib_error *error)
{
    size_t bytes = predictor_state_bytes(&session->engine->predictor);
    session->state = memory_zeroed(bytes);
    return session->state ? TRIB_OK : error_no_memory(error, "a session", bytes);
}

static trib_status open_state(trib_session *session, const trib_session_options *options,
                              trib_error *error)
{
    const struct predictor *p = &session->engine->predictor;
    trib_status status = session_context(options, session->engine->context, &session->limit, error);
    if (status == TRIB_OK)
        status = take_state(session, error);
    if (status == TRIB_OK)
        predictor_state_reset(p, session->state);
    return status;
}

static trib_status session_new(trib_session **out, trib_engine *engine, trib_error *error)
{
    trib_session *session = *out = calloc(1, sizeof *session);
    if (!session)
        return error_no_memory(error, "a session", sizeof *session);
    session->engine = engine;
    return TRIB_OK;
}

static void drop_logits(trib_session *session)
{
    if (session->logits && --session->logits->users == 0)
        free(session->logits);
    session->logits = NULL;
}

trib_status session_take_logits(trib_session *session, trib_error *error)
{
    size_t bytes = sizeof *session->logits + session->engine->vocabulary * sizeof(float);
    if (session->logits && session->logits->users == 1)
        return TRIB_OK;
    struct session_logits *logits = malloc(bytes);
    if (!logits)
        return error_no_memory(error, "the logits of a session", bytes);
    drop_logits(session);
    logits->users = 1;
    session->logits = logits;
    return TRIB_OK;
}

/* Hands the session over, or closes it where something failed. */
static trib_status hand_over(trib_session **out, trib_session *session, trib_status status)
{
    if (status != TRIB_OK) {
        trib_session_close(session);
        session = NULL;
    }
    *out = session;
    return status;
}

trib_status trib_session_open(trib_session **out, trib_engine *engine,
                              const trib_session_options *options, trib_error *error)
{
    trib_session *session;
    trib_status status = session_new(&session, engine, error);
    if (status == TRIB_OK)
        status = engine->predicts ? open_state(session, options, error)
                                  : open_sequence(session, options, error);
    return hand_over(out, session, status);
}

trib_status trib_session_fork(trib_session **out, const trib_session *session, trib_error *error)
{
    trib_engine *engine = session->engine;
    trib_session *fork;
    trib_status status = session_new(&fork, engine, error);
    if (status == TRIB_OK)
        status = engine->predicts ? take_state(fork, error)
                                  : sequence_fork(&fork->sequence, session->sequence, error);
    if (status == TRIB_OK && engine->predicts)
        memcpy(fork->state, session->state, predictor_state_bytes(&engine->predictor));
    if (status == TRIB_OK) {
        fork->limit = session->limit;
        fork->known = session->known;
        fork->cached = session->cached;
        fork->logits = session->known ? session->logits : NULL;
        if (fork->logits)
            fork->logits->users++;
    }
    return hand_over(out, fork, status);
}

trib_status trib_session_rewind(trib_session *session, size_t length, trib_error *error)
{
    size_t had = trib_session_length(session);
    if (length > had)
        return error_set(error, TRIB_INVALID, "rewinding: expected at most %zu tokens, found %zu",
                         had, length);
    if (length == had)
        return TRIB_OK;
    if (!session->engine->predicts)
        sequence_rewind(session->sequence, length);
    else if (length == 0)
        predictor_state_reset(&session->engine->predictor, session->state);
    else
        return error_set(error, TRIB_UNSUPPORTED,
                         "a predictor keeps a state and no past: it rewinds to 0 alone, not to %zu",
                         length);
    session->known = false;
    return TRIB_OK;
}

void trib_session_close(trib_session *session)
{
    if (!session)
        return;
    sequence_close(session->sequence);
    free(session->state);
    drop_logits(session);
    free(session);
}

trib_status session_find(trib_session *session, const int32_t *ids, size_t count, trib_error *error)
{
    size_t had = trib_session_length(session);
    if (session->engine->predicts)
        return TRIB_OK;
    trib_status status = sequence_find(session->sequence, ids, count, error);
    session->known = session->known && trib_session_length(session) == had;
    return status;
}

trib_status trib_session_append(trib_session *session, const int32_t *ids, size_t count,
                                trib_error *error)
{
    trib_append append = {.session = session, .ids = ids, .count = count};
    return trib_step(session->engine, &append, 1, error);
}

trib_status trib_session_score(trib_session *session, const int32_t *ids, size_t count,
                               float *logits, trib_error *error)
{
    trib_append append = {.session = session, .ids = ids, .count = count, .logits = logits};
    return trib_step(session->engine, &append, 1, error);
}

size_t trib_session_length(const trib_session *session)
{
    return session->engine->predicts
               ? predictor_state_position(&session->engine->predictor, session->state)
               : sequence_length(session->sequence);
}

size_t trib_session_cached(const trib_session *session)
{
    return session->cached;
}

size_t trib_session_context(const trib_session *session)
{
    return session->limit;
}

const float *trib_session_logits(const trib_session *session)
{
    return session->known ? session->logits->x : NULL;
}
