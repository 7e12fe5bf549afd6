/* Tensors of a Hugging Face folder as GGUF has them: one table says what each is called, what shape
 * it must have, and what is changed.
 *
 * A tensor that no row knows is an error, because leaving it out would change what is computed; so
 * is one that is missing from a block, or has another shape than config.json says. */
#include "file/hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"

/* Sizes that a row can name. */
enum size_name {
    SIZE_NONE,
    SIZE_E,   /* width */
    SIZE_HD,  /* all query heads */
    SIZE_GD,  /* all KV heads */
    SIZE_QKV, /* all heads of q, k and v */
    SIZE_3E,
    SIZE_D, /* one head */
    SIZE_F,
    SIZE_2F,
    SIZE_V,
    SIZE_P, /* positions */
    SIZE_T, /* token types */
};

enum change {
    BIASED = 1,      /* may have a bias, [rows] */
    NEEDED = 2,      /* in every block, or in every model */
    PERMUTED_Q = 4,  /* rows of heads from half-split to adjacent rotary pairs */
    PERMUTED_K = 8,  /* the same with KV heads */
    TRANSPOSED = 16, /* lies as [columns][rows] */
    PLUS_ONE = 32,   /* GGUF holds the number by which is multiplied */
    SINGLE = 64,     /* float32 whatever its dimensions */
    UNTIED = 128,    /* left out where it is the embedding */
};

enum { NOT_PHI3 = HF_ROTARY & ~HF_PHI3, NOT_GEMMA = HF_ROTARY & ~HF_GEMMA };

struct row {
    int kinds;
    const char *theirs, *ours;
    enum size_name rows, columns;
    int change;
};

