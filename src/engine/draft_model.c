/* Guessing by another model of the same vocabulary.
 *
 * Its session follows the tokens that were appended. What it guesses is computed in forks of it,
 * all branches in a step, and dropped: so any session will do, one that cannot go back among them.
 */
#include <string.h>

#include "base/error.h"
#include "engine/draft.h"
#include "engine/engine.h"
#include "text/vocab.h"
#include "tributary/speculate.h"

/* Vocabularies of one family are padded differently. */
enum { PADDING_MOST = 128 };

static trib_status check_tokens(const struct tokenizer *draft, const struct tokenizer *target,
                                trib_error *error)
{
    size_t a = tokenizer_count(draft), b = tokenizer_count(target);
    for (size_t i = 0; i < a && i < b; i++) {
        struct slice found = tokenizer_text(draft, (int32_t)i);
        struct slice expected = tokenizer_text(target, (int32_t)i);
        if (!slice_equal(found, expected))
            return error_set(error, TRIB_INVALID,
                             "the draft's vocabulary: token %zu: expected that of the model, %s, "
                             "found %s",
                             i, vocab_quote(expected).text, vocab_quote(found).text);
    }
    return TRIB_OK;
}

trib_status draft_model_open(struct draft_model *model, trib_engine *engine,
                             const trib_engine *target, trib_error *error)
{
    size_t found = engine->vocabulary, expected = target->vocabulary;
    size_t less = found < expected ? found : expected;
    *model = (struct draft_model){.engine = engine, .vocabulary = less};
    if (found - less > PADDING_MOST || expected - less > PADDING_MOST)
        return error_set(
            error, TRIB_INVALID,
            "the draft's vocabulary: expected that of the model, %zu tokens, found %zu", expected,
            found);
    if (engine->tokenizer && target->tokenizer) {
        trib_status status = check_tokens(engine->tokenizer, target->tokenizer, error);
        if (status != TRIB_OK)
            return status;
    }
    return trib_session_open(&model->session, engine, NULL, error);
}

void draft_model_close(struct draft_model *model)
{
    trib_session_close(model->session);
    model->session = NULL;
}

void draft_model_release(struct draft_model *model)
{
    trib_session_rewind(model->session, 0, NULL);
}

/* The `most` largest of logits [V], the lower id first of equal ones. */
static size_t largest(const float *logits, size_t V, size_t most, int32_t *ids)
{
    size_t n = 0;
    for (size_t i = 0; i < V; i++) {
        size_t at = n;
        while (at > 0 && logits[i] > logits[ids[at - 1]])
            at--;
        if (at == most)
            continue;
        n += n < most;
        memmove(ids + at + 1, ids + at, (n - 1 - at) * sizeof *ids);
        ids[at] = (int32_t)i;
    }
    return n;
}

/* The session takes the tokens that it has not seen; the logits after them, or NULL. */
static const float *catch_up(const struct draft_model *model, const int32_t *ids, size_t count)
{
    size_t had = trib_session_length(model->session);
    if (had < count)
        trib_session_append(model->session, ids + had, count - had, NULL);
    return trib_session_length(model->session) == count ? trib_session_logits(model->session)
                                                        : NULL;
}

void draft_model_guess(struct draft_model *model, struct draft *draft, const int32_t *ids,
                       size_t count, size_t branches, size_t length)
{
    trib_append appends[TRIB_DRAFT_BRANCHES_MOST] = {{0}};
    int32_t firsts[TRIB_DRAFT_BRANCHES_MOST];
    const float *logits = catch_up(model, ids, count);
    bool more = length > 1;
    draft->branches = logits ? largest(logits, model->vocabulary, branches, firsts) : 0;
    draft->length = 1;
    for (size_t b = 0; b < draft->branches; b++) {
        draft_branch(draft, b)[0] = firsts[b];
        appends[b].count = 1;
        more = more && trib_session_fork(&appends[b].session, model->session, NULL) == TRIB_OK;
    }
    for (; more && draft->length < length; draft->length += more) {
        for (size_t b = 0; b < draft->branches; b++)
            appends[b].ids = draft_branch(draft, b) + draft->length - 1;
        more = trib_step(model->engine, appends, draft->branches, NULL) == TRIB_OK;
        for (size_t b = 0; b < draft->branches && more; b++)
            largest(trib_session_logits(appends[b].session), model->vocabulary, 1,
                    draft_branch(draft, b) + draft->length);
    }
    for (size_t b = 0; b < draft->branches; b++)
        trib_session_close(appends[b].session);
}
