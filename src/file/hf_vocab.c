/* The vocabulary of a folder: its kind is found out, its tokens read (hf_vocab_kinds.c), added and
 * special tokens laid over them, and all of it put as GGUF has it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "file/hf.h"

#define KEY(name) "tokenizer.ggml." name

static const char space[] = "\xe2\x96\x81"; /* U+2581 */

struct hf_scratch {
    struct hf_scratch *next;
    size_t used, capacity;
    char bytes[];
};

char *hf_scratch(struct hf_vocab *v, size_t bytes)
{
    struct hf_scratch *top = v->scratch;
    if (!top || top->capacity - top->used < bytes) {
        size_t capacity = bytes > 1 << 16 ? bytes : 1 << 16;
        struct hf_scratch *more = malloc(sizeof *more + capacity);
        if (!more) {
            error_no_memory(v->error, "a vocabulary", capacity);
            return NULL;
        }
        *more = (struct hf_scratch){.next = top, .capacity = capacity};
        v->scratch = top = more;
    }
    top->used += bytes;
    return top->bytes + top->used - bytes;
}

const json_t *hf_find_type(const json_t *object, const char *list, const char *type)
{
    const json_t *members = json_object_get(object, list);
    if (json_is(json_object_get(object, "type"), type))
        return object;
    for (size_t i = 0; i < json_array_size(members); i++)
        if (json_is(json_object_get(object, "type"), "Sequence") &&
            json_is(json_object_get(json_array_get(members, i), "type"), type))
            return json_array_get(members, i);
    return NULL;
}

static int64_t find_token(const struct hf_vocab *v, struct slice text)
{
    for (size_t i = 0; i < v->tokens.rows; i++)
        if (v->tokens.texts[i].bytes && slice_equal(v->tokens.texts[i], text))
            return (int64_t)i;
    return -1;
}

/* ---- Added tokens ---- */

/* U+2581 as a space, which is what it stands for in a text. */
static trib_status plain_spaces(struct hf_vocab *v, struct slice *text)
{
    char *plain = hf_scratch(v, text->length);
    size_t length = 0;
    if (!plain)
        return TRIB_NO_MEMORY;
    for (size_t i = 0; i < text->length;) {
        bool is_space = text->length - i >= 3 && memcmp(text->bytes + i, space, 3) == 0;
        plain[length++] = is_space ? ' ' : text->bytes[i];
        i += is_space ? 3 : 1;
    }
    *text = (struct slice){plain, length};
    return TRIB_OK;
}

/* Whether tokens take the white space behind them by the name of the model (text/vocab.c). */
static bool is_named_phi3(const struct hf_vocab *v)
{
    for (const char *at = v->source->name; *at; at++)
        if (strncasecmp(at, "phi3", 4) == 0 || strncasecmp(at, "phi-3", 5) == 0)
            return true;
    return false;
}

/* Every text can spell a token that is not special, so how it is found must be as it is here. */
static trib_status check_finding(const struct hf_vocab *v, const struct json_file *file,
                                 const json_t *token, uint64_t id, bool right)
{
    static const char *const names[] = {"lstrip", "single_word"};
    const char *wrong = right && !v->source->phi3 && !is_named_phi3(v) ? "rstrip" : NULL;
    for (size_t i = 0; i < 2; i++) {
        bool value = false;
        trib_status status = json_get_bool(file, token, names[i], &value, v->error);
        if (status != TRIB_OK)
            return status;
        if (value)
            wrong = names[i];
    }
    return wrong ? error_set(v->error, TRIB_UNSUPPORTED, "%s: added token %llu: %s: expected false",
                             file->name, (unsigned long long)id, wrong)
                 : TRIB_OK;
}

