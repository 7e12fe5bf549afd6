/* One training of a comparison, with what it reaches on the way. */
#include <math.h>
#include <stdio.h>

#include "compare.h"

/* Warm-up takes this part of the steps, 100 of them at most. */
enum { WARMUP_PART = 10, WARMUP_MOST = 100 };

/* How many steps fill the time: a training of a moment is timed, and thrown away. The schedule of
 * the learning rate wants to know where it ends. */
static trib_status steps_in_time(struct comparison *c, const struct compare_row *row,
                                 trib_train_options *o, trib_error *error)
{
    const char *text = c->settings.text;
    double time = (double)c->settings.time, spent = 0;
    size_t steps = 0;
    trib_trainer *trainer;
    trib_train_step step;
    trib_status status = trib_trainer_open(&trainer, o, &text, 1, error);
    if (status != TRIB_OK)
        return status;
    status = trib_trainer_step(trainer, &step, error); /* takes the memory, too */
    while (status == TRIB_OK && (steps < 3 || spent < 0.1 * time) && steps < o->steps) {
        double start = progress_seconds();
        status = trib_trainer_step(trainer, &step, error);
        spent += progress_seconds() - start;
        steps++;
        if (status == TRIB_OK)
            status = compare_pause(c, 0, row->kind->name, error);
    }
    trib_trainer_close(trainer);
    o->steps = (size_t)fmax(1, fmin(1e9, time * (double)steps / fmax(spent, 1e-9)));
    return status;
}

static trib_status add_point(const struct comparison *c, struct compare_row *row,
                             trib_trainer *trainer, trib_error *error)
{
    trib_train_score score;
    if (row->points == COMPARE_POINTS)
        return TRIB_OK;
    trib_status status = trib_trainer_evaluate(trainer, c->settings.eval_batches, &score, error);
    if (status != TRIB_OK)
        return status;
    row->point_tokens[row->points] = row->tokens;
    row->point_seconds[row->points] = row->seconds;
    row->point_bits[row->points++] = score.bits_per_byte;
    return TRIB_OK;
}

/* Validations are closer at the beginning, where the loss falls fastest: after a share of
 * (n / COMPARE_POINTS)^2 of the steps. */
static size_t point_at(size_t n, size_t steps)
{
    double share = (double)n / COMPARE_POINTS;
    size_t at = (size_t)ceil(share * share * (double)steps);
    return at < n ? n : at;
}

static trib_status steps_of(struct comparison *c, struct compare_row *row, trib_trainer *trainer,
                            size_t steps, trib_error *error)
{
    trib_status status = TRIB_OK;
    size_t next = 1;
    double limit = c->settings.time > 0 ? (double)c->settings.time : INFINITY;
    while (row->steps < steps && row->seconds < limit && status == TRIB_OK) {
        trib_train_step step;
        double start = progress_seconds();
        status = trib_trainer_step(trainer, &step, error);
        if (status != TRIB_OK)
            return status;
        row->seconds += progress_seconds() - start;
        row->tokens += (double)step.tokens;
        row->steps = step.step;
        status = compare_pause(c, (double)row->steps / (double)steps, row->kind->name, error);
        if (status == TRIB_OK && row->steps == point_at(next, steps)) {
            status = add_point(c, row, trainer, error);
            next++;
        }
    }
    return status;
}

trib_status compare_train(struct comparison *c, struct compare_row *row, trib_error *error)
{
    const char *text = c->settings.text;
    trib_train_options *o = &row->options;
    trib_trainer *trainer;
    trib_train_score score;
    trib_status status;
    if (c->settings.time > 0 && (status = steps_in_time(c, row, o, error)))
        return status;
    o->warmup = o->steps / WARMUP_PART < WARMUP_MOST ? o->steps / WARMUP_PART : WARMUP_MOST;
    if ((status = trib_trainer_open(&trainer, o, &text, 1, error)))
        return status;
    trib_train_info info = trib_trainer_info(trainer);
    row->parameters = info.parameters;
    row->width = o->width;
    row->ffn = o->ffn;
    c->kernels = info.kernels;
    c->text_tokens = info.train_tokens + info.validation_tokens;
    if ((status = trib_trainer_prepare(trainer, error)) == TRIB_OK &&
        (status = steps_of(c, row, trainer, o->steps, error)) == TRIB_OK &&
        (status = trib_trainer_evaluate(trainer, 0, &score, error)) == TRIB_OK) {
        row->loss = score.loss;
        row->bits = score.bits_per_byte;
    }
    trib_trainer_close(trainer);
    return status;
}
