/* The speculator: a session that runs ahead.
 *
 * A token that is appended is computed in one step with a draft of what may follow: it and the main
 * branch are appended to the session itself, it and every other branch to a fork of the session.
 * A fork costs nearly nothing, and the step reads what they share once. As long as the tokens that
 * come are those of some branch, their logits are there. Then the session becomes the branch that
 * went along farthest, cut to what was appended.
 *
 * Why forks, and not one sequence of rows under a tree mask, as Medusa and others have it: the
 * canonical bits ask for each key in the slot of its absolute position, and branches have different
 * keys for the same positions. (trib_attend has the tree masks, for who needs no such bits.) The
 * price is the last token's row once for each branch.
 *
 * Invariants: `ids` are the tokens that were appended. While branches are ahead, session and forks
 * hold ids [0, base) and then branches [0]; `taken` tokens of a branch are appended, of all those
 * that are alive the same ones; `lead` is one of them.
 */
#include "tributary/speculate.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/draft.h"
#include "engine/session.h"

enum {
    BRANCHES = TRIB_DRAFT_BRANCHES_MOST,
    ROWS = TRIB_DRAFT_TOKENS_MOST + 1, /* of a branch: the last token's, and the draft's */
    PAUSE = CHUNK,                     /* tokens without a draft after one that had no room */
};

struct trib_speculator {
    trib_session *session;
    trib_speculate_options options;
    struct draft_model model; /* where options.draft is given */

    int32_t *ids; /* [count] */
    size_t count, capacity;

    trib_append branches[BRANCHES]; /* [ahead] session, tokens and logits of each */
    int32_t tokens[BRANCHES][ROWS];
    bool alive[BRANCHES];
    size_t ahead, base, taken, lead;
    float *logits; /* [logits_capacity] of all branches */
    size_t logits_capacity;

    size_t
        length; /* of the next draft: longer after one that was right, shorter after a wrong one */
    size_t pause;
    trib_speculation counts;
};

trib_speculate_options trib_speculate_options_default(void)
{
    return (trib_speculate_options){.draft_tokens = 8, .draft_branches = 1};
}

/* ---- Opening and closing ---- */

static trib_status check(const trib_speculate_options *o, const trib_session *session,
                         trib_error *error)
{
    if (o->draft_tokens < 1 || o->draft_tokens > TRIB_DRAFT_TOKENS_MOST)
        return error_set(error, TRIB_INVALID, "draft tokens: expected 1 to %d, found %zu",
                         TRIB_DRAFT_TOKENS_MOST, o->draft_tokens);
    if (o->draft_branches < 1 || o->draft_branches > TRIB_DRAFT_BRANCHES_MOST)
        return error_set(error, TRIB_INVALID, "draft branches: expected 1 to %d, found %zu",
                         TRIB_DRAFT_BRANCHES_MOST, o->draft_branches);
    if (session->engine->predicts)
        return error_set(error, TRIB_UNSUPPORTED,
                         "a predictor keeps a state and no past: it cannot go back from a guess");
    return TRIB_OK;
}

/* Room for one more token. */
static trib_status grow_ids(trib_speculator *s, trib_error *error)
{
    if (s->count < s->capacity)
        return TRIB_OK;
    size_t capacity = s->count + s->count / 2 + 256;
    int32_t *ids = realloc(s->ids, capacity * sizeof *ids);
    if (!ids)
        return error_no_memory(error, "the tokens of a session", capacity * sizeof *ids);
    s->ids = ids;
    s->capacity = capacity;
    return TRIB_OK;
}

trib_status trib_speculator_open(trib_speculator **out, trib_session *session,
                                 const trib_speculate_options *options, trib_error *error)
{
    trib_speculate_options o = options ? *options : trib_speculate_options_default();
    trib_speculator *s = NULL;
    *out = NULL;
    trib_status status = check(&o, session, error);
    if (status != TRIB_OK)
        return status;
    s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(error, "a speculator", sizeof *s);
    s->session = session;
    s->options = o;
    s->length = o.draft_tokens;
    s->count = trib_session_length(session);
    status = grow_ids(s, error);
    if (status == TRIB_OK)
        sequence_ids(session->sequence, s->ids);
    if (status == TRIB_OK && o.draft)
        status = draft_model_open(&s->model, o.draft, session->engine, error);
    if (status == TRIB_OK)
        *out = s;
    else
        trib_speculator_close(s);
    return status;
}

/* ---- Branches ---- */

static void close_forks(trib_speculator *s)
{
    for (size_t b = 1; b < s->ahead; b++)
        trib_session_close(s->branches[b].session);
    s->ahead = 0;
}

static const float *logits_ahead(const trib_speculator *s)
{
    return s->branches[s->lead].logits + (s->taken - 1) * s->session->engine->vocabulary;
}

/* The session becomes what was appended, with its logits. */
static void settle(trib_speculator *s)
{
    trib_session *session = s->session;
    if (s->ahead == 0)
        return;
    if (s->lead > 0) {
        struct sequence **other = &s->branches[s->lead].session->sequence;
        struct sequence *sequence = session->sequence;
        session->sequence = *other;
        *other = sequence;
    }
    trib_session_rewind(session, s->base + s->taken, NULL);
    assert(session->logits->users == 1); /* it was in the step, and nobody else has had it since */
    memcpy(session->logits->x, logits_ahead(s), session->engine->vocabulary * sizeof(float));
    session->known = true;
    if (s->taken == s->branches[s->lead].count)
        s->length =
            2 * s->length < s->options.draft_tokens ? 2 * s->length : s->options.draft_tokens;
    else if (s->taken == 1 && s->length > 1)
        s->length /= 2;
    close_forks(s);
}