/* One added token; those beyond the embedding are left out, as no text may become one. */
static trib_status add_token(struct hf_vocab *v, const struct json_file *file, const json_t *token,
                             uint64_t id, bool *strips)
{
    struct slice text = {0};
    bool special = false, right = false;
    trib_status status = json_get_string(file, token, "content", &text, v->error);
    if (status == TRIB_OK && !text.bytes)
        status = error_set(v->error, TRIB_FORMAT,
                           "%s: added token %llu: content: expected a string, found nothing",
                           file->name, (unsigned long long)id);
    if (status == TRIB_OK)
        status = json_get_bool(file, token, "special", &special, v->error);
    if (status == TRIB_OK)
        status = json_get_bool(file, token, "rstrip", &right, v->error);
    if (status != TRIB_OK || id >= v->tokens.rows)
        return status;
    if (!special)
        status = check_finding(v, file, token, id, right);
    if (status == TRIB_OK && !special)
        status = plain_spaces(v, &text);
    int32_t kind = v->tokens.kinds[id]; /* of bytes and the unknown it stays as it is */
    v->tokens.texts[id] = text;
    if (kind != HF_TOKEN_UNKNOWN && kind != HF_TOKEN_BYTE)
        v->tokens.kinds[id] = special ? HF_TOKEN_CONTROL : HF_TOKEN_USER_DEFINED;
    *strips = *strips || right;
    return status;
}

static trib_status add_from_list(struct hf_vocab *v, bool *strips)
{
    const json_t *list = NULL;
    trib_status status = json_get_array(v->file, v->file->root, "added_tokens", &list, v->error);
    for (size_t i = 0; i < json_array_size(list) && status == TRIB_OK; i++) {
        const json_t *token = json_array_get(list, i);
        uint64_t id = UINT64_MAX;
        status = json_get_count(v->file, token, "id", 0, INT32_MAX, &id, v->error);
        if (status == TRIB_OK && id == UINT64_MAX)
            status = error_set(v->error, TRIB_FORMAT,
                               "%s: added_tokens: expected objects with an id, found %s",
                               v->file->name, json_kind(token));
        if (status == TRIB_OK)
            status = add_token(v, v->file, token, id, strips);
    }
    return status;
}

/* The same from tokenizer_config.json, where there is no tokenizer.json. */
static trib_status add_from_config(struct hf_vocab *v, bool *strips)
{
    const struct json_file *config = v->source->tokenizer_config;
    const json_t *table = NULL, *token;
    struct slice key;
    void *at = NULL;
    trib_status status =
        json_get_object(config, config->root, "added_tokens_decoder", &table, v->error);
    while (status == TRIB_OK && json_next(table, &at, &key, &token)) {
        char *end;
        unsigned long id = strtoul(key.bytes, &end, 10);
        if (*end || end == key.bytes || id > INT32_MAX || !json_is_object(token))
            status = error_set(v->error, TRIB_FORMAT,
                               "%s: added_tokens_decoder: expected objects by id, found %.40s",
                               config->name, safetensors_show(key).text);
        else
            status = add_token(v, config, token, id, strips);
    }
    return status;
}

/* ---- Special tokens ---- */

static const struct {
    const char *theirs, *key;
} special_names[HF_SPECIALS] = {
    [HF_BOS] = {"bos_token", KEY("bos_token_id")},
    [HF_EOS] = {"eos_token", KEY("eos_token_id")},
    [HF_UNKNOWN] = {"unk_token", KEY("unknown_token_id")},
    [HF_PADDING] = {"pad_token", KEY("padding_token_id")},
    [HF_SEPARATOR] = {"sep_token", KEY("seperator_token_id")}, /* the key is spelled so */
    [HF_CLASS] = {"cls_token", KEY("cls_token_id")},
    [HF_MASK] = {"mask_token", KEY("mask_token_id")},
};

/* Ids of the tokens that tokenizer_config.json names by text, as a string or an object. */
static void find_named(struct hf_vocab *v)
{
    for (size_t i = 0; i < HF_SPECIALS; i++) {
        const json_t *token =
            json_field(v->source->tokenizer_config->root, special_names[i].theirs);
        const json_t *text = json_is_object(token) ? json_object_get(token, "content") : token;
        int64_t id = text && json_is_string(text) ? find_token(v, json_slice(text)) : -1;
        if (id >= 0)
            v->special[i] = id;
    }
}

/* An id of config.json, a number or the first of a list; -1 where there is none. */
static int64_t id_of(const struct hf_vocab *v, const json_t *value)
{
    if (value && json_is_array(value))
        value = json_array_get(value, 0);
    json_int_t id = value && json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && (uint64_t)id < v->tokens.rows ? id : -1;
}

