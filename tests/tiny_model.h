/* A tiny Llama model with random weights, written to a temporary file: quick to run, and shaped to
 * be awkward (head_dim no multiple of the vector, grouped heads). */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "base/dtype.h"
#include "random.h"

enum {
    TINY_LAYERS = 2,
    TINY_WIDTH = 64,
    TINY_HEADS = 4,
    TINY_KV_HEADS = 2,
    TINY_HEAD_DIM = 24,
    TINY_FFN = 96,
    TINY_VOCABULARY = 96,
    TINY_CONTEXT = 2048,
};

/* Writes the model with matrices of `type` and puts its path, which the caller unlinks, in `path`.
 */
void tiny_model_write(char path[64], enum dtype type, struct random *random);

#endif
