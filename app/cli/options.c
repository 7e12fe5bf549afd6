/* Parsing a command's options by its table, and printing its help from the same table. */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 64, HELP_KEY = 1000 };

const char *command_part(const struct command *command, size_t i)
{
    return command->parts[i]->name + strlen(command->name) + 1;
}

static void print_help(const struct command *command)
{
    printf("Usage: trib %s%s%s [options]\n\n%s.\n", command->name, *command->operands ? " " : "",
           command->operands, command->summary);
    if (*command->description)
        printf("\n%s\n", command->description);
    for (size_t i = 0; i < command->part_count; i++)
        printf("%s  %-12s %s\n", i == 0 ? "\n" : "", command_part(command, i),
               command->parts[i]->summary);
    printf("\nOptions:\n");
    for (size_t i = 0; i < command->option_count; i++) {
        const struct option_row *o = &command->options[i];
        char left[64], letter[8] = "    ";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->argument ? " " : "",
                 o->argument ? o->argument : "");
        printf("  %-26s %s\n", left, o->help);
    }
    printf("  %-26s %s\n", "-h, --help", "print this help");
}

int options_complain(const struct command *command, const char *option, const char *expected,
                     const char *found)
{
    fprintf(stderr, "trib %s: --%s: expected %s, found '%s'\n", command->name, option, expected,
            found);
    return EXIT_USAGE;
}

/* A whole number without sign. */
static bool parse_whole(const char *text, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    *out = value;
    return isdigit((unsigned char)text[0]) && *end == 0 && errno == 0 && value <= most;
}

/* A whole number; K, M, G or T behind it stand for 2^10, 2^20, 2^30 and 2^40. */
static bool parse_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    *out = (uint64_t)value << shift;
    return isdigit((unsigned char)text[0]) && end[unit != NULL] == 0 && errno == 0 &&
           value <= UINT64_MAX >> shift;
}

/* Whole numbers with commas between; k behind one stands for 1,024. */
static bool parse_sizes(const char *text, struct size_list *out)
{
    *out = (struct size_list){0};
    for (;; text++) {
        char *end;
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        bool k = *end == 'k' || *end == 'K';
        if (!isdigit((unsigned char)text[0]) || errno != 0 || value > SIZE_MAX >> 11 ||
            out->count == SIZES_MOST)
            return false;
        out->values[out->count++] = (size_t)value << (k ? 10 : 0);
        text = end + k;
        if (*text != ',')
            return *text == 0;
    }
}

bool options_choose(const char *text, const char *const *names, size_t count, unsigned *chosen)
{
    *chosen = 0;
    for (;; text++) {
        size_t length = strcspn(text, ","), i = 0;
        while (i < count && (strlen(names[i]) != length || memcmp(names[i], text, length) != 0))
            i++;
        if (i == count)
            return false;
        *chosen |= 1u << i;
        text += length;
        if (*text == 0)
            return true;
    }
}

static bool add_text(const char *text, struct text_list *out)
{
    if (!*text || out->count == TEXTS_MOST)
        return false;
    out->values[out->count++] = text;
    return true;
}

/* Stores a value; returns what was expected when `text` is none. */
static const char *store(const struct option_row *row, const char *text, char *field)
{
    uint64_t whole;
    char *end;
    float number;
    size_t size;
    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)(void *)field = true;
        return NULL;
    case OPTION_SIZE:
        if (!parse_whole(text, SIZE_MAX / 2, &whole))
            return "a whole number";
        size = (size_t)whole;
        memcpy(field, &size, sizeof size);
        return NULL;
    case OPTION_SEED:
        if (!parse_whole(text, UINT64_MAX, &whole))
            return "a whole number";
        memcpy(field, &whole, sizeof whole);
        return NULL;
    case OPTION_BYTES:
        if (!parse_bytes(text, &whole))
            return "a whole number, with K, M, G or T behind it or nothing";
        memcpy(field, &whole, sizeof whole);
        return NULL;
    case OPTION_FLOAT:
        number = strtof(text, &end);
        if (end == text || *end || !isfinite(number))
            return "a number";
        memcpy(field, &number, sizeof number);
        return NULL;
    case OPTION_STRING:
        memcpy(field, &text, sizeof text);
        return NULL;
    case OPTION_SIZES:
        return parse_sizes(text, (struct size_list *)(void *)field)
                   ? NULL
                   : "whole numbers with commas between";
    case OPTION_TEXTS:
        return add_text(text, (struct text_list *)(void *)field)
                   ? NULL
                   : "a text that is not empty, at most 64 times";
    }
    return NULL;
}

