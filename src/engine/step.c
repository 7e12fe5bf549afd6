/* A step: what many sessions append passes the layers together.
 *
 * First each append is admitted by itself: what is cached of its prefix is taken, and room for the
 * rest reserved, so that a full cache is one session's refusal and nobody else's. Then passes of at
 * most a prefill chunk of rows go through the appends, those with the fewest tokens first. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/cache.h"
#include "engine/session.h"

/* An append on its way. */
struct item {
    trib_append *append;
    size_t number;
    size_t done, pass; /* tokens that are in the session, and those of the pass at hand */
};

struct step {
    trib_engine *engine;
    struct item *items; /* [count] those that were admitted */
    size_t count;
    size_t rows;      /* tokens of theirs that are to be computed */
    struct run *runs; /* [count] */
};

/* ---- Admission ---- */

static trib_status check_append(const trib_engine *engine, const trib_append *append,
                                trib_error *error)
{
    const trib_session *session = append->session;
    size_t V = engine->vocabulary;
    if (session->engine != engine)
        return error_set(error, TRIB_INVALID, "a session of another engine");
    if (session->stepping)
        return error_set(error, TRIB_INVALID, "a session that is in this step already");
    if (append->count == 0)
        return error_set(error, TRIB_INVALID, "no tokens to append");
    for (size_t i = 0; i < append->count; i++)
        if (append->ids[i] < 0 || (size_t)append->ids[i] >= V)
            return error_set(error, TRIB_INVALID, "token %zu: expected an id below %zu, found %d",
                             i, V, append->ids[i]);
    size_t length = trib_session_length(session);
    if (append->count > session->limit - length)
        return error_set(error, TRIB_FULL,
                         "%zu more tokens after %zu do not fit in the context of %zu",
                         append->count, length, session->limit);
    return TRIB_OK;
}

/* Takes what is cached, of all but the last token, whose logits are wanted, and nothing where all
 * are; then room for the rest, and for logits. On failure the session is as it was. */
static trib_status make_ready(const trib_append *append, size_t *found, trib_error *error)
{
    struct sequence *sequence = append->session->sequence;
    size_t had = sequence_length(sequence);
    trib_status status = TRIB_OK;
    if (!append->logits)
        status = sequence_find(sequence, append->ids, append->count - 1, error);
    *found = sequence_length(sequence) - had;
    if (status == TRIB_OK)
        status = sequence_reserve(sequence, append->count - *found, error);
    if (status == TRIB_OK)
        status = session_take_logits(append->session, error);
    if (status != TRIB_OK)
        sequence_rewind(sequence, had);
    return status;
}

static trib_status admit(struct step *step, trib_append *append, size_t number, trib_error *error)
{
    size_t found = 0;
    trib_status status = check_append(step->engine, append, error);
    if (status == TRIB_OK)
        status = step->engine->predicts ? session_take_logits(append->session, error)
                                        : make_ready(append, &found, error);
    if (status != TRIB_OK)
        return status;
    append->session->stepping = true;
    append->session->known = false;
    append->session->cached += found;
    step->rows += append->count - found;
    step->items[step->count++] = (struct item){append, number, found, 0};
    return TRIB_OK;
}

/* Fewest tokens first; of as many, in the caller's order. */
static int compare(const void *left, const void *right)
{
    const struct item *a = left, *b = right;
    size_t x = a->append->count - a->done, y = b->append->count - b->done;
    if (x != y)
        return x < y ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* ---- Passes ---- */

/* Runs for one pass, as many as there are rows for. */
static size_t fill(const struct step *step)
{
    size_t free_rows = step->engine->prefill_chunk, count = 0, V = step->engine->vocabulary;
    for (size_t i = 0; i < step->count; i++) {
        struct item *item = &step->items[i];
        const trib_append *append = item->append;
        size_t left = append->status == TRIB_OK ? append->count - item->done : 0;
        item->pass = left < free_rows ? left : free_rows;
        free_rows -= item->pass;
        if (item->pass == 0)
            continue;
        float *all = append->logits ? append->logits + item->done * V : NULL;
        step->runs[count] = (struct run){.sequence = append->session->sequence,
                                         .tokens = append->ids + item->done,
                                         .count = item->pass,
                                         .outputs = all ? item->pass : item->pass == left,
                                         .out = all ? all : append->session->logits->x};
        count++;
    }
    return count;
}

/* Until nothing is left. Who takes part in a pass that fails goes no further. */
static trib_status pass_all(const struct step *step, trib_error *error)
{
    const trib_engine *engine = step->engine;
    trib_status first = TRIB_OK;
    for (size_t runs; (runs = fill(step)) > 0;) {
        trib_status status = model_forward(&engine->model, &step->engine->activations, step->runs,
                                           runs, first == TRIB_OK ? error : NULL);
        first = first == TRIB_OK ? status : first;
        for (size_t i = 0; i < step->count; i++)
            if (step->items[i].pass) {
                step->items[i].append->status = status;
                step->items[i].done += step->items[i].pass;
            }
    }
    return first;
}

/* A predictor takes one token after the other. */
static trib_status predict(const struct step *step, const struct item *item, trib_error *error)
{
    const trib_append *append = item->append;
    const trib_engine *engine = step->engine;
    float *last = append->session->logits->x;
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < append->count && status == TRIB_OK; i++) {
        float *out = append->logits           ? append->logits + i * engine->vocabulary
                     : i + 1 == append->count ? last
                                              : NULL;
        status =
            predictor_step(&engine->predictor, append->session->state, append->ids[i], out, error);
    }
    return status;
}

static trib_status predict_all(const struct step *step, trib_error *error)
{
    trib_status first = TRIB_OK;
    for (size_t i = 0; i < step->count; i++) {
        trib_status status = predict(step, &step->items[i], first == TRIB_OK ? error : NULL);
        step->items[i].append->status = status;
        first = first == TRIB_OK ? status : first;
    }
    return first;
}

static void finish(const struct item *item)
{
    const trib_append *append = item->append;
    trib_session *session = append->session;
    size_t V = session->engine->vocabulary;
    session->stepping = false;
    session->known = append->status == TRIB_OK;
    if (session->known && append->logits)
        memcpy(session->logits->x, append->logits + (append->count - 1) * V, V * sizeof(float));
}

trib_status trib_step(trib_engine *engine, trib_append *appends, size_t count, trib_error *error)
{
    struct step step = {.engine = engine,
                        .items = malloc((count + 1) * sizeof *step.items),
                        .runs = malloc((count + 1) * sizeof *step.runs)};
    trib_status first = TRIB_OK, passed;
    if (!step.items || !step.runs)
        first = error_no_memory(error, "a step", (count + 1) * sizeof *step.runs);
    for (size_t i = 0; i < count; i++) {
        bool refused = first != TRIB_OK;
        appends[i].status = step.items && step.runs
                                ? admit(&step, &appends[i], i, refused ? NULL : error)
                                : TRIB_NO_MEMORY;
        first = refused ? first : appends[i].status;
    }
    if (step.count > 1)
        qsort(step.items, step.count, sizeof *step.items, compare);
    trib_error *later = first == TRIB_OK ? error : NULL;
    passed = engine->predicts ? predict_all(&step, later) : pass_all(&step, later);
    for (size_t i = 0; i < step.count; i++)
        finish(&step.items[i]);
    engine_write_behind(engine, step.rows);
    free(step.items);
    free(step.runs);
    return first == TRIB_OK ? passed : first;
}
