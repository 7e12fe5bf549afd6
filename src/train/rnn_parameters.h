/* What parameters a recurrent predictor has, and which of them its parts are made of. */
#ifndef TRAIN_RNN_PARAMETERS_H
#define TRAIN_RNN_PARAMETERS_H

#include "train/past_attention.h"
#include "train/recurrent.h"

/* The number of the embedding. */
enum { RNN_EMBEDDING };

bool rnn_attends(const struct predictor_config *f);

/* As struct predictor_kind has them. */
trib_status rnn_check(const struct predictor_config *f, trib_error *error);
trib_status rnn_list(const struct predictor_config *f, struct parameters *p, trib_error *error);

/* Layer l, the attention over past states, the output. */
struct recurrent rnn_layer(const struct predictor *p, size_t l);
struct past_attention rnn_attention(const struct predictor *p);
struct linear rnn_output(const struct predictor *p);

#endif
