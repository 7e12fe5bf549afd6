/* Tributary: learning a vocabulary from texts.
 *
 *     trib_tokenizer_options options = trib_tokenizer_options_default();
 *     options.vocabulary = 4096;
 *     trib_tokenizer_train("vocabulary.gguf", texts, count, &options, NULL, &error);
 *
 * What comes out is a GGUF file without tensors, which trib_model_open opens: a byte-level BPE
 * vocabulary as GPT-2 has one, so that any bytes can be encoded. The same texts and options give
 * the same file, with the tokens and merges that Hugging Face's BpeTrainer learns from them. */
#ifndef TRIBUTARY_TOKENIZER_H
#define TRIBUTARY_TOKENIZER_H

#include "tributary/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct trib_tokenizer_options {
    size_t vocabulary;        /* tokens at most: special ones, the 256 bytes, and what is merged */
    uint64_t min_frequency;   /* a pair of tokens that occurs less often is not merged */
    const char *pre;          /* how texts are cut into words: "gpt-2", "llama-bpe", "qwen2", ...,
                                 as tokenizer.ggml.pre has it */
    const trib_text *special; /* control tokens, ids from 0 on; the first ends a text (EOS) */
    size_t special_count;
} trib_tokenizer_options;

trib_tokenizer_options trib_tokenizer_options_default(void); /* {32768, 2, "gpt-2", NULL, 0} */

/* What was learned. */
typedef struct trib_tokenizer_report {
    size_t vocabulary, merges;
    uint64_t words, distinct_words;
} trib_tokenizer_report;

/* Learns from `count` texts of at most 1 GiB each, which may hold any bytes, and writes the
 * vocabulary to `path`, whole or not at all. Words do not reach over from one text to the next.
 * There are fewer tokens than asked for where no pair is frequent enough. `options` and `report`
 * may be NULL. On failure nothing is written: TRIB_INVALID (options outside their range, a text too
 * long), TRIB_UNSUPPORTED (an unknown `pre`), TRIB_IO, TRIB_NO_MEMORY. */
trib_status trib_tokenizer_train(const char *path, const trib_text *texts, size_t count,
                                 const trib_tokenizer_options *options,
                                 trib_tokenizer_report *report, trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
