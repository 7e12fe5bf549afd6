/* Aligned allocation, and how much there is to allocate. */
#include "base/memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Arrays begin at a large page and ask for such, for with pages of 4 KiB what runs over all of
 * memory waits a tenth of its time for the page tables; zeroed ones only where malloc maps them by
 * themselves, from 32 MiB on whatever was freed before. */
enum { LARGE_PAGE = 1 << 21, LARGE_ARRAY = 1 << 25 };

/* `whole`: what was had of it. */
static void *allocate(size_t bytes, size_t large_from, size_t *whole)
{
    if (bytes > SIZE_MAX - MEMORY_ALIGN)
        return NULL;
    *whole = (bytes + MEMORY_ALIGN) / MEMORY_ALIGN * MEMORY_ALIGN;
    bool large = *whole >= large_from;
    void *memory = NULL;
    if (posix_memalign(&memory, large ? LARGE_PAGE : MEMORY_ALIGN, *whole) != 0)
        return NULL;
#ifdef MADV_HUGEPAGE
    if (large) /* the rest stays in small ones; a hint: failing is fine */
        (void)madvise(memory, *whole / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE);
#endif
    return memory;
}

void *memory_zeroed(size_t bytes)
{
    size_t whole;
    void *memory = allocate(bytes, LARGE_ARRAY, &whole);
    if (memory)
        memset(memory, 0, whole);
    return memory;
}

void *memory_large(size_t bytes)
{
    size_t whole;
    return allocate(bytes, LARGE_PAGE, &whole);
}

/* The number behind `key` in a file of lines "key number"; with an empty key the file's only one.
 * False where there is none, as where a limit is "max". */
static bool read_number(const char *path, const char *key, uint64_t *out)
{
    FILE *file = fopen(path, "re");
    char line[256];
    bool found = false;
    size_t length = strlen(key);
    while (file && !found && fgets(line, sizeof line, file))
        found = strncmp(line, key, length) == 0 && sscanf(line + length, "%" SCNu64, out) == 1;
    if (file)
        fclose(file);
    return found;
}

/* What is left below the limit of the control group at `folder`: files that are cached count as
 * used there, but make room. */
static uint64_t group_available(const char *folder, const char *limit_name, const char *used_name,
                                const char *cached_name)
{
    char path[512];
    uint64_t limit, used, cached = 0;
    snprintf(path, sizeof path, "%s/%s", folder, limit_name);
    if (!read_number(path, "", &limit))
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/%s", folder, used_name);
    if (!read_number(path, "", &used))
        return limit;
    for (int active = 0; active < 2; active++) {
        uint64_t some = 0;
        char key[64];
        snprintf(path, sizeof path, "%s/memory.stat", folder);
        snprintf(key, sizeof key, "%s%s ", active ? "" : "in", cached_name);
        if (read_number(path, key, &some))
            cached += some;
    }
    used = used > cached ? used - cached : 0;
    return limit > used ? limit - used : 0;
}

uint64_t memory_available(void)
{
    uint64_t kilobytes, least = UINT64_MAX;
    if (read_number("/proc/meminfo", "MemAvailable:", &kilobytes))
        least = kilobytes * 1024;
    uint64_t groups[] = {
        group_available("/sys/fs/cgroup", "memory.max", "memory.current", "active_file"),
        group_available("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                        "active_file"),
    };
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        least = groups[i] < least ? groups[i] : least;
    return least;
}
