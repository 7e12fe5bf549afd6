/* Tributary: speculative decoding. A speculator guesses what will be appended to a session, and
 * lets the model compute the guesses in the same step as the last token. Where they turn out right,
 * their logits are there already; a step costs little more than one of a single token, as it reads
 * the weights and the keys and values once (Leviathan et al. 2023, "Fast Inference from
 * Transformers via Speculative Decoding").
 *
 *     trib_session_append(session, prompt, count, &error);
 *     trib_speculator_open(&speculator, session, NULL, &error);
 *     while (...) {
 *         trib_sampler_next(sampler, trib_speculator_logits(speculator), &id, &error);
 *         trib_speculator_append(speculator, id, &error);
 *     }
 *     trib_speculator_close(speculator);
 *
 * It stands in for trib_session_append and trib_session_logits of one token after the other, and
 * gives the same bits: logits do not depend on what else is in a step. So whatever chooses the
 * tokens, the likeliest one, a sampler with its seed, penalties and constraints, or the caller,
 * chooses the same ones as without it. No rule of acceptance is needed that keeps a distribution: a
 * guess is right where it is the token that is appended.
 *
 * Guesses are a tree: several branches, each a chain of tokens behind the last one. They come from
 * the session's own tokens (prompt look-up: what followed earlier on the longest run of tokens that
 * the session ends with; Saxena 2023), or from another model, which should be much smaller.
 *
 * Threads: as for the session.
 */
#ifndef TRIBUTARY_SPECULATE_H
#define TRIBUTARY_SPECULATE_H

#include "tributary/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TRIB_DRAFT_TOKENS_MOST = 64, TRIB_DRAFT_BRANCHES_MOST = 16 };

typedef struct trib_speculate_options {
    size_t draft_tokens;   /* of a branch at most, 1 to 64; fewer while guesses are wrong */
    size_t draft_branches; /* 1 to 16; each costs draft_tokens + 1 rows of a step */
    trib_engine *draft;    /* of the model that guesses, which stays open longer; it may be the
                              session's own. NULL: prompt look-up */
} trib_speculate_options;

trib_speculate_options trib_speculate_options_default(void); /* {8, 1, NULL} */

typedef struct trib_speculator trib_speculator;

/* Takes over a session, which belongs to the speculator until it is closed: meanwhile it holds
 * guesses, and only the functions below may be used on it. `options` may be NULL. On failure *out
 * is NULL: TRIB_INVALID (options; a draft's vocabulary that is not the model's: sizes, of which
 * padding may differ by 128, and the texts of the tokens), TRIB_UNSUPPORTED (a predictor, which
 * keeps no past to go back to), TRIB_NO_MEMORY. */
trib_status trib_speculator_open(trib_speculator **out, trib_session *session,
                                 const trib_speculate_options *options, trib_error *error);

/* Gives the session back, with what was appended and the logits after it. NULL is allowed. */
void trib_speculator_close(trib_speculator *speculator);

/* Appends a token as trib_session_append does, and fails as it does: TRIB_FULL or TRIB_INVALID, and
 * nothing is changed but what was guessed ahead. Where the token is as guessed, nothing is
 * computed. What guesses have no room for in the context or the cache is not guessed. */
trib_status trib_speculator_append(trib_speculator *speculator, int32_t id, trib_error *error);

/* [V], after the last token appended; valid until the next append or close. NULL where there are
 * none, as for trib_session_logits. */
const float *trib_speculator_logits(const trib_speculator *speculator);

size_t trib_speculator_length(const trib_speculator *speculator); /* tokens of the session */

/* Since it was opened. */
typedef struct trib_speculation {
    size_t appended; /* tokens */
    size_t steps;    /* of the model that they took */
    size_t drafted;  /* guesses that were computed, of all branches */
    size_t accepted; /* and those of them that were appended */
} trib_speculation;

trib_speculation trib_speculator_counts(const trib_speculator *speculator);

#ifdef __cplusplus
}
#endif

#endif
