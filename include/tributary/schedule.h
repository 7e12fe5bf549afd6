/* Tributary: many requests on one engine, batched as they come and go. A scheduler takes requests
 * (a prompt, how to sample, when to stop), runs as many of them at once as its limits allow, and
 * hands over tokens and texts as they are chosen.
 *
 *     trib_scheduler *scheduler;  trib_scheduler_open(&scheduler, engine, NULL, &error);
 *     trib_request request = trib_request_default();
 *     request.ids = ids;  request.count = count;  request.on_end = print;
 *     trib_scheduler_submit(scheduler, &request, &id, &error);
 *     while (!trib_scheduler_idle(scheduler))
 *         trib_scheduler_step(scheduler);
 *
 * A step is one step of the engine (trib_step): a token of every sequence that has read its prompt,
 * and slices of the prompts of others with the room that is left. So a sequence that runs waits for
 * its next token as long as a step of at most `tokens` tokens takes, however long the prompts
 * beside it are.
 *
 * Who is next. A request has a rank: the number of the step it was submitted at, less TRIB_AGEING
 * for each unit of its priority. The lowest rank goes first, of equal ones the request that came
 * first. So a higher priority goes first and within a priority who came first, and nobody starves:
 * a request that has waited for d * TRIB_AGEING steps goes before all that come with a priority
 * higher by d. Who runs is not interrupted by others' ranks as long as memory lasts.
 *
 * Prefixes. While a prompt is being read, requests that begin with more whole pages of it than
 * are computed wait for these pages instead of computing them too, and others go before them.
 *
 * Memory. Where the keys and values of a step do not fit in the engine's cache, the running
 * sequence of the highest rank is put back among the waiting: it keeps its sampler and its text,
 * and what it computed stays cached while there is room. Nothing new begins until a sequence has
 * ended. The lowest rank is therefore never put back, so that all requests end; a sequence fails
 * with TRIB_FULL when it runs alone and still does not fit.
 *
 * The text of a completion depends on the model, its prompt, its options and its own seed alone,
 * not on who runs beside it, on ranks, slices, or being put back.
 *
 * Threads: a scheduler, its engine and the sessions of that belong to one thread at a time.
 */
#ifndef TRIBUTARY_SCHEDULE_H
#define TRIBUTARY_SCHEDULE_H

#include "tributary/engine.h"
#include "tributary/sampling.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Steps of waiting that outweigh one unit of priority. */
#define TRIB_AGEING 256

/* Most sequences at once, and most completions of a request. */
#define TRIB_SEQUENCES_MAX 4096

typedef struct trib_scheduler_options {
    const trib_model *model; /* that the engine runs: it spells tokens, for texts and stop strings,
                                and knows which tokens end a text. It must stay open longer. NULL:
                                requests have ids alone */
    size_t sequences;        /* that run at once, at most: 1 to TRIB_SEQUENCES_MAX */
    size_t tokens;           /* of a step, at most: one of each running sequence, of prompts the
                                rest, though never less than a quarter; 0: the engine's prefill
                                chunk, which passes the layers together */
    size_t waiting;          /* requests that have not begun, at most */
    size_t context;          /* tokens of a sequence at most, prompt included; 0: as trained */
} trib_scheduler_options;

trib_scheduler_options trib_scheduler_options_default(void); /* {NULL, 64, 0, 1024, 0} */

typedef struct trib_scheduler trib_scheduler;

/* The engine must stay open longer. `options` may be NULL. On failure *out is NULL: TRIB_INVALID
 * (an option outside its range), TRIB_UNSUPPORTED (a model that continues no texts),
 * TRIB_NO_MEMORY. */
trib_status trib_scheduler_open(trib_scheduler **out, trib_engine *engine,
                                const trib_scheduler_options *options, trib_error *error);

/* NULL is allowed. Requests that are not over are dropped without a call. */
void trib_scheduler_close(trib_scheduler *scheduler);

/* ---- Requests ---- */

/* A token that was chosen, for the time of the call. Tokens that end a text are not told of. */
typedef struct trib_chosen {
    uint64_t request;
    size_t completion; /* which of the request's, from 0 */
    int32_t id;
    float logprob;       /* as trib_sampler_logprob; NaN where the request does not ask for it */
    const float *logits; /* [V] that it was chosen from */
    trib_text text;      /* what of the completion's text is certain now and was not before */
} trib_chosen;

