/* Aligned allocation, and how much there is to allocate. */
#include "base/memory.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Arrays of two large pages or more begin at one and ask for them: with pages of 4 KiB what runs
 * over all of memory waits a tenth of its time for the page tables. */
enum { LARGE_PAGE = 1 << 21 };

/* *whole is what was had. */
static void *allocate(size_t bytes, size_t *whole)
{
    size_t align = bytes < 2 * LARGE_PAGE ? MEMORY_ALIGN : LARGE_PAGE;
    if (bytes > SIZE_MAX - align)
        return NULL;
    *whole = (bytes + !bytes + align - 1) / align * align;
    void *memory = aligned_alloc(align, *whole);
#ifdef MADV_HUGEPAGE
    if (memory && align == LARGE_PAGE)
        (void)madvise(memory, *whole, MADV_HUGEPAGE); /* a hint: failing is fine */
#endif
    return memory;
}

void *memory_zeroed(size_t bytes)
{
    size_t whole;
    void *memory = allocate(bytes, &whole);
    if (memory)
        memset(memory, 0, whole);
    return memory;
}

void *memory_large(size_t bytes)
{
    size_t whole;
    return allocate(bytes, &whole);
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
