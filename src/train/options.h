/* The options of a training: their defaults, ranges and choices in one table, by which they are
 * checked, kept in checkpoints and compared with those of a training that is resumed. */
#ifndef TRAIN_OPTIONS_H
#define TRAIN_OPTIONS_H

#include "file/gguf_write.h"
#include "train/predictor.h"
#include "tributary/train.h"

enum train_option_kind { TRAIN_CHOICE, TRAIN_COUNT, TRAIN_NUMBER, TRAIN_SWITCH, TRAIN_WHOLE };

struct train_option {
    const char *name; /* as on the command line */
    enum train_option_kind kind;
    size_t offset;              /* in trib_train_options */
    const char *const *choices; /* of a choice: ended by NULL */
    double least, most;         /* of counts and numbers, both included */
    bool free;                  /* may be another when a training is resumed */
};

/* All but `vocabulary`, `threads` and `kernels`, which depend on the machine. */
extern const struct train_option train_options[];
extern const size_t train_option_count;

/* Where an option stands, and the bytes it takes there. */
const void *train_option_value(const trib_train_options *o, const struct train_option *row);
size_t train_option_size(const struct train_option *row);

/* Checks each option by itself and lets choices point to static storage; fills in what depends on
 * other options. TRIB_INVALID names the option, what is expected and what was found. */
trib_status train_options_resolve(trib_train_options *o, trib_error *error);

/* What they mean for the predictor. */
struct predictor_config train_options_config(const trib_train_options *o, size_t vocabulary);

/* The type of matrices in the model's file. */
enum dtype train_options_save_type(const trib_train_options *o);

/* As entries "training.NAME" of a file, and back. */
void train_options_put(const trib_train_options *o, struct gguf_writer *writer);
trib_status train_options_get(trib_train_options *o, const struct gguf *file, trib_error *error);

/* A required value of 64 bits. */
trib_status train_whole_get(uint64_t *out, const char *key, const struct gguf *file,
                            trib_error *error);

/* `o` = the options of a training, `saved`, that is resumed with options `given`: TRIB_INVALID
 * where one is neither its default nor as saved, unless it is free. */
trib_status train_options_resume(trib_train_options *o, const trib_train_options *saved,
                                 const trib_train_options *given, trib_error *error);

#endif
