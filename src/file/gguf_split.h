/* Models in several files, as llama.cpp's gguf-split cuts them. */
#ifndef FILE_GGUF_SPLIT_H
#define FILE_GGUF_SPLIT_H

#include "file/gguf.h"

/* *file, opened from `path`, has split.count. Where it is one of several parts, they are all opened
 * and *file becomes the whole; on failure *file is closed and NULL. */
trib_status gguf_join(struct gguf **file, const char *path, trib_error *error);

#endif
