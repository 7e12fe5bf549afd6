/* WordPiece (`tokenizer.ggml.model` "bert"): words cut into the longest tokens, from the left. */
#ifndef TEXT_WORDPIECE_H
#define TEXT_WORDPIECE_H

#include "text/family.h"

extern const struct family family_wordpiece;

#endif
