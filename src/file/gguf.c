/* Reading a GGUF file: its header, lookup by hash, opening and closing. Metadata is read in
 * gguf_values.c, the tensor table in gguf_tensors.c; a model in several files is put together in
 * gguf_split.c.
 *
 *     "GGUF" version:u32 tensors:u64 values:u64
 *     values:   key:string type:u32 value
 *     tensors:  name:string dims:u32 shape:u64[dims] type:u32 offset:u64
 *     padding to the alignment, then the tensors' data; offsets count from there
 *     string:   length:u64 bytes;  array: type:u32 count:u64 elements
 *
 * Invariant: nothing is believed. Every count is held against the bytes that are left before memory
 * is allocated by it, every sum and product is checked for overflow, and reading is linear in the
 * size of the file.
 */
#include "file/gguf_reader.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "file/gguf_split.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF values are read as they lie in the file, which is little-endian"
#endif

enum { NAME_MOST = 120 }; /* bytes of the path in messages, its end: they say more than the path */

/* ---- Lookup ---- */

trib_status table_open(struct table *table, size_t count, trib_error *error)
{
    size_t slots = 8;
    while (slots < 2 * count)
        slots *= 2;
    table->mask = slots - 1;
    table->slots = calloc(slots, sizeof *table->slots);
    return table->slots ? TRIB_OK : error_no_memory(error, "an index", slots * sizeof(uint32_t));
}

/* The slot of a name: free, or holding a position whose name is equal. `names` is the first name of
 * an array with `stride` bytes from one to the next. */
static uint32_t *table_slot(const struct table *table, struct slice name, const struct slice *names,
                            size_t stride)
{
    size_t i = (size_t)XXH3_64bits(name.bytes, name.length) & table->mask;
    while (table->slots[i]) {
        const char *other = (const char *)names + (table->slots[i] - 1) * stride;
        if (slice_equal(*(const struct slice *)(const void *)other, name))
            break;
        i = (i + 1) & table->mask;
    }
    return &table->slots[i];
}

uint32_t *value_slot(const struct gguf_index *index, struct slice key)
{
    return table_slot(&index->by_key, key, &index->values->key, sizeof *index->values);
}

uint32_t *tensor_slot(const struct gguf_index *index, struct slice name)
{
    return table_slot(&index->by_name, name, &index->tensors->name, sizeof *index->tensors);
}

const struct gguf_value *gguf_find(const struct gguf *file, const char *key)
{
    uint32_t at = file->value_count ? *value_slot(file->index, slice_of(key)) : 0;
    return at ? &file->values[at - 1] : NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *file, const char *name)
{
    uint32_t at = file->tensor_count ? *tensor_slot(file->index, slice_of(name)) : 0;
    return at ? &file->tensors[at - 1] : NULL;
}

/* ---- The file ---- */

static trib_status read_version(struct reader *r)
{
    char magic[4] = {0};
    trib_status status = read_bytes(r, "the header", magic, sizeof magic);
    if (status != TRIB_OK || memcmp(magic, "GGUF", 4) != 0) {
        struct slice start = {(const char *)r->start, left(r) + (size_t)(r->at - r->start)};
        start.length = start.length < 4 ? start.length : 4;
        return error_set(r->error, TRIB_FORMAT,
                         "%s: not a GGUF file: expected it to begin with 'GGUF', found '%s'",
                         r->file->name, show(start).text);
    }
    status = read_bytes(r, "the version", &r->file->version, sizeof r->file->version);
    if (status != TRIB_OK)
        return status;
    if (r->file->version == 0x02000000 || r->file->version == 0x03000000)
        return error_set(r->error, TRIB_UNSUPPORTED,
                         "%s: a big-endian GGUF file; only little-endian ones can be read",
                         r->file->name);
    if (r->file->version != 2 && r->file->version != 3)
        return error_set(r->error, TRIB_UNSUPPORTED, "%s: GGUF version: expected 2 or 3, found %u",
                         r->file->name, r->file->version);
    return TRIB_OK;
}

static trib_status read_file(struct reader *r)
{
    uint64_t tensors = 0, values = 0;
    trib_status status = read_version(r);
    if (status == TRIB_OK)
        status = read_bytes(r, "the tensor count", &tensors, sizeof tensors);
    if (status == TRIB_OK)
        status = read_bytes(r, "the metadata count", &values, sizeof values);
    if (status != TRIB_OK)
        return status;
    if (tensors > left(r) / TENSOR_LEAST || tensors > UINT32_MAX / 4)
        return error_set(
            r->error, TRIB_FORMAT,
            "%s: tensor count: expected at most %zu, what the file has room for, found "
            "%llu",
            r->file->name, left(r) / TENSOR_LEAST, (unsigned long long)tensors);
    status = read_values(r, values);
    return status == TRIB_OK ? read_tensors(r, tensors) : status;
}

