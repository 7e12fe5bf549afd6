/* What the commands share: interrupts, complaints, standard output, JSON, reading whole files. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

static volatile sig_atomic_t caught;

static void interrupt(int signal)
{
    (void)signal;
    caught = 1;
}

/* A signal that is ignored, as in what a shell runs behind it, stays so. No writing fails because
 * one came while it waited; where it waits for ever, the second signal ends the program. */
void catch_interrupts(void)
{
    static const int signals[] = {SIGINT, SIGTERM};
    struct sigaction before,
        action = {.sa_handler = interrupt, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < 2; i++)
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
}

bool interrupted(void)
{
    return caught != 0;
}

int thread_count(size_t given)
{
    return given > INT_MAX ? INT_MAX : (int)given;
}

trib_status failure(trib_error *error, trib_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->status = status;
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}

trib_status path_failure(trib_error *error, trib_status status, const char *path, const char *why)
{
    return failure(error, status, "%.180s: %s", path, why);
}

int complain(const trib_error *error)
{
    fprintf(stderr, "trib: %s\n", error->message);
    return EXIT_FAILURE;
}

static bool complained_of_output;

bool flush_output(void)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    if (!complained_of_output) /* the reason of an earlier failure is not known any more */
        fprintf(stderr, "trib: standard output cannot be written%s%s\n", errno ? ": " : "",
                errno ? strerror(errno) : "");
    complained_of_output = true;
    return false;
}

trib_status print_at_once(trib_text text, trib_error *error)
{
    if (fwrite(text.bytes, 1, text.length, stdout) == text.length && fflush(stdout) == 0)
        return TRIB_OK;
    complained_of_output = true;
    return failure(error, TRIB_IO, "standard output cannot be written: %s", strerror(errno));
}

int print_json(json_t *object)
{
    bool made = object && (json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 ||
                           ferror(stdout));
    json_decref(object);
    if (!made) {
        fprintf(stderr, "trib: the JSON could not be made\n");
        return EXIT_FAILURE;
    }
    putchar('\n');
    return flush_output() ? EXIT_SUCCESS : EXIT_FAILURE;
}

json_t *json_text(const char *bytes, size_t length)
{
    json_t *whole = json_stringn(bytes, length);
    if (whole)
        return whole;
    char *mended = malloc(3 * length + 1);
    size_t used = 0;
    if (!mended)
        return NULL;
    for (size_t i = 0; i < length;) {
        size_t n = 0;
        for (size_t try = 1; try <= 4 && i + try <= length && n == 0; try++) {
            json_t *one = json_stringn(bytes + i, try);
            n = one ?
            try:
                0;
            json_decref(one);
        }
        if (n)
            memcpy(mended + used, bytes + i, n);
        else
            memcpy(mended + used, "\xef\xbf\xbd", 3);
        used += n ? n : 3;
        i += n ? n : 1;
    }
    whole = json_stringn(mended, used);
    free(mended);
    return whole;
}

trib_status read_all(const char *path, char **text, size_t *length, trib_error *error)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    size_t capacity = 1 << 16, used = 0;
    trib_status status = TRIB_OK;
    *text = NULL;
    if (!file)
        return failure(error, TRIB_IO, "%s: %s", path, strerror(errno));
    for (;;) {
        char *larger = realloc(*text, capacity + 1);
        if (!larger) {
            status = failure(error, TRIB_NO_MEMORY, "%s: does not fit in memory", path);
            break;
        }
        *text = larger;
        used += fread(*text + used, 1, capacity - used, file);
        if (used < capacity)
            break;
        capacity *= 2;
    }
    if (status == TRIB_OK && ferror(file))
        status = failure(error, TRIB_IO, "%s: %s", path, strerror(errno));
    if (!standard)
        fclose(file);
    if (status != TRIB_OK) {
        free(*text);
        *text = NULL;
        return status;
    }
    (*text)[used] = 0;
    *length = used;
    return TRIB_OK;
}
