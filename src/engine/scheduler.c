/* The scheduler: who stands in the line, what a step makes of them, and who gives way when the
 * cache is full. Who takes part in a step says schedule_plan.c. */
#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/schedule_plan.h"
#include "engine/session.h"

trib_scheduler_options trib_scheduler_options_default(void)
{
    return (trib_scheduler_options){.sequences = 64, .waiting = 1024};
}

/* ---- Opening and closing ---- */

static trib_status check(const trib_scheduler_options *o, trib_error *error)
{
    if (o->sequences == 0 || o->sequences > TRIB_SEQUENCES_MAX)
        return error_set(error, TRIB_INVALID, "sequences: expected 1 to %d, found %zu",
                         TRIB_SEQUENCES_MAX, o->sequences);
    if (o->waiting == 0)
        return error_set(error, TRIB_INVALID, "waiting requests: expected at least 1, found 0");
    return TRIB_OK;
}

/* Asks a session how much fits in one, and whether there can be any. */
static trib_status find_context(trib_scheduler *s, size_t asked, trib_error *error)
{
    const trib_session_options options = {asked};
    trib_session *session;
    trib_status status = trib_session_open(&session, s->engine, &options, error);
    if (status != TRIB_OK)
        return status;
    s->context = trib_session_context(session);
    trib_session_close(session);
    return TRIB_OK;
}

trib_status trib_scheduler_open(trib_scheduler **out, trib_engine *engine,
                                const trib_scheduler_options *options, trib_error *error)
{
    trib_scheduler_options o = options ? *options : trib_scheduler_options_default();
    trib_status status = check(&o, error);
    *out = NULL;
    if (status != TRIB_OK)
        return status;
    trib_scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(error, "a scheduler", sizeof *s);
    s->engine = engine;
    s->model = o.model;
    s->vocabulary = engine->vocabulary;
    s->sequences = o.sequences;
    s->tokens = o.tokens ? o.tokens : engine->prefill_chunk;
    s->waiting_most = o.waiting;
    s->appends = malloc(o.sequences * sizeof *s->appends);
    s->parts = malloc(o.sequences * sizeof(struct completion *));
    if (!s->appends || !s->parts)
        status = error_no_memory(error, "a scheduler", o.sequences * sizeof *s->appends);
    if (status == TRIB_OK)
        status = find_context(s, o.context, error);
    if (status == TRIB_OK)
        *out = s;
    else
        trib_scheduler_close(s);
    return status;
}

/* Gives back requests that are over, unless a call is under way. */
static void give_back(trib_scheduler *s)
{
    while (s->calls == 0 && s->over) {
        struct request *r = s->over;
        s->over = r->next;
        request_free(r);
    }
}

void trib_scheduler_close(trib_scheduler *s)
{
    if (!s)
        return;
    give_back(s);
    while (s->standing) { /* all of a request's that are in the line go with it */
        struct request *r = s->line[0]->request;
        for (size_t i = 0; i < r->made; i++)
            if (r->completions[i].stage != OVER)
                scheduler_remove(s, &r->completions[i]);
        request_free(r);
    }
    free(s->line);
    free(s->appends);
    free(s->parts);
    free(s);
}

/* ---- The line ---- */