/* Within a block: after "layers.N." and so on; theirs and ours without ".weight". */
static const struct row block_rows[] = {
    {NOT_GEMMA, "input_layernorm", "attn_norm", SIZE_E, SIZE_NONE, NEEDED},
    {HF_GEMMA, "input_layernorm", "attn_norm", SIZE_E, SIZE_NONE, NEEDED | PLUS_ONE},
    {HF_LLAMAS, "self_attn.q_proj", "attn_q", SIZE_HD, SIZE_E, NEEDED | BIASED | PERMUTED_Q},
    {HF_LLAMAS, "self_attn.k_proj", "attn_k", SIZE_GD, SIZE_E, NEEDED | BIASED | PERMUTED_K},
    {NOT_PHI3 & ~HF_LLAMAS, "self_attn.q_proj", "attn_q", SIZE_HD, SIZE_E, NEEDED | BIASED},
    {NOT_PHI3 & ~HF_LLAMAS, "self_attn.k_proj", "attn_k", SIZE_GD, SIZE_E, NEEDED | BIASED},
    {NOT_PHI3, "self_attn.v_proj", "attn_v", SIZE_GD, SIZE_E, NEEDED | BIASED},
    {HF_PHI3, "self_attn.qkv_proj", "attn_qkv", SIZE_QKV, SIZE_E, NEEDED | BIASED},
    {HF_ROTARY, "self_attn.o_proj", "attn_output", SIZE_E, SIZE_HD, NEEDED | BIASED},
    {HF_QWEN3, "self_attn.q_norm", "attn_q_norm", SIZE_D, SIZE_NONE, NEEDED},
    {HF_QWEN3, "self_attn.k_norm", "attn_k_norm", SIZE_D, SIZE_NONE, NEEDED},
    {HF_GEMMA3, "self_attn.q_norm", "attn_q_norm", SIZE_D, SIZE_NONE, NEEDED | PLUS_ONE},
    {HF_GEMMA3, "self_attn.k_norm", "attn_k_norm", SIZE_D, SIZE_NONE, NEEDED | PLUS_ONE},
    {NOT_GEMMA, "post_attention_layernorm", "ffn_norm", SIZE_E, SIZE_NONE, NEEDED},
    {HF_GEMMA, "post_attention_layernorm", "post_attention_norm", SIZE_E, SIZE_NONE,
     NEEDED | PLUS_ONE},
    {HF_GEMMA, "pre_feedforward_layernorm", "ffn_norm", SIZE_E, SIZE_NONE, NEEDED | PLUS_ONE},
    {HF_GEMMA, "post_feedforward_layernorm", "post_ffw_norm", SIZE_E, SIZE_NONE, NEEDED | PLUS_ONE},
    {NOT_PHI3, "mlp.gate_proj", "ffn_gate", SIZE_F, SIZE_E, NEEDED | BIASED},
    {NOT_PHI3, "mlp.up_proj", "ffn_up", SIZE_F, SIZE_E, NEEDED | BIASED},
    {HF_PHI3, "mlp.gate_up_proj", "ffn_up", SIZE_2F, SIZE_E, NEEDED},
    {HF_ROTARY, "mlp.down_proj", "ffn_down", SIZE_E, SIZE_F, NEEDED | BIASED},

    {HF_GPT2, "ln_1", "attn_norm", SIZE_E, SIZE_NONE, NEEDED | BIASED},
    {HF_GPT2, "attn.c_attn", "attn_qkv", SIZE_3E, SIZE_E, NEEDED | BIASED | TRANSPOSED},
    {HF_GPT2, "attn.c_proj", "attn_output", SIZE_E, SIZE_E, NEEDED | BIASED | TRANSPOSED},
    {HF_GPT2, "ln_2", "ffn_norm", SIZE_E, SIZE_NONE, NEEDED | BIASED},
    {HF_GPT2, "mlp.c_fc", "ffn_up", SIZE_F, SIZE_E, NEEDED | BIASED | TRANSPOSED},
    {HF_GPT2, "mlp.c_proj", "ffn_down", SIZE_E, SIZE_F, NEEDED | BIASED | TRANSPOSED},

    {HF_BERT, "attention.self.query", "attn_q", SIZE_E, SIZE_E, NEEDED | BIASED},
    {HF_BERT, "attention.self.key", "attn_k", SIZE_E, SIZE_E, NEEDED | BIASED},
    {HF_BERT, "attention.self.value", "attn_v", SIZE_E, SIZE_E, NEEDED | BIASED},
    {HF_BERT, "attention.output.dense", "attn_output", SIZE_E, SIZE_E, NEEDED | BIASED},
    {HF_BERT, "attention.output.LayerNorm", "attn_output_norm", SIZE_E, SIZE_NONE, NEEDED | BIASED},
    {HF_BERT, "intermediate.dense", "ffn_up", SIZE_F, SIZE_E, NEEDED | BIASED},
    {HF_BERT, "output.dense", "ffn_down", SIZE_E, SIZE_F, NEEDED | BIASED},
    {HF_BERT, "output.LayerNorm", "layer_output_norm", SIZE_E, SIZE_NONE, NEEDED | BIASED},
};

static const struct row model_rows[] = {
    {HF_ROTARY, "embed_tokens", "token_embd", SIZE_V, SIZE_E, NEEDED},
    {NOT_GEMMA, "norm", "output_norm", SIZE_E, SIZE_NONE, NEEDED},
    {HF_GEMMA, "norm", "output_norm", SIZE_E, SIZE_NONE, NEEDED | PLUS_ONE},
    {HF_ROTARY | HF_GPT2, "lm_head", "output", SIZE_V, SIZE_E, UNTIED},

    {HF_GPT2, "wte", "token_embd", SIZE_V, SIZE_E, NEEDED},
    {HF_GPT2, "wpe", "position_embd", SIZE_P, SIZE_E, NEEDED | SINGLE},
    {HF_GPT2, "ln_f", "output_norm", SIZE_E, SIZE_NONE, NEEDED | BIASED},

    {HF_BERT, "embeddings.word_embeddings", "token_embd", SIZE_V, SIZE_E, NEEDED},
    {HF_BERT, "embeddings.position_embeddings", "position_embd", SIZE_P, SIZE_E, NEEDED | SINGLE},
    {HF_BERT, "embeddings.token_type_embeddings", "token_types", SIZE_T, SIZE_E, NEEDED | SINGLE},
    {HF_BERT, "embeddings.LayerNorm", "token_embd_norm", SIZE_E, SIZE_NONE, NEEDED | BIASED},
};

