/* Overflow-checked arithmetic for sizes that come from outside.
 *
 * Each returns false, leaving *out unspecified, when the result does not fit. */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool size_add(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool size_mul(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

/* Rounds up to a multiple of `align`, a power of two. */
static inline bool size_align(uint64_t a, uint64_t align, uint64_t *out)
{
    if (!size_add(a, align - 1, out))
        return false;
    *out &= ~(align - 1);
    return true;
}

/* Division rounding up; for sizes known to be small. */
static inline size_t size_ceil_div(size_t a, size_t b)
{
    return (a + b - 1) / b;
}

#endif
