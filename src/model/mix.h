/* File types: which stored type each tensor of a model gets.
 *
 * A file type has one type for most matrices; the mixes give more bits to those where errors cost
 * most (values and the second matrix of the feed-forward in the first and last layers, the output).
 * Names, numbers and choices are llama.cpp's (src/llama-quant.cpp), without an importance matrix.
 */
#ifndef MODEL_MIX_H
#define MODEL_MIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/slice.h"

struct file_type {
    const char *name;
    uint32_t number; /* general.file_type */
    enum dtype type; /* of most matrices */
};

/* File type i, or NULL after the last; and the one of that name, in any case and also without the
 * "_m" of "q4_k_m", or NULL. */
const struct file_type *file_type_at(size_t i);
const struct file_type *file_type_find(const char *name);

/* What the choice depends on beside the tensor. */
struct mix_model {
    size_t layers;
    size_t heads_per_kv_head;
    size_t experts;
    bool tied; /* no output.weight: the embedding is the output matrix too */
    bool pure; /* no mix: one type for all */
};

struct mix_choice {
    enum dtype type;
    bool fallback; /* the rows do not suit the type that it would have */
};

/* The type of tensor `name` with rows of `row` elements, which is stored as `from`. Tensors of one
 * dimension, norms, and the like keep theirs. */
struct mix_choice mix_choose(const struct file_type *file_type, const struct mix_model *model,
                             struct slice name, uint32_t dims, uint64_t row, enum dtype from);

#endif
