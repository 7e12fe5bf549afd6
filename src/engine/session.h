/* What a session's options mean for a model. */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

#include "cache/kv.h"
#include "model/config.h"
#include "tributary/engine.h"

/* Checks `options` (NULL: defaults) against the model; gives the shape of its KV cache and the
 * context in tokens. */
trib_status session_resolve(const struct model_config *config, const trib_session_options *options,
                            struct kv_shape *shape, size_t *context, trib_error *error);

#endif
