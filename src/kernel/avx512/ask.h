/* Memory asked for while a tile computes, so that it need not wait for the chunks that come next.
 *
 * Pieces are asked for between the steps of the products. In one burst they would fill the queue of
 * misses, in which the loads of the products stand, too. */
#ifndef KERNEL_AVX512_ASK_H
#define KERNEL_AVX512_ASK_H

#include "kernel/avx512/tile.h"
#include "kernel/kernel.h"

/* Rows to ask for, some with each of the next `steps` steps of a product. */
struct asking {
    const char *at;
    size_t stride; /* bytes from row to row */
    size_t steps;
};

/* This tile's part of the rows, `rows` a step, that begin at `from`; NULL: nothing. */
static inline struct asking ask(const struct absorb *t, const char *from, size_t stride,
                                size_t rows, size_t steps)
{
    if (!from)
        return (struct asking){0};
    size_t share = (steps + t->parts - 1) / t->parts, done = t->part * share;
    size_t left = done < steps ? steps - done : 0;
    return (struct asking){from + done * rows * stride, stride, share < left ? share : left};
}

/* With a step: `rows` rows of `bytes` bytes. Into the second-level cache, where they wait longer
 * than the first would keep them. */
INLINE void ask_step(struct asking *a, size_t rows, size_t bytes)
{
    if (a->steps == 0)
        return;
    a->steps--;
    for (size_t row = 0; row < rows; row++, a->at += a->stride)
        for (size_t line = 0; line < bytes; line += 64)
            _mm_prefetch(a->at + line, _MM_HINT_T1);
}

#endif
