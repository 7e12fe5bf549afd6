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

/* Opens a GGUF file, any part of one in several, or a folder (file/hf_folder.h). */
trib_status model_file_open(struct gguf **out, const char *path, trib_error *error);

#endif
