/* What a model is made of, as the metadata of its file says it. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include "file/gguf.h"
#include "model/architecture.h"

/* How rotary frequencies are changed for contexts longer than those of the first training. */
enum rope_scaling {
    ROPE_UNSCALED,
    ROPE_LINEAR, /* all divided by the factor (Chen et al. 2023) */
    ROPE_YARN,   /* the slow ones divided, the fast ones not (Peng et al. 2023) */
    ROPE_LONG,   /* each divided by a factor of its own (Ding et al. 2024, "LongRoPE") */
};

/* How the vectors of a text's tokens become one; the numbers are those of ARCH.pooling_type. */
enum pooling {
    POOLING_NONE = 0,
    POOLING_MEAN = 1,
    POOLING_FIRST = 2, /* "cls" */
    POOLING_LAST = 3,
};

struct model_config {
    const struct architecture *architecture;
    size_t layers;      /* L */
    size_t width;       /* E */
    size_t heads;       /* H */
    size_t kv_heads;    /* G, divides H */
    size_t head_dim;    /* D */
    size_t ffn;         /* F */
    size_t vocabulary;  /* V */
    size_t positions;   /* learned ones, at least `context`; 0: none */
    size_t token_types; /* 0: none */
    size_t context;     /* positions the model was trained for, or those that are asked of it */
    float norm_eps;

    size_t rotated; /* the first dimensions of a head, an even number; 0: no rotation */
    double rope_base;
    enum rope_scaling rope_scaling;
    double rope_factor;           /* of the scaling */
    size_t rope_original_context; /* of yarn and LongRoPE: before the context was stretched */
    double rope_magnitude; /* queries and keys grow by it; with yarn, times what it computes */
    double rope_fast, rope_slow; /* of yarn: turns within the original context */
    double local_rope_base;      /* of layers with a window; 0: as the others */

    float attention_scale;                  /* of the scores: 1 / sqrt(D) and the like */
    float attention_softcap, final_softcap; /* 0: off */
    size_t window;                          /* of layers that have one; 0: none has */
    size_t global_every; /* every such layer sees everything nevertheless; 0: none */
    bool bidirectional;
    enum pooling pooling;
};

/* Reads and checks the configuration. An architecture or a feature that this build does not have is
 * TRIB_UNSUPPORTED; missing or senseless values are TRIB_FORMAT. */
trib_status model_config_read(struct model_config *config, const struct gguf *file,
                              trib_error *error);

/* Asks for a context of at most `context` positions, 0 for all that the model was trained for; more
 * is TRIB_INVALID. */
trib_status model_config_limit(struct model_config *config, size_t context, trib_error *error);

/* Keys that a query of the layer sees at most, itself among them; 0: all. */
size_t model_config_window(const struct model_config *config, size_t layer);

#endif
