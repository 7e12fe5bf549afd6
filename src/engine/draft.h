/* Drafts: guesses at how a sequence of tokens goes on, as branches of one length. Nothing depends
 * on them but how much is computed in vain. */
#ifndef ENGINE_DRAFT_H
#define ENGINE_DRAFT_H

#include "tributary/engine.h"

/* The tree: each branch is a chain of tokens behind the same last one. The likeliest comes first.
 */
struct draft {
    size_t branches, length; /* found; branches = 0: nothing to guess by */
    size_t room;             /* tokens that `ids` has for each branch */
    int32_t *ids;            /* [branches at most][room] */
};

static inline int32_t *draft_branch(const struct draft *draft, size_t branch)
{
    return draft->ids + branch * draft->room;
}

/* What followed in ids [count] on the longest earlier runs of tokens that they end with, the later
 * of runs of equal length first: at most `branches` continuations of `length` tokens, all
 * different. One that reaches the end of the tokens goes on in itself, so that a loop is guessed as
 * such. */
void draft_look_up(struct draft *draft, const int32_t *ids, size_t count, size_t branches,
                   size_t length);

/* A model that guesses. Its session holds a beginning of the tokens and no guess. */
struct draft_model {
    trib_engine *engine;
    trib_session *session;
    size_t vocabulary; /* ids below are tokens of both models */
};

/* TRIB_INVALID where the vocabulary is not `target`'s. draft_model_close also after a failure. */
trib_status draft_model_open(struct draft_model *model, trib_engine *engine,
                             const trib_engine *target, trib_error *error);
void draft_model_close(struct draft_model *model);

/* The `branches` likeliest tokens after ids [count], which begin as in the call before, each
 * continued by the likeliest ones. What fails, as where the model's context ends, is not guessed.
 */
void draft_model_guess(struct draft_model *model, struct draft *draft, const int32_t *ids,
                       size_t count, size_t branches, size_t length);

/* Lets go of the keys and values that the session holds; the next guess computes them again. */
void draft_model_release(struct draft_model *model);

#endif
