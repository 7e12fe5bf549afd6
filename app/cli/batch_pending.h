/* Requests that are with the scheduler, and what it tells of them, on its way to a line of results.
 */
#ifndef CLI_BATCH_PENDING_H
#define CLI_BATCH_PENDING_H

#include "batch_line.h"
#include "batch_results.h"
#include "progress.h"

/* All of them, and what they have in common. */
struct batch_pendings {
    const trib_model *model;
    size_t vocabulary;
    const char *requests; /* their file, for complaints */
    struct batch_results *results;
    struct progress *bar;         /* cleared before a complaint */
    struct batch_pending *latest; /* of those that are not over */
    trib_logprob *top;            /* [V] scratch */
    trib_status status;           /* what ends the run early, with `error` */
    trib_error error;
    size_t prompt_tokens, tokens; /* of requests that are over; chosen */
};

struct batch_pending;

/* Takes note of a request, and sets the calls and the context of line->request. NULL: there is no
 * memory. */
struct batch_pending *batch_pending_open(struct batch_pendings *all, struct batch_entry *entry,
                                         struct batch_line *line);

/* Forgets it, without a result. The scheduler must not have it any more. */
void batch_pending_close(struct batch_pending *pending);

/* A complaint about a request on standard error. */
void batch_complain(const struct batch_pendings *all, const struct batch_entry *entry,
                    const char *message);

/* Ends the run, unless `status` is TRIB_OK or it has ended. */
void batch_give_up(struct batch_pendings *all, trib_status status);

trib_status batch_no_memory(trib_error *error);

#endif
