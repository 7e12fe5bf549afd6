/* Writing a model as GGUF with weights of another type (tributary/model.h).
 *
 * As llama.cpp's converter has it: what has one dimension stays float32, and so do the positions
 * and token types of an embedding; a row that is no multiple of a block of Q8_0 becomes F16. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "engine/model_file.h"
#include "file/gguf_write.h"
#include "kernel/ref/ref.h"

enum { Q8_0_BLOCK = 32, Q8_0_BYTES = 34 };

/* What saving carries along. */
struct conversion {
    trib_convert_progress *progress;
    void *context;
    uint64_t done, total; /* bytes read */
};

/* A tensor on its way. */
struct source {
    const struct gguf_tensor *tensor;
    struct conversion *conversion;
    enum dtype type; /* to be */
    float *numbers;  /* of one call, grown as needed */
    size_t capacity;
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

/* A block: the largest number over 127 as an f16 scale, then each number over the scale, rounded.
 */
static void pack_q8_0(uint8_t *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i += Q8_0_BLOCK, out += Q8_0_BYTES) {
        float most = 0;
        for (size_t j = 0; j < Q8_0_BLOCK; j++)
            most = fabsf(in[i + j]) > most ? fabsf(in[i + j]) : most;
        float scale = most / 127, inverse = scale > 0 ? 1 / scale : 0;
        uint16_t half = f16_from_float(scale);
        memcpy(out, &half, sizeof half);
        for (size_t j = 0; j < Q8_0_BLOCK; j++) {
            float q = roundf(in[i + j] * inverse);
            out[2 + j] = (uint8_t)(int8_t)(q >= -127 && q <= 127 ? q : 0); /* NaN: 0 */
        }
    }
}

static trib_status give(void *context, uint64_t first, size_t count, void *out, trib_error *error)
{
    struct source *s = context;
    struct conversion *c = s->conversion;
    const struct gguf_tensor *t = s->tensor;
    const uint8_t *in = t->data + dtype_size(t->type, (size_t)first);
    size_t bytes = dtype_size(t->type, count);
    if (s->type == t->type) {
        memcpy(out, in, bytes);
    } else {
        if (count > s->capacity) {
            free(s->numbers);
            s->numbers = malloc(count * sizeof *s->numbers);
            s->capacity = s->numbers ? count : 0;
            if (!s->numbers)
                return error_no_memory(error, "a tensor", count * sizeof *s->numbers);
        }
        unpack_ref(t->type, s->numbers, in, count);
        if (s->type == DTYPE_Q8_0)
            pack_q8_0(out, s->numbers, count);
        else
            pack_ref(s->type, out, s->numbers, count);
    }
    c->done += bytes;
    if (c->progress && !c->progress(c->context, c->done, c->total))
        return error_set(error, TRIB_FULL, "stopped; nothing was written");
    return TRIB_OK;
}

static bool can_unpack(enum dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_Q8_0;
}

static enum dtype choose_type(const struct gguf_tensor *t, enum dtype wanted)
{
    if (t->dims == 1)
        return DTYPE_F32;
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
        if (slice_is(t->name, single[i]))
            return DTYPE_F32;
    return wanted == DTYPE_Q8_0 && t->shape[0] % Q8_0_BLOCK != 0 ? DTYPE_F16 : wanted;
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
        if (type != t->type && !can_unpack(t->type))
            return error_set(error, TRIB_UNSUPPORTED,
                             "%s: tensor %s: expected F32, F16, BF16 or Q8_0, found %s", file->name,
                             name, dtype_info(t->type)->name);
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
    struct conversion conversion = {.progress = progress, .context = context};
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
    for (size_t i = 0; i < file->value_count; i++)
        if (!type || !slice_is(file->values[i].key, "general.file_type"))
            gguf_put_value(writer, &file->values[i]);
    if (type)
        gguf_put_u32(writer, "general.file_type", types[chosen].file_type);
    if (type && types[chosen].type == DTYPE_Q8_0 &&
        !gguf_find(file, "general.quantization_version"))
        gguf_put_u32(writer, "general.quantization_version", 2);
    trib_status status = put_tensors(writer, file, !type, type ? types[chosen].type : DTYPE_F32,
                                     sources, &conversion, error);
    if (status == TRIB_OK)
        status = gguf_writer_save(writer, path, error);
    for (size_t i = 0; i < file->tensor_count; i++)
        free(sources[i].numbers);
    free(sources);
    gguf_writer_close(writer);
    return status;
}
