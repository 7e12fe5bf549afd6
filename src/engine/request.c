/* A request: a checked copy of what the caller asks for, and the handing over of what became of it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/scheduler.h"

enum { PRIORITY_MOST = 1000000, MANY = 1 << 20 };

trib_request trib_request_default(void)
{
    return (trib_request){
        .max_tokens = 256, .sampling = trib_sampler_options_default(), .completions = 1};
}

const char *trib_end_name(trib_end end)
{
    static const char *const names[] = {
        [TRIB_END_TOKEN] = "end",     [TRIB_END_STOP] = "stop",
        [TRIB_END_LENGTH] = "length", [TRIB_END_CANCELLED] = "cancelled",
        [TRIB_END_ERROR] = "error",
    };
    return (size_t)end < sizeof names / sizeof names[0] ? names[end] : "?";
}

/* ---- Checks ---- */

static trib_status check_ids(const trib_scheduler *s, const char *what, const int32_t *ids,
                             size_t count, trib_error *error)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= s->vocabulary)
            return error_set(error, TRIB_INVALID, "%s %zu: expected an id below %zu, found %d",
                             what, i, s->vocabulary, ids[i]);
    return TRIB_OK;
}

static trib_status check_counts(const trib_request *r, trib_error *error)
{
    size_t made = r->best_of ? r->best_of : r->completions;
    if (r->count == 0)
        return error_set(error, TRIB_INVALID, "the prompt has no tokens");
    if (r->max_tokens == 0)
        return error_set(error, TRIB_INVALID, "max tokens: expected at least 1, found 0");
    if (r->completions == 0 || r->completions > TRIB_SEQUENCES_MAX)
        return error_set(error, TRIB_INVALID, "completions: expected 1 to %d, found %zu",
                         TRIB_SEQUENCES_MAX, r->completions);
    if (made < r->completions || made > TRIB_SEQUENCES_MAX)
        return error_set(error, TRIB_INVALID,
                         "best of: expected %zu (completions) to %d, found %zu", r->completions,
                         TRIB_SEQUENCES_MAX, made);
    if (r->priority < -PRIORITY_MOST || r->priority > PRIORITY_MOST)
        return error_set(error, TRIB_INVALID, "priority: expected %d to %d, found %d",
                         -PRIORITY_MOST, PRIORITY_MOST, r->priority);
    if (r->stop_count > MANY || r->end_count > MANY)
        return error_set(error, TRIB_INVALID, "stop strings, end tokens: expected at most %d",
                         MANY);
    return TRIB_OK;
}

/* Sampling and stop strings are checked by who will use them. */
static trib_status check(const trib_scheduler *s, const trib_request *r, trib_error *error)
{
    trib_sampler *sampler = NULL;
    trib_stops *strings = NULL;
    trib_status status;
    if ((status = check_counts(r, error)) ||
        (status = check_ids(s, "token", r->ids, r->count, error)) ||
        (status = check_ids(s, "end token", r->ends, r->end_count, error)))
        return status;
    if (r->count > s->context)
        return error_set(error, TRIB_FULL,
                         "a prompt of %zu tokens does not fit in the context of %zu", r->count,
                         s->context);
    if (r->stop_count && !s->model)
        return error_set(error, TRIB_INVALID,
                         "stop strings: the scheduler was opened without a model that spells");
    status = trib_sampler_open(&sampler, s->vocabulary, &r->sampling, error);
    if (status == TRIB_OK)
        status = trib_stops_open(&strings, r->stops, r->stop_count, error);
    trib_sampler_close(sampler);
    trib_stops_close(strings);
    return status;
}

/* ---- Copies ---- */

/* A copy of `count` elements; of none, NULL. Where there is no memory *copied becomes false. */
static void *copy_of(const void *array, size_t count, size_t size, bool *copied)
{
    void *copy = count ? malloc(count * size) : NULL;
    if (copy)
        memcpy(copy, array, count * size);
    *copied = *copied && (copy || count == 0);
    return copy;
}

static bool copy_strings(struct request *r)
{
    size_t bytes = 0, at = 0, count = r->asked.stop_count;
    for (size_t i = 0; i < count; i++)
        bytes += r->asked.stops[i].length;
    trib_text *copies = malloc((count + 1) * sizeof *copies);
    r->stop_bytes = malloc(bytes + 1);
    if (copies && r->stop_bytes)
        for (size_t i = 0; i < count; i++) {
            trib_text text = r->asked.stops[i];
            memcpy(r->stop_bytes + at, text.bytes, text.length);
            copies[i] = (trib_text){r->stop_bytes + at, text.length};
            at += text.length;
        }
    r->asked.stops = copies;
    return copies && r->stop_bytes;
}

