/* What a model is made of, as the metadata of its file says it. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include "file/gguf.h"

struct model_config {
    size_t layers;         /* L */
    size_t width;          /* E */
    size_t heads;          /* H */
    size_t kv_heads;       /* G, divides H */
    size_t head_dim;       /* D, even */
    size_t ffn;            /* F */
    size_t vocabulary;     /* V */
    size_t context;        /* positions the model was trained for */
    float norm_eps;        /* of RMSNorm */
    double rope_base;      /* of the rotary frequencies */
    float attention_scale; /* of the scores: 1 / sqrt(D) */
};

/* Reads and checks the configuration. An architecture or a feature that this build does not have is
 * TRIB_UNSUPPORTED; missing or senseless values are TRIB_FORMAT. */
trib_status model_config_read(struct model_config *config, const struct gguf *file,
                              trib_error *error);

#endif
