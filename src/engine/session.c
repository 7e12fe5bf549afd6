/* Sessions: the timeline of one sequence, prefilled in chunks, decoded token by token. */
#include "engine/session.h"

#include <stdlib.h>

#include "base/error.h"
#include "engine/engine.h"

struct trib_session {
    trib_engine *engine;
    struct kv_cache cache;
    float *logits; /* [V] after the last token */
};

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

trib_status trib_session_open(trib_session **out, trib_engine *engine,
                              const trib_session_options *options, trib_error *error)
{
    *out = NULL;
    struct kv_shape shape;
    size_t context, bytes = engine->model.config.vocabulary * sizeof(float);
    trib_status status = session_resolve(&engine->model.config, options, &shape, &context, error);
    if (status != TRIB_OK)
        return status;
    trib_session *session = calloc(1, sizeof *session);
    float *logits = malloc(bytes);
    if (!session || !logits) {
        free(session);
        free(logits);
        return error_no_memory(error, "a session", bytes);
    }
    session->engine = engine;
    session->cache = kv_open(shape, context);
    session->logits = logits;
    *out = session;
    return TRIB_OK;
}

void trib_session_close(trib_session *session)
{
    if (!session)
        return;
    kv_close(&session->cache);
    free(session->logits);
    free(session);
}

static trib_status check_tokens(const trib_session *session, const int32_t *ids, size_t count,
                                trib_error *error)
{
    size_t V = session->engine->model.config.vocabulary;
    if (count == 0)
        return error_set(error, TRIB_INVALID, "no tokens to append");
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= V)
            return error_set(error, TRIB_INVALID, "token %zu: expected an id below %zu, found %d",
                             i, V, ids[i]);
    if (count > session->cache.limit - session->cache.length)
        return error_set(error, TRIB_FULL,
                         "%zu more tokens after %zu do not fit in the context of %zu", count,
                         session->cache.length, session->cache.limit);
    return TRIB_OK;
}

/* Appends in chunks. With `every` logits go to logits [count][V], else only the last one's to [V].
 */
static trib_status append(trib_session *session, const int32_t *ids, size_t count, float *logits,
                          bool every, trib_error *error)
{
    trib_engine *engine = session->engine;
    trib_status status = check_tokens(session, ids, count, error);
    for (size_t done = 0; done < count && status == TRIB_OK;) {
        size_t left = count - done;
        size_t chunk = left < engine->prefill_chunk ? left : engine->prefill_chunk;
        struct run run = {.cache = &session->cache,
                          .tokens = ids + done,
                          .count = chunk,
                          .outputs = every ? chunk : chunk == left};
        status =
            model_forward(&engine->model, &engine->activations, &run, 1,
                          every ? logits + done * engine->model.config.vocabulary : logits, error);
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
    size_t V = session->engine->model.config.vocabulary;
    trib_status status = append(session, ids, count, logits, true, error);
    if (status == TRIB_OK)
        for (size_t i = 0; i < V; i++)
            session->logits[i] = logits[(count - 1) * V + i];
    return status;
}

size_t trib_session_length(const trib_session *session)
{
    return session->cache.length;
}

size_t trib_session_context(const trib_session *session)
{
    return session->cache.limit;
}

const float *trib_session_logits(const trib_session *session)
{
    return session->cache.length ? session->logits : NULL;
}
