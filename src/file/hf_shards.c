/* The weight files of a folder: one, or the shards that an index names.
 *
 * Names in an index are files of this folder, no paths. Index and shards must agree: what one names
 * the other has, and nothing besides. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "file/hf.h"

enum { INDEX_MOST = 1 << 27 };

static trib_status add_shard(struct hf_folder *folder, const char *name, trib_error *error)
{
    char *path = hf_path(folder->path, name);
    struct safetensors **grown = realloc(folder->shards, (folder->shard_count + 1) * sizeof *grown);
    if (grown)
        folder->shards = grown;
    trib_status status = path && grown ? safetensors_open(&grown[folder->shard_count], path, error)
                                       : error_no_memory(error, name, sizeof *grown);
    if (status == TRIB_OK)
        folder->shard_count++;
    free(path);
    return status;
}

/* The shard of this name, opened when it is named first; NULL after a failure. */
static const struct safetensors *find_shard(struct hf_folder *folder, const char **names,
                                            const char *name, trib_error *error)
{
    for (size_t i = folder->shard_count; i-- > 0;)
        if (strcmp(names[i], name) == 0)
            return folder->shards[i];
    names[folder->shard_count] = name;
    if (add_shard(folder, name, error) != TRIB_OK)
        return NULL;
    return folder->shards[folder->shard_count - 1];
}

static trib_status read_index(struct hf_folder *folder, const struct json_file *index,
                              trib_error *error)
{
    const json_t *map = NULL, *value;
    struct slice tensor;
    void *at = NULL;
    size_t tensors = 0;
    trib_status status = json_get_object(index, index->root, "weight_map", &map, error);
    if (status != TRIB_OK)
        return status;
    if (!map)
        return error_set(error, TRIB_FORMAT, "%s: weight_map: expected an object, found nothing",
                         index->name);
    const char **names = calloc(json_object_size(map) + 1, sizeof *names);
    if (!names)
        return error_no_memory(error, index->name, json_object_size(map) * sizeof *names);
    while (json_next(map, &at, &tensor, &value)) {
        const char *name = json_string_value(value);
        if (!name || !*name || strchr(name, '/') || strcmp(name, "..") == 0) {
            status = error_set(error, TRIB_FORMAT,
                               "%s: weight_map: %s: expected the name of a file beside it, found "
                               "%.60s",
                               index->name, safetensors_show(tensor).text,
                               name ? safetensors_show(slice_of(name)).text : json_kind(value));
            break;
        }
        const struct safetensors *shard = find_shard(folder, names, name, error);
        if (!shard)
            status = error ? error->status : TRIB_IO;
        else if (!safetensors_has(shard, tensor))
            status =
                error_set(error, TRIB_FORMAT, "%s: weight_map: %.60s has no tensor %s", index->name,
                          safetensors_show(slice_of(name)).text, safetensors_show(tensor).text);
        if (status != TRIB_OK)
            break;
    }
    free(names);
    for (size_t i = 0; i < folder->shard_count; i++)
        tensors += folder->shards[i]->count;
    if (status == TRIB_OK && tensors != json_object_size(map))
        status = error_set(error, TRIB_FORMAT,
                           "%s: weight_map: expected all %zu tensors of the shards, found %zu",
                           index->name, tensors, json_object_size(map));
    return status;
}

trib_status hf_shards_open(struct hf_folder *folder, trib_error *error)
{
    static const char *const single = "model.safetensors";
    struct json_file index;
    struct stat info;
    char *path = hf_path(folder->path, single);
    char *index_path = hf_path(folder->path, "model.safetensors.index.json");
    trib_status status = TRIB_OK;
    if (!path || !index_path)
        status = error_no_memory(error, single, strlen(folder->path));
    else if (stat(path, &info) == 0)
        status = add_shard(folder, single, error);
    else if (stat(index_path, &info) != 0)
        status = error_set(error, TRIB_IO, "%s: expected %s or %s.index.json, found neither",
                           folder->path, single, single);
    else if ((status = json_file_open(&index, index_path, JSON_OBJECT, INDEX_MOST, true, error)) ==
             TRIB_OK) {
        status = read_index(folder, &index, error);
        json_file_close(&index);
    }
    free(path);
    free(index_path);
    return status;
}
