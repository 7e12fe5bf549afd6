/* A session from the inside. */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

#include "cache/prefix_cache.h"
#include "engine/engine.h"

/* Logits after a token. Sessions that parted at it share them until they go on. */
struct session_logits {
    size_t users;
    float x[]; /* [V] */
};

struct trib_session {
    trib_engine *engine;
    struct sequence *sequence;     /* of a model */
    void *state;                   /* of a predictor */
    size_t limit;                  /* tokens at most */
    struct session_logits *logits; /* after the last token, if `known`; else what is in them is
                                      void. NULL: none were wanted yet */
    bool known;
    size_t cached; /* tokens that were found, not computed */
    bool stepping; /* has a part in the step at hand */
};

/* Tokens of a predictor's session at most. */
size_t session_predictor_context(const struct predictor_config *config);

/* The context in tokens that `options` (NULL: defaults) ask for, of those of the engine. */
trib_status session_context(const trib_session_options *options, size_t most, size_t *context,
                            trib_error *error);

/* Makes room for logits that are the session's alone; what was in them is void. On failure they are
 * as they were. */
trib_status session_take_logits(trib_session *session, trib_error *error);

/* Appends as many whole pages of ids [count] as are cached, where the session is empty or ends with
 * a whole page, and computes none. If there were any it has no logits. */
trib_status session_find(trib_session *session, const int32_t *ids, size_t count,
                         trib_error *error);

#endif
