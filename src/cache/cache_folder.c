/* The public face of folders of segments (tributary/cache.h). */
#include "tributary/cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"
#include "cache/segment_folder.h"
#include "file/fingerprint.h"

static const int64_t second = 1000000000;

/* Names from files must not reach a terminal as they are. */
static void take_name(char *out, const char *name, bool lower)
{
    for (; *name; name++, out++) {
        char c = *name < 32 || *name > 126 ? '?' : *name;
        *out = lower && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    *out = 0;
}

static void describe(trib_cache_file *file, const char *folder)
{
    struct file_map map;
    struct segment segment;
    struct fingerprint model;
    if (segment_folder_open(&map, &segment, folder, file->name, false, &file->wrong) != TRIB_OK)
        return;
    const struct segment_origin *origin = &segment.origin;
    const struct dtype_info *type = dtype_info(origin->type);
    static_assert(sizeof model == sizeof origin->model, "all of it");
    static_assert(sizeof file->model == FINGERPRINT_TEXT, "its digits fit");
    memcpy(&model, origin->model, sizeof model);
    fingerprint_print(file->model, &model);
    take_name(file->kernels, origin->kernels, false);
    take_name(file->program, origin->program, false);
    take_name(file->kv_type, type ? type->name : "?", true);
    file->layers = origin->layers;
    file->kv_heads = origin->kv_heads;
    file->head_dim = origin->head_dim;
    file->before = (uint64_t)segment.first * TRIB_CHUNK;
    file->tokens = (uint64_t)segment.count * TRIB_CHUNK;
    file_map_close(&map);
}

trib_status trib_cache_list_open(trib_cache_list *list, const char *folder, trib_error *error)
{
    struct segment_list found;
    *list = (trib_cache_list){0};
    trib_status status = segment_folder_list(&found, folder, error);
    if (status != TRIB_OK)
        return status;
    list->files = calloc(found.count + 1, sizeof *list->files);
    if (!list->files)
        status = error_no_memory(error, folder, found.count * sizeof *list->files);
    for (size_t i = 0; i < found.count && status == TRIB_OK; i++) {
        const struct segment_entry *entry = &found.entries[i];
        trib_cache_file *file = &list->files[list->count];
        *file = (trib_cache_file){.bytes = entry->bytes, .used = entry->used / second};
        static_assert(sizeof file->name >= sizeof entry->name, "names fit");
        memcpy(file->name, entry->name, sizeof entry->name);
        describe(file, folder);
        if (file->wrong.status == TRIB_IO && segment_folder_used(folder, file->name) < 0)
            continue; /* it vanished meanwhile */
        list->bytes += file->bytes;
        list->count++;
    }
    list->part_bytes = found.part_bytes;
    segment_list_free(&found);
    return status;
}

void trib_cache_list_free(trib_cache_list *list)
{
    free(list->files);
    *list = (trib_cache_list){0};
}

trib_status trib_cache_verify(const char *folder, const char *name, trib_error *error)
{
    struct file_map map;
    struct segment segment;
    trib_status status = segment_folder_open(&map, &segment, folder, name, true, error);
    file_map_close(&map);
    return status == TRIB_IO && segment_folder_used(folder, name) < 0 ? TRIB_OK : status;
}

trib_cache_prune_options trib_cache_prune_options_default(void)
{
    return (trib_cache_prune_options){.bytes = UINT64_MAX};
}

trib_status trib_cache_prune(const char *folder, const trib_cache_prune_options *options,
                             trib_cache_pruned *pruned, trib_error *error)
{
    struct segment_pruned done;
    struct segment_prune prune = {.budget = options->bytes,
                                  .broken = options->damaged,
                                  .stray_seconds = SEGMENT_STRAY_SECONDS};
    int64_t now = segment_folder_now();
    if (options->unused_seconds && options->unused_seconds < (uint64_t)(now / second))
        prune.oldest = now - (int64_t)options->unused_seconds * second;
    trib_status status = segment_folder_prune(folder, &prune, &done, error);
    *pruned = (trib_cache_pruned){done.files, done.bytes, done.left};
    return status;
}
