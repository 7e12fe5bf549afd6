/* The plan of a step. One walk along the line: running sequences have a token each; what is left of
 * the step's tokens goes to prompts, in the order of the line, so that the first one is read as
 * fast as can be and those behind it begin when there is room.
 *
 * Nobody computes what somebody else is about to: a sequence that begins with more whole pages of a
 * prompt being read than there are by now lets others go before it. It cannot starve by that: who
 * is read goes on in every step that has room for it, and a newcomer that has as much in common
 * with either waits, too. */
#include "engine/schedule_plan.h"

#include <string.h>

#include "engine/session.h"
#include "kernel/kernel.h"

/* Tokens of prompts in this step: the rest, but not less than a quarter, so that prompts are read
 * whatever runs. */
static size_t room_for_prompts(const trib_scheduler *s)
{
    size_t running = 0, least = s->tokens / 4 ? s->tokens / 4 : 1;
    for (size_t i = 0, seen = 0; seen < s->active; i++) {
        running += s->line[i]->stage == RUNNING;
        seen += s->line[i]->session != NULL;
    }
    return s->tokens > running + least ? s->tokens - running : least;
}

static const int32_t *ids_of(const struct completion *c, size_t *count)
{
    *count = c->ready ? c->count : c->request->asked.count;
    return c->ready ? c->ids : c->request->asked.ids;
}

/* Tokens of whole pages that both begin with. The last token of the one that begins is computed
 * anyway, for its logits. */
static size_t in_common(const struct completion *begins, const struct completion *other)
{
    size_t a_count, b_count, common = 0;
    const int32_t *a = ids_of(begins, &a_count), *b = ids_of(other, &b_count);
    while (common + CHUNK < a_count && common + CHUNK <= b_count &&
           memcmp(a + common, b + common, CHUNK * sizeof *a) == 0)
        common += CHUNK;
    return common;
}

/* Whether one that is being read computes what this one begins with. */
static bool must_wait(const trib_scheduler *s, const struct completion *c)
{
    for (size_t i = 0, seen = 0; i < s->standing && seen < s->active; i++) {
        const struct completion *other = s->line[i];
        if (!other->session)
            continue;
        seen++;
        size_t length = trib_session_length(other->session);
        bool sibling = !c->ready && other->request == c->request;
        if (other->stage == READING && ((sibling && length < c->request->asked.count) ||
                                        (!s->engine->predicts && in_common(c, other) > length)))
            return true;
    }
    return false;
}

/* A session for one that waits. What it fails with stands in `failure`. */
static trib_status begin(trib_scheduler *s, struct completion *c)
{
    const trib_session_options options = {s->context};
    trib_status status = completion_make_ready(c);
    if (status == TRIB_OK)
        status = trib_session_open(&c->session, s->engine, &options, &c->failure);
    if (!c->request->begun)
        s->counts.waiting--;
    c->request->begun = true;
    if (status != TRIB_OK)
        return status;
    s->active++;
    c->stage = READING;
    return TRIB_OK;
}

/* Takes what is cached, and adds an append of the rest, or of what there is room for. */
static trib_status add(trib_scheduler *s, struct completion *c, size_t *parts, size_t *room)
{
    size_t had = trib_session_length(c->session);
    trib_status status = session_find(c->session, c->ids + had, c->count - had - 1, &c->failure);
    size_t length = trib_session_length(c->session), count = c->count - length;
    if (status != TRIB_OK)
        return status;
    if (c->stage == READING) {
        count = count < *room ? count : *room;
        *room -= count;
        s->counts.found += length - had;
    }
    if (count == 0)
        return TRIB_OK;
    s->parts[*parts] = c;
    s->appends[(*parts)++] =
        (trib_append){.session = c->session, .ids = c->ids + length, .count = count};
    return TRIB_OK;
}

size_t schedule_plan(trib_scheduler *s, struct completion **failed)
{
    size_t parts = 0, room = room_for_prompts(s);
    trib_status status = TRIB_OK;
    *failed = NULL;
    for (size_t i = 0, seen = 0; i < s->standing && status == TRIB_OK; i++) {
        struct completion *c = s->line[i];
        bool may_begin = !s->full && room > 0 && s->active < s->sequences;
        if (!may_begin && seen == s->active)
            break;
        if (c->stage == WAITING && (!may_begin || must_wait(s, c)))
            continue;
        if (c->stage == WAITING)
            status = begin(s, c);
        if (status == TRIB_OK)
            status = add(s, c, &parts, &room);
        if (status != TRIB_OK)
            *failed = c;
        seen++;
    }
    return parts;
}
