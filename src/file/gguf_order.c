/* Tensors of assembled files whose elements lie in another order than GGUF's: read as GGUF has
 * them, so that no copy need be kept. */
#include <string.h>

#include "file/gguf.h"

/* Rows j and D / 2 + j of each head are rows 2 j and 2 j + 1 of the tensor. */
static uint64_t halves_row(const struct gguf_tensor *t, uint64_t row)
{
    uint64_t head_dim = t->shape[1] / t->heads, j = row % head_dim;
    return row - j + j % 2 * (head_dim / 2) + j / 2;
}

static void copy_halves(const struct gguf_tensor *t, uint64_t first, size_t count, uint8_t *out)
{
    uint64_t columns = t->shape[0];
    for (size_t done = 0, n; done < count; done += n) {
        uint64_t row = (first + done) / columns, column = (first + done) % columns;
        n = count - done < columns - column ? count - done : (size_t)(columns - column);
        memcpy(out + dtype_size(t->type, done),
               t->data + dtype_size(t->type, (size_t)(halves_row(t, row) * columns + column)),
               dtype_size(t->type, n));
    }
}

/* out[r][c] = in[c][r], as many rows together as share a cache line of `in`. */
static void copy_across(const struct gguf_tensor *t, uint64_t first, size_t count, uint8_t *out)
{
    enum { TOGETHER = 16 };
    uint64_t rows = t->shape[1], columns = t->shape[0];
    size_t bytes = dtype_info(t->type)->bytes;
    for (uint64_t r0 = first / columns; r0 * columns < first + count; r0 += TOGETHER)
        for (uint64_t c = 0; c < columns; c++)
            for (uint64_t r = r0; r < rows && r < r0 + TOGETHER; r++) {
                uint64_t at = r * columns + c - first; /* wraps before the first */
                if (at < count)
                    memcpy(out + at * bytes, t->data + (c * rows + r) * bytes, bytes);
            }
}

void gguf_copy(const struct gguf_tensor *t, uint64_t first, size_t count, void *out)
{
    switch (t->order) {
    case GGUF_IN_ORDER:
        memcpy(out, t->data + dtype_size(t->type, (size_t)first), dtype_size(t->type, count));
        break;
    case GGUF_HALVES:
        copy_halves(t, first, count, out);
        break;
    case GGUF_ACROSS:
        copy_across(t, first, count, out);
        break;
    }
}
