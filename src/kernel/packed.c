/* Panels side by side, and one block of terms as long as the whole sum. */
#include "kernel/packed.h"

#include "base/size.h"

static size_t words_of(const struct kernels *kernels, enum dtype arithmetic, size_t K)
{
    return arithmetic == DTYPE_BF16 && kernels->product_pairs ? size_ceil_div(K, 2) : K;
}

size_t packed_bytes(const struct kernels *kernels, enum dtype arithmetic, size_t N, size_t K)
{
    size_t panel = words_of(kernels, arithmetic, K) * PRODUCT_COLUMNS * sizeof(float);
    return size_ceil_div(N, PRODUCT_COLUMNS) * panel;
}

/* Only where rows are rounded are they copied. */
size_t packed_scratch(const struct kernels *kernels, enum dtype arithmetic, size_t K, size_t rows)
{
    if (arithmetic == DTYPE_F32)
        return 0;
    size_t bytes = rows * words_of(kernels, arithmetic, K) * sizeof(float);
    return (bytes + 63) & ~(size_t)63;
}

struct packed packed_make(const struct kernels *kernels, enum dtype arithmetic, void *memory,
                          const float *b, size_t b_k, size_t b_n, size_t N, size_t K)
{
    struct packed p = {kernels, arithmetic, N, K, words_of(kernels, arithmetic, K), memory};
    char *panel = memory;
    for (size_t n = 0; n < N; n += PRODUCT_COLUMNS) {
        size_t columns = N - n < PRODUCT_COLUMNS ? N - n : PRODUCT_COLUMNS;
        kernels->product_panel(arithmetic, panel, b + n * b_n, b_k, b_n, K, columns);
        panel += p.words * PRODUCT_COLUMNS * sizeof(float);
    }
    return p;
}

void packed_product(const struct packed *p, float *c, const float *a, size_t rows, bool accumulate,
                    void *scratch)
{
    const void *words = a;
    size_t stride = p->K;
    if (p->arithmetic != DTYPE_F32) {
        p->kernels->product_rows(p->arithmetic, scratch, p->words, a, p->K, 1, rows, p->K);
        words = scratch;
        stride = p->words;
    }
    for (size_t n = 0; n < p->N; n += PRODUCT_COLUMNS) {
        struct product_block block = {
            .arithmetic = p->arithmetic,
            .rows = rows,
            .columns = p->N - n < PRODUCT_COLUMNS ? p->N - n : PRODUCT_COLUMNS,
            .words = p->words,
            .a = words,
            .a_stride = stride,
            .a_step = 1,
            .b = p->panels + n * p->words * sizeof(float),
            .c = c + n,
            .c_stride = p->N,
            .accumulate = accumulate,
        };
        p->kernels->product_block(&block);
    }
}
