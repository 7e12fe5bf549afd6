/* What the parts of `trib compare` share: the predictors, what is asked, what was found.
 *
 * Sizes, data and seeds are the same in every run, so that losses are the same bits; only times
 * differ. Everything that is written on the way lies in one folder that goes with the program. */
#ifndef CLI_COMPARE_H
#define CLI_COMPARE_H

#include <stdint.h>
#include <stdio.h>

#include "progress.h"
#include "tributary/train.h"

enum {
    COMPARE_KINDS = 7,
    COMPARE_RECALLS = 3,
    COMPARE_POINTS = 16, /* validations of a training, at most */
    COMPARE_LENGTHS = 6, /* context lengths at which a token's cost is measured, at most */
    COMPARE_BINS = 8,    /* of distances */
};

/* A predictor as it is compared. */
struct compare_kind {
    const char *name, *model, *block, *cell, *attention;
    size_t layers;
};

extern const struct compare_kind compare_kinds[COMPARE_KINDS];

struct compare_settings {
    size_t parameters, steps;
    float time; /* seconds for each predictor; 0: `steps` count */
    size_t context, batch, eval_batches, lengths[COMPARE_LENGTHS], length_count;
    size_t recall_pairs, recall_steps;
    const char *vocabulary, *html, *text;
    float lr;
    uint64_t seed;
    size_t threads;
    bool quick, json;
};

/* What was found of one predictor. */
struct compare_row {
    const struct compare_kind *kind;
    trib_train_options options;
    uint64_t parameters;
    size_t width, ffn; /* ffn: 0 of rnn */
    size_t steps;
    double tokens, seconds; /* of the training, without validation */
    double loss, bits;      /* on the whole part that validates, at the end */

    size_t points; /* of the way there, on `eval_batches` batches */
    double point_tokens[COMPARE_POINTS], point_seconds[COMPARE_POINTS], point_bits[COMPARE_POINTS];

    size_t lengths;
    double length[COMPARE_LENGTHS], milliseconds[COMPARE_LENGTHS];
    uint64_t state_bytes; /* that a session keeps at the longest of them */
};

/* Associative recall of one predictor. */
struct compare_recall {
    const struct compare_kind *kind;
    trib_train_options options;
    uint64_t parameters;
    double tokens, seconds;
    double accuracy; /* over all queries */
    size_t bins;
    double distance[COMPARE_BINS], share[COMPARE_BINS]; /* mean distance of a bin, right answers */
    size_t queries[COMPARE_BINS];
};

struct comparison {
    struct compare_settings settings;
    const char *kernels;
    int threads;
    uint64_t text_tokens;
    struct compare_row rows[COMPARE_KINDS];
    struct compare_recall recalls[COMPARE_RECALLS];

    char folder[512]; /* for models and texts on the way */
    struct progress progress;
    size_t job; /* trainings done, for the bar */
};

/* What stands between two steps of a training: moves the bar; TRIB_INVALID after Ctrl-C. */
trib_status compare_pause(struct comparison *c, double share, const char *name, trib_error *error);

/* A path in the folder. */
struct compare_path {
    char text[600];
};
struct compare_path compare_path_of(const struct comparison *c, const char *name);

/* compare_size.c: brings the parameters nearest to those asked for by the width and, where there is
 * one, the hidden width; TRIB_INVALID where that is not near. Of *options context, batch, steps and
 * vocabulary count; the others follow from the kind and the settings. */
trib_status compare_size(const struct comparison *c, const struct compare_kind *kind,
                         const char *text, trib_train_options *options, trib_error *error);

/* compare_train.c: trains one predictor by its options. With --time their steps become those that
 * fill the time. */
trib_status compare_train(struct comparison *c, struct compare_row *row, trib_error *error);

/* compare_cost.c: the time of a generated token at each context length. */
trib_status compare_cost(struct comparison *c, struct compare_row *row, trib_error *error);

/* compare_recall.c: all of associative recall; first its text and the sizes of its predictors. */
trib_status compare_recall_size(struct comparison *c, trib_error *error);
trib_status compare_recall(struct comparison *c, trib_error *error);

/* compare_report.c */
void compare_print(const struct comparison *c, FILE *out);
int compare_print_json(const struct comparison *c);

/* compare_page.c: a page that needs nothing but itself. TRIB_IO when it could not be written. */
trib_status compare_page(const struct comparison *c, const char *path, trib_error *error);

#endif
