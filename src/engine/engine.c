/* Opening an engine: options checked, model bound, activations allocated; and what it will take. */
#include "engine/engine.h"

#include <omp.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "cache/segment_folder.h"
#include "engine/cache.h"
#include "engine/identity.h"
#include "engine/model_file.h"
#include "engine/session.h"
#include "train/predictor_file.h"

trib_engine_options trib_engine_options_default(void)
{
    return (trib_engine_options){.threads = 0, .prefill_chunk = 512, .kv_type = "f16"};
}

/* Fills in what the caller left open. */
static trib_status resolve(trib_engine_options *options, const trib_engine_options *given,
                           const struct kernels **kernels, trib_error *error)
{
    *options = given ? *given : trib_engine_options_default();
    if (options->threads == 0)
        options->threads = omp_get_num_procs();
    if (options->threads < 1 || options->threads > TRIB_THREADS_MAX)
        return error_set(error, TRIB_INVALID, "threads: expected 1 to %d, found %d",
                         TRIB_THREADS_MAX, options->threads);
    if (options->prefill_chunk < 1 || options->prefill_chunk > 65536)
        return error_set(error, TRIB_INVALID, "prefill chunk: expected 1 to 65536, found %zu",
                         options->prefill_chunk);
    if (!options->kernels)
        options->kernels = getenv("TRIB_CPU");
    if (!options->kv_type)
        options->kv_type = "f16";
    return kernels_choose(kernels, options->kernels, error);
}

static trib_status resolve_shape(const struct model_config *config, const char *kv_type,
                                 struct kv_shape *shape, trib_error *error)
{
    enum dtype type;
    if (!dtype_find(kv_type, &type) || trib_chunk_bytes((trib_kv_type)type, config->head_dim) == 0)
        return error_set(
            error, TRIB_INVALID,
            "KV type: expected f32, f16, bf16, or (with heads of a multiple of 32) q8_0, "
            "found %.32s",
            kv_type);
    *shape = (struct kv_shape){type, config->layers, config->kv_heads, config->head_dim};
    return TRIB_OK;
}

/* Refuses a model that does not fit in memory, before anything is taken. */
static trib_status check_memory(const struct trib_engine *engine, const struct gguf *file,
                                trib_error *error)
{
    struct model shape = {.kernels = engine->kernels};
    uint64_t weights, available = memory_available();
    trib_status status = model_config_read(&shape.config, file, error);
    if (status == TRIB_OK)
        status = weights_measure(&shape.config, file, engine->kernels, &weights, error);
    if (status != TRIB_OK)
        return status;
    uint64_t needed = weights + activations_bytes(&shape, engine->prefill_chunk, engine->threads);
    if (needed > available)
        return error_set(error, TRIB_NO_MEMORY,
                         "%s: expected %.1f MiB of memory for weights and activations, found %.1f "
                         "MiB available",
                         file->name, (double)needed / (1 << 20), (double)available / (1 << 20));
    return TRIB_OK;
}

/* A predictor, run token by token. */
static trib_status open_predictor(struct trib_engine *engine, const struct gguf *file,
                                  const trib_engine_options *o, trib_error *error)
{
    const struct predictor_config *config = &engine->predictor.config;
    struct fingerprint fingerprint;
    trib_status status =
        predictor_read(&engine->predictor, file, engine->kernels, engine->threads, error);
    if (status != TRIB_OK)
        return status;
    engine->vocabulary = config->vocabulary;
    if (o->fingerprint) {
        identity_of_predictor(&fingerprint, file, engine->threads);
        fingerprint_print(engine->fingerprint, &fingerprint);
    }
    return session_context(&(trib_session_options){o->context}, session_predictor_context(config),
                           &engine->context, error);
}

