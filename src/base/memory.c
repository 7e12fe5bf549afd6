/* Aligned, zeroed allocation. */
#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Arrays of two large pages or more begin at one and ask for them: with pages of 4 KiB what runs
 * over all of memory waits a tenth of its time for the page tables. */
enum { LARGE_PAGE = 1 << 21 };

void *memory_zeroed(size_t bytes)
{
    size_t align = bytes < 2 * LARGE_PAGE ? MEMORY_ALIGN : LARGE_PAGE;
    if (bytes > SIZE_MAX - align)
        return NULL;
    size_t whole = (bytes + !bytes + align - 1) / align * align;
    void *memory = aligned_alloc(align, whole);
#ifdef MADV_HUGEPAGE
    if (memory && align == LARGE_PAGE)
        (void)madvise(memory, whole, MADV_HUGEPAGE);
#endif
    if (memory)
        memset(memory, 0, whole);
    return memory;
}
