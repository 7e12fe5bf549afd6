/* Memory that ends exactly at a page nobody may touch: one byte read or written past it is a fault,
 * with and without sanitizers, in vector intrinsics too. */
#ifndef GUARD_H
#define GUARD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"

static inline size_t guard_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static inline size_t guard_round(size_t bytes)
{
    return (bytes + guard_page() - 1) / guard_page() * guard_page();
}

/* `bytes` of memory, 0 allowed, filled with 0xa5. */
static inline void *guard_new(size_t bytes)
{
    size_t whole = guard_round(bytes);
    char *base = mmap(NULL, whole + guard_page(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    assert_int_equal(mprotect(base + whole, guard_page(), PROT_NONE), 0);
    memset(base, 0xa5, whole);
    return base + whole - bytes;
}

/* A copy of `bytes` bytes. */
static inline void *guard_copy(const void *from, size_t bytes)
{
    void *to = guard_new(bytes);
    if (bytes)
        memcpy(to, from, bytes);
    return to;
}

static inline void guard_free(void *memory, size_t bytes)
{
    char *base = (char *)memory - (guard_round(bytes) - bytes);
    assert_int_equal(munmap(base, guard_round(bytes) + guard_page()), 0);
}

static inline float *guard_floats(size_t n)
{
    return guard_new(n * sizeof(float));
}

static inline void guard_free_floats(float *memory, size_t n)
{
    guard_free(memory, n * sizeof *memory);
}

#endif
