/* Speculation for the commands that generate text: its options, and a session with or without it.
 */
#ifndef CLI_SPECULATION_H
#define CLI_SPECULATION_H

#include "options.h"
#include "tributary/speculate.h"

struct speculation_values {
    const char *source; /* "lookup" or a model file; NULL: none */
    size_t tokens, branches;
};

#define SPECULATION_FIELD(values, member, field)                                                   \
    (offsetof(values, member) + offsetof(struct speculation_values, field))

/* Rows of a table of options. */
/* clang-format off */
#define SPECULATION_OPTIONS(values, member)                                                        \
    {"speculate", 0, OPTION_STRING, SPECULATION_FIELD(values, member, source), "lookup|DRAFT",     \
     "guess tokens ahead, from the text so far or by a smaller model; the same text, sooner"},     \
    {"draft-tokens", 0, OPTION_SIZE, SPECULATION_FIELD(values, member, tokens), "K",               \
     "guess at most K tokens in a row (default: 8)"},                                              \
    {"draft-branches", 0, OPTION_SIZE, SPECULATION_FIELD(values, member, branches), "B",           \
     "guess B ways to go on at once (default: 1)"}
/* clang-format on */

struct speculation_values speculation_values_default(void);

/* All zero: none. */
struct speculation {
    trib_model *model; /* that guesses, where one does */
    trib_engine *engine;
    trib_speculate_options options;
    bool wanted;
    trib_session *session; /* between speculation_begin and speculation_end */
    trib_speculator *speculator;
    trib_speculation counts; /* of all that ended */
};

/* Opens the model that guesses. */
trib_status speculation_open(struct speculation *s, const struct speculation_values *values,
                             const trib_engine_options *engine, trib_error *error);
void speculation_close(struct speculation *s);

/* From here to the end a session is used through the functions below, whether speculation is wanted
 * or not. */
trib_status speculation_begin(struct speculation *s, trib_session *session, trib_error *error);
void speculation_end(struct speculation *s);

trib_status speculation_append(struct speculation *s, int32_t id, trib_error *error);
const float *speculation_logits(const struct speculation *s);
size_t speculation_length(const struct speculation *s);

#endif