/* Why a completion ended. */
typedef enum trib_end {
    TRIB_END_TOKEN,     /* a token that ends a text was chosen */
    TRIB_END_STOP,      /* a stop string was met */
    TRIB_END_LENGTH,    /* max_tokens, or the context is full */
    TRIB_END_CANCELLED, /* by trib_scheduler_cancel */
    TRIB_END_ERROR,     /* `status` and `message` say which */
} trib_end;

/* "end", "stop", "length", "cancelled", "error". Static storage. */
const char *trib_end_name(trib_end end);

/* A completion that ended, for the time of the call. */
typedef struct trib_completion {
    uint64_t request;
    size_t index; /* its seed is the request's and this */
    trib_end end;
    trib_status status;    /* of TRIB_END_ERROR; else TRIB_OK */
    const char *message;   /* of TRIB_END_ERROR, one line; else "" */
    const int32_t *ids;    /* [count] chosen, those that spell a stop string too */
    const float *logprobs; /* [count]; NULL where the request does not ask for them */
    size_t count;
    trib_text text; /* of it all, up to a stop string, without it */
    trib_text rest; /* the end of `text` that no trib_chosen has told of */
    size_t stop;    /* which stop string, of TRIB_END_STOP */
    size_t left;    /* completions that the request is yet to hand over; 0: it is over */
} trib_completion;

typedef struct trib_request {
    const int32_t *ids; /* [count] the prompt, at least one token */
    size_t count;
    size_t max_tokens;             /* chosen at most, at least 1 */
    trib_sampler_options sampling; /* completion i draws with seed + i */
    size_t completions; /* handed over, 1 to TRIB_SEQUENCES_MAX; the prompt is read once */
    size_t best_of;     /* so many are made, and those of the largest mean log probability
                           of a token handed over when all have ended, the best one first;
                           0: as many as are handed over, each when it has ended */
    bool logprobs;      /* tell of them */

    const trib_text *stops; /* [stop_count] texts end before the first of these */
    size_t stop_count;
    const int32_t *ends; /* [end_count] tokens that end a text, besides those of the model */
    size_t end_count;
    bool go_on; /* tokens that end a text, as the model says, are tokens like all others */
    bool begin; /* the text is the begin of one, and does not go on from a text before it */

    int priority; /* -1,000,000 to 1,000,000; larger is sooner */

    /* Called within trib_scheduler_step and trib_scheduler_cancel; either may be NULL. They may
     * submit and cancel requests, but neither step nor close. */
    void (*on_token)(void *context, const trib_chosen *chosen);
    void (*on_end)(void *context, const trib_completion *completion);
    void *context;
} trib_request;

/* No prompt, 256 tokens, trib_sampler_options_default(), 1 completion, priority 0, no calls. */
trib_request trib_request_default(void);

/* Takes a request, which is copied with all it points to but the contexts; *id is its number.
 * TRIB_FULL: too many requests wait, or the prompt does not fit in the context; TRIB_INVALID names
 * the field outside its range. Then *id is 0, which no request has. */
trib_status trib_scheduler_submit(trib_scheduler *scheduler, const trib_request *request,
                                  uint64_t *id, trib_error *error);

/* Ends what is left of a request with TRIB_END_CANCELLED, before it returns; false where no such
 * request is at work. */
bool trib_scheduler_cancel(trib_scheduler *scheduler, uint64_t id);

/* ---- Steps ---- */

/* One step; without requests nothing happens. What befalls a completion is told to it alone. */
void trib_scheduler_step(trib_scheduler *scheduler);

/* Whether there is nothing to do. */
bool trib_scheduler_idle(const trib_scheduler *scheduler);

typedef struct trib_schedule_counts {
    size_t waiting;    /* requests that have not begun */
    size_t running;    /* sequences that hold keys and values */
    uint64_t steps;    /* done */
    uint64_t computed; /* tokens of prompts, and of sequences put back, that were computed */
    uint64_t found;    /* such tokens that were cached, or came by a fork */
    uint64_t chosen;   /* tokens */
    uint64_t put_back; /* sequences, for want of memory */
} trib_schedule_counts;

trib_schedule_counts trib_scheduler_counts(const trib_scheduler *scheduler);

#ifdef __cplusplus
}
#endif

#endif
