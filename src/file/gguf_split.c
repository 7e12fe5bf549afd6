/* Putting the parts of a model together.
 *
 * Part i of N, from 1 on, is NAME-0000i-of-0000N.gguf with the metadata split.no = i - 1,
 * split.count = N and split.tensors.count, the tensors of all parts; the rest of the metadata is
 * the first part's. Invariant: what is joined is one model: every part is there once, says the same
 * of the whole, and no tensor is in two of them. Each part has been checked by itself before. */
#include "file/gguf_split.h"

#include <stdio.h>
#include <stdlib.h>

#include "file/gguf_reader.h"

enum {
    PARTS_MOST = 4096,
    ENDING_MOST = 40, /* bytes of "-00001-of-00002.gguf", whatever the numbers */
    NAME_SHOWN = 64,
};

/* What a part says of itself. */
struct place {
    uint32_t part, count, tensors; /* part from 0 on */
};

static trib_status read_place(const struct gguf *file, struct place *out, trib_error *error)
{
    trib_status status = gguf_get_u32(file, "split.no", &out->part, NULL, error);
    if (status == TRIB_OK)
        status = gguf_get_u32(file, "split.count", &out->count, NULL, error);
    if (status == TRIB_OK)
        status = gguf_get_u32(file, "split.tensors.count", &out->tensors, NULL, error);
    if (status == TRIB_OK && out->count > PARTS_MOST)
        return error_set(error, TRIB_UNSUPPORTED, "%s: split.count: expected at most %d, found %u",
                         file->name, PARTS_MOST, out->count);
    return status;
}

static void write_ending(char out[ENDING_MOST], uint32_t part, uint32_t count)
{
    snprintf(out, ENDING_MOST, "-%05u-of-%05u.gguf", part + 1, count);
}

/* Opens part `part` into *out, whose name is `stem` with its ending, and holds it against what the
 * part says that was opened first. */
static trib_status open_part(struct gguf **out, const char *stem, uint32_t part,
                             const struct place *whole, trib_error *error)
{
    char ending[ENDING_MOST];
    struct place found = {0};
    size_t bytes = strlen(stem) + ENDING_MOST;
    char *path = malloc(bytes);
    if (!path)
        return error_no_memory(error, stem, bytes);
    write_ending(ending, part, whole->count);
    snprintf(path, bytes, "%s%s", stem, ending);
    trib_status status = gguf_open_one(out, path, error);
    free(path);
    if (status != TRIB_OK)
        return status;
    const char *name = (*out)->name;
    status = read_place(*out, &found, error);
    if (status == TRIB_OK && found.part != part)
        status = error_set(error, TRIB_FORMAT, "%s: split.no: expected %u, found %u", name, part,
                           found.part);
    if (status == TRIB_OK && found.count != whole->count)
        status = error_set(error, TRIB_FORMAT, "%s: split.count: expected %u, found %u", name,
                           whole->count, found.count);
    if (status == TRIB_OK && found.tensors != whole->tensors)
        status = error_set(error, TRIB_FORMAT, "%s: split.tensors.count: expected %u, found %u",
                           name, whole->tensors, found.tensors);
    return status;
}

/* Fills the index of the whole with the tensors of part i. */
static trib_status take_tensors(struct gguf *whole, const struct gguf *part, trib_error *error)
{
    struct gguf_index *index = whole->index;
    for (size_t i = 0; i < part->tensor_count; i++) {
        struct slice name = part->tensors[i].name;
        uint32_t *slot = tensor_slot(index, name);
        if (*slot)
            return error_set(error, TRIB_FORMAT, "%s: tensor %.*s stands in a part before it, too",
                             part->name, name.length < NAME_SHOWN ? (int)name.length : NAME_SHOWN,
                             name.bytes);
        index->tensors[whole->tensor_count] = part->tensors[i];
        *slot = (uint32_t)++whole->tensor_count;
    }
    return TRIB_OK;
}

/* Makes the whole of all parts: metadata is the first part's own. */
static trib_status join_parts(struct gguf *whole, const struct place *place, trib_error *error)
{
    struct gguf_index *index = whole->index;
    const struct gguf *first = index->parts[0];
    size_t tensors = 0;
    for (size_t i = 0; i < index->part_count; i++) {
        tensors += index->parts[i]->tensor_count;
        whole->size += index->parts[i]->size;
    }
    if (tensors != place->tensors)
        return error_set(error, TRIB_FORMAT,
                         "%s: split.tensors.count: expected the %zu tensors that its parts have, "
                         "found %u",
                         whole->name, tensors, place->tensors);
    whole->version = first->version;
    whole->values = first->values;
    whole->value_count = first->value_count;
    index->values = first->index->values;
    index->by_key = first->index->by_key;
    index->tensors = calloc(tensors + 1, sizeof *index->tensors);
    if (!index->tensors)
        return error_no_memory(error, "the tensors", tensors * sizeof *index->tensors);
    whole->tensors = index->tensors;
    trib_status status = table_open(&index->by_name, tensors, error);
    for (size_t i = 0; i < index->part_count && status == TRIB_OK; i++)
        status = take_tensors(whole, index->parts[i], error);
    return status;
}

/* The path without the ending that its part must have; NULL where it has another. The caller frees
 * it. */
static trib_status cut_stem(const struct gguf *file, const char *path, const struct place *place,
                            char **stem, trib_error *error)
{
    char ending[ENDING_MOST];
    write_ending(ending, place->part, place->count);
    size_t length = strlen(path), cut = strlen(ending);
    *stem = NULL;
    if (length < cut || strcmp(path + length - cut, ending) != 0)
        return error_set(error, TRIB_FORMAT,
                         "%s: part %u of %u of a model: expected its name to end with %s",
                         file->name, place->part + 1, place->count, ending);
    *stem = strndup(path, length - cut);
    return *stem ? TRIB_OK : error_no_memory(error, path, length);
}

trib_status gguf_join(struct gguf **file, const char *path, trib_error *error)
{
    struct place place = {0};
    struct gguf *whole = NULL;
    char *stem = NULL;
    trib_status status = read_place(*file, &place, error);
    if (status == TRIB_OK && place.count < 2 && place.part == 0)
        return TRIB_OK;
    if (status == TRIB_OK && place.part >= place.count)
        status = error_set(error, TRIB_FORMAT, "%s: split.no: expected less than %u, found %u",
                           (*file)->name, place.count, place.part);
    if (status == TRIB_OK)
        status = cut_stem(*file, path, &place, &stem, error);
    if (status != TRIB_OK)
        goto done;
    whole = gguf_allocate(path);
    if (whole)
        whole->index->parts = calloc(place.count, sizeof *whole->index->parts);
    if (!whole || !whole->index->parts) {
        status = error_no_memory(error, path, place.count * sizeof *whole->index->parts);
        goto done;
    }
    for (uint32_t i = 0; i < place.count && status == TRIB_OK; i++) {
        status = open_part(&whole->index->parts[i], stem, i, &place, error);
        whole->index->part_count = i + 1; /* what failed to open is NULL */
    }
    if (status == TRIB_OK)
        status = join_parts(whole, &place, error);
done:
    free(stem);
    gguf_close(*file);
    if (status != TRIB_OK) {
        gguf_close(whole);
        whole = NULL;
    }
    *file = whole;
    return status;
}