static trib_status open_model(struct trib_engine *engine, const struct gguf *file,
                              const trib_engine_options *o, trib_error *error)
{
    struct fingerprint fingerprint = {0};
    struct load_watch watch = {o->progress, o->progress_context, NULL};
    struct model_config config;
    struct kv_shape shape;
    trib_status status;
    engine->predicts = predictor_in_file(file);
    if (engine->predicts)
        return open_predictor(engine, file, o, error);
    status = model_config_read(&config, file, error);
    if (status == TRIB_OK)
        status = model_config_limit(&config, o->context, error);
    if (status == TRIB_OK)
        status = resolve_shape(&config, o->kv_type, &shape, error);
    if (status == TRIB_OK)
        status = check_memory(engine, file, error);
    bool keeps = status == TRIB_OK && o->cache_dir && !config.bidirectional;
    if (keeps) /* who named a wrong folder hears of it before it is loaded */
        status = segment_folder_make(o->cache_dir, error);
    if (status == TRIB_OK && (keeps || o->fingerprint)) {
        identity_begin(&fingerprint, file);
        watch.fingerprint = &fingerprint;
    }
    if (status == TRIB_OK)
        status = model_open(&engine->model, file, o->context, engine->kernels, engine->threads,
                            watch, error);
    engine->vocabulary = engine->model.config.vocabulary;
    engine->context = engine->model.config.context;
    if (status == TRIB_OK)
        status = activations_open(&engine->activations, &engine->model, engine->prefill_chunk,
                                  engine->threads, error);
    engine->activations.apart = o->apart;
    if (status == TRIB_OK && watch.fingerprint)
        fingerprint_print(engine->fingerprint, watch.fingerprint);
    if (status == TRIB_OK && !config.bidirectional)
        status = engine_cache_open(engine, o, &shape, &fingerprint, error);
    return status;
}

trib_status trib_engine_open(trib_engine **out, const trib_model *model,
                             const trib_engine_options *options, trib_error *error)
{
    *out = NULL;
    trib_engine_options o;
    const struct kernels *kernels;
    trib_status status = resolve(&o, options, &kernels, error);
    if (status != TRIB_OK)
        return status;
    trib_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return error_no_memory(error, "an engine", sizeof *engine);
    engine->threads = o.threads;
    engine->prefill_chunk = o.prefill_chunk;
    engine->kernels = kernels;
    engine->tokenizer = model->tokenizer;
    status = open_model(engine, model->file, &o, error);
    if (status != TRIB_OK) {
        trib_engine_close(engine);
        return status;
    }
    *out = engine;
    return TRIB_OK;
}

void trib_engine_close(trib_engine *engine)
{
    if (!engine)
        return;
    trib_engine_flush(engine, NULL);
    prefix_cache_close(engine->cache);
    activations_close(&engine->activations);
    model_close(&engine->model);
    predictor_close(&engine->predictor);
    free(engine);
}

const char *trib_engine_kernels(const trib_engine *engine)
{
    return engine->kernels->name;
}

int trib_engine_threads(const trib_engine *engine)
{
    return engine->threads;
}

const char *trib_engine_fingerprint(const trib_engine *engine)
{
    return engine->fingerprint[0] ? engine->fingerprint : NULL;
}

/* Weights in float32, and the state of a session: it has its size from the begin. */
static trib_status predictor_memory(const struct gguf *file, const struct kernels *kernels,
                                    trib_memory *out, trib_error *error)
{
    struct predictor_config config;
    struct predictor predictor;
    trib_status status = predictor_config_read(&config, file, error);
    if (status == TRIB_OK)
        status = predictor_open(&predictor, &config, kernels, 1, error);
    if (status != TRIB_OK)
        return status;
    *out = (trib_memory){.weights = predictor.parameters.floats * sizeof(float),
                         .kv = predictor_state_bytes(&predictor)};
    predictor_close(&predictor);
    return TRIB_OK;
}

trib_status trib_memory_needed(const trib_model *model, const trib_engine_options *engine,
                               const trib_session_options *session, trib_memory *out,
                               trib_error *error)
{
    trib_engine_options o;
    struct model shape = {0};
    struct kv_shape kv = {0};
    size_t context = 0;
    trib_status status = resolve(&o, engine, &shape.kernels, error);
    if (status == TRIB_OK && predictor_in_file(model->file))
        return predictor_memory(model->file, shape.kernels, out, error);
    if (status == TRIB_OK)
        status = model_config_read(&shape.config, model->file, error);
    if (status == TRIB_OK)
        status = model_config_limit(&shape.config, o.context, error);
    if (status == TRIB_OK)
        status = resolve_shape(&shape.config, o.kv_type, &kv, error);
    if (status == TRIB_OK)
        status = session_context(session, shape.config.context, &context, error);
    if (status != TRIB_OK)
        return status;
    *out = (trib_memory){0};
    status = weights_measure(&shape.config, model->file, shape.kernels, &out->weights, error);
    if (status != TRIB_OK)
        return status;
    if (!shape.config.bidirectional) {
        out->kv_per_token = kv_page_bytes(&kv) / CHUNK;
        out->kv = kv_page_bytes(&kv) * ((context + CHUNK - 1) / CHUNK);
    }
    out->activations = activations_bytes(&shape, o.prefill_chunk, o.threads) +
                       activations_fold_bytes(&shape, o.prefill_chunk, context, o.threads);
    return TRIB_OK;
}
