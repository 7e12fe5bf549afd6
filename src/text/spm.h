/* SentencePiece vocabularies (`tokenizer.ggml.model` "llama"): BPE by score with byte fall-back. */
#ifndef TEXT_SPM_H
#define TEXT_SPM_H

#include "text/family.h"

extern const struct family family_spm;

#endif
