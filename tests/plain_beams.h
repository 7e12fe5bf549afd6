/* Beam search by definition: every hypothesis computed from scratch in a session of its own, every
 * continuation of each ranked. What trib_beams finds must be the same: equal ids, and numbers equal
 * by memcmp. */
#ifndef PLAIN_BEAMS_H
#define PLAIN_BEAMS_H

#include "tiny_model.h"
#include "tributary/engine.h"
#include "tributary/sampling.h"

/* Of searches here: beams and tokens at most, and tokens of a prompt. */
enum { PLAIN_BEAMS = 8, PLAIN_TOKENS = 16, PLAIN_PROMPT = 130 };

trib_engine *plain_engine(const trib_model *model, int threads);

/* A session that has taken ids [count]. */
trib_session *plain_session(trib_engine *engine, const int32_t *ids, size_t count);

/* Takes steps until one fails, the status of which it returns, or none is left. */
trib_status plain_run(trib_beams *beams, trib_error *error);

/* With all sessions closed nobody holds a page. */
void plain_no_leaks(const trib_engine *engine);

/* Fails the test where a search after the prompt [PLAIN_PROMPT], on one to three threads, is not as
 * defined. Returns what the search does: TRIB_INVALID where no hypothesis has a continuation. */
trib_status plain_expect(const trib_model *model, const int32_t *prompt,
                         const trib_beam_options *options);

#endif
