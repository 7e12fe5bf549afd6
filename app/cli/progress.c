/* Drawing the bar. */
#include "progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"

enum { CELLS = 24 };

static const double INTERVAL = 0.1; /* seconds from one drawing to the next */

double progress_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_open(struct progress *p, size_t done, size_t total)
{
    *p = (struct progress){.terminal = isatty(STDERR_FILENO) == 1,
                           .start = progress_seconds(),
                           .first = done,
                           .total = total};
}

/* "1:02:03" or "2:03" */
static void print_time(double seconds)
{
    unsigned long whole = seconds > 0 && seconds < 1e9 ? (unsigned long)(seconds + 0.5) : 0;
    if (whole >= 3600)
        fprintf(stderr, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
    else
        fprintf(stderr, "%lu:%02lu", whole / 60, whole % 60);
}

void progress_show(struct progress *p, size_t done, const char *note)
{
    double now = progress_seconds();
    if (!p->terminal || (now - p->shown < INTERVAL && done < p->total))
        return;
    p->shown = now;
    p->drawn = true;
    size_t filled = p->total ? CELLS * done / p->total : CELLS;
    fputs("\r\033[K[", stderr);
    for (size_t i = 0; i < CELLS; i++)
        fputc(i < filled ? '=' : i == filled ? '>' : ' ', stderr);
    fprintf(stderr, "] %zu/%zu  %s", done, p->total, note);
    if (done > p->first && done < p->total) {
        fputs("  ETA ", stderr);
        print_time((now - p->start) / (double)(done - p->first) * (double)(p->total - done));
    }
    fflush(stderr);
}

void progress_clear(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

void *written_open(struct written_progress *progress)
{
    *progress = (struct written_progress){.open = false};
    return progress;
}

/* In millions of weights, which are shorter to read. */
bool written_show(void *progress, uint64_t done, uint64_t total)
{
    struct written_progress *p = progress;
    if (!p->open)
        progress_open(&p->bar, 0, (size_t)(total / 1000000));
    p->open = true;
    progress_show(&p->bar, (size_t)(done / 1000000), "million weights");
    return !interrupted();
}
