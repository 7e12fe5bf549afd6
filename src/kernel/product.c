/* The driver of matrix products: what is packed when, and who computes what.
 *
 * b is cut into panels of PRODUCT_COLUMNS columns. Tiles of PRODUCT_ROWS rows by one panel stand in
 * a line, panel after panel, and each thread takes an even share of the line; it packs the panels
 * it meets for itself, a block of terms at a time, so that what is packed is still in its caches
 * when its tiles read it, and no thread waits for another. A panel that two threads share is packed
 * twice. a is read where it lies, or if its rows lie apart or are to be rounded copied once, by all
 * threads, before.
 *
 * How terms are cut into blocks shows in no bit: the chain of an element goes on through c.
 */
#include "kernel/product.h"

#include <assert.h>
#include <omp.h>

#include "base/size.h"

/* Terms of a block. With more rows than a few, a panel's block, 256 KiB of float32, stays in the
 * second-level cache while all tiles pass over it; with few, 16 KiB in the first. */
enum { MANY_TERMS = 1024, FEW_TERMS = 64, FEW_ROWS = 16 };

/* Below this many multiply-adds waking the team costs more than it saves. */
enum { SMALL_WORK = 1 << 15 };

/* Rows of a, copied together. */
enum { COPY_ROWS = 48 };

struct plan {
    const struct kernels *kernels;
    const struct product *product;
    size_t terms;    /* of a block: even */
    size_t words;    /* of a row of a as the kernels read it: K, or K / 2 pairs */
    bool copied;     /* a is copied */
    size_t a_stride; /* words from row to row */
    size_t tiles;    /* of rows, in a panel */
    size_t tile_rows;
    size_t panels;
    size_t panel_bytes; /* of a block of a panel */
};

static size_t words_of(const struct plan *p, size_t terms)
{
    bool pairs = p->product->arithmetic == DTYPE_BF16 && p->kernels->product_pairs;
    return pairs ? size_ceil_div(terms, 2) : terms;
}

static struct plan plan_of(const struct kernels *kernels, const struct product *product)
{
    struct plan p = {.kernels = kernels, .product = product};
    bool few = product->M <= FEW_ROWS;
    size_t most = few ? FEW_TERMS : MANY_TERMS;
    p.terms = size_ceil_div(product->K, size_ceil_div(product->K, most) + !product->K);
    p.terms += p.terms % 2;
    p.words = words_of(&p, product->K);
    p.copied = product->a_k != 1 || product->arithmetic == DTYPE_BF16;
    /* An odd number of cache lines, so that the rows of a tile lie in different sets. */
    p.a_stride = p.copied ? (size_ceil_div(p.words, 16) | 1) * 16 : product->a_m;
    p.tile_rows = few ? FEW_ROWS : PRODUCT_ROWS;
    p.tiles = size_ceil_div(product->M, p.tile_rows);
    p.panels = size_ceil_div(product->N, PRODUCT_COLUMNS);
    p.panel_bytes = words_of(&p, p.terms) * PRODUCT_COLUMNS * sizeof(float);
    return p;
}

static size_t copy_bytes(const struct plan *p)
{
    size_t bytes = p->copied ? p->product->M * p->a_stride * sizeof(float) : 0;
    return (bytes + 63) & ~(size_t)63;
}

size_t product_workspace(const struct kernels *kernels, const struct product *product, int threads)
{
    struct plan p = plan_of(kernels, product);
    return copy_bytes(&p) + (size_t)threads * p.panel_bytes;
}

/* Part `index` of `count` of the rows of a. */
static void copy_rows(const struct plan *p, float *copy, size_t index, size_t count)
{
    const struct product *t = p->product;
    size_t blocks = size_ceil_div(t->M, COPY_ROWS);
    for (size_t i = blocks * index / count; i < blocks * (index + 1) / count; i++) {
        size_t m = i * COPY_ROWS, rows = t->M - m < COPY_ROWS ? t->M - m : COPY_ROWS;
        p->kernels->product_rows(t->arithmetic, copy + m * p->a_stride, p->a_stride,
                                 t->a + m * t->a_m, t->a_m, t->a_k, rows, t->K);
    }
}

/* Rows [m, m + rows) of the columns of a panel. */
static void compute(const struct plan *p, const float *a, size_t panel, size_t m, size_t rows,
                    void *memory)
{
    const struct product *t = p->product;
    size_t n = panel * PRODUCT_COLUMNS, left = t->N - n;
    struct product_block block = {
        .arithmetic = t->arithmetic,
        .rows = rows,
        .columns = left < PRODUCT_COLUMNS ? left : PRODUCT_COLUMNS,
        .a_stride = p->a_stride,
        .b = memory,
        .c = t->c + m * t->c_m + n,
        .c_stride = t->c_m,
        .bias = t->bias ? t->bias + n : NULL,
        .accumulate = t->accumulate,
    };
    size_t k = 0;
    do {
        size_t terms = t->K - k < p->terms ? t->K - k : p->terms;
        p->kernels->product_panel(t->arithmetic, memory, t->b + k * t->b_k + n * t->b_n, t->b_k,
                                  t->b_n, terms, block.columns);
        block.a = a + m * p->a_stride + words_of(p, k);
        block.words = words_of(p, terms);
        p->kernels->product_block(&block);
        block.bias = NULL;
        block.accumulate = true;
        k += terms;
    } while (k < t->K);
}

/* Part `index` of `count` of the line of tiles. */
static void compute_share(const struct plan *p, const float *a, size_t index, size_t count,
                          void *memory)
{
    size_t all = p->panels * p->tiles, end = all * (index + 1) / count;
    for (size_t at = all * index / count, step; at < end; at += step) {
        size_t first = at % p->tiles;
        step = end - at < p->tiles - first ? end - at : p->tiles - first;
        size_t m = first * p->tile_rows, rows = step * p->tile_rows;
        compute(p, a, at / p->tiles, m, p->product->M - m < rows ? p->product->M - m : rows,
                memory);
    }
}

void product(const struct kernels *kernels, const struct product *product, void *workspace,
             int threads)
{
    assert(product->a_m == 1 || product->a_k == 1);
    assert(product->b_k == 1 || product->b_n == 1);
    assert(product->arithmetic == DTYPE_F32 || product->arithmetic == DTYPE_BF16);
    struct plan p = plan_of(kernels, product);
    float *copy = workspace;
    const float *a = p.copied ? copy : product->a;
    char *panels = (char *)workspace + copy_bytes(&p);
    bool small = product->M * product->N * product->K < SMALL_WORK;
    if (product->M == 0 || product->N == 0)
        return;
    if (threads == 1 || small) {
        if (p.copied)
            copy_rows(&p, copy, 0, 1);
        compute_share(&p, a, 0, 1, panels);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        size_t index = (size_t)omp_get_thread_num(), count = (size_t)omp_get_num_threads();
        if (p.copied) {
            copy_rows(&p, copy, index, count);
#pragma omp barrier
        }
        compute_share(&p, a, index, count, panels + index * p.panel_bytes);
    }
}
