/* Tributary: choosing tokens. A sampler draws the next token from the logits of a session, each
 * sequence with one of its own; log probabilities say how likely tokens were; stops end a text at a
 * string; a beam search looks for the likeliest continuation.
 *
 *     trib_sampler *sampler;  trib_sampler_open(&sampler, V, NULL, &error);
 *     trib_sampler_accept(sampler, id);                              for every token of the prompt
 *     trib_sampler_next(sampler, trib_session_logits(session), &id, &error);
 *     trib_stops_next(stops, trib_decoder_next(decoder, id), &shown, &error);
 *
 * What a sampler chooses depends on its options, its seed, the logits and the tokens it has
 * accepted, and on nothing else. With the logits of engine.h a text is therefore its seed's alone,
 * whatever is decoded beside it.
 *
 * Threads: a sampler and stops belong to one thread at a time; different ones are independent.
 * Beams belong to the thread of their engine.
 */
#ifndef TRIBUTARY_SAMPLING_H
#define TRIBUTARY_SAMPLING_H

#include "tributary/engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Sampler ---- */

/* What is added to a token's logit: a number of at most 1e6 either way, or -INFINITY, with which
 * the token is never chosen. */
typedef struct trib_logit_bias {
    int32_t id;
    float bias;
} trib_logit_bias;

/* How the next token is chosen from the logits. The steps in their order: bias, constraint, repeat
 * penalty, top-k, top-p, min-p, temperature, a draw. With temperature 0 the largest logit wins (of
 * equal ones the lowest id) after the repeat penalty. */
typedef struct trib_sampler_options {
    float temperature;    /* 0 or more; divides the logits */
    size_t top_k;         /* keep the k most likely; 0: all */
    float top_p;          /* keep the fewest whose probabilities reach p, 0 < p <= 1; 1: all */
    float min_p;          /* keep those of at least min_p times the top probability; 0: all */
    float repeat_penalty; /* above 0; logits of recent tokens are divided (if positive) or
                             multiplied (if negative) by it; 1: off */
    size_t repeat_last;   /* how many tokens count as recent, at most 65,536 */
    uint64_t seed;        /* draw n depends on the seed and n alone */

    const trib_logit_bias *bias; /* [bias_count], copied when the sampler is opened; of several for
                                    one token all are added, in their order */
    size_t bias_count;

    /* Says which tokens may come next: called by every trib_sampler_next with all the tokens
     * accepted so far, ids [count], and allowed [V], all of them 1; it clears those that may not.
     * Both are the sampler's, for the time of the call. Another status than TRIB_OK ends the choice
     * with it. A constraint is a function of `ids`, so that it holds for forks too. NULL: none. */
    trib_status (*constrain)(void *context, const int32_t *ids, size_t count, uint8_t *allowed);
    void *constrain_context;
} trib_sampler_options;

/* {0.8, 40, 0.95, 0.05, 1, 64, 0, NULL, 0, NULL, NULL} */
trib_sampler_options trib_sampler_options_default(void);

typedef struct trib_sampler trib_sampler;

/* For logits of `vocabulary` tokens, whose ids are int32_t. TRIB_INVALID names what is outside its
 * range. `options` may be NULL. On failure *out is NULL. */
trib_status trib_sampler_open(trib_sampler **out, size_t vocabulary,
                              const trib_sampler_options *options, trib_error *error);
void trib_sampler_close(trib_sampler *sampler); /* NULL is allowed */

/* Tells the sampler of a token that it did not choose itself (the prompt), for the repeat penalty
 * and the constraint. */
void trib_sampler_accept(trib_sampler *sampler, int32_t id);

/* Chooses a token from logits [V], which stay as they are, and accepts it. TRIB_INVALID where one
 * is NaN or infinite, or none is a number: the model has broken down; where bias and constraint
 * leave no token; and where logits is NULL, as of a session that has none. Then nothing is chosen
 * or drawn. */
trib_status trib_sampler_next(trib_sampler *sampler, const float *logits, int32_t *id,
                              trib_error *error);

/* ---- Log probabilities ---- */

/* A token and the natural logarithm of its probability, of the softmax of the logits as the model
 * gave them: temperature 1, without bias, constraint, penalty or filter. */
typedef struct trib_logprob {
    int32_t id;
    float logprob;
} trib_logprob;

/* Of the token that trib_sampler_next chose last; NaN before the first. */
float trib_sampler_logprob(const trib_sampler *sampler);

/* The `top` likeliest tokens (at most V) of logits [V], likeliest first, of equal ones the lowest
 * id first: out [top], the caller's. The same bits as trib_sampler_logprob, in every kernel table.
 * TRIB_INVALID as trib_sampler_next. */
trib_status trib_logprobs(const float *logits, size_t vocabulary, size_t top, trib_logprob *out,
                          trib_error *error);

/* ---- Stop strings ---- */

/* Ends a text at the first string of several that is complete; of those that end at the same byte,
 * at the longest. It does not matter into which pieces the text was cut. What may be the beginning
 * of a stop string, or of a UTF-8 character, is held back until it is known. */
