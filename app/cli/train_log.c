/* The log of a training and its plot. */
#include "train_log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands.h"
#include "plot.h"

static bool curve_add(struct curve *c, double step, double loss)
{
    if (c->count == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 256;
        double *steps = realloc(c->step, capacity * sizeof *steps);
        if (!steps)
            return false;
        c->step = steps;
        double *losses = realloc(c->loss, capacity * sizeof *losses);
        if (!losses)
            return false;
        c->loss = losses;
        c->capacity = capacity;
    }
    c->step[c->count] = step;
    c->loss[c->count++] = loss;
    return true;
}

static trib_status no_memory(const struct train_log *log, trib_error *error)
{
    return path_failure(error, TRIB_NO_MEMORY, log->path ? log->path : "the curves", "no memory");
}

/* Takes a line of an earlier log over. False where it is none, or of a later step: then the log
 * ends before it. */
static bool keep_line(struct train_log *log, const char *line, size_t position)
{
    json_t *object = json_loads(line, 0, NULL);
    json_t *step = json_object_get(object, "step"), *loss = json_object_get(object, "loss");
    json_t *validation = json_object_get(object, "validation");
    bool kept = json_is_integer(step) && json_integer_value(step) <= (json_int_t)position;
    double at = (double)json_integer_value(step);
    if (kept && json_is_number(loss))
        kept = curve_add(&log->train, at, json_number_value(loss));
    if (kept && json_is_number(validation))
        kept = curve_add(&log->validation, at, json_number_value(validation));
    json_decref(object);
    return kept;
}

/* Cuts what is beyond the step off an earlier log, if there is one: devices and pipes keep none,
 * and some can be read without end. The last line that stays is ended where a disk that was full
 * left it without. */
static trib_status keep_earlier(struct train_log *log, size_t position, trib_error *error)
{
    struct stat info;
    if (stat(log->path, &info) == 0 && !S_ISREG(info.st_mode))
        return TRIB_OK;
    FILE *file = fopen(log->path, "r+");
    if (!file)
        return errno == ENOENT ? TRIB_OK : path_failure(error, TRIB_IO, log->path, strerror(errno));
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    long end = 0;
    bool ended = true;
    while ((length = getline(&line, &capacity, file)) > 0 && keep_line(log, line, position)) {
        end = ftell(file);
        ended = line[length - 1] == '\n';
    }
    free(line);
    bool cut = end >= 0 && ftruncate(fileno(file), end) == 0;
    if (cut && !ended)
        cut = fseek(file, end, SEEK_SET) == 0 && fputc('\n', file) != EOF;
    if (fclose(file) != 0 || !cut)
        return path_failure(error, TRIB_IO, log->path, strerror(errno));
    return TRIB_OK;
}

trib_status train_log_open(struct train_log *log, const char *path, size_t position,
                           trib_error *error)
{
    *log = (struct train_log){.path = path};
    if (!path)
        return TRIB_OK;
    trib_status status = position ? keep_earlier(log, position, error) : TRIB_OK;
    if (status != TRIB_OK)
        return status;
    log->file = fopen(path, position ? "a" : "w");
    return log->file ? TRIB_OK : path_failure(error, TRIB_IO, path, strerror(errno));
}

void train_log_close(struct train_log *log)
{
    if (log->file)
        fclose(log->file);
    free(log->train.step);
    free(log->train.loss);
    free(log->validation.step);
    free(log->validation.loss);
    *log = (struct train_log){0};
}

/* Writes a line, if there is a log, and releases the object. A line that fails is the last: those
 * behind a gap would tell of a training that was not. */
static trib_status write_line(struct train_log *log, json_t *object, trib_error *error)
{
    bool written = true;
    if (log->file)
        written = object &&
                  json_dumpf(object, log->file, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 &&
                  fputc('\n', log->file) != EOF && fflush(log->file) == 0;
    json_decref(object);
    if (written)
        return TRIB_OK;
    path_failure(error, TRIB_IO, log->path, strerror(errno));
    fclose(log->file);
    log->file = NULL;
    return TRIB_IO;
}

trib_status train_log_step(struct train_log *log, const trib_train_step *s, trib_error *error)
{
    if (!curve_add(&log->train, (double)s->step, s->loss))
        return no_memory(log, error);
    return write_line(log,
                      json_pack("{s:I, s:f, s:f, s:f, s:I}", "step", (json_int_t)s->step, "loss",
                                s->loss, "norm", s->norm, "lr", s->lr, "tokens",
                                (json_int_t)s->tokens),
                      error);
}

trib_status train_log_score(struct train_log *log, size_t step, const trib_train_score *score,
                            trib_error *error)
{
    if (!curve_add(&log->validation, (double)step, score->loss))
        return no_memory(log, error);
    return write_line(log,
                      json_pack("{s:I, s:f, s:f}", "step", (json_int_t)step, "validation",
                                score->loss, "bits_per_byte", score->bits_per_byte),
                      error);
}

trib_status train_log_sample(struct train_log *log, size_t step, const char *text, size_t length,
                             trib_error *error)
{
    return write_line(
        log, json_pack("{s:I, s:o}", "step", (json_int_t)step, "sample", json_text(text, length)),
        error);
}

trib_status train_log_plot(const struct train_log *log, const char *path, trib_error *error)
{
    const struct plot_series series[] = {
        {"training", log->train.step, log->train.loss, log->train.count, false},
        {"validation", log->validation.step, log->validation.loss, log->validation.count, true},
    };
    const struct plot plot = {.title = "Loss",
                              .x_label = "step",
                              .y_label = "nats per token",
                              .series = series,
                              .count = log->validation.count ? 2 : 1};
    return plot_save(&plot, path, error);
}
