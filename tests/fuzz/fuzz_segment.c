/* Fuzz target of KV segment files: any bytes are either refused with a message, or become a segment
 * of which everything can be touched. Checksums would keep all but the seeds out, so the header is
 * tried as it is and once more with its checksum made right. */
#include <stdlib.h>
#include <string.h>

#include "file/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static volatile uint64_t sink;

static void try(const uint8_t *bytes, size_t size)
{
    struct segment s;
    trib_error error = {0};
    trib_status status = segment_parse(&s, bytes, size, "input", &error);
    if (status != TRIB_OK) {
        if (s.ids || error.status != status || strncmp(error.message, "input: ", 7) != 0)
            __builtin_trap();
        return;
    }
    uint64_t sum = segment_expect(&s, &s.origin, "input", NULL) == TRIB_OK ? 0 : 1;
    if (sum || strlen(s.origin.kernels) >= SEGMENT_NAME)
        __builtin_trap();
    for (size_t i = 0; i < (s.first + s.count) * TRIB_CHUNK; i++)
        sum += (uint64_t)s.ids[i];
    for (size_t i = 0; i < s.count; i++)
        sum += segment_page_is_whole(&s, i) + s.pages[(i + 1) * s.stride - 1];
    sink = sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint64_t header_bytes = 0;
    uint8_t *copy = malloc(size + 1);
    if (!copy)
        return 0;
    memcpy(copy, bytes, size);
    try(copy, size);
    if (size >= 256)
        memcpy(&header_bytes, copy + 16, sizeof header_bytes);
    if (header_bytes >= 256 && header_bytes <= size) {
        segment_seal(copy, (size_t)header_bytes);
        try(copy, size);
    }
    free(copy);
    return 0;
}
