/* Byte-level BPE (`tokenizer.ggml.model` "gpt2"): bytes merged by the rank of pairs, in words. */
#ifndef TEXT_BPE_H
#define TEXT_BPE_H

#include "text/family.h"

extern const struct family family_bpe;

#endif
