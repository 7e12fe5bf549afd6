/* Opening a folder: its files in turn, then one GGUF file of what they say. */
#include "file/hf_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "file/hf.h"
#include "file/map.h"

enum {
    SMALL_MOST = 16 << 20,   /* bytes of a JSON file of settings */
    TOKENIZER_MOST = 1 << 28 /* of a vocabulary; the largest known have some 40 MB */
};

struct hf_block {
    struct hf_block *next;
    void *memory;
};

bool hf_folder_is(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

char *hf_path(const char *folder, const char *name)
{
    size_t length = strlen(folder) + strlen(name) + 2;
    char *path = malloc(length);
    if (path)
        snprintf(path, length, "%s/%s", folder, name);
    return path;
}

void *hf_own(struct hf_folder *folder, size_t bytes)
{
    struct hf_block *block = malloc(sizeof *block);
    void *memory = memory_zeroed(bytes);
    if (!block || !memory) {
        free(block);
        free(memory);
        return NULL;
    }
    *block = (struct hf_block){folder->blocks, memory};
    folder->blocks = block;
    return memory;
}

void hf_close(void *owner)
{
    struct hf_folder *folder = owner;
    for (size_t i = 0; i < folder->shard_count; i++)
        safetensors_close(folder->shards[i]);
    for (struct hf_block *block = folder->blocks, *next; block; block = next) {
        next = block->next;
        free(block->memory);
        free(block);
    }
    json_file_close(&folder->config_json);
    gguf_writer_close(folder->metadata);
    free(folder->shards);
    free(folder->maps);
    free(folder->tensors);
    free(folder->bytes);
    free(folder);
}

static trib_status read_json(struct json_file *file, const char *folder, const char *name,
                             size_t most, bool required, trib_error *error)
{
    char *path = hf_path(folder, name);
    if (!path)
        return error_no_memory(error, name, strlen(folder));
    trib_status status = json_file_open(file, path, JSON_OBJECT, most, required, error);
    free(path);
    return status;
}

/* Maps a file that may be missing. */
static trib_status map_if_there(struct file_map *map, const char *folder, const char *name,
                                trib_error *error)
{
    struct stat info;
    char *path = hf_path(folder, name);
    if (!path)
        return error_no_memory(error, name, strlen(folder));
    trib_status status = TRIB_OK;
    if (stat(path, &info) == 0)
        status = file_map_open(map, path, error);
    free(path);
    return status;
}

/* The name of the folder itself, without what leads to it. */
static char *base_name(const char *path)
{
    char *real = realpath(path, NULL);
    const char *last = real ? strrchr(real, '/') : NULL;
    char *name = strdup(last && last[1] ? last + 1 : "model");
    free(real);
    return name;
}

/* The text that chats are written by; a file of its own goes before the field. */
static trib_status put_template(struct hf_folder *folder, const struct json_file *config,
                                trib_error *error)
{
    struct file_map map = {0};
    struct slice text = {0};
    trib_status status = map_if_there(&map, folder->path, "chat_template.jinja", error);
    if (status != TRIB_OK)
        return status;
    const json_t *field = json_field(config->root, "chat_template");
    if (map.bytes)
        text = (struct slice){(const char *)map.bytes, map.size};
    else if (field && json_is_string(field))
        text = json_slice(field);
    for (size_t i = 0; i < json_array_size(field) && !map.bytes && status == TRIB_OK; i++)
        if (json_is(json_object_get(json_array_get(field, i), "name"), "default"))
            status = json_get_string(config, json_array_get(field, i), "template", &text, error);
    if (status == TRIB_OK && text.length > 0)
        gguf_put_string(folder->metadata, "tokenizer.chat_template", text);
    file_map_close(&map);
    return status;
}

static trib_status put_vocabulary(struct hf_folder *folder, trib_error *error)
{
    struct json_file tokenizer = {0}, config = {0}, generation = {0};
    struct file_map pieces = {0}, words = {0};
    char *name = base_name(folder->path);
    trib_status status = name ? TRIB_OK : error_no_memory(error, "a name", 1);
    if (status == TRIB_OK)
        status =
            read_json(&tokenizer, folder->path, "tokenizer.json", TOKENIZER_MOST, false, error);
    if (status == TRIB_OK)
        status =
            read_json(&config, folder->path, "tokenizer_config.json", SMALL_MOST, false, error);
    if (status == TRIB_OK)
        status = read_json(&generation, folder->path, "generation_config.json", SMALL_MOST, false,
                           error);
    if (status == TRIB_OK)
        status = map_if_there(&pieces, folder->path, "tokenizer.model", error);
    if (status == TRIB_OK)
        status = map_if_there(&words, folder->path, "vocab.txt", error);
    if (status == TRIB_OK) {
        struct hf_vocab_source source = {
            .folder = folder->path,
            .tokenizer = &tokenizer,
            .tokenizer_config = &config,
            .config = &folder->config_json,
            .generation_config = &generation,
            .pieces = {(const char *)pieces.bytes, pieces.size},
            .words = {(const char *)words.bytes, words.size},
            .rows = (size_t)folder->vocabulary,
            .name = name,
            .phi3 = folder->config.kind == HF_PHI3,
        };
        status = hf_vocab_put(folder->metadata, &source, error);
    }
    if (status == TRIB_OK)
        status = put_template(folder, &config, error);
    json_file_close(&tokenizer);
    json_file_close(&config);
    json_file_close(&generation);
    file_map_close(&pieces);
    file_map_close(&words);
    free(name);
    return status;
}

/* Whether this is the last part of a class, "package.module.Name": the others differ between
 * versions. */
static bool is_class(struct slice type, const char *name)
{
    size_t at = type.length;
    while (at > 0 && type.bytes[at - 1] != '.')
        at--;
    return slice_is((struct slice){type.bytes + at, type.length - at}, name);
}

/* The modules of sentence-transformers that texts go through. Others than these, as a matrix behind
 * the pooling, would be left out. `pooled`: one of them pools. */
static trib_status check_modules(const struct hf_folder *folder, bool *pooled, trib_error *error)
{
    static const char *const names[] = {"Transformer", "Pooling", "Normalize"};
    struct json_file modules = {0};
    char *path = hf_path(folder->path, "modules.json");
    if (!path)
        return error_no_memory(error, "modules.json", strlen(folder->path));
    trib_status status = json_file_open(&modules, path, JSON_ARRAY, SMALL_MOST, false, error);
    free(path);
    size_t count = json_array_size(modules.root);
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        struct slice type = slice_of("nothing");
        status = json_get_string(&modules, json_array_get(modules.root, i), "type", &type, error);
        if (status == TRIB_OK && (i >= 3 || !is_class(type, names[i])))
            status = error_set(error, TRIB_UNSUPPORTED, "%s: %zu: type: expected %s, found %s",
                               modules.name, i, i < 3 ? names[i] : "no module",
                               safetensors_show(type).text);
    }
    *pooled = count > 1;
    json_file_close(&modules);
    return status;
}

