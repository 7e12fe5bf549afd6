/* Element types of stored tensors: one table, read by files, kernels and caches alike.
 *
 * A type stores elements in blocks of `block` consecutive elements of `bytes` bytes. The numbers of
 * the enumeration are those of the GGUF format, so that a file's type needs no translation; a
 * number with no row in the table is a type this build cannot read. */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(NAME, GGUF number, "name", elements per block, bytes per block) */
#define DTYPE_LIST(X)                                                                              \
    X(F32, 0, "F32", 1, 4)                                                                         \
    X(F16, 1, "F16", 1, 2)                                                                         \
    X(Q4_0, 2, "Q4_0", 32, 18)                                                                     \
    X(Q4_1, 3, "Q4_1", 32, 20)                                                                     \
    X(Q5_0, 6, "Q5_0", 32, 22)                                                                     \
    X(Q5_1, 7, "Q5_1", 32, 24)                                                                     \
    X(Q8_0, 8, "Q8_0", 32, 34)                                                                     \
    X(Q2_K, 10, "Q2_K", 256, 84)                                                                   \
    X(Q3_K, 11, "Q3_K", 256, 110)                                                                  \
    X(Q4_K, 12, "Q4_K", 256, 144)                                                                  \
    X(Q5_K, 13, "Q5_K", 256, 176)                                                                  \
    X(Q6_K, 14, "Q6_K", 256, 210)                                                                  \
    X(IQ4_NL, 20, "IQ4_NL", 32, 18)                                                                \
    X(IQ4_XS, 23, "IQ4_XS", 256, 136)                                                              \
    X(BF16, 30, "BF16", 1, 2)

enum dtype {
#define DTYPE_ENUM(name, number, text, block, bytes) DTYPE_##name = (number),
    DTYPE_LIST(DTYPE_ENUM)
#undef DTYPE_ENUM
};

struct dtype_info {
    const char *name;
    uint32_t block; /* elements in a block */
    uint32_t bytes; /* bytes of a block */
};

/* The row of a type, or NULL when `number` is no type of this table. */
const struct dtype_info *dtype_info(uint32_t number);

/* Finds a type by its name, in any case. */
bool dtype_find(const char *name, enum dtype *out);

/* Bytes of `elements` consecutive elements, a multiple of the type's block. */
size_t dtype_size(enum dtype type, size_t elements);

#endif
