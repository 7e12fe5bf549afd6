/* The scheduler from the inside: requests, their completions, and the line they stand in.
 *
 * A completion is one sequence. It stands in the line, lowest rank first, from the time its request
 * is submitted until it is over. Its stages:
 *
 *     WAITING  no session; it may have chosen tokens before it was put back
 *     READING  a session that lacks tokens it has: of the prompt, or what it had before
 *     RUNNING  a session that lacks its latest token alone
 *     OVER     not in the line
 *
 * Memory of a request is given back when no call is under way that might still look at it.
 */
#ifndef ENGINE_SCHEDULER_H
#define ENGINE_SCHEDULER_H

#include "tributary/schedule.h"

enum stage { WAITING, READING, RUNNING, OVER };

struct completion {
    struct request *request;
    size_t index;
    enum stage stage;
    bool ready; /* sampler, decoder and stops are open, the prompt is in `ids` */
    trib_session *session;
    trib_sampler *sampler;
    trib_decoder *decoder; /* of schedulers that spell */
    trib_stops *strings;

    int32_t *ids; /* [count] the prompt, and what was chosen */
    size_t count, capacity;
    float *logprobs;    /* [count - prompt], if they are wanted */
    double logprob_sum; /* of the tokens chosen, one that ended the text too */
    size_t logprob_count;
    char *text;
    size_t text_length, text_capacity, told; /* `told` bytes of it have been told of */

    trib_end end;
    size_t stop;        /* the stop string that was met */
    trib_error failure; /* what it ends with, or is to end with */
    bool handed;        /* over to the caller, as one of the best */
};

struct request {
    trib_scheduler *scheduler;
    uint64_t id;
    int64_t rank;
    trib_request asked; /* what it points to is the request's own */
    char *stop_bytes;
    size_t made, ended, told; /* completions: in all, over, handed over */
    bool begun;
    struct completion *completions; /* [made] */
    struct request *next;           /* of those to give back */
};

struct trib_scheduler {
    trib_engine *engine;
    const trib_model *model; /* NULL: nothing is spelt */
    size_t vocabulary;
    size_t sequences, tokens, waiting_most, context;
    uint64_t ids; /* given to requests so far */

    struct completion **line; /* [standing] not over, by rank, request and index */
    size_t standing, line_capacity;
    size_t active; /* of them with a session */
    bool full;     /* the cache was; nothing begins until a sequence has ended */

    trib_append *appends;      /* [sequences] of the step at hand */
    struct completion **parts; /* [sequences] whose they are */

    size_t calls;         /* under way: what is over is given back when there is none */
    struct request *over; /* to give back */
    trib_schedule_counts counts;
};

/* ---- completion.c ---- */

/* Gives it a sampler, a place for its text and a copy of the prompt; nothing where it has them. */
trib_status completion_make_ready(struct completion *completion);

/* Whether `session` has all tokens: then there are logits to choose from. */
bool completion_is_read(const struct completion *completion);

/* Chooses the next token from the session's logits and tells of it, which may end the completion:
 * or any other, by what the caller does when told. */
void completion_choose(struct completion *completion);

/* Closes the session; what it computed stays cached. */
void completion_leave(struct completion *completion);

/* Frees all it has. */
void completion_close(struct completion *completion);

/* Ends with TRIB_END_ERROR, for what `failure` says; or with another end. Tells of it, or keeps it
 * for the best. */
void completion_fail(struct completion *completion);
void completion_end(struct completion *completion, trib_end end);

/* ---- request.c ---- */

/* A copy of what is asked, checked; not in the line yet. */
trib_status request_new(struct request **out, trib_scheduler *scheduler, const trib_request *asked,
                        trib_error *error);
void request_free(struct request *request);

/* One of its completions has ended: hands over what is due. */
void request_ended_one(struct request *request, struct completion *completion);

/* ---- scheduler.c ---- */

/* Out of the line. */
void scheduler_remove(trib_scheduler *scheduler, struct completion *completion);

#endif
