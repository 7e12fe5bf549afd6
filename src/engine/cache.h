/* The engine's cache of keys and values: how much it may hold, its folder, and writing behind. */
#ifndef ENGINE_CACHE_H
#define ENGINE_CACHE_H

#include "cache/prefix_cache.h"
#include "engine/engine.h"
#include "file/fingerprint.h"

/* Before a model is loaded that a folder shall keep the keys and values of: makes the folder, so
 * that who named a wrong one hears of it at once, and begins the fingerprint of what decides the
 * bits of keys and values besides the token ids: the metadata of the file, and the C library's
 * functions. The tensors follow as they are loaded; the kernel table, the KV type and the program's
 * version stand beside it (file/segment.h). */
trib_status engine_cache_begin(struct fingerprint *f, const struct gguf *file, const char *folder,
                               trib_error *error);

/* Opens the cache of a model that is loaded. */
trib_status engine_cache_open(trib_engine *engine, const trib_engine_options *options,
                              const struct kv_shape *shape, const struct fingerprint *fingerprint,
                              trib_error *error);

/* Writes behind, after a step that has computed `rows` tokens: a page for each page that they can
 * have filled, and one more. So what waits does not grow, and a step that decodes is held up by
 * the writing of a page or two. What fails is reported. */
void engine_write_behind(trib_engine *engine, size_t rows);

#endif
