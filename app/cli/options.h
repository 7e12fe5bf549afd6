/* The command line: one table per command feeds the parser, --help, the manual page and the shell
 * completion. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { EXIT_USAGE = 2 };

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_SIZE,   /* size_t */
    OPTION_SEED,   /* uint64_t */
    OPTION_BYTES,  /* uint64_t: "512", "64M", "20G" */
    OPTION_FLOAT,  /* float */
    OPTION_STRING, /* const char * */
    OPTION_SIZES,  /* struct size_list: "1024,4096" or "1k,4k" */
    OPTION_TEXTS,  /* struct text_list: one more, not empty, each time that the option is given */
};

enum { SIZES_MOST = 32, TEXTS_MOST = 64 };

struct size_list {
    size_t count;
    size_t values[SIZES_MOST];
};

struct text_list {
    size_t count;
    const char *values[TEXTS_MOST];
};

/* One option. Its value goes to `offset` of the command's struct of values. */
struct option_row {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    size_t offset;
    const char *argument; /* what the help calls the value; NULL for flags */
    const char *help;
};

struct command {
    const char *name;
    const char *operands; /* "MODEL [FILE]" */
    const char *summary;  /* one line, no full stop */
    const char *description;
    size_t operands_least, operands_most;
    const struct option_row *options;
    size_t option_count;
    int (*run)(const struct command *self, int argc, char **argv); /* returns the exit status */

    /* The commands of a command: each is named "NAME PART" and has the rows above for itself. */
    const struct command *const *parts;
    size_t part_count;
};

/* The name of part i without the command's own before it. */
const char *command_part(const struct command *command, size_t i);

/* Runs the part that argv[1] names and gives its exit status; -1: there is none of that name. */
int command_run_part(const struct command *command, int argc, char **argv);

/* The same for a command that is nothing but its parts: what it does when none is named. */
int command_run_parts(const struct command *command, int argc, char **argv);

/* Parses argv (argv[0] is the command's name) into `values`, which holds the defaults. Operands may
 * stand between options; they end up at argv[*first]. Returns -1 to go on, or an exit status: 0
 * after --help, EXIT_USAGE after a complaint on stderr. */
int options_parse(const struct command *command, int argc, char **argv, void *values, int *first);

/* "trib NAME: --OPTION: expected EXPECTED, found 'FOUND'" on stderr; returns EXIT_USAGE. */
int options_complain(const struct command *command, const char *option, const char *expected,
                     const char *found);

/* Sets bit i of *chosen for every name i that stands in `text`, a list by comma. False where one is
 * none of the `count` names. */
bool options_choose(const char *text, const char *const *names, size_t count, unsigned *chosen);

/* The manual page in man(7) and the completion for bash, from the same tables. */
void manual_print(const struct command *const *commands, size_t count, FILE *out);
void completion_print(const struct command *const *commands, size_t count, FILE *out);

#endif
