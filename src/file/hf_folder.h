/* A folder as downloaded from Hugging Face, seen as a GGUF file.
 *
 *     config.json                                    what the model is made of
 *     model.safetensors, or model.safetensors.index.json and the shards that it names
 *     tokenizer.json, tokenizer.model or vocab.txt    the vocabulary
 *     tokenizer_config.json, chat_template.jinja, generation_config.json, modules.json
 *
 * Names, metadata and the order of rows are those that llama.cpp's convert_hf_to_gguf.py gives, so
 * that nothing downstream knows the difference: weights are mapped where they lie, and copied only
 * where GGUF holds other numbers (rows of q and k in the order of adjacent rotary pairs, Gemma's
 * norms plus one, GPT-2's matrices transposed, everything with one dimension in float32). */
#ifndef FILE_HF_FOLDER_H
#define FILE_HF_FOLDER_H

#include <stdbool.h>

#include "file/gguf.h"
#include "tributary/status.h"

/* Whether a path is a folder, whatever is in it. */
bool hf_folder_is(const char *path);

/* Opens and checks a folder. On failure *out is NULL and nothing is held: TRIB_IO for files that
 * are missing or cannot be read, TRIB_FORMAT for malformed ones, TRIB_UNSUPPORTED for
 * architectures, tokenizers and features that are not known here. */
trib_status hf_folder_open(struct gguf **out, const char *path, trib_error *error);

#endif
