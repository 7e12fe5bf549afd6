/* The data of a training: texts as one row of token ids, whose last part validates, and the batches
 * that are cut from it.
 *
 * A batch is a function of the seed and its number alone, so that a training that was interrupted
 * goes on with the same ones. */
#ifndef TRAIN_DATA_H
#define TRAIN_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "train/vocabulary.h"

struct data {
    size_t vocabulary; /* every id is below */
    size_t count;      /* tokens */
    size_t train;      /* the first of them are for training, the others validate */
    uint64_t bytes;    /* of the texts */
    uint64_t hash;     /* of the ids */
    uint16_t *narrow;  /* [count] where ids fit, else NULL */
    int32_t *wide;     /* [count], or NULL */
};

/* Reads the texts, one after the other. `validation` is the share that validates, 0 to below 1.
 * TRIB_IO or TRIB_FORMAT for a file that cannot be read or is empty, TRIB_INVALID for bytes that
 * the vocabulary cannot have; the message names the file. */
trib_status data_open(struct data *data, struct vocabulary *vocabulary, const char *const *paths,
                      size_t count, double validation, trib_error *error);
void data_close(struct data *data);

size_t data_memory(const struct data *data); /* bytes */

/* TRIB_INVALID where a part is too short for B rows of T tokens and their targets. A part for
 * validation may be empty. */
trib_status data_check(const struct data *data, size_t B, size_t T, bool streams,
                       trib_error *error);

enum data_part { DATA_TRAIN, DATA_VALIDATION };

/* Tokens [B][T] and the tokens that follow them [B][T]: row b is a window at a random place of the
 * training part, draw number n B + b of the seed. */
void data_windows(const struct data *data, size_t B, size_t T, uint64_t seed, uint64_t n,
                  int32_t *tokens, int32_t *targets);

/* The same from B parallel streams that a part is cut into: row b is window n of stream b. After
 * the last window comes the first. True where window n continues window n - 1. */
bool data_stream(const struct data *data, enum data_part part, size_t B, size_t T, uint64_t n,
                 int32_t *tokens, int32_t *targets);

/* Windows of a stream. */
size_t data_stream_windows(const struct data *data, enum data_part part, size_t B, size_t T);

#endif
