/* What the functions that write model files share: threads, metadata carried over, and the elements
 * of tensors in another type. */
#ifndef ENGINE_FILE_JOB_H
#define ENGINE_FILE_JOB_H

#include "file/gguf.h"
#include "file/gguf_write.h"
#include "kernel/kernel.h"

/* ggml's count of changes to the block types' layouts: general.quantization_version. */
enum { QUANTISATION_VERSION = 2 };

/* A model that is read, and what its elements pass through. */
struct file_job {
    const struct gguf *file;
    const struct kernels *kernels;
    int threads;
    float *floats;    /* [room] of a piece, grown as needed */
    uint8_t *ordered; /* the same of plain elements, where they do not lie in order */
    size_t room;
};

/* Fills in a number of threads that is 0, and refuses one that is out of range. */
trib_status job_threads(int *threads, trib_error *error);

/* Puts the metadata of `file`, which may have been one of several. With `file_type`, that and the
 * version of quantisation are new; NULL: as they are. */
void file_job_put_values(struct gguf_writer *writer, const struct gguf *file,
                         const uint32_t *file_type);

/* Elements `first` to `first` + `count` of a tensor as `type`, both whole blocks of its own type
 * and that one. TRIB_INVALID names a weight that the type has no room for; F32 and BF16 have for
 * all. */
trib_status file_job_elements(struct file_job *job, const struct gguf_tensor *tensor,
                              enum dtype type, uint64_t first, size_t count, void *out,
                              trib_error *error);

/* Frees what elements passed through, not the file. */
void file_job_close(struct file_job *job);

#endif
