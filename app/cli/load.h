/* Opening an engine while a progress bar says how far loading is, what there is to be said of a
 * model, and the options of the folder that keeps an engine's keys and values, the same for every
 * command that continues texts. */
#ifndef CLI_LOAD_H
#define CLI_LOAD_H

#include "options.h"
#include "tributary/engine.h"

struct cache_values {
    const char *folder;
    uint64_t bytes;
};

/* Rows of a table of options; `member` is a struct cache_values in the command's struct of values.
 */
/* clang-format off */
#define CACHE_OPTIONS(values, member)                                                              \
    {"cache-dir", 0, OPTION_STRING, offsetof(values, member.folder), "DIR",                        \
     "keep keys and values of prompts and answers in a folder, for the next time (default: no)"},  \
    {"cache-dir-size", 0, OPTION_BYTES, offsetof(values, member.bytes), "N",                       \
     "bytes in that folder at most, as in 20G (default: half of the free space)"}
/* clang-format on */

/* Puts them into an engine's options; what is wrong in the folder will be said on stderr. */
void load_cache(trib_engine_options *options, const struct cache_values *cache);

/* Says trib_model_note, if there is one, on standard error. */
void say_note(const trib_model *model);

/* say_note, and trib_engine_open with a bar, once loading has taken a second. */
trib_status load_engine(trib_engine **out, const trib_model *model, trib_engine_options options,
                        trib_error *error);

#endif
