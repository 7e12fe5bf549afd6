/* Quantising a model's file (tributary/quantize.h): tensor by tensor, while the new file is
 * written, so that memory holds a piece of one tensor and no more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/file_job.h"
#include "engine/model_file.h"
#include "file/gguf_write.h"
#include "model/mix.h"
#include "tributary/quantize.h"

enum { NAME_SHOWN = 64 };

trib_quantize_options trib_quantize_options_default(void)
{
    return (trib_quantize_options){.type = "q4_k_m"};
}

const char *trib_file_type(size_t i)
{
    const struct file_type *type = file_type_at(i);
    return type ? type->name : NULL;
}

const char *trib_file_type_find(const char *name)
{
    const struct file_type *type = file_type_find(name);
    return type ? type->name : NULL;
}

/* What all tensors share. */
struct job {
    struct file_job common;
    trib_quantize_options options;
    trib_quantize_report report;
    uint64_t done; /* elements */
};

struct tensor_job {
    struct job *job;
    const struct gguf_tensor *tensor;
    enum dtype type;
    char *name;
};

static trib_status source(void *context, uint64_t first, size_t count, void *out, trib_error *error)
{
    struct tensor_job *t = context;
    struct job *job = t->job;
    trib_status status =
        file_job_elements(&job->common, t->tensor, t->type, first, count, out, error);
    job->done += count;
    if (status == TRIB_OK && job->options.progress &&
        !job->options.progress(job->options.progress_context, job->done, job->report.elements))
        return error_set(error, TRIB_STOPPED, "%s: stopped", job->common.file->name);
    return status;
}

/* A number of the architecture, `otherwise` where the file has none. */
static trib_status read_number(const struct gguf *file, struct slice architecture, const char *name,
                               uint32_t otherwise, size_t *out, trib_error *error)
{
    char key[96];
    uint32_t value = otherwise;
    bool found = false;
    trib_status status = TRIB_OK;
    snprintf(key, sizeof key, "%.*s.%s", architecture.length < 48 ? (int)architecture.length : 48,
             architecture.bytes, name);
    const struct gguf_value *v = gguf_find(file, key);
    if (v && v->type != GGUF_ARRAY) /* of numbers by layer none is taken */
        status = gguf_get_u32(file, key, &value, &found, error);
    *out = value;
    return status;
}

static trib_status read_mix_model(const struct gguf *file, struct mix_model *m, trib_error *error)
{
    struct slice architecture = {"", 0};
    size_t heads = 1, kv_heads = 1;
    trib_status status =
        gguf_get_string(file, "general.architecture", &architecture, &(bool){false}, error);
    if (status == TRIB_OK)
        status = read_number(file, architecture, "block_count", 0, &m->layers, error);
    if (status == TRIB_OK)
        status = read_number(file, architecture, "attention.head_count", 1, &heads, error);
    if (status == TRIB_OK)
        status = read_number(file, architecture, "attention.head_count_kv", (uint32_t)heads,
                             &kv_heads, error);
    if (status == TRIB_OK)
        status = read_number(file, architecture, "expert_count", 0, &m->experts, error);
    m->heads_per_kv_head = kv_heads > 0 ? heads / kv_heads : 1;
    m->tied = !gguf_find_tensor(file, "output.weight");
    return status;
}

/* Puts a tensor in the type it gets, and counts. */
static trib_status put_tensor(struct gguf_writer *writer, struct tensor_job *t,
                              const struct file_type *type, const struct mix_model *model,
                              trib_error *error)
{
    const struct gguf_tensor *tensor = t->tensor;
    trib_quantize_report *report = &t->job->report;
    struct mix_choice choice =
        mix_choose(type, model, tensor->name, tensor->dims, tensor->shape[0], tensor->type);
    t->type = choice.type;
    t->name = strndup(tensor->name.bytes, tensor->name.length);
    if (!t->name)
        return error_no_memory(error, "a tensor's name", tensor->name.length);
    if (strlen(t->name) != tensor->name.length)
        return error_set(error, TRIB_UNSUPPORTED, "%s: tensor %.*s: its name holds a zero byte",
                         t->job->common.file->name, NAME_SHOWN, t->name);
    gguf_put_tensor_from(writer, t->name, t->type, tensor->dims, tensor->shape, source, t);
    report->tensors++;
    report->elements += tensor->elements;
    report->bytes_before += tensor->bytes;
    report->bytes_after += dtype_size(t->type, (size_t)tensor->elements);
    report->fallbacks += choice.fallback;
    report->quantised_before += dtype_info(tensor->type)->block > 1 && t->type != tensor->type;
    return TRIB_OK;
}

static trib_status write_quantised(struct job *job, const char *out, const struct file_type *type,
                                   trib_error *error)
{
    const struct gguf *file = job->common.file;
    struct mix_model model = {.pure = job->options.pure};
    struct tensor_job *tensors = calloc(file->tensor_count + 1, sizeof *tensors);
    struct gguf_writer *writer = gguf_writer_open();
    trib_status status = TRIB_OK;
    if (!tensors)
        status = error_no_memory(error, "the tensors", file->tensor_count * sizeof *tensors);
    if (status == TRIB_OK)
        status = read_mix_model(file, &model, error);
    if (status == TRIB_OK)
        file_job_put_values(writer, file, &type->number);
    for (size_t i = 0; i < file->tensor_count && status == TRIB_OK; i++) {
        tensors[i] = (struct tensor_job){.job = job, .tensor = &file->tensors[i]};
        status = put_tensor(writer, &tensors[i], type, &model, error);
    }
    if (status == TRIB_OK)
        status = gguf_writer_save(writer, out, error);
    gguf_writer_close(writer);
    for (size_t i = 0; tensors && i < file->tensor_count; i++)
        free(tensors[i].name);
    free(tensors);
    return status;
}

trib_status trib_quantize(const char *in, const char *out, const trib_quantize_options *options,
                          trib_quantize_report *report, trib_error *error)
{
    struct job job = {.common = {.kernels = kernels_best()}};
    struct gguf *file;
    job.options = options ? *options : trib_quantize_options_default();
    const struct file_type *type = file_type_find(job.options.type);
    if (!type)
        return error_set(error, TRIB_INVALID, "\"%.40s\" is no file type", job.options.type);
    trib_status status = job_threads(&job.options.threads, error);
    if (status == TRIB_OK)
        status = model_file_open(&file, in, error);
    if (status != TRIB_OK)
        return status;
    job.common.file = file;
    job.common.threads = job.options.threads;
    if (gguf_reads(file, out)) /* there would be nothing to go back to */
        status = error_set(error, TRIB_INVALID,
                           "%s: expected another file than the one that is read", out);
    else
        status = write_quantised(&job, out, type, error);
    if (status == TRIB_OK && report)
        *report = job.report;
    file_job_close(&job.common);
    gguf_close(file);
    return status;
}
