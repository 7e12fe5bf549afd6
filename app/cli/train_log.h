/* What a training leaves behind of its course: a log of JSON lines, and curves for a plot.
 *
 * The lines of the log, told apart by their keys:
 *
 *     {"step":7,"loss":3.1,"norm":0.8,"lr":0.0007,"tokens":768}
 *     {"step":8,"validation":3.0,"bits_per_byte":4.3}
 *     {"step":8,"sample":"..."}
 *
 * No line holds a time, so a log has the same bytes whenever the training was the same. A training
 * that is resumed goes on in its log after the step that it resumes from; without one its curves
 * begin there. */
#ifndef CLI_TRAIN_LOG_H
#define CLI_TRAIN_LOG_H

#include <stdio.h>

#include "tributary/train.h"

/* A curve: losses by step. */
struct curve {
    double *step, *loss; /* [count] */
    size_t count, capacity;
};

struct train_log {
    const char *path; /* NULL: none is written */
    FILE *file;
    struct curve train, validation;
};

/* Opens the log for writing; with `position` above 0 it keeps the lines up to that step, and its
 * curves, of a log that is there already. */
trib_status train_log_open(struct train_log *log, const char *path, size_t position,
                           trib_error *error);
void train_log_close(struct train_log *log);

trib_status train_log_step(struct train_log *log, const trib_train_step *step, trib_error *error);
trib_status train_log_score(struct train_log *log, size_t step, const trib_train_score *score,
                            trib_error *error);
trib_status train_log_sample(struct train_log *log, size_t step, const char *text, size_t length,
                             trib_error *error);

/* Draws the curves into an SVG file. */
trib_status train_log_plot(const struct train_log *log, const char *path, trib_error *error);

#endif
