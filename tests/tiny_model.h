/* Small models with random weights, of every architecture, written to a temporary file: quick to
 * run, and shaped to be awkward (head_dim no multiple of the vector, grouped heads, windows that
 * end within a chunk). What tensors an architecture has, its row of the table says; names, shapes
 * and keys are written down here once more. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "base/dtype.h"
#include "gguf_build.h"
#include "random.h"
#include "tributary/model.h"

enum {
    TINY_LAYERS = 2,
    TINY_WIDTH = 64,
    TINY_HEADS = 4,
    TINY_KV_HEADS = 2,
    TINY_HEAD_DIM = 24,
    TINY_FFN = 96,
    TINY_VOCABULARY = 96,
    TINY_CONTEXT = 2048,
    TINY_WINDOW = 70,
};

/* One thing to be different. */
struct tiny_change {
    enum {
        TINY_SAME,
        TINY_U32,
        TINY_F32,
        TINY_BOOL,
        TINY_STRING, /* metadata: set, whether it is there or not */
        TINY_NO_KEY,
        TINY_NO_TENSOR,   /* and without `text` too, where that is not NULL */
        TINY_MORE_TENSOR, /* one of 64 floats besides */
    } kind;
    const char *name;
    double number;
    const char *text;
};

/* Everything but gguf_build_open and gguf_build_finish. change: NULL for none. */
void tiny_model_build(struct gguf_build *b, const char *architecture, enum dtype type,
                      struct random *random, const struct tiny_change *change);

/* Writes a model with matrices of `type` and puts its path, which the caller unlinks, in `path`. */
void tiny_architecture_write(char path[64], const char *architecture, enum dtype type,
                             struct random *random);

/* A model of float32 matrices, open; no file of it is left. */
trib_model *tiny_open(const char *architecture, struct random *random);

/* tiny_architecture_write, of llama. */
void tiny_model_write(char path[64], enum dtype type, struct random *random);

#endif
