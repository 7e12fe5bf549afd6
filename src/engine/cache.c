/* Opening the cache, and keeping it on disk. */
#include "engine/cache.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "base/size.h"

/* Half of what is available, or one full context where that is more and there is as much; at least
 * a page, which a cache must have. */
static uint64_t default_budget(const struct model_config *config, const struct kv_shape *shape)
{
    uint64_t available = memory_available(), page = kv_page_bytes(shape);
    uint64_t context = page * size_ceil_div(config->context, CHUNK), most = available / 2;
    if (context > most)
        most = context < available ? context : available;
    return most > page ? most : page;
}

/* The cache takes memory as it fills; the budget is where it stops. */
trib_status engine_cache_open(trib_engine *engine, const trib_engine_options *o,
                              const struct kv_shape *shape, const struct fingerprint *fingerprint,
                              trib_error *error)
{
    uint64_t budget =
        o->cache_bytes ? o->cache_bytes : default_budget(&engine->model.config, shape);
    struct prefix_cache_options options = {.shape = *shape,
                                           .budget = budget < SIZE_MAX / 2 ? budget : SIZE_MAX / 2,
                                           .disk = {.folder = o->cache_dir,
                                                    .budget = o->cache_dir_bytes,
                                                    .kernels = engine->kernels->name,
                                                    .threads = engine->threads,
                                                    .report = {o->report, o->report_context}}};
    static_assert(sizeof options.disk.model == sizeof *fingerprint, "all of it");
    memcpy(options.disk.model, fingerprint, sizeof *fingerprint);
    engine->report = options.disk.report;
    return prefix_cache_open(&engine->cache, &options, error);
}

static void report(const trib_engine *engine, const trib_error *error)
{
    if (engine->report.say)
        engine->report.say(engine->report.context, error->message);
}

void engine_write_behind(trib_engine *engine, size_t rows)
{
    trib_error error;
    if (!engine->cache || rows == 0)
        return;
    size_t bytes = (rows / CHUNK + 1) * kv_page_bytes(prefix_cache_shape(engine->cache));
    if (prefix_cache_write(engine->cache, bytes, false, NULL, &error) != TRIB_OK)
        report(engine, &error);
}

trib_status trib_engine_flush(trib_engine *engine, trib_error *error)
{
    trib_status first = TRIB_OK;
    bool more = engine->cache;
    while (more) {
        trib_error failure;
        trib_status status = prefix_cache_write(engine->cache, SIZE_MAX, true, &more, &failure);
        if (status == TRIB_OK)
            continue;
        report(engine, &failure);
        if (first == TRIB_OK && error)
            *error = failure;
        first = first == TRIB_OK ? status : first;
    }
    return first;
}

trib_cache_usage trib_engine_cache_usage(const trib_engine *engine)
{
    if (!engine->cache)
        return (trib_cache_usage){0};
    struct prefix_cache_counts counts = prefix_cache_counts(engine->cache);
    uint64_t page = kv_page_bytes(prefix_cache_shape(engine->cache));
    return (trib_cache_usage){.page = page,
                              .budget = counts.pages.limit * page,
                              .memory = counts.pages.in_use * page,
                              .mapped = counts.pages.wrapped * page,
                              .held = counts.held * page};
}
