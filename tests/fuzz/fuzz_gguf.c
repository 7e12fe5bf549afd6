/* Fuzz target of the GGUF reader: any bytes are either refused with a message, or become a file of
 * which everything can be touched, and whose tensors, whatever their blocks hold, can be unpacked
 * and, where they are numbers, quantised again. */
#include "gguf_walk.h"
#include "kernel/kernel.h"
#include "kernel/quantise.h"

enum { ELEMENTS_MOST = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void convert(const struct gguf_tensor *t)
{
    static const enum dtype types[] = {
#define TYPE(name, number, text, block, bytes) DTYPE_##name,
        DTYPE_LIST(TYPE)
#undef TYPE
    };
    static float x[ELEMENTS_MOST];
    static uint8_t out[ELEMENTS_MOST * sizeof(float)];
    const struct kernels *ref = kernels_at(0);
    size_t at, n = t->elements < ELEMENTS_MOST ? (size_t)t->elements : ELEMENTS_MOST;
    ref->unpack(t->type, x, t->data, n);
    if (!quantise_takes(x, n, &at))
        return;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (n % dtype_info(types[i])->block == 0)
            quantise(ref, types[i], out, x, n, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct gguf *file;
    trib_error error = {0};
    trib_status status = gguf_parse(&file, bytes, size, "input", &error);
    if (status != TRIB_OK) {
        if (file || error.status != status || !message_is_clean(error.message, "input"))
            __builtin_trap();
        return 0;
    }
    if (gguf_walk(file, bytes))
        __builtin_trap();
    for (size_t i = 0; i < file->tensor_count; i++)
        convert(&file->tensors[i]);
    gguf_close(file);
    return 0;
}
