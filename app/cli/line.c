/* Lines by libedit or getline, the history's file, and counting interrupts. */
#include "line.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 1000, PATH_BYTES = 4096 };

struct line_reader {
    EditLine *edit; /* of a person */
    History *history;
    HistEvent event;
    char path[PATH_BYTES]; /* of the history's file; empty: none */
    const char *prompt;
    char *line; /* of a pipe or a file */
    size_t capacity;
    struct sigaction before;
};

static volatile sig_atomic_t interrupts;

static void count_interrupt(int signal)
{
    (void)signal;
    interrupts = interrupts + 1;
}

int line_interrupts(void)
{
    return interrupts;
}

void line_forget_interrupts(void)
{
    interrupts = 0;
}

/* An interrupt ends the reading of a line, where `flags` is 0, and no writing of an answer, where
 * it is SA_RESTART. */
static void handle_interrupts(int flags, struct sigaction *before)
{
    struct sigaction action = {.sa_handler = count_interrupt, .sa_flags = flags};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, before);
}

/* ---- History ---- */

/* Makes the folders of a path, for their owner alone; those that are there stay as they are. */
static void make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
}

static void find_history(struct line_reader *r)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int length = 0;
    if (state && *state == '/') /* the specification: a relative path does not count */
        length = snprintf(r->path, sizeof r->path, "%s/tributary/history", state);
    else if (home && *home)
        length = snprintf(r->path, sizeof r->path, "%s/.local/state/tributary/history", home);
    if (length < 0 || (size_t)length >= sizeof r->path)
        r->path[0] = 0;
}

static void save_history(struct line_reader *r)
{
    if (!r->path[0])
        return;
    mode_t mask = umask(0077);
    make_folders(r->path);
    history(r->history, &r->event, H_SAVE, r->path);
    chmod(r->path, 0600);
    umask(mask);
}

/* ---- Editing ---- */

static char *prompt_of(EditLine *edit)
{
    struct line_reader *r;
    static char text[32];
    el_get(edit, EL_CLIENTDATA, &r);
    snprintf(text, sizeof text, "%s", r->prompt);
    return text;
}

/* A character of the terminal. libedit's own reading goes on after a signal; this one ends the
 * line. */
static int read_character(EditLine *edit, wchar_t *out)
{
    mbstate_t state = {0};
    (void)edit;
    for (;;) {
        char byte;
        ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR && interrupts == 0)
            continue;
        if (got <= 0)
            return (int)got;
        size_t length = mbrtowc(out, &byte, 1, &state);
        if (length == (size_t)-2)
            continue;
        if (length != (size_t)-1)
            return 1;
        state = (mbstate_t){0}; /* bytes that are no character are passed over */
    }
}

static bool open_editor(struct line_reader *r)
{
    setlocale(LC_CTYPE, "");
    r->edit = el_init("trib", stdin, stderr, stderr);
    r->history = history_init();
    if (!r->edit || !r->history)
        return false;
    find_history(r);
    history(r->history, &r->event, H_SETSIZE, HISTORY_LINES);
    history(r->history, &r->event, H_SETUNIQUE, 1);
    if (r->path[0])
        history(r->history, &r->event, H_LOAD, r->path);
    el_set(r->edit, EL_CLIENTDATA, r);
    el_set(r->edit, EL_PROMPT, prompt_of);
    el_set(r->edit, EL_EDITOR, "emacs");
    el_set(r->edit, EL_HIST, history, r->history);
    el_set(r->edit, EL_GETCFN, read_character);
    el_source(r->edit, NULL); /* ~/.editrc */
    return true;
}

struct line_reader *line_open(void)
{
    struct line_reader *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    handle_interrupts(SA_RESTART, &r->before);
    if (isatty(STDIN_FILENO) == 1 && !open_editor(r)) {
        line_close(r);
        return NULL;
    }
    return r;
}

void line_close(struct line_reader *r)
{
    if (!r)
        return;
    sigaction(SIGINT, &r->before, NULL);
    if (r->edit && r->history)
        save_history(r);
    if (r->edit)
        el_end(r->edit);
    if (r->history)
        history_end(r->history);
    free(r->line);
    free(r);
}

bool line_interactive(const struct line_reader *reader)
{
    return reader->edit != NULL;
}

static enum line_result edit_line(struct line_reader *r, const char **line, size_t *length)
{
    int count = 0;
    el_resize(r->edit);
    const char *text = el_gets(r->edit, &count);
    if (interrupts > 0 || !text || count <= 0) {
        fputc('\n', stderr);
        return interrupts > 0 ? LINE_INTERRUPTED : LINE_END;
    }
    *line = text;
    *length = strcspn(text, "\n");
    if (strspn(text, " \t\n") < strlen(text))
        history(r->history, &r->event, H_ENTER, text);
    return LINE_READ;
}

static enum line_result get_line(struct line_reader *r, const char **line, size_t *length)
{
    ssize_t got = getline(&r->line, &r->capacity, stdin);
    if (got < 0) {
        bool interrupted = ferror(stdin) && errno == EINTR;
        clearerr(stdin);
        return interrupted ? LINE_INTERRUPTED : LINE_END;
    }
    *line = r->line;
    *length = (size_t)got - (r->line[got - 1] == '\n');
    return LINE_READ;
}

enum line_result line_read(struct line_reader *r, const char *prompt, const char **line,
                           size_t *length)
{
    r->prompt = prompt;
    handle_interrupts(0, NULL);
    enum line_result result = r->edit ? edit_line(r, line, length) : get_line(r, line, length);
    handle_interrupts(SA_RESTART, NULL);
    return result;
}
