/* The public engine handle from the inside. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "model/model.h"
#include "tributary/engine.h"

struct trib_engine {
    struct model model;
    int threads;
    size_t prefill_chunk;
    struct activations activations; /* shared by the sessions: one thread at a time */
};

#endif
