/* What each architecture is made of: one row of fields, read by configuration, weights and the one
 * forward pass. No code asks for an architecture by name. docs/adding-a-model.md says how a row
 * comes about.
 */
#ifndef MODEL_ARCHITECTURE_H
#define MODEL_ARCHITECTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum norm_kind {
    NORM_RMS,   /* Zhang and Sennrich 2019 */
    NORM_LAYER, /* Ba et al. 2016, with a bias */
};

/* Where a block has its norms, f being attention or feed-forward. */
enum norm_place {
    NORM_BEFORE, /* x + f(norm(x)) */
    NORM_AROUND, /* x + norm(f(norm(x))) */
    NORM_AFTER,  /* norm(x + f(x)): Vaswani et al. 2017 */
};

/* Which dimensions of a head are rotated together. */
enum rope_kind {
    ROPE_NONE,
    ROPE_PAIRS,  /* 2 i with 2 i + 1: Su et al. 2021 */
    ROPE_HALVES, /* i with i + R / 2, R dimensions being rotated: "neox" */
};

/* What stands between the matrices of the feed-forward. (Shazeer 2020.) */
enum ffn_kind {
    FFN_SWIGLU,    /* silu(gate) * up */
    FFN_GEGLU,     /* gelu(gate) * up, tanh form */
    FFN_GELU_TANH, /* gelu(up) */
    FFN_GELU_ERF,
};

/* Every tensor an architecture can have; model/weights.c has their names and shapes. */
enum tensor {
    /* of the model */
    TENSOR_EMBEDDING,
    TENSOR_POSITIONS,
    TENSOR_TOKEN_TYPES,
    TENSOR_EMBEDDING_NORM,
    TENSOR_EMBEDDING_NORM_BIAS,
    TENSOR_FINAL_NORM,
    TENSOR_FINAL_NORM_BIAS,
    TENSOR_OUTPUT, /* absent: the embedding */
    TENSOR_ROPE_FACTORS,
    TENSOR_ROPE_LONG, /* LongRoPE: for contexts beyond the original one */
    TENSOR_ROPE_SHORT,
    /* of each block */
    TENSOR_ATTENTION_NORM,
    TENSOR_ATTENTION_NORM_BIAS,
    TENSOR_QUERY,
    TENSOR_KEY,
    TENSOR_VALUE,
    TENSOR_QUERY_BIAS,
    TENSOR_KEY_BIAS,
    TENSOR_VALUE_BIAS,
    TENSOR_QKV, /* the three in one */
    TENSOR_QKV_BIAS,
    TENSOR_QUERY_NORM, /* of each head */
    TENSOR_KEY_NORM,
    TENSOR_ATTENTION_OUTPUT,
    TENSOR_ATTENTION_OUTPUT_BIAS,
    TENSOR_ATTENTION_POST_NORM, /* of what attention gives */
    TENSOR_ATTENTION_SUM_NORM,  /* of the sum with it */
    TENSOR_ATTENTION_SUM_NORM_BIAS,
    TENSOR_FFN_NORM,
    TENSOR_FFN_NORM_BIAS,
    TENSOR_GATE,
    TENSOR_UP,
    TENSOR_UP_BIAS,
    TENSOR_GATE_UP, /* the two in one */
    TENSOR_DOWN,
    TENSOR_DOWN_BIAS,
    TENSOR_FFN_POST_NORM,
    TENSOR_FFN_SUM_NORM,
    TENSOR_FFN_SUM_NORM_BIAS,
    TENSORS
};

/* A set of tensors. */
typedef uint64_t tensor_set;

static inline bool tensor_in(tensor_set set, enum tensor tensor)
{
    return set >> tensor & 1;
}

struct architecture {
    const char *name; /* general.architecture */
    enum norm_kind norm;
    enum norm_place places;
    enum rope_kind rope;
    enum ffn_kind ffn;
    tensor_set required, optional;

    bool scaled_embedding; /* by sqrt(E) */
    bool bidirectional;    /* tokens see the whole text: vectors come out, no logits */

    /* Sliding windows: every global_every-th layer sees everything; 0: none does. */
    size_t global_every;
    size_t window;          /* where the file names none; 0: none */
    double local_rope_base; /* of layers with a window; 0: as the others */

    float attention_softcap, final_softcap; /* where the file names none; 0: off */

    /* Files do not say that scores of the model with this many layers are scaled by 1 / sqrt(E / H)
     * instead of 1 / sqrt(D); 0: there is no such model. */
    size_t wide_scale_layers;
};

/* The row of that name, or NULL. */
const struct architecture *architecture_find(struct slice name);

/* Row i, in the order of the table; NULL after the last. */
const struct architecture *architecture_at(size_t i);

#endif
