/* Sessions: the timeline of one sequence. A model's is prefilled in chunks and kept as keys and
 * values; a predictor's is its state, which takes one token after the other. */
#include "engine/session.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"

struct trib_session {
    trib_engine *engine;
    struct kv_cache cache; /* of a model */
    void *state;           /* of a predictor */
    size_t limit;          /* tokens at most */
    float *logits;         /* [V] after the last token */
};

/* Predictors that have no end to their context. */
enum { ENDLESS = INT32_MAX };

trib_session_options trib_session_options_default(void)
{
    return (trib_session_options){.context = 0, .kv_type = "f16"};
}

trib_status session_resolve(const struct model_config *config, const trib_session_options *options,
                            struct kv_shape *shape, size_t *context, trib_error *error)
{
    trib_session_options o = options ? *options : trib_session_options_default();
    enum dtype type;
    if (!o.kv_type || !dtype_find(o.kv_type, &type) ||
        trib_chunk_bytes((trib_kv_type)type, config->head_dim) == 0)
        return error_set(
            error, TRIB_INVALID,
            "KV type: expected f32, f16, bf16, or (with heads of a multiple of 32) q8_0, "
            "found %.32s",
            o.kv_type ? o.kv_type : "NULL");
    if (o.context > config->context)
        return error_set(error, TRIB_INVALID,
                         "context: expected at most %zu, what the model was trained for, found %zu",
                         config->context, o.context);
    *shape = (struct kv_shape){type, config->layers, config->kv_heads, config->head_dim};
    *context = o.context ? o.context : config->context;
    return TRIB_OK;
}

static trib_status open_cache(trib_session *session, const trib_session_options *options,
                              trib_error *error)
{
    struct kv_shape shape;
    const struct model_config *config = &session->engine->model.config;
    if (config->bidirectional)
        return error_set(error, TRIB_UNSUPPORTED,
                         "a %s model sees a text in both directions: it gives vectors "
                         "(trib_embed), and continues none",
                         config->architecture->name);
    trib_status status = session_resolve(config, options, &shape, &session->limit, error);
    if (status == TRIB_OK)
        session->cache = kv_open(shape, session->limit);
    return status;
}

/* A predictor's state; of the options, the KV type does not concern it. */
static trib_status open_state(trib_session *session, const trib_session_options *options,
                              trib_error *error)
{
    const struct predictor *p = &session->engine->predictor;
    bool ends = p->config.model == MODEL_TRANSFORMER;
    size_t most = ends ? p->config.context : ENDLESS, bytes = predictor_state_bytes(p);
    session->limit = options && options->context ? options->context : most;
    if (session->limit > most)
        return error_set(error, TRIB_INVALID,
                         "context: expected at most %zu, what the model was trained for, found %zu",
                         most, session->limit);
    session->state = memory_zeroed(bytes);
    if (!session->state)
        return error_no_memory(error, "a session", bytes);
    predictor_state_reset(p, session->state);
    return TRIB_OK;
}

trib_status trib_session_open(trib_session **out, trib_engine *engine,
                              const trib_session_options *options, trib_error *error)
{
    *out = NULL;
    trib_session *session = calloc(1, sizeof *session);
    if (!session)
        return error_no_memory(error, "a session", sizeof *session);
    session->engine = engine;
    session->logits = malloc(engine->vocabulary * sizeof *session->logits);
    trib_status status =
        session->logits
            ? TRIB_OK
            : error_no_memory(error, "a session", engine->vocabulary * sizeof *session->logits);
    if (status == TRIB_OK)
        status = engine->predicts ? open_state(session, options, error)
                                  : open_cache(session, options, error);
    if (status == TRIB_OK)
        *out = session;
    else
        trib_session_close(session);
    return status;
}

void trib_session_close(trib_session *session)
{
    if (!session)
        return;
    kv_close(&session->cache);
    free(session->state);
    free(session->logits);
    free(session);
}

static trib_status check_tokens(const trib_session *session, const int32_t *ids, size_t count,
                                trib_error *error)
{
    size_t V = session->engine->vocabulary;
    if (count == 0)
        return error_set(error, TRIB_INVALID, "no tokens to append");
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= V)
            return error_set(error, TRIB_INVALID, "token %zu: expected an id below %zu, found %d",
                             i, V, ids[i]);
    size_t length = trib_session_length(session);
    if (count > session->limit - length)
        return error_set(error, TRIB_FULL,
                         "%zu more tokens after %zu do not fit in the context of %zu", count,
                         length, session->limit);
    return TRIB_OK;
}

/* A predictor takes one token after the other. Logits as `append` says. */
static trib_status step_through(trib_session *session, const int32_t *ids, size_t count,
                                float *logits, bool every, trib_error *error)
{
    const trib_engine *engine = session->engine;
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        float *out = every ? logits + i * engine->vocabulary : i + 1 == count ? logits : NULL;
        status = predictor_step(&engine->predictor, session->state, ids[i], out, error);
    }
    return status;
}

/* Appends in chunks. With `every` logits go to logits [count][V], else only the last one's to [V].
 */
static trib_status append(trib_session *session, const int32_t *ids, size_t count, float *logits,
                          bool every, trib_error *error)
{
    trib_engine *engine = session->engine;
    trib_status status = check_tokens(session, ids, count, error);
    if (status == TRIB_OK && engine->predicts)
        return step_through(session, ids, count, logits, every, error);
    for (size_t done = 0; done < count && status == TRIB_OK;) {
        size_t left = count - done;
        size_t chunk = left < engine->prefill_chunk ? left : engine->prefill_chunk;
        struct run run = {.cache = &session->cache,
                          .tokens = ids + done,
                          .count = chunk,
                          .outputs = every ? chunk : chunk == left};
        status = model_forward(&engine->model, &engine->activations, &run, 1,
                               every ? logits + done * engine->vocabulary : logits, error);
        done += chunk;
    }
    return status;
}

trib_status trib_session_append(trib_session *session, const int32_t *ids, size_t count,
                                trib_error *error)
{
    return append(session, ids, count, session->logits, false, error);
}

trib_status trib_session_score(trib_session *session, const int32_t *ids, size_t count,
                               float *logits, trib_error *error)
{
    size_t V = session->engine->vocabulary;
    trib_status status = append(session, ids, count, logits, true, error);
    if (status == TRIB_OK)
        for (size_t i = 0; i < V; i++)
            session->logits[i] = logits[(count - 1) * V + i];
    return status;
}

size_t trib_session_length(const trib_session *session)
{
    return session->engine->predicts
               ? predictor_state_position(&session->engine->predictor, session->state)
               : session->cache.length;
}

size_t trib_session_context(const trib_session *session)
{
    return session->limit;
}

const float *trib_session_logits(const trib_session *session)
{
    return trib_session_length(session) ? session->logits : NULL;
}