/* The way of pooling that a file names: in one field, or, in older files, by a switch for each way.
 * Several ways would put their vectors side by side. *out stays empty where none is named. */
static trib_status read_pooling(const struct json_file *file, struct slice *out, trib_error *error)
{
    static const char prefix[] = "pooling_mode_";
    const json_t *value = json_field(file->root, "pooling_mode");
    struct slice key;
    trib_status status = TRIB_OK;
    if (value) {
        *out = json_is_string(value) ? json_slice(value) : slice_of(json_kind(value));
        return TRIB_OK;
    }
    for (void *at = NULL; status == TRIB_OK && json_next(file->root, &at, &key, &value);) {
        bool used = false;
        if (strncmp(key.bytes, prefix, sizeof prefix - 1) == 0)
            status = json_get_bool(file, file->root, key.bytes, &used, error);
        if (used)
            *out = out->bytes ? slice_of("several") : key;
    }
    return status;
}

/* What is pooled from BERT's last layer: 1 mean, 2 the first token, 3 the last one. */
static trib_status put_way(struct hf_folder *folder, const struct json_file *file,
                           struct slice name, trib_error *error)
{
    static const struct {
        const char *name;
        uint32_t type;
    } ways[] = {{"mean", 1},      {"pooling_mode_mean_tokens", 1},
                {"cls", 2},       {"pooling_mode_cls_token", 2},
                {"lasttoken", 3}, {"pooling_mode_lasttoken", 3}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (slice_is(name, ways[i].name)) {
            gguf_put_u32(folder->metadata, "bert.pooling_type", ways[i].type);
            return TRIB_OK;
        }
    return error_set(error, TRIB_UNSUPPORTED,
                     "%s: pooling_mode: expected mean, cls or lasttoken, found %s", file->name,
                     safetensors_show(name).text);
}

static trib_status put_pooling(struct hf_folder *folder, trib_error *error)
{
    struct json_file pooling = {0};
    struct slice name = {0};
    bool pooled = false;
    trib_status status = check_modules(folder, &pooled, error);
    if (status == TRIB_OK)
        status =
            read_json(&pooling, folder->path, "1_Pooling/config.json", SMALL_MOST, pooled, error);
    if (status == TRIB_OK)
        status = read_pooling(&pooling, &name, error);
    if (status == TRIB_OK && name.bytes)
        status = put_way(folder, &pooling, name, error);
    json_file_close(&pooling);
    return status;
}

/* general.file_type as llama.cpp counts: by the type that most of the weights have. */
static void put_file_type(struct hf_folder *folder)
{
    uint64_t f32 = 0, f16 = 0, bf16 = 0;
    for (size_t i = 0; i < folder->tensor_count; i++) {
        const struct gguf_tensor *t = &folder->tensors[i];
        *(t->type == DTYPE_BF16 ? &bf16 : t->type == DTYPE_F16 ? &f16 : &f32) += t->elements;
    }
    uint32_t type = bf16 > f16 && bf16 > f32 ? 32 : f16 > f32 ? 1 : 0;
    gguf_put_u32(folder->metadata, "general.file_type", type);
}

static trib_status read_folder(struct hf_folder *folder, trib_error *error)
{
    trib_status status =
        read_json(&folder->config_json, folder->path, "config.json", SMALL_MOST, false, error);
    if (status == TRIB_OK && !folder->config_json.root)
        status =
            error_set(error, TRIB_IO, "%s: expected a model, found a folder without config.json",
                      folder->path);
    if (status == TRIB_OK)
        status = hf_config_read(folder, error);
    if (status == TRIB_OK && folder->config.kind == HF_BERT)
        status = put_pooling(folder, error);
    if (status == TRIB_OK)
        status = hf_shards_open(folder, error);
    if (status == TRIB_OK)
        status = hf_tensors_read(folder, error);
    if (status == TRIB_OK && folder->config.kind & HF_ROTARY)
        status = hf_rope_read(folder, error);
    if (status == TRIB_OK)
        status = put_vocabulary(folder, error);
    if (status == TRIB_OK)
        put_file_type(folder);
    return status;
}

static trib_status map_shards(struct hf_folder *folder, trib_error *error)
{
    folder->maps = calloc(folder->shard_count + 1, sizeof *folder->maps);
    if (!folder->maps)
        return error_no_memory(error, folder->path, folder->shard_count * sizeof *folder->maps);
    for (size_t i = 0; i < folder->shard_count; i++)
        folder->maps[i] = safetensors_map(folder->shards[i]);
    return TRIB_OK;
}

trib_status hf_folder_open(struct gguf **out, const char *path, trib_error *error)
{
    size_t size = 0;
    *out = NULL;
    struct hf_folder *folder = calloc(1, sizeof *folder);
    if (!folder)
        return error_no_memory(error, path, sizeof *folder);
    folder->path = path;
    folder->metadata = gguf_writer_open();
    trib_status status = read_folder(folder, error);
    if (status == TRIB_OK)
        status = gguf_writer_bytes(folder->metadata, &folder->bytes, &size, error);
    if (status == TRIB_OK)
        status = map_shards(folder, error);
    if (status == TRIB_OK) {
        struct gguf_pieces pieces = {.bytes = folder->bytes,
                                     .size = size,
                                     .tensors = folder->tensors,
                                     .tensor_count = folder->tensor_count,
                                     .maps = folder->maps,
                                     .map_count = folder->shard_count,
                                     .note = folder->note[0] ? folder->note : NULL,
                                     .owner = folder,
                                     .release = hf_close};
        status = gguf_assemble(out, &pieces, path, error);
    }
    if (status != TRIB_OK)
        hf_close(folder);
    return status;
}