enum {
    BLOCK_ROWS = sizeof block_rows / sizeof block_rows[0],
    MODEL_ROWS = sizeof model_rows / sizeof model_rows[0],
    NAME_MOST = 128,
    NO_BLOCK = -1,
};

/* What holds no weights: `theirs` begins so, within a block or without. */
static const struct {
    int kinds;
    bool in_block;
    const char *begin;
} ignored[] = {
    {HF_ROTARY, true, "self_attn.rotary_emb.inv_freq"},
    {HF_ROTARY, false, "rotary_emb.inv_freq"},
    {HF_GPT2, true, "attn.bias"},
    {HF_GPT2, true, "attn.masked_bias"},
    {HF_BERT, false, "embeddings.position_ids"},
    {HF_BERT, false, "pooler."}, /* of other uses than embedding */
    {HF_BERT, false, "cls."},
};

/* Parts of models that see images, which are left out. */
static const char *const of_images[] = {"vision_tower.", "multi_modal_projector."};

/* A name taken apart. */
struct place {
    char text[NAME_MOST]; /* without prefix, block and suffix */
    int64_t block;        /* or NO_BLOCK */
    bool weight, bias;    /* what the suffix says */
};

struct reader {
    struct hf_folder *folder;
    const struct safetensors *file;
    bool *seen; /* [L][BLOCK_ROWS] then [MODEL_ROWS]: weights that were there */
    trib_error *error;
};

static uint64_t size_of(const struct hf_folder *folder, enum size_name name)
{
    const struct hf_config *c = &folder->config;
    switch (name) {
    case SIZE_NONE:
        return 1;
    case SIZE_E:
        return c->width;
    case SIZE_HD:
        return c->heads * c->head_dim;
    case SIZE_GD:
        return c->kv_heads * c->head_dim;
    case SIZE_QKV:
        return (c->heads + 2 * c->kv_heads) * c->head_dim;
    case SIZE_3E:
        return 3 * c->width;
    case SIZE_D:
        return c->head_dim;
    case SIZE_F:
        return c->ffn;
    case SIZE_2F:
        return 2 * c->ffn;
    case SIZE_V:
        return folder->vocabulary;
    case SIZE_P:
        return c->context;
    case SIZE_T:
        return c->token_types;
    }
    return 0;
}

trib_status hf_tensor_add(struct hf_folder *folder, const char *name, enum dtype type,
                          uint32_t dims, const uint64_t *shape, const void *data, trib_error *error)
{
    if (folder->tensor_count == folder->tensor_capacity) {
        size_t capacity = folder->tensor_capacity ? 2 * folder->tensor_capacity : 64;
        struct gguf_tensor *grown = realloc(folder->tensors, capacity * sizeof *grown);
        if (!grown)
            return error_no_memory(error, "the tensors", capacity * sizeof *grown);
        folder->tensors = grown;
        folder->tensor_capacity = capacity;
    }
    size_t length = strlen(name);
    char *copy = hf_own(folder, length + 1);
    if (!copy)
        return error_no_memory(error, name, length);
    memcpy(copy, name, length);
    struct gguf_tensor t = {
        .name = {copy, length}, .type = type, .dims = dims, .elements = 1, .data = data};
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++) {
        t.shape[d] = d < dims ? shape[d] : 1;
        t.elements *= t.shape[d]; /* cannot wrap: the data lies in memory */
    }
    t.bytes = dtype_size(type, (size_t)t.elements);
    folder->tensors[folder->tensor_count++] = t;
    return TRIB_OK;
}

/* ---- Names ---- */

/* Takes `begin` off the front. */
static bool strip(struct slice *name, const char *begin)
{
    size_t length = strlen(begin);
    if (name->length < length || memcmp(name->bytes, begin, length) != 0)
        return false;
    *name = (struct slice){name->bytes + length, name->length - length};
    return true;
}

