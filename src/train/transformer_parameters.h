/* What parameters a transformer has, and which of them a block is made of. */
#ifndef TRAIN_TRANSFORMER_PARAMETERS_H
#define TRAIN_TRANSFORMER_PARAMETERS_H

#include "train/block.h"

/* Numbers of parameters before the blocks. */
enum { TRANSFORMER_EMBEDDING, TRANSFORMER_POSITIONS };

bool transformer_is_modern(const struct predictor_config *c);

/* Whether there is a table of positions. */
bool transformer_is_learned(const struct predictor_config *c);

/* D */
size_t transformer_head_dim(const struct predictor_config *c);

/* As struct predictor_kind has them. */
trib_status transformer_check(const struct predictor_config *c, trib_error *error);
trib_status transformer_list(const struct predictor_config *c, struct parameters *p,
                             trib_error *error);

/* Block l, which rotates by these angles; NULL: not at all. */
struct block transformer_block(const struct predictor *p, size_t l, const float *cosine,
                               const float *sine);

/* What follows the last block: modern the norm, and the output. */
struct norm transformer_norm(const struct predictor *p);
struct linear transformer_output(const struct predictor *p);

#endif
