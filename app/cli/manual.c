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
}

void manual_print(const struct command *const *commands, size_t count, FILE *out)
{
    fputs(".TH TRIB 1\n.SH NAME\ntrib \\- sequence prediction on CPUs\n"
          ".SH SYNOPSIS\n\\fBtrib\\fR \\fICOMMAND\\fR [options]\n.SH COMMANDS\n",
          out);
    for (size_t i = 0; i < count; i++)
        print_command(commands[i], out);
    fputs(".SH ENVIRONMENT\n.TP\n\\fBTRIB_CPU\\fR\n"
          "Forces a kernel table: ref, avx2 or avx512.\n"
          ".SH EXIT STATUS\n0 on success, 1 on failure, 2 on wrong usage.\n",
          out);
}

void completion_print(const struct command *const *commands, size_t count, FILE *out)
{
    fputs("_trib()\n{\n    local word=${COMP_WORDS[COMP_CWORD]}\n    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W \"",
          out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s ", commands[i]->name);
    fputs("--help --version\" -- \"$word\"))\n        return\n    fi\n"
          "    case $word in -*) ;; *) return ;; esac\n    case ${COMP_WORDS[1]} in\n",
          out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "    %s) COMPREPLY=($(compgen -W \"", commands[i]->name);
        for (size_t o = 0; o < commands[i]->option_count; o++)
            fprintf(out, "--%s ", commands[i]->options[o].name);
        fputs("--help\" -- \"$word\")) ;;\n", out);
    }
    fputs("    esac\n}\ncomplete -o default -F _trib trib\n", out);
}
