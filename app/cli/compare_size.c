/* Equal parameters: the width that brings a predictor near to what is asked for.
 *
 * Parameters grow with the width to a power between 1 (embeddings) and 2 (everything else), so
 *
 *     E <- E sqrt(asked / P(E))
 *
 * goes to the solution from one side. Where there is a hidden width F as well, P is linear in it,
 * and F closes what is left between two widths. */
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "commands.h"
#include "compare.h"

enum { HEADS = 4, TRIES = 16, FFN_STEP = 4 };

static const double OFF_MOST = 0.1; /* of what is asked for */

/* Of small predictors the width is so coarse that another one may be nearer with its hidden width:
 * steps from the first, in the order in which they are tried. */
static const int beside[] = {0, -1, 1, -2, 2};

static trib_status count(const trib_train_options *o, const char *text, uint64_t *parameters,
                         trib_error *error)
{
    trib_trainer *trainer;
    trib_status status = trib_trainer_open(&trainer, o, &text, 1, error);
    if (status != TRIB_OK)
        return status;
    *parameters = trib_trainer_info(trainer).parameters;
    trib_trainer_close(trainer);
    return TRIB_OK;
}

/* Transformers have an even number of dimensions in each head. */
static size_t step_of(const trib_train_options *o)
{
    return strcmp(o->model, "transformer") == 0 ? 2 * HEADS : 1;
}

/* The hidden width a width goes with, before it is adjusted. */
static void set_width(trib_train_options *o, size_t width)
{
    bool modern = strcmp(o->model, "transformer") == 0 && strcmp(o->block, "modern") == 0;
    o->width = width;
    o->ffn = modern ? (width * 8 / 3 + FFN_STEP - 1) / FFN_STEP * FFN_STEP : 4 * width;
}

static trib_status find_width(trib_train_options *o, double asked, const char *text,
                              trib_error *error)
{
    size_t step = step_of(o), width = 64, best = 0;
    double least = INFINITY;
    for (size_t try = 0; try < TRIES; try++) {
        uint64_t found;
        set_width(o, width);
        trib_status status = count(o, text, &found, error);
        if (status != TRIB_OK)
            return status;
        double off = fabs(log((double)found / asked));
        if (off < least) {
            least = off;
            best = width;
        }
        double next = round((double)width * sqrt(asked / (double)found) / (double)step);
        size_t rounded = step * (size_t)fmin(fmax(next, 1), 1e5);
        if (rounded == width)
            break;
        width = rounded;
    }
    set_width(o, best);
    return TRIB_OK;
}

static trib_status find_ffn(trib_train_options *o, double asked, const char *text,
                            trib_error *error)
{
    uint64_t here, more;
    size_t ffn = o->ffn;
    trib_status status = count(o, text, &here, error);
    if (status != TRIB_OK)
        return status;
    o->ffn = ffn + FFN_STEP;
    if ((status = count(o, text, &more, error)))
        return status;
    double steps = round((asked - (double)here) / ((double)more - (double)here));
    double wanted = (double)ffn + FFN_STEP * steps;
    o->ffn = (size_t)fmax(wanted, FFN_STEP);
    return TRIB_OK;
}

/* Brings a predictor of one width nearest to what is asked for. */
static trib_status settle(trib_train_options *o, size_t width, double asked, const char *text,
                          uint64_t *found, trib_error *error)
{
    trib_status status = TRIB_OK;
    set_width(o, width);
    if (strcmp(o->model, "rnn") != 0)
        status = find_ffn(o, asked, text, error);
    return status == TRIB_OK ? count(o, text, found, error) : status;
}

/* Settles on the first width that comes near enough. */
static trib_status find_near(trib_train_options *o, double asked, const char *name,
                             const char *text, trib_error *error)
{
    const trib_train_options first = *o;
    ptrdiff_t step = (ptrdiff_t)step_of(o);
    uint64_t nearest = 0;
    double least = INFINITY;
    for (size_t i = 0; i < sizeof beside / sizeof beside[0] && least > OFF_MOST; i++) {
        trib_train_options other = first;
        ptrdiff_t width = (ptrdiff_t)first.width + beside[i] * step;
        uint64_t found;
        if (width <= 0)
            continue;
        trib_status status = settle(&other, (size_t)width, asked, text, &found, error);
        if (status != TRIB_OK)
            return status;
        double off = fabs((double)found - asked) / asked;
        if (off < least) {
            least = off;
            nearest = found;
            *o = other;
        }
    }
    if (least <= OFF_MOST)
        return TRIB_OK;
    return failure(error, TRIB_INVALID,
                   "parameters: expected a number that each predictor comes within 10 percent of, "
                   "found %.0f; the nearest of %s is %" PRIu64,
                   asked, name, nearest);
}

trib_status compare_size(const struct comparison *c, const struct compare_kind *kind,
                         const char *text, trib_train_options *options, trib_error *error)
{
    double asked = (double)c->settings.parameters;
    trib_train_options o = trib_train_options_default();
    o.model = kind->model;
    o.block = kind->block;
    o.positions = "sinusoidal"; /* which have no end, as the other predictors */
    o.cell = kind->cell;
    o.attention = kind->attention;
    o.layers = kind->layers;
    o.heads = HEADS;
    o.context = options->context;
    o.batch = options->batch;
    o.vocabulary = options->vocabulary;
    o.lr = c->settings.lr;
    o.seed = c->settings.seed;
    o.threads = c->threads;
    o.warmup = 0;
    o.steps = options->steps;
    trib_status status = find_width(&o, asked, text, error);
    if (status == TRIB_OK)
        status = find_near(&o, asked, kind->name, text, error);
    *options = o;
    return status;
}
