/* Small Hugging Face folders for tests: JSON as text, tensors one by one.
 *
 *     struct hf_build b;
 *     hf_build_open(&b);                                    a new folder, b.path
 *     hf_build_text(&b, "config.json", "{...}");
 *     hf_build_tensor(&b, "model.norm.weight", "F32", 1, (uint64_t[]){64}, data);
 *     hf_build_weights(&b, "model.safetensors");            writes and forgets the tensors
 *     hf_build_close(&b);                                   removes the folder
 *
 * Nothing is checked: whatever is put stands there. What cannot be done ends the program. */
#ifndef HF_BUILD_H
#define HF_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gguf_build.h"

struct hf_build {
    char path[64];
    struct buffer header, data; /* of the tensors so far */
};

void hf_build_open(struct hf_build *b);
void hf_build_close(struct hf_build *b);

/* A folder inside it, for files with names "NAME/FILE". */
void hf_build_folder(struct hf_build *b, const char *name);

void hf_build_file(struct hf_build *b, const char *name, const void *bytes, size_t size);
void hf_build_text(struct hf_build *b, const char *name, const char *text);

/* A tensor; `data` NULL: numbers that differ from element to element, small multiples of 1/64. */
void hf_build_tensor(struct hf_build *b, const char *name, const char *type, size_t dims,
                     const uint64_t *shape, const void *data);
void hf_build_weights(struct hf_build *b, const char *name);

/* What hf_build_tensor puts for NULL, of element i; exact in every type. */
float hf_build_number(uint64_t i);

/* A Llama model: E = 16, H = 4, G = 2, D = 4, F = 24, L = 2, V = 8; with tensors of `type`. Every
 * file but the weights is written; `settings` are further fields of config.json, each with a comma
 * at its end. */
void hf_build_llama(struct hf_build *b, const char *architecture, const char *settings,
                    const char *type);

/* A tokenizer.json of 8 byte-level tokens, a to f, "ab", and <|end|>. */
extern const char hf_build_tokenizer[];

#endif