trib_status request_new(struct request **out, trib_scheduler *s, const trib_request *asked,
                        trib_error *error)
{
    *out = NULL;
    trib_status status = check(s, asked, error);
    if (status != TRIB_OK)
        return status;
    struct request *r = calloc(1, sizeof *r);
    if (!r)
        return error_no_memory(error, "a request", sizeof *r);
    bool copied = true;
    r->asked = *asked;
    r->scheduler = s;
    r->made = asked->best_of ? asked->best_of : asked->completions;
    r->completions = calloc(r->made, sizeof *r->completions);
    r->asked.ids = copy_of(asked->ids, asked->count, sizeof *asked->ids, &copied);
    r->asked.ends = copy_of(asked->ends, asked->end_count, sizeof *asked->ends, &copied);
    r->asked.sampling.bias = copy_of(asked->sampling.bias, asked->sampling.bias_count,
                                     sizeof *asked->sampling.bias, &copied);
    copied = copy_strings(r) && copied;
    if (!copied || !r->completions) {
        request_free(r);
        return error_no_memory(error, "a request", asked->count * sizeof *asked->ids);
    }
    for (size_t i = 0; i < r->made; i++)
        r->completions[i] = (struct completion){.request = r, .index = i};
    *out = r;
    return TRIB_OK;
}

/* Frees an array of the request's own. */
static void free_copy(const void *array)
{
    free((void *)(uintptr_t)array);
}

void request_free(struct request *r)
{
    for (size_t i = 0; i < r->made && r->completions; i++)
        completion_close(&r->completions[i]);
    free(r->completions);
    free_copy(r->asked.ids);
    free_copy(r->asked.ends);
    free_copy(r->asked.sampling.bias);
    free_copy(r->asked.stops);
    free(r->stop_bytes);
    free(r);
}

/* ---- Handing over ---- */

static void hand_over(struct request *r, struct completion *c)
{
    bool failed = c->end == TRIB_END_ERROR;
    size_t chosen = c->count > r->asked.count ? c->count - r->asked.count : 0;
    trib_completion told = {
        .request = r->id,
        .index = c->index,
        .end = c->end,
        .status = failed ? c->failure.status : TRIB_OK,
        .message = failed ? c->failure.message : "",
        .ids = chosen ? c->ids + r->asked.count : NULL,
        .logprobs = chosen ? c->logprobs : NULL,
        .count = chosen,
        .text = {c->text ? c->text : "", c->text_length},
        .rest = {c->text ? c->text + c->told : "", c->text_length - c->told},
        .stop = c->stop,
        .left = r->asked.completions - ++r->told,
    };
    if (r->asked.on_end)
        r->asked.on_end(r->asked.context, &told);
}

static bool is_whole(const struct completion *c)
{
    return c->end <= TRIB_END_LENGTH;
}

static double mean(const struct completion *c)
{
    return c->logprob_count ? c->logprob_sum / (double)c->logprob_count : 0;
}

/* Whole texts before others, by falling mean log probability; equal ones as they were drawn. */
static bool is_better(const struct completion *a, const struct completion *b)
{
    if (is_whole(a) != is_whole(b))
        return is_whole(a);
    if (is_whole(a) && mean(a) != mean(b))
        return mean(a) > mean(b);
    return a->index < b->index;
}

/* All have ended: the best of those that are not handed over, until there are enough. */
static void hand_over_best(struct request *r)
{
    for (size_t n = 0; n < r->asked.completions; n++) {
        struct completion *best = NULL;
        for (size_t i = 0; i < r->made; i++) {
            struct completion *c = &r->completions[i];
            if (!c->handed && (!best || is_better(c, best)))
                best = c;
        }
        assert(best);
        best->handed = true;
        hand_over(r, best);
    }
}

void request_ended_one(struct request *r, struct completion *c)
{
    trib_scheduler *s = r->scheduler;
    bool last = ++r->ended == r->made;
    if (last && !r->begun)
        s->counts.waiting--;
    if (r->made == r->asked.completions)
        hand_over(r, c);
    else if (last)
        hand_over_best(r);
    if (last) {
        r->next = s->over;
        s->over = r;
    }
}