/* Takes ".end" off the back. */
static bool strip_end(struct slice *name, const char *end)
{
    size_t length = strlen(end);
    if (name->length < length || memcmp(name->bytes + name->length - length, end, length) != 0)
        return false;
    name->length -= length;
    return true;
}

/* Takes "N." off the front; what is no number below `most` is left. */
static bool strip_number(struct slice *name, uint64_t most, int64_t *out)
{
    uint64_t number = 0;
    size_t i = 0;
    for (; i < name->length && name->bytes[i] >= '0' && name->bytes[i] <= '9' && number < most; i++)
        number = 10 * number + (uint64_t)(name->bytes[i] - '0');
    if (i == 0 || i == name->length || name->bytes[i] != '.' || number >= most)
        return false;
    *name = (struct slice){name->bytes + i + 1, name->length - i - 1};
    *out = (int64_t)number;
    return true;
}

static void strip_text_part(struct slice *name)
{
    strip(name, "model.");
    strip(name, "language_model.");
    strip(name, "model.");
}

static bool is_of_images(const struct hf_folder *folder, struct slice name)
{
    strip(&name, "model.");
    for (size_t i = 0; i < sizeof of_images / sizeof of_images[0]; i++)
        if (folder->config.of_images && strip(&name, of_images[i]))
            return true;
    return false;
}

static struct place take_apart(const struct hf_folder *folder, struct slice name)
{
    enum hf_kind kind = folder->config.kind;
    struct place place = {.block = NO_BLOCK};
    if (folder->config.of_images) /* "model." stands behind it, and in newer files before it */
        strip_text_part(&name);
    else
        strip(&name, kind == HF_GPT2 ? "transformer." : kind == HF_BERT ? "bert." : "model.");
    struct slice rest = name;
    if (strip(&rest, kind == HF_GPT2   ? "h."
                     : kind == HF_BERT ? "encoder.layer."
                                       : "layers.") &&
        strip_number(&rest, folder->config.layers, &place.block))
        name = rest;
    if (strip_end(&name, ".bias") || (kind == HF_BERT && strip_end(&name, ".beta")))
        place.bias = true;
    else
        place.weight =
            strip_end(&name, ".weight") || (kind == HF_BERT && strip_end(&name, ".gamma"));
    if (name.length < sizeof place.text)
        memcpy(place.text, name.bytes, name.length);
    return place;
}

static bool is_ignored(const struct hf_folder *folder, const struct place *place)
{
    char whole[NAME_MOST + 8];
    snprintf(whole, sizeof whole, "%s%s", place->text, place->bias ? ".bias" : "");
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        if (folder->config.kind & (enum hf_kind)ignored[i].kinds &&
            ignored[i].in_block == (place->block != NO_BLOCK) &&
            strncmp(whole, ignored[i].begin, strlen(ignored[i].begin)) == 0)
            return true;
    return false;
}

static const struct row *find_row(const struct hf_folder *folder, const struct place *place,
                                  size_t *index)
{
    const struct row *rows = place->block == NO_BLOCK ? model_rows : block_rows;
    size_t count = place->block == NO_BLOCK ? MODEL_ROWS : BLOCK_ROWS;
    for (*index = 0; *index < count; ++*index) {
        const struct row *row = &rows[*index];
        if (folder->config.kind & (enum hf_kind)row->kinds &&
            strcmp(place->text, row->theirs) == 0 &&
            (place->weight || (place->bias && row->change & BIASED)))
            return row;
    }
    return NULL;
}

/* ---- Numbers ---- */

static float element(enum dtype type, const uint8_t *data, uint64_t i)
{
    uint16_t half;
    float single;
    if (type == DTYPE_F32) {
        memcpy(&single, data + 4 * i, sizeof single);
        return single;
    }
    memcpy(&half, data + 2 * i, sizeof half);
    return type == DTYPE_F16 ? f16_to_float(half) : bf16_to_float(half);
}

/* ---- Tensors ---- */

