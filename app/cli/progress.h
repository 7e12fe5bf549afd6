/* A progress bar on standard error, for a terminal only: elsewhere nothing is printed. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    bool terminal;
    bool drawn;          /* the bar stands on the current line */
    double start, shown; /* seconds: of the begin, of the last drawing */
    size_t first, total; /* what was done at the begin, what there is */
};

/* Seconds of a clock that only goes forward. */
double progress_seconds(void);

void progress_open(struct progress *progress, size_t done, size_t total);

/* Draws at most ten times a second: bar, done/total, `note`, time left. */
void progress_show(struct progress *progress, size_t done, const char *note);

/* Clears the bar's line, before something else is printed; the next show draws it again. */
void progress_clear(struct progress *progress);

/* The bar of a file that is written, for the calls of tributary/quantize.h; Ctrl-C ends them. */
struct written_progress {
    struct progress bar;
    bool open; /* the total is known */
};

/* Returns `progress`. */
void *written_open(struct written_progress *progress);
bool written_show(void *progress, uint64_t done, uint64_t total);

#endif