/* Whether a branch goes on with the token; then it is appended. */
static bool follow(trib_speculator *s, int32_t id)
{
    size_t lead = BRANCHES;
    for (size_t b = s->ahead; b-- > 0;)
        if (s->alive[b] && s->taken < s->branches[b].count && s->tokens[b][s->taken] == id)
            lead = b;
    if (lead == BRANCHES)
        return false;
    for (size_t b = 0; b < s->ahead; b++)
        s->alive[b] =
            s->alive[b] && s->taken < s->branches[b].count && s->tokens[b][s->taken] == id;
    s->lead = lead;
    s->taken++;
    s->counts.accepted++;
    return true;
}

/* Fills the branches: the last of `ids`, which is in no session yet, and what follows in the draft.
 * What there is no memory for is left out. */
static void branch_out(trib_speculator *s, const struct draft *draft)
{
    size_t V = s->session->engine->vocabulary, rows = draft->length + 1;
    size_t needed = draft->branches * rows * V;
    if (needed > s->logits_capacity) {
        free(s->logits);
        s->logits = malloc(needed * sizeof *s->logits);
        s->logits_capacity = s->logits ? needed : 0;
    }
    for (size_t b = 0; b < draft->branches && s->logits; b++) {
        trib_session *session = s->session;
        if (b > 0 && trib_session_fork(&session, s->session, NULL) != TRIB_OK)
            break;
        s->tokens[b][0] = s->ids[s->count - 1];
        memcpy(s->tokens[b] + 1, draft_branch(draft, b), draft->length * sizeof s->tokens[b][0]);
        s->branches[b] =
            (trib_append){session, s->tokens[b], rows, s->logits + b * rows * V, TRIB_OK};
        s->ahead = b + 1;
    }
}

static void guess(trib_speculator *s, struct draft *draft)
{
    size_t room = s->session->limit - s->base; /* the token to append takes one of them */
    size_t length = room == 0 ? 0 : s->length < room - 1 ? s->length : room - 1;
    if (s->pause > 0)
        s->pause--;
    else if (length > 0 && s->options.draft)
        draft_model_guess(&s->model, draft, s->ids, s->count, s->options.draft_branches, length);
    else if (length > 0)
        draft_look_up(draft, s->ids, s->count, s->options.draft_branches, length);
}

/* Computes the last of `ids` with a draft. False where there is none, or no room for it: the
 * session is then as it was, but that it may have no logits. */
static bool step_ahead(trib_speculator *s)
{
    int32_t ids[BRANCHES * TRIB_DRAFT_TOKENS_MOST];
    struct draft draft = {.room = TRIB_DRAFT_TOKENS_MOST, .ids = ids};
    s->base = s->count - 1;
    guess(s, &draft);
    branch_out(s, &draft);
    if (s->ahead == 0)
        return false;
    trib_step(s->session->engine, s->branches, s->ahead, NULL);
    s->lead = 0;
    s->taken = 1;
    for (size_t b = 0; b < s->ahead; b++) {
        s->alive[b] = s->branches[b].status == TRIB_OK;
        s->counts.drafted += s->alive[b] ? draft.length : 0;
    }
    if (s->alive[0])
        return true;
    close_forks(s);
    trib_session_rewind(s->session, s->base, NULL);
    s->pause = PAUSE;
    return false;
}

/* Computes the last of `ids` alone. A draft that holds pages of the same cache lets go of them
 * before the cache is full. */
static trib_status step_alone(trib_speculator *s, trib_error *error)
{
    const int32_t *id = &s->ids[s->count - 1];
    if (s->options.draft == s->session->engine) {
        if (trib_session_append(s->session, id, 1, NULL) == TRIB_OK)
            return TRIB_OK;
        draft_model_release(&s->model);
        s->pause = PAUSE;
    }
    return trib_session_append(s->session, id, 1, error);
}

static bool can_append(const trib_session *session, int32_t id)
{
    return id >= 0 && (size_t)id < session->engine->vocabulary &&
           trib_session_length(session) < trib_session_context(session);
}

trib_status trib_speculator_append(trib_speculator *s, int32_t id, trib_error *error)
{
    trib_status status = grow_ids(s, error);
    if (status != TRIB_OK)
        return status;
    s->ids[s->count++] = id;
    if (!follow(s, id)) {
        settle(s);
        if (!can_append(s->session, id)) /* it fails, and no guess is made of it */
            status = trib_session_append(s->session, &id, 1, error);
        else if (!step_ahead(s))
            status = step_alone(s, error);
        s->counts.steps += status == TRIB_OK;
    }
    s->count -= status != TRIB_OK;
    s->counts.appended += status == TRIB_OK;
    return status;
}

const float *trib_speculator_logits(const trib_speculator *s)
{
    return s->ahead ? logits_ahead(s) : trib_session_logits(s->session);
}

size_t trib_speculator_length(const trib_speculator *s)
{
    return s->count;
}

trib_speculation trib_speculator_counts(const trib_speculator *s)
{
    return s->counts;
}

void trib_speculator_close(trib_speculator *s)
{
    if (!s)
        return;
    settle(s);
    draft_model_close(&s->model);
    free(s->logits);
    free(s->ids);
    free(s);
}
