/* Aligned, zeroed allocation. */
#include "base/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Arrays that malloc maps by themselves, which are those of 32 MiB and more whatever was freed
 * before, begin at a large page and ask for such: with pages of 4 KiB what runs over all of memory
 * waits a tenth of its time for the page tables. */
enum { LARGE_PAGE = 1 << 21, LARGE_ARRAY = 1 << 25 };

void *memory_zeroed(size_t bytes)
{
    if (bytes > SIZE_MAX - MEMORY_ALIGN)
        return NULL;
    size_t whole = (bytes + MEMORY_ALIGN) / MEMORY_ALIGN * MEMORY_ALIGN;
    bool large = whole >= LARGE_ARRAY;
    void *memory = NULL;
    if (posix_memalign(&memory, large ? LARGE_PAGE : MEMORY_ALIGN, whole) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (large) /* the rest stays in small ones */
        (void)madvise(memory, whole / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
    memset(memory, 0, whole);
    return memory;
}
