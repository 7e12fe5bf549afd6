/* Tensors in another type, piece by piece, over threads. */
#include "engine/file_job.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "kernel/quantise.h"
#include "tributary/engine.h"

enum {
    NAME_SHOWN = 64,
    PIECE = 4096 /* elements that a thread unpacks at a time: whole blocks of every type */
};

trib_status job_threads(int *threads, trib_error *error)
{
    if (*threads == 0)
        *threads = omp_get_num_procs();
    if (*threads < 1 || *threads > TRIB_THREADS_MAX)
        return error_set(error, TRIB_INVALID, "threads: expected 1 to %d, found %d",
                         TRIB_THREADS_MAX, *threads);
    return TRIB_OK;
}

void file_job_put_values(struct gguf_writer *writer, const struct gguf *file,
                         const uint32_t *file_type)
{
    static const struct {
        const char *key;
        bool always;
    } left_out[] = {{"split.no", true},
                    {"split.count", true},
                    {"split.tensors.count", true},
                    {"general.file_type", false},
                    {"general.quantization_version", false}};
    for (size_t i = 0; i < file->value_count; i++) {
        bool put = true;
        for (size_t j = 0; j < sizeof left_out / sizeof *left_out; j++)
            if (slice_is(file->values[i].key, left_out[j].key))
                put = !left_out[j].always && !file_type;
        if (put)
            gguf_put_value(writer, &file->values[i]);
    }
    if (!file_type)
        return;
    gguf_put_u32(writer, "general.file_type", *file_type);
    gguf_put_u32(writer, "general.quantization_version", QUANTISATION_VERSION);
}

static trib_status make_room(struct file_job *job, size_t count, trib_error *error)
{
    if (count <= job->room)
        return TRIB_OK;
    file_job_close(job);
    job->floats = malloc(count * sizeof *job->floats);
    job->ordered = malloc(count * sizeof *job->floats);
    if (!job->floats || !job->ordered)
        return error_no_memory(error, "a tensor", 2 * count * sizeof *job->floats);
    job->room = count;
    return TRIB_OK;
}

trib_status file_job_elements(struct file_job *job, const struct gguf_tensor *tensor,
                              enum dtype type, uint64_t first, size_t count, void *out,
                              trib_error *error)
{
    enum dtype from = tensor->type;
    bool in_order = tensor->order == GGUF_IN_ORDER;
    size_t at;
    if (from == type) {
        gguf_copy(tensor, first, count, out);
        return TRIB_OK;
    }
    trib_status status = make_room(job, count, error);
    if (status != TRIB_OK)
        return status;
    const uint8_t *stored =
        in_order ? tensor->data + dtype_size(from, (size_t)first) : job->ordered;
    if (!in_order)
        gguf_copy(tensor, first, count, job->ordered);
#pragma omp parallel for schedule(static) num_threads(job->threads)
    for (size_t i = 0; i < count; i += PIECE)
        job->kernels->unpack(from, job->floats + i, stored + dtype_size(from, i),
                             count - i < PIECE ? count - i : PIECE);
    if (type != DTYPE_F32 && type != DTYPE_BF16 && !quantise_takes(job->floats, count, &at))
        return error_set(error, TRIB_INVALID,
                         "%s: tensor %.*s: element %llu: expected a number of at most %.0f in "
                         "size, found %g",
                         job->file->name,
                         tensor->name.length > NAME_SHOWN ? NAME_SHOWN : (int)tensor->name.length,
                         tensor->name.bytes, (unsigned long long)(first + at),
                         (double)QUANTISE_MOST, (double)job->floats[at]);
    quantise(job->kernels, type, out, job->floats, count, job->threads);
    return TRIB_OK;
}

void file_job_close(struct file_job *job)
{
    free(job->floats);
    free(job->ordered);
    job->floats = NULL;
    job->ordered = NULL;
    job->room = 0;
}