static trib_status find_type(const struct reader *r, const struct safetensors_tensor *t,
                             enum dtype *out)
{
    if (dtype_find(t->type, out))
        return TRIB_OK; /* the names are the same, and no other type has one of them */
    return error_set(r->error, TRIB_UNSUPPORTED,
                     "%s: tensor %s: dtype: expected F32, F16 or BF16, found %s", r->file->name,
                     safetensors_show(t->name).text, t->type);
}

static trib_status check_shape(const struct reader *r, const struct safetensors_tensor *t,
                               uint32_t dims, uint64_t rows, uint64_t columns)
{
    if (t->dims == dims && t->shape[0] == rows && (dims == 1 || t->shape[1] == columns))
        return TRIB_OK;
    char expected[64], found[64];
    snprintf(expected, sizeof expected, dims == 1 ? "[%llu]" : "[%llu, %llu]",
             (unsigned long long)rows, (unsigned long long)columns);
    snprintf(found, sizeof found,
             t->dims == 1   ? "[%llu]"
             : t->dims == 2 ? "[%llu, %llu]"
                            : "%.0llu%.0lluanother number of dimensions",
             (unsigned long long)(t->dims == 1 || t->dims == 2 ? t->shape[0] : 0),
             (unsigned long long)(t->dims == 2 ? t->shape[1] : 0));
    return error_set(r->error, TRIB_FORMAT,
                     "%s: tensor %s: shape: expected %s, as config.json has it, found %s",
                     r->file->name, safetensors_show(t->name).text, expected, found);
}

/* How a tensor lies, of two dimensions or a bias. */
static void set_order(const struct reader *r, const struct row *row, struct gguf_tensor *t)
{
    const struct hf_config *c = &r->folder->config;
    if (row->change & (PERMUTED_Q | PERMUTED_K)) {
        t->order = GGUF_HALVES;
        t->heads = row->change & PERMUTED_Q ? c->heads : c->kv_heads;
    } else if (row->change & TRANSPOSED && t->dims == 2) {
        t->order = GGUF_ACROSS;
    }
}

/* A vector, which is copied in order, and what must be float32 or is not aligned. Matrices stay
 * where they lie, in their order: a copy of them would take memory for as long as the folder is
 * open. */
static trib_status make_data(const struct reader *r, const struct row *row, struct gguf_tensor *t)
{
    size_t size = dtype_info(t->type)->bytes;
    bool single = t->type != DTYPE_F32 && (t->dims == 1 || row->change & SINGLE);
    bool turned = t->dims == 1 && t->order != GGUF_IN_ORDER;
    if (turned || (uintptr_t)t->data % size != 0) {
        uint8_t *copy = hf_own(r->folder, t->bytes);
        if (!copy)
            return error_no_memory(r->error, "a tensor", t->bytes);
        if (turned) {
            struct gguf_tensor column = *t; /* [rows][1] */
            column.shape[0] = 1;
            column.shape[1] = t->shape[0];
            gguf_copy(&column, 0, (size_t)t->elements, copy);
            t->order = GGUF_IN_ORDER;
        } else {
            memcpy(copy, t->data, t->bytes);
        }
        file_map_release(safetensors_map(r->file), t->data, t->bytes);
        t->data = copy;
    }
    if (!single && !(row->change & PLUS_ONE))
        return TRIB_OK;
    float *numbers = hf_own(r->folder, (size_t)t->elements * sizeof *numbers);
    if (!numbers)
        return error_no_memory(r->error, "a tensor", t->bytes);
    for (uint64_t i = 0; i < t->elements; i++)
        numbers[i] = element(t->type, t->data, i) + (row->change & PLUS_ONE ? 1.0f : 0.0f);
    t->type = DTYPE_F32;
    t->bytes = t->elements * sizeof *numbers;
    t->data = (const uint8_t *)numbers;
    return TRIB_OK;
}

