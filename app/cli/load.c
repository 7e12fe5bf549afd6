/* The bar of a model that is being loaded, and notes about its folder. */
#include "load.h"

#include <stdio.h>

#include "progress.h"

static const double PATIENCE = 1; /* seconds that need no bar */

static void show(void *context, uint64_t done, uint64_t total)
{
    struct progress *bar = context;
    bar->total = (size_t)(total >> 20);
    if (progress_seconds() - bar->start > PATIENCE)
        progress_show(bar, (size_t)(done >> 20), "MiB of weights");
}

/* Damage costs time and nothing else, so it is no complaint. */
static void note(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "note: %s\n", message);
}

void load_cache(trib_engine_options *options, const struct cache_values *cache)
{
    options->cache_dir = cache->folder;
    options->cache_dir_bytes = cache->bytes;
    options->report = note;
}

void say_note(const trib_model *model)
{
    if (trib_model_note(model))
        note(NULL, trib_model_note(model));
}

trib_status load_engine(trib_engine **out, const trib_model *model, trib_engine_options options,
                        trib_error *error)
{
    struct progress bar;
    say_note(model);
    progress_open(&bar, 0, 0);
    options.progress = show;
    options.progress_context = &bar;
    trib_status status = trib_engine_open(out, model, &options, error);
    progress_clear(&bar);
    return status;
}