static int compare(const struct completion *a, const struct completion *b)
{
    const struct request *x = a->request, *y = b->request;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* How many in the line stand before a completion that is in it or about to be. */
static size_t place_of(const trib_scheduler *s, const struct completion *c)
{
    size_t first = 0, end = s->standing;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if (compare(s->line[middle], c) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

/* Completions of one request stand side by side. */
static trib_status insert(trib_scheduler *s, struct request *r, trib_error *error)
{
    size_t needed = s->standing + r->made;
    if (needed > s->line_capacity) {
        size_t capacity = needed + needed / 2;
        struct completion **line = realloc(s->line, capacity * sizeof(struct completion *));
        if (!line)
            return error_no_memory(error, "requests", capacity * sizeof(struct completion *));
        s->line = line;
        s->line_capacity = capacity;
    }
    size_t at = place_of(s, &r->completions[0]);
    memmove(s->line + at + r->made, s->line + at, (s->standing - at) * sizeof(struct completion *));
    for (size_t i = 0; i < r->made; i++)
        s->line[at + i] = &r->completions[i];
    s->standing = needed;
    return TRIB_OK;
}

void scheduler_remove(trib_scheduler *s, struct completion *c)
{
    size_t at = place_of(s, c);
    s->standing--;
    memmove(s->line + at, s->line + at + 1, (s->standing - at) * sizeof(struct completion *));
}

/* ---- Requests ---- */

trib_status trib_scheduler_submit(trib_scheduler *s, const trib_request *asked, uint64_t *id,
                                  trib_error *error)
{
    struct request *r;
    *id = 0;
    if (s->counts.waiting >= s->waiting_most)
        return error_set(error, TRIB_FULL, "expected at most %zu requests that wait, found %zu",
                         s->waiting_most, s->counts.waiting + 1);
    trib_status status = request_new(&r, s, asked, error);
    if (status != TRIB_OK)
        return status;
    r->id = s->ids + 1;
    r->rank = (int64_t)s->counts.steps - (int64_t)asked->priority * TRIB_AGEING;
    status = insert(s, r, error);
    if (status != TRIB_OK) {
        request_free(r);
        return status;
    }
    *id = ++s->ids;
    s->counts.waiting++;
    return TRIB_OK;
}

bool trib_scheduler_cancel(trib_scheduler *s, uint64_t id)
{
    struct request *r = NULL;
    for (size_t i = 0; i < s->standing && !r; i++)
        if (s->line[i]->request->id == id)
            r = s->line[i]->request;
    if (!r)
        return false;
    s->calls++;
    for (size_t i = 0; i < r->made; i++)
        if (r->completions[i].stage != OVER)
            completion_end(&r->completions[i], TRIB_END_CANCELLED);
    s->calls--;
    give_back(s);
    return true;
}

/* ---- A step ---- */

/* Completions of the request that have not begun go on from the prompt that this one has read, as
 * many as there is room for. Those that have no memory to do so stay where they are. */
static void fork_prompt(trib_scheduler *s, const struct completion *read)
{
    struct request *r = read->request;
    for (size_t i = 0; i < r->made && s->active < s->sequences; i++) {
        struct completion *c = &r->completions[i];
        if (c->stage != WAITING || c->ready || completion_make_ready(c) != TRIB_OK ||
            trib_session_fork(&c->session, read->session, NULL) != TRIB_OK)
            continue;
        s->active++;
        s->counts.found += r->asked.count;
        c->stage = READING;
    }
}

/* Who has a session with all its tokens gets another one. */
static void choose(trib_scheduler *s, struct completion *c)
{
    struct request *r = c->request;
    bool first = c->stage == READING && c->count == r->asked.count;
    if (!completion_is_read(c))
        return;
    if (first)
        fork_prompt(s, c);
    completion_choose(c);
    for (size_t i = 0; i < r->made && first; i++)
        if (r->completions[i].stage == READING && completion_is_read(&r->completions[i]))
            completion_choose(&r->completions[i]);
}

/* Somebody found the cache full: the last one in the line that has a session gives way, until
 * another has ended. Alone it can only fail. */
static void give_way(trib_scheduler *s, bool alone)
{
    for (size_t i = s->standing; i-- > 0;) {
        struct completion *c = s->line[i];
        if (!c->session)
            continue;
        if (alone) {
            completion_fail(c);
        } else if (s->active > 1) {
            completion_leave(c);
            c->stage = WAITING;
            s->full = true;
            s->counts.put_back++;
        }
        return;
    }
}

/* A step's message is that of its first failure. */
static void note_failure(struct completion *c, trib_status status, const trib_error *error)
{
    if (error->status == status)
        c->failure = *error;
    else
        error_set(&c->failure, status, "%s", trib_status_meaning(status));
}

void trib_scheduler_step(trib_scheduler *s)
{
    struct completion *failed;
    trib_error error = {0};
    s->calls++;
    size_t count = schedule_plan(s, &failed);
    bool alone = s->active == 1, full = false;
    trib_step(s->engine, s->appends, count, &error);
    for (size_t i = 0; i < count; i++) {
        struct completion *c = s->parts[i];
        trib_status status = s->appends[i].status;
        if (c->stage == OVER) /* cancelled by the caller when told of another */
            continue;
        if (status == TRIB_OK) {
            s->counts.computed += c->stage == READING ? s->appends[i].count : 0;
            choose(s, c);
            continue;
        }
        note_failure(c, status, &error);
        full = full || status == TRIB_FULL;
        if (status != TRIB_FULL)
            completion_fail(c);
    }
    if (full)
        give_way(s, alone);
    if (failed && failed->stage != OVER)
        completion_fail(failed);
    s->counts.steps++;
    s->calls--;
    give_back(s);
}

bool trib_scheduler_idle(const trib_scheduler *s)
{
    return s->standing == 0;
}

trib_schedule_counts trib_scheduler_counts(const trib_scheduler *s)
{
    trib_schedule_counts counts = s->counts;
    counts.running = s->active;
    return counts;
}
