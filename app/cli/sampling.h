/* The options of sampling, the same for every command that generates text. */
#ifndef CLI_SAMPLING_H
#define CLI_SAMPLING_H

#include "options.h"
#include "tributary/sampling.h"

/* Where a field of the trib_sampler_options `member` lies in a command's struct of values. */
#define SAMPLING_FIELD(values, member, field)                                                      \
    (offsetof(values, member) + offsetof(trib_sampler_options, field))

/* Rows of a table of options. Those of --stop and --logit-bias fill struct text_list, which
 * sampling_stops and sampling_bias read. */
/* clang-format off */
#define SAMPLING_OPTIONS(values, member)                                                           \
    {"temperature", 't', OPTION_FLOAT, SAMPLING_FIELD(values, member, temperature), "T",           \
     "0 takes the likeliest token; higher is more varied (default: 0.8)"},                         \
    {"top-k", 0, OPTION_SIZE, SAMPLING_FIELD(values, member, top_k), "K",                          \
     "choose among the K likeliest; 0: all (default: 40)"},                                        \
    {"top-p", 0, OPTION_FLOAT, SAMPLING_FIELD(values, member, top_p), "P",                         \
     "choose among the fewest that reach probability P (default: 0.95)"},                          \
    {"min-p", 0, OPTION_FLOAT, SAMPLING_FIELD(values, member, min_p), "P",                         \
     "drop those below P times the likeliest (default: 0.05)"},                                    \
    {"repeat-penalty", 0, OPTION_FLOAT, SAMPLING_FIELD(values, member, repeat_penalty), "X",       \
     "make recent tokens less likely; 1: off (default: 1)"},                                       \
    {"repeat-last", 0, OPTION_SIZE, SAMPLING_FIELD(values, member, repeat_last), "N",              \
     "how many tokens are recent (default: 64)"},                                                  \
    {"seed", 's', OPTION_SEED, SAMPLING_FIELD(values, member, seed), "N",                          \
     "of the random choices; the same seed, the same text (default: 0)"}

#define STOP_OPTION(values, member)                                                                \
    {"stop", 0, OPTION_TEXTS, offsetof(values, member), "STRING",                                  \
     "end the text before STRING, with \\n, \\t and \\\\ for newline, tab and backslash; may be "      \
     "given several times"}

#define BIAS_OPTION(values, member)                                                                \
    {"logit-bias", 0, OPTION_TEXTS, offsetof(values, member), "ID=BIAS",                           \
     "add BIAS to the logit of token ID, -inf to forbid it; may be given several times"}
/* clang-format on */

/* Stops of what --stop gave and of `more` [count], which are taken as they are. */
trib_status sampling_stops(trib_stops **out, const struct text_list *given, const char *const *more,
                           size_t count, trib_error *error);

/* Reads what --logit-bias gave: bias [TEXTS_MOST]. Returns -1, or an exit status after a complaint.
 */
int sampling_bias(const struct command *command, const struct text_list *given,
                  trib_logit_bias *bias, trib_sampler_options *options);

#endif
