/* Fuzz target of the safetensors reader: any bytes are either refused with a message, or become a
 * file whose tensors lie in the data one behind the other and can be touched. */
#include <string.h>

#include "file/safetensors.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            __builtin_trap();                                                                      \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct safetensors *file;
    trib_error error = {0};
    trib_status status = safetensors_parse(&file, bytes, size, "input", &error);
    if (status != TRIB_OK) {
        CHECK(!file && error.status == status && strncmp(error.message, "input: ", 7) == 0);
        return 0;
    }
    const uint8_t *at = file->count ? file->tensors[0].data : bytes + size;
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensors_tensor *t = &file->tensors[i];
        CHECK(t->data == at && safetensors_has(file, t->name));
        for (uint64_t j = 0; j < t->bytes; j++)
            sum = (uint8_t)(sum + t->data[j]);
        at += t->bytes;
    }
    CHECK(at == bytes + size);
    safetensors_close(file);
    return 0;
}
