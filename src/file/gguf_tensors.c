/* Reading the tensor table of a GGUF file; the format stands above gguf.c. */
#include "file/gguf_reader.h"

#include <stdlib.h>

#include "base/size.h"

#define DTYPE_NAME(name, number, text, block, bytes) " " text
#define DTYPE_NAMES                                  DTYPE_LIST(DTYPE_NAME)

/* What a type is called that others write and this build cannot read. */
static const char *foreign_name(uint32_t type)
{
    static const char *const names[] = {
        [9] = "Q8_1",   [15] = "Q8_K",  [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS",
        [19] = "IQ1_S", [21] = "IQ3_S", [22] = "IQ2_S",   [24] = "I8",     [25] = "I16",
        [26] = "I32",   [27] = "I64",   [28] = "F64",     [29] = "IQ1_M",  [34] = "TQ1_0",
        [35] = "TQ2_0", [39] = "MXFP4",
    };
    const char *name = type < sizeof names / sizeof names[0] ? names[type] : NULL;
    return name ? name : "an unknown one";
}

/* Elements and bytes of a shape, refusing what does not fit. */
static trib_status measure(const struct reader *r, struct gguf_tensor *t, uint32_t type)
{
    const struct dtype_info *info = dtype_info(type);
    uint64_t bytes;
    if (!info)
        return error_set(r->error, TRIB_UNSUPPORTED,
                         "%s: tensor %s: type: found %s (number %u), expected one of" DTYPE_NAMES,
                         r->file->name, show(t->name).text, foreign_name(type), type);
    t->type = (enum dtype)type;
    t->elements = 1;
    for (uint32_t d = 0; d < t->dims; d++) {
        if (t->shape[d] == 0)
            return error_set(r->error, TRIB_FORMAT,
                             "%s: tensor %s: dimension %u: expected 1 or more, found 0",
                             r->file->name, show(t->name).text, d);
        if (!size_mul(t->elements, t->shape[d], &t->elements))
            return error_set(r->error, TRIB_FORMAT,
                             "%s: tensor %s: the product of its dimensions is too large",
                             r->file->name, show(t->name).text);
    }
    if (t->shape[0] % info->block != 0)
        return error_set(
            r->error, TRIB_FORMAT,
            "%s: tensor %s: rows of %s: expected a multiple of %u elements, found %llu",
            r->file->name, show(t->name).text, info->name, info->block,
            (unsigned long long)t->shape[0]);
    if (!size_mul(t->elements / info->block, info->bytes, &bytes))
        return error_set(r->error, TRIB_FORMAT, "%s: tensor %s: its size is too large",
                         r->file->name, show(t->name).text);
    t->bytes = bytes;
    return TRIB_OK;
}

/* Reads one entry; its offset goes to *offset until the start of the data is known. */
static trib_status read_tensor(struct reader *r, struct gguf_tensor *t, uint64_t *offset)
{
    uint32_t type = 0;
    trib_status status = read_name(r, "a tensor's name", &t->name);
    if (status == TRIB_OK)
        status = read_bytes(r, "a tensor's dimensions", &t->dims, sizeof t->dims);
    if (status != TRIB_OK)
        return status;
    if (t->dims < 1 || t->dims > GGUF_MAX_DIMS)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: tensor %s: expected 1 to %d dimensions, found %u", r->file->name,
                         show(t->name).text, GGUF_MAX_DIMS, t->dims);
    for (uint32_t d = 0; d < GGUF_MAX_DIMS; d++)
        t->shape[d] = 1;
    status = read_bytes(r, "a tensor's shape", t->shape, t->dims * sizeof t->shape[0]);
    if (status == TRIB_OK)
        status = read_bytes(r, "a tensor's type", &type, sizeof type);
    if (status == TRIB_OK)
        status = read_bytes(r, "a tensor's offset", offset, sizeof *offset);
    return status == TRIB_OK ? measure(r, t, type) : status;
}

static trib_status read_alignment(const struct reader *r, uint64_t *out)
{
    const struct gguf_value *v = gguf_find(r->file, "general.alignment");
    uint32_t alignment = GGUF_ALIGNMENT;
    if (v && v->type != GGUF_U32)
        return error_set(r->error, TRIB_FORMAT, "%s: general.alignment: expected u32, found %s",
                         r->file->name, gguf_type_name(v->type));
    if (v)
        memcpy(&alignment, v->data, sizeof alignment);
    if (alignment == 0 || alignment > GGUF_ALIGNMENT_MOST || (alignment & (alignment - 1)) != 0)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: general.alignment: expected a power of two up to %d, found %u",
                         r->file->name, GGUF_ALIGNMENT_MOST, alignment);
    *out = alignment;
    return TRIB_OK;
}

