/* Manual page and shell completion, written from the tables of the commands. */
#include "options.h"

/* Text with the characters escaped that troff would take for itself. */
static void print_roff(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\'')
            fputs("\\(aq", out);
        else
            fputc(*text, out);
    }
}

static void print_option(const struct option_row *o, FILE *out)
{
    fputs(".TP\n", out);
    if (o->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    fputs("\\fB\\-\\-", out);
    print_roff(o->name, out);
    fputs("\\fR", out);
    if (o->argument)
        fprintf(out, " \\fI%s\\fR", o->argument);
    fputc('\n', out);
    print_roff(o->help, out);
    fputc('\n', out);
}

static void print_command(const struct command *c, FILE *out)
{
    fprintf(out, ".SS trib %s %s [options]\n", c->name, c->operands);
    print_roff(c->summary, out);
    fputs(".\n", out);
    if (*c->description) {
        fputs(".PP\n", out);
        print_roff(c->description, out);
        fputc('\n', out);
    }
    for (size_t i = 0; i < c->option_count; i++)
        print_option(&c->options[i], out);
    for (size_t i = 0; i < c->part_count; i++)
        print_command(c->parts[i], out);
}

void manual_print(const struct command *const *commands, size_t count, FILE *out)
{
    fputs(".TH TRIB 1\n.SH NAME\ntrib \\- sequence prediction on CPUs\n"
          ".SH SYNOPSIS\n\\fBtrib\\fR \\fICOMMAND\\fR [options]\n.SH COMMANDS\n",
          out);
    for (size_t i = 0; i < count; i++)
        print_command(commands[i], out);
    fputs(".SH ENVIRONMENT\n.TP\n\\fBTRIB_CPU\\fR\n"
          "Forces a kernel table: ref, avx2, avx512 or avx512bf16.\n"
          ".SH EXIT STATUS\n0 on success, 1 on failure, 2 on wrong usage.\n",
          out);
}

/* The words that may stand behind what the pattern matches: of a command, its options. */
static void print_words(const char *pattern, const struct command *c, FILE *out)
{
    fprintf(out, "    %s) COMPREPLY=($(compgen -W \"", pattern);
    for (size_t o = 0; o < c->option_count; o++)
        fprintf(out, "--%s ", c->options[o].name);
    fputs("--help\" -- \"$word\")) ;;\n", out);
}

/* The parts of commands, which stand where other commands have their operands. */
static void print_parts(const struct command *const *commands, size_t count, FILE *out)
{
    fputs("    case \"$COMP_CWORD ${COMP_WORDS[1]}\" in\n", out);
    for (size_t i = 0; i < count; i++) {
        const struct command *c = commands[i];
        if (c->part_count == 0)
            continue;
        fprintf(out, "    '2 %s') COMPREPLY=($(compgen -W \"", c->name);
        for (size_t p = 0; p < c->part_count; p++)
            fprintf(out, "%s ", command_part(c, p));
        fputs("--help\" -- \"$word\")) ; return ;;\n", out);
    }
    fputs("    esac\n", out);
}

void completion_print(const struct command *const *commands, size_t count, FILE *out)
{
    char pattern[64];
    fputs("_trib()\n{\n    local word=${COMP_WORDS[COMP_CWORD]}\n    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"",
          out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s ", commands[i]->name);
    fputs("--help --version\" -- \"$word\"))\n        return\n    fi\n", out);
    print_parts(commands, count, out);
    fputs("    case $word in -*) ;; *) return ;; esac\n"
          "    case \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in\n",
          out);
    for (size_t i = 0; i < count; i++) {
        for (size_t p = 0; p < commands[i]->part_count; p++) {
            snprintf(pattern, sizeof pattern, "'%s'", commands[i]->parts[p]->name);
            print_words(pattern, commands[i]->parts[p], out);
        }
        snprintf(pattern, sizeof pattern, "'%s '*", commands[i]->name);
        print_words(pattern, commands[i], out);
    }
    fputs("    esac\n}\ncomplete -o default -F _trib trib\n", out);
}
