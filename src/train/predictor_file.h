/* Predictors in GGUF files. A transformer of the modern block is a file of the `llama`
 * architecture, which every reader of those can run; the others have architectures of their own,
 * with keys named in the same way:
 *
 *     tributary-direct       activation
 *     tributary-rnn          cell, attention.score
 *     tributary-lecture      positions, attention.head_count, attention.head_count_kv,
 *                            attention.layer_norm_epsilon
 */
#ifndef TRAIN_PREDICTOR_FILE_H
#define TRAIN_PREDICTOR_FILE_H

#include "file/gguf_write.h"
#include "train/predictor.h"

/* Where a tensor's data comes from while a file is written. */
struct predictor_source {
    const struct predictor *predictor;
    const struct parameter *parameter;
    enum dtype type;
};

/* Puts architecture, shape and weights: matrices as `type`, vectors in float32. `sources`
 * [parameters.count] and the predictor must stay until the writer has saved. */
void predictor_put(const struct predictor *p, enum dtype type, struct predictor_source *sources,
                   struct gguf_writer *writer);

/* TRIB_INVALID where the rows of a matrix are no whole blocks of `type`. */
trib_status predictor_check_type(const struct predictor *p, enum dtype type, trib_error *error);

/* True for the architectures that only this library has. */
bool predictor_in_file(const struct gguf *file);

/* Reads the configuration of such a file; every number is bounded. TRIB_FORMAT for values that are
 * missing or senseless. */
trib_status predictor_config_read(struct predictor_config *config, const struct gguf *file,
                                  trib_error *error);

/* Opens the predictor of such a file, with its weights in float32. A tensor that is missing or has
 * another shape is TRIB_FORMAT, one too many TRIB_UNSUPPORTED. */
trib_status predictor_read(struct predictor *p, const struct gguf *file,
                           const struct kernels *kernels, int threads, trib_error *error);

#endif