static void find_numbered(struct hf_vocab *v)
{
    const json_t *config = v->source->config->root;
    if (v->special[HF_BOS] < 0)
        v->special[HF_BOS] = id_of(v, json_field(config, "bos_token_id"));
    if (v->special[HF_EOS] < 0)
        v->special[HF_EOS] = id_of(v, json_field(config, "eos_token_id"));
}

/* The one special token of a template's side. False where there are several, or another than is
 * known for the purpose. */
static bool take_template_token(struct hf_vocab *v, const json_t *entry, enum hf_special as,
                                enum hf_special also, bool *add)
{
    const json_t *token = json_object_get(json_object_get(entry, "SpecialToken"), "id");
    int64_t id = token && json_is_string(token) ? find_token(v, json_slice(token)) : -1;
    if (id < 0 || *add)
        return false;
    if (v->wordpiece)
        as = also;
    if (v->special[as] < 0)
        v->special[as] = id;
    *add = v->special[as] == id;
    return *add;
}

/* What is put around a text, by the post-processor. */
static trib_status read_post_processor(struct hf_vocab *v)
{
    const json_t *post = json_field(v->file->root, "post_processor");
    const json_t *template = hf_find_type(post, "processors", "TemplateProcessing");
    const json_t *single = json_object_get(template, "single");
    bool known = true, behind = false;
    if (v->file->root)
        v->add_bos = v->add_eos = false;
    if (hf_find_type(post, "processors", "BertProcessing") ||
        hf_find_type(post, "processors", "RobertaProcessing"))
        v->add_bos = v->add_eos = true;
    for (size_t i = 0; i < json_array_size(single) && known; i++) {
        const json_t *entry = json_array_get(single, i);
        if (json_object_get(entry, "Sequence"))
            behind = true;
        else if (behind)
            known = take_template_token(v, entry, HF_EOS, HF_SEPARATOR, &v->add_eos);
        else
            known = take_template_token(v, entry, HF_BOS, HF_CLASS, &v->add_bos);
    }
    if (!known)
        return error_set(v->error, TRIB_UNSUPPORTED,
                         "%s: post_processor: expected at most one token before a text and one "
                         "behind, of the vocabulary",
                         v->file->name);
    const struct json_file *config = v->source->tokenizer_config;
    trib_status status =
        json_get_bool(config, config->root, "add_bos_token", &v->add_bos, v->error);
    if (status == TRIB_OK)
        status = json_get_bool(config, config->root, "add_eos_token", &v->add_eos, v->error);
    return status;
}

/* Of several tokens that end a generation, the second and third go under the keys for turns. */
static void put_further_ends(struct hf_vocab *v)
{
    static const char *const keys[] = {KEY("eot_token_id"), KEY("eom_token_id")};
    const json_t *list = json_field(v->source->generation_config->root, "eos_token_id");
    for (size_t i = 0, used = 0; i < json_array_size(list) && used < 2; i++) {
        int64_t id = id_of(v, json_array_get(list, i));
        if (id >= 0 && id != v->special[HF_EOS])
            gguf_put_u32(v->out, keys[used++], (uint32_t)id);
    }
}

static void put_special(struct hf_vocab *v)
{
    bool bos = v->special[v->wordpiece ? HF_CLASS : HF_BOS] >= 0;
    bool eos = v->special[v->wordpiece ? HF_SEPARATOR : HF_EOS] >= 0;
    for (size_t i = 0; i < HF_SPECIALS; i++)
        if (v->special[i] >= 0)
            gguf_put_u32(v->out, special_names[i].key, (uint32_t)v->special[i]);
    gguf_put_bool(v->out, KEY("add_bos_token"), v->add_bos && bos);
    gguf_put_bool(v->out, KEY("add_eos_token"), v->add_eos && eos);
    put_further_ends(v);
}

/* ---- All of it ---- */

