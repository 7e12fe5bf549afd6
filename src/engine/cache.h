/* The engine's cache of keys and values: how much it may hold, its folder, and writing behind. */
#ifndef ENGINE_CACHE_H
#define ENGINE_CACHE_H

#include "cache/prefix_cache.h"
#include "engine/engine.h"
#include "file/fingerprint.h"

/* Opens the cache of a model that is loaded; `fingerprint` is looked at where there is a folder. */
trib_status engine_cache_open(trib_engine *engine, const trib_engine_options *options,
                              const struct kv_shape *shape, const struct fingerprint *fingerprint,
                              trib_error *error);

/* Writes behind, after a step that has computed `rows` tokens: a page for each page that they can
 * have filled, and one more. So what waits does not grow, and a step that decodes is held up by
 * the writing of a page or two. What fails is reported. */
void engine_write_behind(trib_engine *engine, size_t rows);

#endif