typedef struct trib_stops trib_stops;

/* The strings are copied. TRIB_INVALID for an empty one; none at all are allowed. On failure *out
 * is NULL. */
trib_status trib_stops_open(trib_stops **out, const trib_text *strings, size_t count,
                            trib_error *error);
void trib_stops_close(trib_stops *stops); /* NULL is allowed */

/* Takes the next piece of the text and gives in *shown what of it, and of what was held back, is
 * sure to stand before any stop: the caller's to show. Valid until the next call. Empty once a stop
 * was met. TRIB_NO_MEMORY: the piece is not taken. */
trib_status trib_stops_next(trib_stops *stops, trib_text piece, trib_text *shown,
                            trib_error *error);

/* What is still held back when no more text comes; nothing where a stop was met. Valid as above. */
trib_text trib_stops_rest(trib_stops *stops);

/* Whether a stop string was met, and in *which (may be NULL) the number of it. */
bool trib_stops_met(const trib_stops *stops, size_t *which);

/* ---- Beam search ----
 *
 *     trib_beams *beams;  trib_beams_open(&beams, session, &options, &error);
 *     bool going = true;
 *     while (going && trib_beams_step(beams, &going, &error) == TRIB_OK)
 *         ;
 *     trib_hypothesis best = trib_beams_at(beams, 0);
 *
 * Follows W hypotheses at once, forks of one session, which pass in one step per token, so that
 * what they share is read once. Of all continuations of them by one token the likeliest stay, as
 * many as there are places; a hypothesis that is complete keeps its place and is followed no more.
 * Of continuations with equal log probabilities those of the parent that stood first come first,
 * and of one parent's the larger logit, of equal ones the lower id. The result depends on the
 * session's tokens and the options alone.
 *
 * The log probability of a token here is that of the softmax of the logits after bias and
 * constraint, from which a sampler with the same two draws at temperature 1 with all else off: the
 * search is for the likeliest text of that sampler. So a token that is the only one allowed costs
 * nothing. A hypothesis that bias and constraint leave no token is dropped; the others go on. */

typedef struct trib_beam_options {
    size_t beams;         /* W, 1 to 1,024 */
    size_t tokens;        /* of a hypothesis at most; at least 1 */
    float length_penalty; /* a, -10 to 10: the score of n tokens is their log probability / n^a: 0
                             asks for the likeliest text, which is often a short one, 1 for the
                             likeliest by the mean of its tokens */
    const int32_t *ends;  /* [end_count] tokens that complete a hypothesis; copied */
    size_t end_count;

    /* Says whether ids [count], a hypothesis that no end token completes, is complete all the same,
     * as by a stop string in its text. A function of the ids. NULL: none is. */
    bool (*complete)(void *context, const int32_t *ids, size_t count);
    void *complete_context;

    const trib_logit_bias *bias; /* [bias_count], copied when the search is opened; as the
                                    sampler's */
    size_t bias_count;

    /* Says which tokens may come next, as the sampler's does: called by every trib_beams_step once
     * for each hypothesis under way with ids [count], that hypothesis, without the tokens of the
     * session (count is 0 in the first step), and allowed [V]. Another status than TRIB_OK ends the
     * search with it. A function of the ids. NULL: none. */
    trib_status (*constrain)(void *context, const int32_t *ids, size_t count, uint8_t *allowed);
    void *constrain_context;
} trib_beam_options;

/* {4, 256, 1, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL} */
trib_beam_options trib_beam_options_default(void);

typedef struct trib_hypothesis {
    const int32_t *ids;    /* [count] after the tokens of the session, an end token included */
    const float *logprobs; /* [count] of its tokens, as trib_logprobs has them: the model's own */
    size_t count;
    double logprob; /* the sum of its tokens' after bias and constraint; of `logprobs` without */
    double score;   /* of `logprob` */
    bool complete;  /* else it was cut: by `tokens`, the context, or because the search goes on */
} trib_hypothesis;

typedef struct trib_beams trib_beams;

/* Begins after the tokens of `session`, which stays as it is and may be closed. `options` may be
 * NULL. On failure *out is NULL: TRIB_INVALID (options, a session without logits), TRIB_NO_MEMORY.
 */
trib_status trib_beams_open(trib_beams **out, const trib_session *session,
                            const trib_beam_options *options, trib_error *error);
void trib_beams_close(trib_beams *beams); /* NULL is allowed; before the engine */

/* All hypotheses, one token on. *going: whether there is anything left to do. On failure, as of
 * trib_step, trib_logprobs or the constraint, the search is over and what was found so far remains:
 * TRIB_INVALID too where bias and constraint leave no hypothesis a token and none is complete. */
trib_status trib_beams_step(trib_beams *beams, bool *going, trib_error *error);

/* The hypotheses, the best score first, of equal ones the one that was complete first: none before
 * the first step, then at most W. What they point to is valid until the next step. */
size_t trib_beams_count(const trib_beams *beams);
trib_hypothesis trib_beams_at(const trib_beams *beams, size_t i); /* i below the count */

#ifdef __cplusplus
}
#endif

#endif
