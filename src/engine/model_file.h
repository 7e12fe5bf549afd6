/* The public model handle from the inside. */
#ifndef ENGINE_MODEL_FILE_H
#define ENGINE_MODEL_FILE_H

#include "file/gguf.h"
#include "text/tokenizer.h"
#include "tributary/model.h"

struct trib_model {
    struct gguf *file;
    struct tokenizer *tokenizer; /* NULL: `no_tokenizer` says why */
    trib_error no_tokenizer;
};

#endif