static trib_status read_tensor(struct reader *r, const struct safetensors_tensor *t)
{
    struct hf_folder *folder = r->folder;
    struct place place = take_apart(folder, t->name);
    size_t index;
    if (is_ignored(folder, &place))
        return TRIB_OK;
    if (is_of_images(folder, t->name)) {
        folder->left_out++;
        return TRIB_OK;
    }
    const struct row *row = find_row(folder, &place, &index);
    if (!row)
        return error_set(r->error, TRIB_UNSUPPORTED,
                         "%s: tensor %s is no part of a %s model of %llu layers as known here",
                         r->file->name, safetensors_show(t->name).text, folder->config.name,
                         (unsigned long long)folder->config.layers);
    if (row->change & UNTIED && folder->config.tied)
        return TRIB_OK;
    enum dtype type = DTYPE_F32;
    uint64_t rows = size_of(folder, row->rows), columns = size_of(folder, row->columns);
    uint32_t dims = place.bias || row->columns == SIZE_NONE ? 1 : 2;
    bool lies_transposed = dims == 2 && row->change & TRANSPOSED;
    trib_status status = find_type(r, t, &type);
    if (status == TRIB_OK)
        status = lies_transposed ? check_shape(r, t, dims, columns, rows)
                                 : check_shape(r, t, dims, rows, columns);
    if (status != TRIB_OK)
        return status;
    char name[NAME_MOST];
    const char *suffix = place.bias ? "bias" : "weight";
    if (place.block == NO_BLOCK)
        snprintf(name, sizeof name, "%s.%s", row->ours, suffix);
    else
        snprintf(name, sizeof name, "blk.%lld.%s.%s", (long long)place.block, row->ours, suffix);
    if (!place.bias)
        r->seen[place.block == NO_BLOCK ? folder->config.layers * BLOCK_ROWS + index
                                        : (uint64_t)place.block * BLOCK_ROWS + index] = true;
    status = hf_tensor_add(folder, name, type, dims,
                           dims == 1 ? (uint64_t[]){rows, 1} : (uint64_t[]){columns, rows}, t->data,
                           r->error);
    if (status != TRIB_OK)
        return status;
    struct gguf_tensor *added = &folder->tensors[folder->tensor_count - 1];
    set_order(r, row, added);
    return make_data(r, row, added);
}

/* Every block and the model have what they need. */
static trib_status check_complete(const struct reader *r)
{
    const struct hf_config *c = &r->folder->config;
    for (uint64_t layer = 0; layer <= c->layers; layer++) {
        bool whole = layer == c->layers;
        for (size_t i = 0; i < (whole ? MODEL_ROWS : BLOCK_ROWS); i++) {
            const struct row *row = whole ? &model_rows[i] : &block_rows[i];
            bool needed = row->change & NEEDED || (row->change & UNTIED && !c->tied);
            if (!(c->kind & (enum hf_kind)row->kinds) || !needed || r->seen[layer * BLOCK_ROWS + i])
                continue;
            if (whole)
                return error_set(r->error, TRIB_FORMAT, "%s: tensor %s.weight is missing",
                                 r->folder->path, row->theirs);
            return error_set(r->error, TRIB_FORMAT, "%s: tensor %s.weight of layer %llu is missing",
                             r->folder->path, row->theirs, (unsigned long long)layer);
        }
    }
    return TRIB_OK;
}

trib_status hf_tensors_read(struct hf_folder *folder, trib_error *error)
{
    struct reader r = {.folder = folder, .error = error};
    size_t rows = (size_t)folder->config.layers * BLOCK_ROWS + MODEL_ROWS;
    trib_status status = TRIB_OK;
    r.seen = calloc(rows, sizeof *r.seen);
    if (!r.seen)
        return error_no_memory(error, "the tensors", rows);
    for (size_t i = 0; i < folder->shard_count && status == TRIB_OK; i++) {
        r.file = folder->shards[i];
        for (size_t j = 0; j < r.file->count && status == TRIB_OK; j++)
            status = read_tensor(&r, &r.file->tensors[j]);
    }
    if (status == TRIB_OK)
        status = check_complete(&r);
    if (folder->left_out)
        snprintf(folder->note, sizeof folder->note,
                 "%zu tensors that see images are left out: only the text part is used",
                 folder->left_out);
    free(r.seen);
    return status;
}
