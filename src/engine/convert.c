/* Writing a model as GGUF with weights of another type (tributary/model.h).
 *
 * As llama.cpp's converter has it: what has one dimension stays float32, and so do the positions
 * and token types of an embedding; a row that is no multiple of a block of Q8_0 becomes F16. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/file_job.h"
#include "engine/model_file.h"
#include "file/gguf_write.h"

/* What saving carries along. */
struct conversion {
    struct file_job common;
    trib_convert_progress *progress;
    void *context;
    uint64_t done, total; /* bytes read */
};

/* A tensor on its way. */
struct source {
    const struct gguf_tensor *tensor;
    struct conversion *conversion;
    enum dtype type; /* to be */
};

/* Types by name, with the number that general.file_type has for a file of them. */
static const struct {
    const char *name;
    enum dtype type;
    uint32_t file_type;
} types[] = {{"f32", DTYPE_F32, 0},
             {"f16", DTYPE_F16, 1},
             {"bf16", DTYPE_BF16, 32},
             {"q8_0", DTYPE_Q8_0, 7}};

static const char *const single[] = {"position_embd.weight", "token_types.weight"};

static trib_status give(void *context, uint64_t first, size_t count, void *out, trib_error *error)
{
    struct source *s = context;
    struct conversion *c = s->conversion;
    trib_status status =
        file_job_elements(&c->common, s->tensor, s->type, first, count, out, error);
    c->done += dtype_size(s->tensor->type, count);
    if (status == TRIB_OK && c->progress && !c->progress(c->context, c->done, c->total))
        return error_set(error, TRIB_STOPPED, "%s: stopped", c->common.file->name);
    return status;
}

static enum dtype choose_type(const struct gguf_tensor *t, enum dtype wanted)
{
    if (t->dims == 1)
        return DTYPE_F32;
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
        if (slice_is(t->name, single[i]))
            return DTYPE_F32;
    return t->shape[0] % dtype_info(wanted)->block != 0 ? DTYPE_F16 : wanted;
}

static trib_status put_tensors(struct gguf_writer *writer, const struct gguf *file, bool keep,
                               enum dtype wanted, struct source *sources,
                               struct conversion *conversion, trib_error *error)
{
    for (size_t i = 0; i < file->tensor_count; i++) {
        const struct gguf_tensor *t = &file->tensors[i];
        char name[128];
        enum dtype type = keep ? t->type : choose_type(t, wanted);
        if (t->name.length >= sizeof name)
            return error_set(error, TRIB_UNSUPPORTED,
                             "%s: a tensor's name has %zu bytes, expected at most %zu", file->name,
                             t->name.length, sizeof name - 1);
        memcpy(name, t->name.bytes, t->name.length);
        name[t->name.length] = 0;
        conversion->total += t->bytes;
        sources[i] = (struct source){.tensor = t, .conversion = conversion, .type = type};
        gguf_put_tensor_from(writer, name, type, t->dims, t->shape, give, &sources[i]);
    }
    return TRIB_OK;
}

trib_status trib_model_convert(const trib_model *model, const char *path, const char *type,
                               trib_convert_progress *progress, void *context, trib_error *error)
{
    static const size_t count = sizeof types / sizeof types[0];
    const struct gguf *file = model->file;
    struct conversion conversion = {.common = {.file = file, .kernels = kernels_best()},
                                    .progress = progress,
                                    .context = context};
    size_t chosen = count;
    for (size_t i = 0; i < count && type; i++)
        if (strcmp(types[i].name, type) == 0)
            chosen = i;
    if (type && chosen == count)
        return error_set(error, TRIB_INVALID, "type: expected f32, f16, bf16 or q8_0, found %.40s",
                         type);
    struct source *sources = calloc(file->tensor_count + 1, sizeof *sources);
    struct gguf_writer *writer = gguf_writer_open();
    if (!sources) {
        gguf_writer_close(writer);
        return error_no_memory(error, path, file->tensor_count * sizeof *sources);
    }
    file_job_put_values(writer, file, type ? &types[chosen].file_type : NULL);
    trib_status status = job_threads(&conversion.common.threads, error);
    if (status == TRIB_OK)
        status = put_tensors(writer, file, !type, type ? types[chosen].type : DTYPE_F32, sources,
                             &conversion, error);
    if (status == TRIB_OK)
        status = gguf_writer_save(writer, path, error);
    file_job_close(&conversion.common);
    free(sources);
    gguf_writer_close(writer);
    return status;
}
