/* trib: finds the command and hands over. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"

static int run_manual(const struct command *self, int argc, char **argv);
static int run_completion(const struct command *self, int argc, char **argv);

static const struct command manual_command = {
    .name = "manual",
    .operands = "",
    .summary = "Print the manual page",
    .description = "To read it: trib manual | man -l -",
    .run = run_manual,
};

static const struct command completion_command = {
    .name = "completion",
    .operands = "",
    .summary = "Print the completion for bash",
    .description = "To use it: source <(trib completion)",
    .run = run_completion,
};

static const struct command *const commands[] = {
    &run_command,       &batch_command,   &chat_command,       &embed_command,   &demo_command,
    &train_command,     &eval_command,    &compare_command,    &inspect_command, &bench_command,
    &cache_command,     &convert_command, &quantize_command,   &synth_command,   &tokenize_command,
    &tokenizer_command, &manual_command,  &completion_command,
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static int run_manual(const struct command *self, int argc, char **argv)
{
    int first, status = options_parse(self, argc, argv, NULL, &first);
    if (status < 0)
        manual_print(commands, COMMANDS, stdout);
    return status < 0 ? EXIT_SUCCESS : status;
}

static int run_completion(const struct command *self, int argc, char **argv)
{
    int first, status = options_parse(self, argc, argv, NULL, &first);
    if (status < 0)
        completion_print(commands, COMMANDS, stdout);
    return status < 0 ? EXIT_SUCCESS : status;
}

static void print_usage(FILE *out)
{
    fprintf(out, "Usage: trib COMMAND [options]\n\nSequence prediction on CPUs. Commands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\n'trib COMMAND --help' says more about each.\n");
}

/* Threads that wait for one another are to spin for some microseconds and then sleep. By default
 * gcc's OpenMP spins for milliseconds: on two cores beside other busy processes a step took up to
 * 24 times as long, and on idle ones prefill 3% longer. It reads its environment before main, so
 * the program begins once more; where it cannot, it goes on. Who has set either variable is obeyed.
 */
static void spin_briefly(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY"))
        return;
    if (setenv("GOMP_SPINCOUNT", "1000", 0) == 0)
        execv("/proc/self/exe", argv);
}

/* The next file that is opened would get the number of a standard stream that is closed, and what
 * is meant for the stream would be written into the file. The other way round, as here, reading and
 * writing fail as they did. */
static void keep_numbers(void)
{
    for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; stream++)
        if (fcntl(stream, F_GETFD) < 0 &&
            open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            return;
}

static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_usage(stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(name, "--version") == 0) {
        printf("trib %s\n", TRIB_VERSION);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) {
            spin_briefly(argv);
            return commands[i]->run(commands[i], argc - 1, argv + 1);
        }
    if (*name)
        fprintf(stderr, "trib: unknown command '%s'\n\n", name);
    print_usage(stderr);
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    keep_numbers();
    int status = run(argc, argv);
    return flush_output() ? status : EXIT_FAILURE;
}
