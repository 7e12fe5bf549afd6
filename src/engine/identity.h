/* The fingerprint of what an engine computes with: of all that decides the bits of logits, keys and
 * values besides the token ids, but the kernel table, the KV type and the program's version, which
 * have names of their own to stand beside it (file/segment.h). */
#ifndef ENGINE_IDENTITY_H
#define ENGINE_IDENTITY_H

#include "file/fingerprint.h"

/* Begins one with the C library's functions and the metadata of the file. What is loaded follows as
 * it is read (struct load_watch of model/weights.h). */
void identity_begin(struct fingerprint *f, const struct gguf *file);

/* The whole one of a predictor, whose tensors are read in the order of its file. */
void identity_of_predictor(struct fingerprint *f, const struct gguf *file, int threads);

#endif
