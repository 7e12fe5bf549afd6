/* What the scheduler must give: a request's completion made alone, by appending to a session. */
#ifndef PLAIN_DECODE_H
#define PLAIN_DECODE_H

#include "tributary/schedule.h"

enum { PLAIN_MOST = 256, PLAIN_TEXT = 2048 };

struct plain {
    int32_t ids[PLAIN_MOST];
    size_t count;
    trib_end end;
    char text[PLAIN_TEXT]; /* not terminated */
    size_t length;
    double mean; /* log probability of a token chosen, one that ended the text too */
};

/* Completion `index` of a request of at most PLAIN_MOST tokens, in sessions of `context` (0: as
 * trained). Fails the test where that fails. */
void plain_decode(struct plain *out, trib_engine *engine, const trib_model *model, size_t context,
                  const trib_request *request, size_t index);

#endif
