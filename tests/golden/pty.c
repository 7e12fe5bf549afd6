/* Runs a program on a terminal of its own and plays the person who sits there.
 *
 *   pty COMMAND...     standard input says what to do, a line each:
 *       wait TEXT      until the program has written TEXT, behind what was waited for before
 *       prompt         until it has written "> " and its line editor reads keys
 *       pause          looks away for a moment: what the program writes is not read
 *       type BYTES     sends the bytes
 *       enter TEXT     sends the text and a carriage return
 *
 * All that the program writes goes to standard output. The exit status is the program's; 124 when
 * what is waited for does not come within a minute. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { PATIENCE = 60000, PAUSE = 500, SCREEN = 1 << 20 }; /* milliseconds; bytes */

static char screen[SCREEN];
static size_t written, seen; /* bytes on the screen; up to where they were waited for */

/* Reads what there is to read; false when the program has ended or is silent for too long. */
static int more(int terminal)
{
    struct pollfd ready = {terminal, POLLIN, 0};
    if (written == SCREEN || poll(&ready, 1, PATIENCE) <= 0)
        return 0;
    ssize_t got = read(terminal, screen + written, SCREEN - written);
    if (got <= 0)
        return 0;
    fwrite(screen + written, 1, (size_t)got, stdout);
    written += (size_t)got;
    return 1;
}

static int wait_for(int terminal, const char *text)
{
    for (;;) {
        char *at = memmem(screen + seen, written - seen, text, strlen(text));
        if (at) {
            seen = (size_t)(at - screen) + strlen(text);
            return 1;
        }
        if (!more(terminal))
            return 0;
    }
}

/* The prompt, and that keys go to the line editor: what is typed before is for the terminal, to
 * which Ctrl-D means something else. */
static int wait_for_prompt(int terminal)
{
    struct termios modes;
    if (!wait_for(terminal, "> "))
        return 0;
    for (int waited = 0; waited < PATIENCE; waited++) {
        if (tcgetattr(terminal, &modes) == 0 && !(modes.c_lflag & ICANON))
            return 1;
        poll(NULL, 0, 1);
    }
    return 0;
}

static int step(int terminal, char *line)
{
    line[strcspn(line, "\n")] = 0;
    if (strcmp(line, "prompt") == 0)
        return wait_for_prompt(terminal);
    if (strcmp(line, "pause") == 0)
        return poll(NULL, 0, PAUSE) == 0;
    if (strncmp(line, "wait ", 5) == 0)
        return wait_for(terminal, line + 5);
    int enter = strncmp(line, "enter ", 6) == 0;
    if (!enter && strncmp(line, "type ", 5) != 0)
        return 0;
    char *text = line + (enter ? 6 : 5);
    size_t length = strlen(text);
    if (enter)
        text[length++] = '\r'; /* where the NUL was */
    return write(terminal, text, length) == (ssize_t)length;
}

int main(int argc, char **argv)
{
    int terminal, status = 0, played = 1;
    char line[4096];
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    if (argc < 2)
        return 2;
    pid_t child = forkpty(&terminal, NULL, NULL, &size);
    if (child < 0)
        return 1;
    if (child == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    while (played && fgets(line, sizeof line - 1, stdin))
        played = step(terminal, line);
    while (played && more(terminal))
        ;
    if (!played)
        kill(child, SIGKILL);
    waitpid(child, &status, 0);
    fflush(stdout);
    return !played ? 124 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