struct gguf *gguf_allocate(const char *name)
{
    struct gguf *file = calloc(1, sizeof *file);
    struct gguf_index *index = calloc(1, sizeof *index);
    size_t length = strlen(name), cut = length > NAME_MOST ? length - NAME_MOST : 0;
    char *copy = strdup(name + cut);
    if (!file || !index || !copy) {
        free(file);
        free(index);
        free(copy);
        return NULL;
    }
    if (cut)
        memcpy(copy, "...", 3);
    file->index = index;
    file->name = index->name = copy;
    return file;
}

trib_status gguf_parse(struct gguf **out, const void *bytes, size_t size, const char *name,
                       trib_error *error)
{
    *out = NULL;
    struct gguf *file = gguf_allocate(name);
    if (!file)
        return error_no_memory(error, name, sizeof *file);
    file->size = size;
    struct reader r = {file, bytes, bytes, (const uint8_t *)bytes + size, error};
    trib_status status = read_file(&r);
    if (status != TRIB_OK)
        gguf_close(file);
    else
        *out = file;
    return status;
}

trib_status gguf_open_one(struct gguf **out, const char *path, trib_error *error)
{
    struct file_map map;
    *out = NULL;
    trib_status status = file_map_open(&map, path, error);
    if (status != TRIB_OK)
        return status;
    status = gguf_parse(out, map.bytes, map.size, path, error);
    if (status != TRIB_OK)
        file_map_close(&map);
    else
        (*out)->index->map = map;
    return status;
}

/* Map i of those that a file's own data lies in; NULL behind the last. */
static const struct file_map *map_at(const struct gguf_index *index, size_t i)
{
    return i == 0 ? &index->map : i <= index->map_count ? index->maps[i - 1] : NULL;
}

void gguf_release(const struct gguf *file, const struct gguf_tensor *tensor)
{
    const struct gguf_index *index = file->index;
    const struct file_map *map;
    for (size_t i = 0; (map = map_at(index, i)); i++)
        if (map->bytes && tensor->data >= map->bytes && tensor->data < map->bytes + map->size)
            file_map_release(map, tensor->data, tensor->bytes);
    for (size_t i = 0; i < index->part_count; i++)
        gguf_release(index->parts[i], tensor);
}

trib_status gguf_open(struct gguf **out, const char *path, trib_error *error)
{
    struct gguf *file;
    *out = NULL;
    trib_status status = gguf_open_one(&file, path, error);
    if (status == TRIB_OK && gguf_find(file, "split.count"))
        status = gguf_join(&file, path, error);
    if (status == TRIB_OK)
        *out = file;
    return status;
}

bool gguf_reads(const struct gguf *file, const char *path)
{
    const struct gguf_index *index = file->index;
    const struct file_map *map;
    struct stat info;
    bool exists = stat(path, &info) == 0;
    for (size_t i = 0; exists && (map = map_at(index, i)); i++)
        if (map->bytes && info.st_dev == map->device && info.st_ino == map->inode)
            return true;
    for (size_t i = 0; i < index->part_count; i++)
        if (gguf_reads(index->parts[i], path))
            return true;
    return false;
}

trib_status gguf_assemble(struct gguf **out, const struct gguf_pieces *pieces, const char *name,
                          trib_error *error)
{
    struct gguf *file;
    size_t count = pieces->tensor_count;
    trib_status status = gguf_parse(out, pieces->bytes, pieces->size, name, error);
    if (status != TRIB_OK)
        return status;
    file = *out;
    assert(file->tensor_count == 0);
    struct gguf_index *index = file->index;
    free(index->by_name.slots);
    index->by_name.slots = NULL;
    struct gguf_tensor *copy = realloc(index->tensors, (count + 1) * sizeof *copy);
    if (!copy)
        status = error_no_memory(error, "the tensors", count * sizeof *copy);
    else
        file->tensors = index->tensors = copy;
    if (status == TRIB_OK)
        status = table_open(&index->by_name, count, error);
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        copy[i] = pieces->tensors[i];
        uint32_t *slot = tensor_slot(index, copy[i].name);
        if (*slot)
            status = error_set(error, TRIB_FORMAT, "%s: tensor %s stands twice", file->name,
                               show(copy[i].name).text);
        *slot = (uint32_t)i + 1;
        file->tensor_count = i + 1;
        file->size += copy[i].bytes;
    }
    if (status != TRIB_OK) {
        gguf_close(file);
        *out = NULL;
        return status;
    }
    file->version = 0;
    file->note = pieces->note;
    index->maps = pieces->maps;
    index->map_count = pieces->map_count;
    index->owner = pieces->owner;
    index->release = pieces->release;
    return TRIB_OK;
}

void gguf_close(struct gguf *file)
{
    if (!file)
        return;
    struct gguf_index *index = file->index;
    for (size_t i = 0; i < index->part_count; i++)
        gguf_close(index->parts[i]);
    if (index->part_count == 0) { /* else the parts' own */
        free(index->by_key.slots);
        free(index->values);
    }
    file_map_close(&index->map);
    free(index->parts);
    free(index->by_name.slots);
    free(index->tensors);
    free(index->name);
    if (index->release)
        index->release(index->owner);
    free(index);
    free(file);
}