static trib_status put_tokens(struct hf_vocab *v, bool scored)
{
    struct hf_tokens *t = &v->tokens;
    for (size_t i = 0; i < t->rows; i++) {
        if (t->texts[i].bytes)
            continue;
        char *text = hf_scratch(v, 32);
        if (!text)
            return TRIB_NO_MEMORY;
        t->texts[i] = (struct slice){text, (size_t)snprintf(text, 32, "[PAD%zu]", i)};
        t->kinds[i] = HF_TOKEN_UNUSED;
        t->scores[i] = -10000;
    }
    gguf_put_strings(v->out, KEY("tokens"), t->texts, t->rows);
    gguf_put_numbers(v->out, KEY("token_type"), GGUF_I32, t->kinds, t->rows);
    if (scored)
        gguf_put_numbers(v->out, KEY("scores"), GGUF_F32, t->scores, t->rows);
    return TRIB_OK;
}

/* Tokens of Phi-3 take the white space behind them. GGUF has no field for that: it goes by the
 * name of the model (text/vocab.c), which is made to say so. */
static trib_status put_name(struct hf_vocab *v, bool strips)
{
    const char *name = v->source->name;
    size_t length = strlen(name) + sizeof "Phi-3 ";
    char *full = hf_scratch(v, length);
    if (!full)
        return TRIB_NO_MEMORY;
    snprintf(full, length, "%s%s", v->source->phi3 && strips && !is_named_phi3(v) ? "Phi-3 " : "",
             name);
    gguf_put_string(v->out, "general.name", slice_of(full));
    return TRIB_OK;
}

static trib_status read_kind(struct hf_vocab *v, bool *scored)
{
    const json_t *type = json_object_get(v->model, "type");
    const json_t *pre = json_field(v->file->root, "pre_tokenizer");
    bool bpe = json_is(type, "BPE") || (!type && json_object_get(v->model, "merges"));
    if (v->model && bpe && hf_find_type(pre, "pretokenizers", "ByteLevel"))
        return hf_byte_level_read(v);
    if ((v->model && bpe) || (!v->file->root && v->source->pieces.bytes)) {
        *scored = true;
        return hf_sentencepiece_read(v);
    }
    if (json_is(type, "WordPiece") || (!v->file->root && v->source->words.bytes))
        return hf_wordpiece_read(v);
    if (!v->file->root)
        return error_set(v->error, TRIB_UNSUPPORTED,
                         "%s: expected tokenizer.json, tokenizer.model or vocab.txt, found none",
                         v->source->folder);
    struct slice found = slice_of(json_kind(type));
    if (type && json_is_string(type))
        found = json_slice(type);
    return error_set(v->error, TRIB_UNSUPPORTED,
                     "%s: model.type: expected BPE or WordPiece, found %s", v->file->name,
                     safetensors_show(found).text);
}

static trib_status read_all(struct hf_vocab *v)
{
    bool scored = false, strips = false;
    trib_status status = json_get_object(v->file, v->file->root, "model", &v->model, v->error);
    if (status == TRIB_OK)
        status = read_kind(v, &scored);
    if (status == TRIB_OK)
        status = v->file->root ? add_from_list(v, &strips) : add_from_config(v, &strips);
    if (status != TRIB_OK)
        return status;
    find_named(v);
    if (!v->wordpiece)
        find_numbered(v);
    status = read_post_processor(v);
    if (status == TRIB_OK)
        status = put_tokens(v, scored);
    if (status == TRIB_OK)
        status = put_name(v, strips);
    if (status == TRIB_OK)
        put_special(v);
    return status;
}

trib_status hf_vocab_put(struct gguf_writer *out, const struct hf_vocab_source *source,
                         trib_error *error)
{
    struct hf_vocab v = {
        .out = out,
        .source = source,
        .file = source->tokenizer,
        .tokens = {source->rows, calloc(source->rows, sizeof(struct slice)),
                   calloc(source->rows, sizeof(float)), calloc(source->rows, sizeof(int32_t))},
        .add_bos = true,
        .error = error,
    };
    trib_status status;
    for (size_t i = 0; i < HF_SPECIALS; i++)
        v.special[i] = -1;
    if (v.tokens.texts && v.tokens.scores && v.tokens.kinds)
        status = read_all(&v);
    else
        status = error_no_memory(error, "a vocabulary", source->rows * sizeof(struct slice));
    for (struct hf_scratch *next; v.scratch; v.scratch = next) {
        next = v.scratch->next;
        free(v.scratch);
    }
    free(v.tokens.texts);
    free(v.tokens.scores);
    free(v.tokens.kinds);
    return status;
}
