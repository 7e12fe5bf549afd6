/* The options of sampling, the same for every command that generates text. */
#ifndef CLI_SAMPLING_H
#define CLI_SAMPLING_H

#include "options.h"
#include "tributary/sampling.h"

/* Where a field of the trib_sampler_options `member` lies in a command's struct of values. */
#define SAMPLING_FIELD(values, member, field)                                                      \
    (offsetof(values, member) + offsetof(trib_sampler_options, field))

/* Rows of a table of options. */
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
/* clang-format on */

#endif
