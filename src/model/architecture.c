/* The table of architectures. Where a file does not say something, the value here is the one that
 * llama.cpp takes, since files are made for it. */
#include "model/architecture.h"

#define SET(tensor) (UINT64_C(1) << (tensor))

/* Sets that several architectures have. */
#define EMBEDDED SET(TENSOR_EMBEDDING)
#define ENDED    (SET(TENSOR_EMBEDDING) | SET(TENSOR_FINAL_NORM))

#define NORMS_BEFORE (SET(TENSOR_ATTENTION_NORM) | SET(TENSOR_FFN_NORM))
#define NORMS_POST   (SET(TENSOR_ATTENTION_POST_NORM) | SET(TENSOR_FFN_POST_NORM))
#define NORMS_HEAD   (SET(TENSOR_QUERY_NORM) | SET(TENSOR_KEY_NORM))

#define QKV         (SET(TENSOR_QUERY) | SET(TENSOR_KEY) | SET(TENSOR_VALUE))
#define QKV_BIASES  (SET(TENSOR_QUERY_BIAS) | SET(TENSOR_KEY_BIAS) | SET(TENSOR_VALUE_BIAS))
#define PROJECTED   SET(TENSOR_ATTENTION_OUTPUT)
#define OUTPUT_BIAS SET(TENSOR_ATTENTION_OUTPUT_BIAS)

#define GATED      (SET(TENSOR_GATE) | SET(TENSOR_UP) | SET(TENSOR_DOWN))
#define PLAIN      (SET(TENSOR_UP) | SET(TENSOR_DOWN))
#define FFN_BIASES (SET(TENSOR_UP_BIAS) | SET(TENSOR_DOWN_BIAS))

#define HEAD    SET(TENSOR_OUTPUT)
#define FACTORS SET(TENSOR_ROPE_FACTORS)
#define RANGES  (SET(TENSOR_ROPE_LONG) | SET(TENSOR_ROPE_SHORT))

static const struct architecture architectures[] = {
    /* Touvron et al. 2023, "LLaMA"; 3.x with scaled frequencies in rope_freqs.weight; Mistral */
    {
        .name = "llama",
        .rope = ROPE_PAIRS,
        .required = ENDED | NORMS_BEFORE | QKV | PROJECTED | GATED,
        .optional = HEAD | FACTORS | QKV_BIASES | OUTPUT_BIAS,
    },
    /* Yang et al. 2024, "Qwen2 Technical Report"; Qwen2.5 too */
    {
        .name = "qwen2",
        .rope = ROPE_HALVES,
        .required = ENDED | NORMS_BEFORE | QKV | QKV_BIASES | PROJECTED | GATED,
        .optional = HEAD | FACTORS,
    },
    /* Yang et al. 2025, "Qwen3 Technical Report" */
    {
        .name = "qwen3",
        .rope = ROPE_HALVES,
        .required = ENDED | NORMS_BEFORE | QKV | NORMS_HEAD | PROJECTED | GATED,
        .optional = HEAD | FACTORS,
    },
    /* Gemma Team 2024, "Gemma 2". Files hold norm weights with the 1 added. */
    {
        .name = "gemma2",
        .places = NORM_AROUND,
        .rope = ROPE_HALVES,
        .ffn = FFN_GEGLU,
        .required = ENDED | NORMS_BEFORE | NORMS_POST | QKV | PROJECTED | GATED,
        .optional = HEAD,
        .scaled_embedding = true,
        .global_every = 2,
        .window = 4096,
        .attention_softcap = 50,
        .final_softcap = 30,
        .wide_scale_layers = 46,
    },
    /* Gemma Team 2025, "Gemma 3" */
    {
        .name = "gemma3",
        .places = NORM_AROUND,
        .rope = ROPE_HALVES,
        .ffn = FFN_GEGLU,
        .required = ENDED | NORMS_BEFORE | NORMS_POST | QKV | NORMS_HEAD | PROJECTED | GATED,
        .optional = HEAD,
        .scaled_embedding = true,
        .global_every = 6,
        .local_rope_base = 10000,
        .wide_scale_layers = 62,
    },
    /* Abdin et al. 2024, "Phi-3 Technical Report"; Phi-4 too. With 128k by LongRoPE. */
    {
        .name = "phi3",
        .rope = ROPE_HALVES,
        .required = ENDED | NORMS_BEFORE | SET(TENSOR_QKV) | PROJECTED | SET(TENSOR_GATE_UP) |
                    SET(TENSOR_DOWN),
        .optional = HEAD | RANGES,
    },
    /* Radford et al. 2019, "Language Models are Unsupervised Multitask Learners" */
    {
        .name = "gpt2",
        .norm = NORM_LAYER,
        .ffn = FFN_GELU_TANH,
        .required = ENDED | SET(TENSOR_FINAL_NORM_BIAS) | SET(TENSOR_POSITIONS) | NORMS_BEFORE |
                    SET(TENSOR_ATTENTION_NORM_BIAS) | SET(TENSOR_FFN_NORM_BIAS) | SET(TENSOR_QKV) |
                    SET(TENSOR_QKV_BIAS) | PROJECTED | OUTPUT_BIAS | PLAIN | FFN_BIASES,
        .optional = HEAD,
    },
    /* Devlin et al. 2018, "BERT" */
    {
        .name = "bert",
        .norm = NORM_LAYER,
        .places = NORM_AFTER,
        .ffn = FFN_GELU_ERF,
        .required = EMBEDDED | SET(TENSOR_POSITIONS) | SET(TENSOR_TOKEN_TYPES) |
                    SET(TENSOR_EMBEDDING_NORM) | SET(TENSOR_EMBEDDING_NORM_BIAS) | QKV |
                    QKV_BIASES | PROJECTED | OUTPUT_BIAS | SET(TENSOR_ATTENTION_SUM_NORM) |
                    SET(TENSOR_ATTENTION_SUM_NORM_BIAS) | PLAIN | FFN_BIASES |
                    SET(TENSOR_FFN_SUM_NORM) | SET(TENSOR_FFN_SUM_NORM_BIAS),
        .bidirectional = true,
    },
};

enum { ARCHITECTURES = sizeof architectures / sizeof architectures[0] };

const struct architecture *architecture_find(struct slice name)
{
    for (size_t i = 0; i < ARCHITECTURES; i++)
        if (slice_is(name, architectures[i].name))
            return &architectures[i];
    return NULL;
}

const struct architecture *architecture_at(size_t i)
{
    return i < ARCHITECTURES ? &architectures[i] : NULL;
}
