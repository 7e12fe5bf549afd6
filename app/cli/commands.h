/* The commands of trib, and what they share: interrupts, complaints, standard output, JSON, reading
 * whole files. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include <jansson.h>

#include "options.h"
#include "tributary/model.h"

extern const struct command run_command, demo_command, inspect_command, tokenize_command,
    bench_command, embed_command, eval_command, tokenizer_command, train_command, compare_command,
    quantize_command, synth_command, chat_command, convert_command, cache_command, batch_command;

/* From here on Ctrl-C and the like only set what interrupted() says; the second one ends the
 * program, as it would without us. */
void catch_interrupts(void);
bool interrupted(void);

/* A number of threads as given, for options that say themselves which are too many. */
int thread_count(size_t given);

/* Prints "trib: MESSAGE" on stderr and returns EXIT_FAILURE. */
int complain(const trib_error *error);

/* Puts a message into an error; returns `status`. */
trib_status failure(trib_error *error, trib_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same of a message "path: why", of which the path is cut where it is long. */
trib_status path_failure(trib_error *error, trib_status status, const char *path, const char *why);

/* Hands over what was printed. Where that or a write before it failed it complains, unless somebody
 * has, and gives false. main calls it last, for all commands. */
bool flush_output(void);

/* Prints a text that somebody waits for. TRIB_IO where it cannot: the caller complains. */
trib_status print_at_once(trib_text text, trib_error *error);

/* Prints a JSON object on a line of its own and releases it; the exit status. */
int print_json(json_t *object);

/* A JSON string of any bytes: those that are no UTF-8 become U+FFFD. */
json_t *json_text(const char *bytes, size_t length);

enum { THREADS_MOST = 1024 }; /* that any call takes */

/* Reads all of a file, standard input for "-"; the caller frees *text. One NUL byte stands behind.
 */
trib_status read_all(const char *path, char **text, size_t *length, trib_error *error);

#endif
