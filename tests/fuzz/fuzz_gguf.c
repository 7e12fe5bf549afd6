/* Fuzz target of the GGUF reader: any bytes are either refused with a message, or become a file of
 * which everything can be touched. */
#include "gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

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
    gguf_close(file);
    return 0;
}