/* The tables getopt_long wants. The value of a long option is its row's number plus HELP_KEY + 1.
 */
static void build(const struct command *command, struct option *longs, char *shorts)
{
    size_t n = command->option_count, at = 0;
    for (size_t i = 0; i < n; i++) {
        const struct option_row *o = &command->options[i];
        bool has_value = o->kind != OPTION_FLAG;
        longs[i] = (struct option){o->name, has_value ? required_argument : no_argument, NULL,
                                   HELP_KEY + 1 + (int)i};
        if (o->letter) {
            shorts[at++] = o->letter;
            if (has_value)
                shorts[at++] = ':';
        }
    }
    longs[n] = (struct option){"help", no_argument, NULL, HELP_KEY};
    longs[n + 1] = (struct option){0};
    shorts[at++] = 'h';
    shorts[at] = 0;
}

static const struct option_row *row_of(const struct command *command, int key)
{
    if (key > HELP_KEY)
        return &command->options[key - HELP_KEY - 1];
    for (size_t i = 0; i < command->option_count; i++)
        if (command->options[i].letter == key)
            return &command->options[i];
    return NULL;
}

int options_parse(const struct command *command, int argc, char **argv, void *values, int *first)
{
    struct option longs[OPTIONS_MAX + 2];
    char shorts[2 * OPTIONS_MAX + 2], program[64];
    char *name = argv[0];
    build(command, longs, shorts);
    snprintf(program, sizeof program, "trib %s", command->name);
    argv[0] = program; /* getopt's complaints begin with it */
    int key;
    while ((key = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (key == 'h' || key == HELP_KEY) {
            print_help(command);
            return 0;
        }
        const struct option_row *row = key == '?' ? NULL : row_of(command, key);
        if (!row) {
            fprintf(stderr, "Try 'trib %s --help'.\n", command->name);
            return EXIT_USAGE;
        }
        const char *expected = store(row, optarg, (char *)values + row->offset);
        if (expected)
            return options_complain(command, row->name, expected, optarg);
    }
    argv[0] = name;
    *first = optind;
    size_t operands = (size_t)(argc - optind);
    if (operands >= command->operands_least && operands <= command->operands_most)
        return -1;
    if (operands < command->operands_least)
        fprintf(stderr, "trib %s: expected %s\n", command->name, command->operands);
    else
        fprintf(stderr, "trib %s: unexpected operand '%s'\n", command->name,
                argv[optind + (int)command->operands_most]);
    fprintf(stderr, "Try 'trib %s --help'.\n", command->name);
    return EXIT_USAGE;
}

int command_run_part(const struct command *command, int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < command->part_count; i++)
        if (strcmp(argv[1], command_part(command, i)) == 0)
            return command->parts[i]->run(command->parts[i], argc - 1, argv + 1);
    return -1;
}

int command_run_parts(const struct command *command, int argc, char **argv)
{
    int first, status = command_run_part(command, argc, argv);
    if (status < 0)
        status = options_parse(command, argc, argv, NULL, &first);
    if (status >= 0)
        return status;
    fprintf(stderr, "trib %s: unknown command '%s'\nTry 'trib %s --help'.\n", command->name,
            argv[first], command->name);
    return EXIT_USAGE;
}