/* Points every tensor at its data, which must lie whole in the file. */
static trib_status place(const struct reader *r, const uint64_t *offsets)
{
    struct gguf *file = r->file;
    uint64_t alignment = 0, start;
    trib_status status = read_alignment(r, &alignment);
    if (status != TRIB_OK || file->tensor_count == 0)
        return status;
    if (!size_align((uint64_t)(r->at - r->start), alignment, &start) || start > file->size)
        return error_set(r->error, TRIB_FORMAT,
                         "%s: expected tensor data, found the end of the file", file->name);
    for (size_t i = 0; i < file->tensor_count; i++) {
        struct gguf_tensor *t = &file->index->tensors[i];
        uint64_t room = file->size - start;
        if (offsets[i] % alignment != 0)
            return error_set(r->error, TRIB_FORMAT,
                             "%s: tensor %s: offset: expected a multiple of %llu, found %llu",
                             file->name, show(t->name).text, (unsigned long long)alignment,
                             (unsigned long long)offsets[i]);
        if (offsets[i] > room || t->bytes > room - offsets[i])
            return error_set(
                r->error, TRIB_FORMAT,
                "%s: tensor %s: expected %llu bytes at %llu of the data, found %llu in "
                "all",
                file->name, show(t->name).text, (unsigned long long)t->bytes,
                (unsigned long long)offsets[i], (unsigned long long)room);
        t->data = r->start + start + offsets[i];
    }
    return TRIB_OK;
}

static int by_data(const void *a, const void *b)
{
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a;
    const struct gguf_tensor *y = *(const struct gguf_tensor *const *)b;
    return (x->data > y->data) - (x->data < y->data);
}

static trib_status refuse_overlap(const struct reader *r)
{
    const struct gguf *file = r->file;
    const struct gguf_tensor **order = malloc((file->tensor_count + 1) * sizeof *order);
    trib_status status = TRIB_OK;
    if (!order)
        return error_no_memory(r->error, "the tensors", file->tensor_count * sizeof *order);
    for (size_t i = 0; i < file->tensor_count; i++)
        order[i] = &file->tensors[i];
    qsort(order, file->tensor_count, sizeof *order, by_data);
    for (size_t i = 1; i < file->tensor_count && status == TRIB_OK; i++)
        if (order[i - 1]->data + order[i - 1]->bytes > order[i]->data)
            status = error_set(r->error, TRIB_FORMAT, "%s: tensors %s and %s overlap", file->name,
                               show(order[i - 1]->name).text, show(order[i]->name).text);
    free(order);
    return status;
}

static trib_status read_tensor_table(struct reader *r, uint64_t count, uint64_t *offsets)
{
    struct gguf_index *index = r->file->index;
    trib_status status = table_open(&index->by_name, (size_t)count, r->error);
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        status = read_tensor(r, &index->tensors[i], &offsets[i]);
        if (status != TRIB_OK)
            break;
        uint32_t *slot = tensor_slot(index, index->tensors[i].name);
        if (*slot)
            return error_set(r->error, TRIB_FORMAT, "%s: tensor %s stands twice", r->file->name,
                             show(index->tensors[i].name).text);
        *slot = (uint32_t)i + 1;
        r->file->tensor_count = i + 1;
    }
    return status;
}

trib_status read_tensors(struct reader *r, uint64_t count)
{
    struct gguf_index *index = r->file->index;
    index->tensors = calloc((size_t)count + 1, sizeof *index->tensors);
    uint64_t *offsets = calloc((size_t)count + 1, sizeof *offsets);
    r->file->tensors = index->tensors;
    trib_status status = TRIB_OK;
    if (!index->tensors || !offsets)
        status = error_no_memory(r->error, "the tensors", (size_t)count * sizeof *index->tensors);
    if (status == TRIB_OK)
        status = read_tensor_table(r, count, offsets);
    if (status == TRIB_OK)
        status = place(r, offsets);
    if (status == TRIB_OK)
        status = refuse_overlap(r);
    free(offsets);
    return status;
}
