/* Tributary: making model files smaller, and making up models.
 *
 *     trib_quantize_options options = trib_quantize_options_default();
 *     options.type = "q4_k_m";
 *     trib_quantize("model.gguf", "small.gguf", &options, NULL, &error);
 *
 * Both functions write a GGUF file, whole or not at all; both give the same bytes for any number of
 * threads. */
#ifndef TRIBUTARY_QUANTIZE_H
#define TRIBUTARY_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The name of file type i: "f16", "q8_0", "q4_k_m", ...; NULL after the last. Static storage. Names
 * and what they stand for are llama.cpp's: "q4_k_m" is Q4_K for most matrices, and more bits for
 * those where errors cost most. */
const char *trib_file_type(size_t i);

/* The file type that `name` stands for, in any case, "q4_k" for "q4_k_m"; NULL: none. */
const char *trib_file_type_find(const char *name);

/* Is told of the elements that are written, from the thread that called. False gives up: the call
 * returns TRIB_STOPPED, and nothing is written. */
typedef bool trib_progress(void *context, uint64_t done, uint64_t total);

/* ---- Quantising ---- */

typedef struct trib_quantize_options {
    const char *type;        /* a file type */
    bool pure;               /* all matrices in one type: no mix */
    int threads;             /* 0: one for each processor */
    trib_progress *progress; /* or NULL */
    void *progress_context;  /* of progress */
} trib_quantize_options;

trib_quantize_options trib_quantize_options_default(void); /* {"q4_k_m"} */

/* What was done. Bytes are of tensors. */
typedef struct trib_quantize_report {
    uint64_t elements, bytes_before, bytes_after;
    size_t tensors;
    size_t quantised_before; /* tensors that were block-quantised and got another type: rounded
                                twice */
    size_t fallbacks;        /* tensors whose rows are no multiple of the type's block */
} trib_quantize_report;

/* Writes the model at `in`, all that trib_model_open takes, to `out` in the types of a file type.
 * Norms, biases and other tensors of one dimension keep their type; metadata is carried over,
 * general.file_type and general.quantization_version set. `report` may be NULL. Fails with
 * TRIB_INVALID (an unknown type, `out` is the file read, for a type with numbers or
 * scales in f16 a weight that is no number or beyond 65,504: the tensor is named), TRIB_FORMAT,
 * TRIB_UNSUPPORTED, TRIB_IO (a full disk), TRIB_NO_MEMORY, TRIB_STOPPED. */
trib_status trib_quantize(const char *in, const char *out, const trib_quantize_options *options,
                          trib_quantize_report *report, trib_error *error);

/* ---- Models of random weights, to measure with ---- */

/* Numbers that are 0 are those of the named shape. */
typedef struct trib_synth_options {
    const char *shape; /* see trib_synth_shape */
    const char *type;  /* a file type */
    bool pure;         /* as above */
    uint64_t seed;
    size_t layers;     /* L */
    size_t width;      /* E */
    size_t heads;      /* H */
    size_t kv_heads;   /* G, divides H */
    size_t head_dim;   /* D, even */
    size_t ffn;        /* F */
    size_t vocabulary; /* V, at least 320 */
    size_t context;
    bool tied;               /* no output matrix: the embedding is it */
    int threads;             /* 0: one for each processor */
    trib_progress *progress; /* or NULL */
    void *progress_context;  /* of progress */
} trib_synth_options;

trib_synth_options trib_synth_options_default(void); /* shape "tiny", type "q8_0", seed 1 */

/* The name of shape i: "tiny", "100m", "1b", "3b", "8b"; NULL after the last. Static storage. */
const char *trib_synth_shape(size_t i);

/* Writes a model of the llama architecture with random weights and a SentencePiece vocabulary of
 * made-up pieces. Weights are uniform over a type's levels, with a standard deviation of 0.02, and
 * 0.02 / sqrt(2 L) where they add to the residual (Radford et al. 2019); blocks of quantised types
 * are drawn as such and not rounded from floats, so that writing is as fast as the disk.
 * TRIB_INVALID names what is out of its range. */
trib_status trib_synth(const char *path, const trib_synth_options *options, trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
