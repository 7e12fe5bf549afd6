/* Trainings that tests run: one of every kind of predictor, small, on a text that can be learned.
 */
#ifndef TRAIN_CASE_H
#define TRAIN_CASE_H

#include "test.h"
#include "tributary/train.h"

/* One of everything that has code of its own. */
struct train_variant {
    const char *name, *model, *block, *cell, *attention, *dtype;
};

enum { TRAIN_VARIANTS = 7 };

extern const struct train_variant train_variants[TRAIN_VARIANTS];

/* The text: lines of three letters that come again. */
extern char train_text[96];

/* For a group of tests: makes a folder with the text, and removes it. */
int train_setup(void **state);
int train_teardown(void **state);

/* The path of a file in that folder, valid for the next three calls. */
const char *train_file(const char *name);

trib_train_options train_options_of(const struct train_variant *v);

/* A training of the text; the caller closes it. */
trib_trainer *train_open(const trib_train_options *o);

/* Takes `count` steps, all of which go well. */
void train_steps(trib_trainer *t, size_t count);

#endif
