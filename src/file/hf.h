/* The parts of reading a Hugging Face folder, for hf_*.c and their tests alone. */
#ifndef FILE_HF_H
#define FILE_HF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "file/gguf.h"
#include "file/gguf_write.h"
#include "file/json.h"
#include "file/safetensors.h"
#include "tributary/status.h"

/* Architectures, as bits, so that rows of tables can name several. */
enum hf_kind {
    HF_LLAMA = 1 << 0,
    HF_QWEN2 = 1 << 1,
    HF_QWEN3 = 1 << 2,
    HF_GEMMA2 = 1 << 3,
    HF_GEMMA3 = 1 << 4,
    HF_PHI3 = 1 << 5,
    HF_GPT2 = 1 << 6,
    HF_BERT = 1 << 7,
    HF_MISTRAL = 1 << 8,
    HF_LLAMAS = HF_LLAMA | HF_MISTRAL, /* GGUF has one architecture for both */
    HF_GEMMA = HF_GEMMA2 | HF_GEMMA3,
    HF_QWEN = HF_QWEN2 | HF_QWEN3,
    HF_ROTARY = HF_LLAMAS | HF_QWEN | HF_GEMMA | HF_PHI3, /* and RMSNorm */
};

/* What config.json says, as far as tensors depend on it. */
struct hf_config {
    enum hf_kind kind;
    const char *name;     /* general.architecture */
    uint64_t layers;      /* L */
    uint64_t width;       /* E */
    uint64_t heads;       /* H */
    uint64_t kv_heads;    /* G */
    uint64_t head_dim;    /* D */
    uint64_t ffn;         /* F */
    uint64_t context;     /* positions */
    uint64_t token_types; /* of BERT */
    bool tied;            /* output matrix and embedding are one */
    bool of_images;       /* the text part of a model that sees images, too */
};

/* Memory that tensors point to besides the files. */
struct hf_block;

struct hf_folder {
    const char *path;
    struct hf_config config;
    struct gguf_writer *metadata;
    struct json_file config_json;
    struct safetensors **shards;
    size_t shard_count;
    const struct file_map **maps; /* [shard_count], the shards' own */
    struct gguf_tensor *tensors;  /* with names in `blocks` */
    size_t tensor_count, tensor_capacity;
    uint64_t vocabulary; /* V, rows of the embedding */
    size_t left_out;     /* tensors of what is not the text part */
    char note[128];      /* for whoever opens the folder, if there were any */
    struct hf_block *blocks;
    uint8_t *bytes; /* the metadata as a GGUF file */
};

/* Frees a folder, with all that it holds; the parameter is of its type. */
void hf_close(void *folder);

/* "PATH/NAME", to be freed; NULL: no memory. */
char *hf_path(const char *folder, const char *name);

/* `bytes` of memory, zeroed and aligned to 64 bytes, that lives as long as the folder; NULL when
 * there is none. */
void *hf_own(struct hf_folder *folder, size_t bytes);

/* Reads config.json into folder->config and the metadata of the model. */
trib_status hf_config_read(struct hf_folder *folder, trib_error *error);

/* Opens the safetensors files, or the shards that an index names. */
trib_status hf_shards_open(struct hf_folder *folder, trib_error *error);

/* Makes GGUF's tensors of those of the shards. */
trib_status hf_tensors_read(struct hf_folder *folder, trib_error *error);

/* Appends one tensor; `shape` is in the order of GGUF. The name is copied. */
trib_status hf_tensor_add(struct hf_folder *folder, const char *name, enum dtype type,
                          uint32_t dims, const uint64_t *shape, const void *data,
                          trib_error *error);

/* The metadata of rotary scaling, and its tensors. */
trib_status hf_rope_read(struct hf_folder *folder, trib_error *error);

/* What a vocabulary is made from. Files that are not there have no root and no bytes. */
struct hf_vocab_source {
    const char *folder; /* for messages */
    const struct json_file *tokenizer, *tokenizer_config, *config, *generation_config;
    struct slice pieces; /* tokenizer.model */
    struct slice words;  /* vocab.txt */
    size_t rows;         /* of the embedding: no token has an id beyond */
    const char *name;    /* the model's */
    bool phi3;
};

/* Puts the vocabulary and general.name, which depends on it. */
trib_status hf_vocab_put(struct gguf_writer *out, const struct hf_vocab_source *source,
                         trib_error *error);

/* Kinds of tokens, as tokenizer.ggml.token_type has them. */
enum hf_token_kind {
    HF_TOKEN_NORMAL = 1,
    HF_TOKEN_UNKNOWN = 2,
    HF_TOKEN_CONTROL = 3,
    HF_TOKEN_USER_DEFINED = 4,
    HF_TOKEN_UNUSED = 5,
    HF_TOKEN_BYTE = 6,
};

/* The tokens in the making. */
struct hf_tokens {
    size_t rows;
    struct slice *texts; /* [rows]; without bytes (NULL) where there is none yet */
    float *scores;       /* [rows] */
    int32_t *kinds;      /* [rows] */
};

/* Special tokens by what they are for. */
enum hf_special {
    HF_BOS,
    HF_EOS,
    HF_UNKNOWN,
    HF_PADDING,
    HF_SEPARATOR,
    HF_CLASS,
    HF_MASK,
    HF_SPECIALS
};

/* A vocabulary in the making. */
struct hf_vocab {
    struct gguf_writer *out;
    const struct hf_vocab_source *source;
    const struct json_file *file; /* tokenizer.json */
    const json_t *model;          /* its field of this name, or NULL */
    struct hf_tokens tokens;
    struct hf_scratch *scratch;
    int64_t special[HF_SPECIALS]; /* ids, -1: none */
    bool wordpiece;               /* [CLS] and [SEP] stand where others have BOS and EOS */
    bool add_bos, add_eos;
    trib_error *error;
};

/* Memory that lives as long as the vocabulary in the making; NULL, with the error set: none. */
char *hf_scratch(struct hf_vocab *v, size_t bytes);

/* The three kinds of vocabularies: fill the tokens and put what only they have. */
trib_status hf_byte_level_read(struct hf_vocab *v);
trib_status hf_sentencepiece_read(struct hf_vocab *v);
trib_status hf_wordpiece_read(struct hf_vocab *v);

/* What a SentencePiece file says besides its pieces. */
struct hf_pieces {
    bool add_space_prefix;
    bool drops_spaces;         /* those that begin or end a text, and all but one of several */
    const char *unlike;        /* what else is done to texts that is not done here; NULL: nothing */
    int64_t unknown, bos, eos; /* ids; negative: none */
};

/* Reads a SentencePiece model (tokenizer.model), of kind BPE, into `tokens`; their texts point into
 * `bytes`. */
trib_status hf_pieces_read(struct hf_pieces *out, struct hf_tokens *tokens, struct slice bytes,
                           const char *name, trib_error *error);

/* What GGUF calls the pre-tokenizer of a byte-level tokenizer.json; NULL: it is not known.
 * `whole_words`: a word that is a token needs no merges. */
const char *hf_pre_find(const json_t *pre_tokenizer, bool whole_words);

/* Whether `object`, or a member of its array `list` where it is a Sequence, has this type. */
const json_t *hf_find_type(const json_t *object, const char *list, const char *type);

#endif
