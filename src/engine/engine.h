/* The public engine handle from the inside. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "cache/segment_store.h"
#include "file/fingerprint.h"
#include "model/model.h"
#include "text/tokenizer.h"
#include "train/predictor.h"
#include "tributary/engine.h"

struct trib_engine {
    bool predicts;              /* the file is a predictor of train/, which `predictor` holds; else
                                   it is in `model` */
    struct predictor predictor; /* run token by token, in float32 */
    struct model model;
    const struct kernels *kernels;
    const struct tokenizer *tokenizer; /* the model file's; NULL: it has none */
    size_t vocabulary;                 /* V */
    int threads;
    size_t prefill_chunk;
    size_t context;                     /* tokens of a session at most */
    struct prefix_cache *cache;         /* of a model that continues texts; else NULL */
    struct segment_report report;       /* of what goes wrong on disk */
    char fingerprint[FINGERPRINT_TEXT]; /* empty: nobody asked for it */
    struct activations activations;     /* shared by the sessions: one thread at a time */
};

#endif
