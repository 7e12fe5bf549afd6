/* A line of the requests of `trib batch`: one JSON object, checked field by field. */
#ifndef CLI_BATCH_LINE_H
#define CLI_BATCH_LINE_H

#include <jansson.h>

#include "tributary/schedule.h"

/* What a line asks for. All that the request points to is here. */
struct batch_line {
    json_t *root; /* keeps the strings; NULL: the line is no JSON object */
    json_t *id;   /* within it; NULL: there is none */
    trib_request request;
    int32_t *ids, *given; /* the prompt: of a text, the library's; as token ids */
    trib_text *stops;
    trib_logit_bias *bias;
    bool logprobs;
    size_t top; /* likeliest tokens to tell of beside each token */
};

/* Reads a line. `request` has what a line that says nothing gets. On failure the message begins
 * with the field, and `id` is there as far as it could be read. Close it either way. */
trib_status batch_line_read(struct batch_line *line, const char *bytes, size_t length,
                            const trib_model *model, const trib_request *request,
                            trib_error *error);

void batch_line_close(struct batch_line *line);

#endif
