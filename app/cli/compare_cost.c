/* The cost of one more token, by how much stands before it.
 *
 * Measured by stepping a session of a model with the same shape and a window as long as the longest
 * context: what a step costs does not depend on what the weights have learned. The direct predictor
 * alone keeps its window, which its parameters depend on. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "compare.h"
#include "tributary/engine.h"

/* Tokens that are timed at each length; the median is kept. */
enum { TIMED = 33 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Brings the session to `length` tokens, the last of them one by one. */
static trib_status time_tokens(trib_session *session, size_t length, double *milliseconds,
                               trib_error *error)
{
    size_t present = trib_session_length(session), timed = TIMED;
    double times[TIMED];
    trib_status status = TRIB_OK;
    if (timed > length - present)
        timed = length - present;
    size_t ahead = length - timed - present;
    int32_t *ids = calloc(ahead + 1, sizeof *ids);
    if (!ids)
        return path_failure(error, TRIB_NO_MEMORY, "tokens of a context", "no memory");
    if (ahead)
        status = trib_session_append(session, ids, ahead, error);
    for (size_t i = 0; i < timed && status == TRIB_OK; i++) {
        double start = progress_seconds();
        status = trib_session_append(session, ids, 1, error);
        times[i] = progress_seconds() - start;
    }
    free(ids);
    if (status != TRIB_OK)
        return status;
    qsort(times, timed, sizeof *times, by_value);
    *milliseconds = 1e3 * times[timed / 2];
    return TRIB_OK;
}

static trib_status time_session(const struct comparison *c, struct compare_row *row,
                                const trib_model *model, trib_error *error)
{
    const struct compare_settings *s = &c->settings;
    trib_engine_options options = trib_engine_options_default();
    trib_session_options window = trib_session_options_default();
    trib_engine *engine;
    trib_session *session = NULL;
    trib_memory memory;
    options.threads = c->threads;
    window.context = row->lengths ? s->lengths[row->lengths - 1] : 1;
    trib_status status = trib_engine_open(&engine, model, &options, error);
    if (status == TRIB_OK)
        status = trib_memory_needed(model, &options, &window, &memory, error);
    if (status == TRIB_OK)
        status = trib_session_open(&session, engine, &window, error);
    for (size_t i = 0; i < row->lengths && status == TRIB_OK; i++) {
        row->length[i] = (double)s->lengths[i];
        status = time_tokens(session, s->lengths[i], &row->milliseconds[i], error);
    }
    if (status == TRIB_OK)
        row->state_bytes = memory.kv;
    trib_session_close(session);
    trib_engine_close(engine);
    return status;
}

trib_status compare_cost(struct comparison *c, struct compare_row *row, trib_error *error)
{
    const struct compare_settings *s = &c->settings;
    struct compare_path path = compare_path_of(c, "cost.gguf");
    trib_train_options o = row->options;
    trib_trainer *trainer;
    trib_model *model;
    while (row->lengths < s->length_count && s->lengths[row->lengths] < c->text_tokens)
        row->lengths++;
    o.batch = 1;
    o.validation = 0;
    o.warmup = 0;
    if (strcmp(o.model, "direct") != 0 && row->lengths)
        o.context = s->lengths[row->lengths - 1];
    trib_status status = trib_trainer_open(&trainer, &o, &s->text, 1, error);
    if (status != TRIB_OK)
        return status;
    if ((status = trib_trainer_prepare(trainer, error)) == TRIB_OK)
        status = trib_trainer_save(trainer, path.text, error);
    trib_trainer_close(trainer);
    if (status != TRIB_OK || (status = trib_model_open(&model, path.text, error)))
        return status;
    status = time_session(c, row, model, error);
    trib_model_close(model);
    return status;
}
