/* Aligned, zeroed allocation. */
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *memory_zeroed(size_t bytes)
{
    if (bytes > SIZE_MAX - MEMORY_ALIGN)
        return NULL;
    size_t whole = (bytes + MEMORY_ALIGN) / MEMORY_ALIGN * MEMORY_ALIGN;
    void *memory = aligned_alloc(MEMORY_ALIGN, whole);
    if (memory)
        memset(memory, 0, whole);
    return memory;
}
