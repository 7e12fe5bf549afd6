/* The driver of matrix products: what is packed when, and who computes what.
 *
 * Each thread takes a rectangle of c and makes its own copies of a and b, a block of terms at a
 * time, so that what is copied is in its own caches when its tiles read it and no thread waits for
 * another. b is packed into panels of PRODUCT_COLUMNS columns; a is read where it lies unless its
 * rows lie across memory or are to be rounded. Many rows that lie across are packed like b, not
 * turned, which takes a third of the time: a tile takes its rows from a panel, term after term.
 *
 * How terms are cut into blocks shows in no bit: the chain of an element goes on through c.
 */
#include "kernel/product.h"

#include <assert.h>
#include <omp.h>

#include "base/size.h"

/* Terms of a block. With many rows, a panel's 256 KiB stay in the second-level cache while all
 * tiles pass over them; where a is copied, the copy has its place there, too: 704 KiB. With
 * FEW_ROWS or fewer b is read once, and the blocks are for the sake of long runs in memory. */
enum { MANY_TERMS = 1024, COPY_WORDS = 352, FEW_TERMS = 512, FEW_ACROSS_TERMS = 32, FEW_ROWS = 16 };

/* Bytes of the panels that are packed together, and terms of them at a time. */
enum { STRIP_BYTES = 1 << 17, FEW_STRIP_BYTES = 1 << 15, STRIP_TERMS = 16 };

/* Rows of a, copied together, and of a panel of those that lie across: multiples of PRODUCT_ROWS.
 */
enum { COPY_ROWS = 516, ACROSS_ROWS = 480, ACROSS_PANEL = 60 };

/* Below this many multiply-adds waking the team costs more than it saves. */
enum { SMALL_WORK = 1 << 15 };

/* Cycles for each term: of a tile, of packing a panel whose columns lie apart or together, and of
 * copying a tile's rows of a, or packing them. What is cheapest is cut. */
enum { TILE_CYCLES = 24, TURN_CYCLES = 26, PACK_CYCLES = 20, COPY_CYCLES = 6, ACROSS_CYCLES = 2 };

struct plan {
    const struct kernels *kernels;
    const struct product *product;
    bool pairs;           /* a word is two terms */
    size_t terms;         /* of a block: even */
    bool few;             /* rows */
    bool copied;          /* a is copied */
    bool across;          /* it is packed like b */
    size_t rows;          /* of a block */
    size_t a_stride;      /* words from row to row */
    size_t strip;         /* panels packed together */
    size_t tiles, panels; /* of c */
    size_t panel_bytes, copy_bytes;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t words_of(const struct plan *p, size_t terms)
{
    return p->pairs ? size_ceil_div(terms, 2) : terms;
}

/* Terms of a block: even shares of K, and even numbers. */
static size_t terms_of(const struct plan *p)
{
    const struct product *t = p->product;
    size_t most = MANY_TERMS;
    if (p->few)
        most = t->b_n == 1 ? FEW_ACROSS_TERMS : FEW_TERMS;
    else if (p->copied)
        most = p->pairs ? 2 * COPY_WORDS : COPY_WORDS;
    size_t blocks = size_ceil_div(t->K, most), terms = t->K ? size_ceil_div(t->K, blocks) : 0;
    return terms + terms % 2;
}

static struct plan plan_of(const struct kernels *kernels, const struct product *t)
{
    struct plan p = {.kernels = kernels, .product = t};
    p.pairs = t->arithmetic == DTYPE_BF16 && kernels->product_pairs;
    p.few = t->M <= FEW_ROWS;
    p.copied = t->a_k != 1 || t->arithmetic == DTYPE_BF16;
    p.across = t->a_k != 1 && !p.few;
    p.terms = terms_of(&p);
    p.rows = p.copied ? least(t->M, p.across ? ACROSS_ROWS : COPY_ROWS) : t->M;
    p.a_stride = t->a_m;
    if (p.copied) /* an odd number of cache lines: the rows of a tile lie in different sets */
        p.a_stride = (size_ceil_div(words_of(&p, p.few ? t->K : p.terms), 16) | 1) * 16;
    p.tiles = size_ceil_div(t->M, PRODUCT_ROWS);
    p.panels = size_ceil_div(t->N, PRODUCT_COLUMNS);
    p.panel_bytes = words_of(&p, p.terms) * PRODUCT_COLUMNS * sizeof(float);
    size_t strip = (p.few ? FEW_STRIP_BYTES : STRIP_BYTES) / (p.panel_bytes + !p.panel_bytes);
    p.strip = t->b_n == 1 && strip > 1 ? least(strip, p.panels) : 1;
    p.copy_bytes = p.copied ? p.rows * p.a_stride * sizeof(float) : 0;
    if (p.across) {
        p.a_stride = 1;
        p.copy_bytes = size_ceil_div(p.rows, ACROSS_PANEL) * p.panel_bytes;
    }
    return p;
}

size_t product_workspace(const struct kernels *kernels, const struct product *product, int threads)
{
    struct plan p = plan_of(kernels, product);
    return (size_t)threads * (p.strip * p.panel_bytes + p.copy_bytes);
}

/* ---- One rectangle of c, by one thread ---- */

struct rectangle {
    size_t m, rows, n, columns;
};

/* Packs columns of b, or rows of a that lie across, into panels of `wide` each over terms
 * [k, k + terms). Where they lie together, a few terms of all panels at a time: so memory is read
 * in longer runs. */
static void pack(const struct plan *p, const float *from, size_t stride, size_t apart, size_t count,
                 size_t wide, size_t terms, char *panels)
{
    size_t step = apart == 1 ? STRIP_TERMS : terms;
    for (size_t done = 0; done < terms; done += step)
        for (size_t i = 0; i < count; i += wide) {
            char *to = panels + i / wide * p->panel_bytes;
            p->kernels->product_panel(p->product->arithmetic,
                                      to + words_of(p, done) * PRODUCT_COLUMNS * sizeof(float),
                                      from + done * stride + i * apart, stride, apart,
                                      least(terms - done, step), least(count - i, wide));
        }
}

static char *copy_of(const struct plan *p, char *memory)
{
    return memory + p->strip * p->panel_bytes;
}

static void copy_rows(const struct plan *p, const struct rectangle *at, size_t k, size_t terms,
                      char *memory)
{
    const struct product *t = p->product;
    const float *from = t->a + at->m * t->a_m + k * t->a_k;
    if (p->across)
        pack(p, from, t->a_k, 1, at->rows, ACROSS_PANEL, terms, copy_of(p, memory));
    else if (p->copied)
        p->kernels->product_rows(t->arithmetic, copy_of(p, memory), p->a_stride, from, t->a_m,
                                 t->a_k, at->rows, terms);
}

/* One panel of b against all rows of the rectangle, or one panel of a after the other. */
static void compute_rows(const struct plan *p, struct product_block *block, size_t rows)
{
    size_t step = p->across ? ACROSS_PANEL : rows;
    for (size_t m = 0; m < rows; m += step) {
        block->rows = least(rows - m, step);
        p->kernels->product_block(block);
        block->a = (const char *)block->a + p->panel_bytes;
        block->c += step * block->c_stride;
    }
}

/* The rectangle over terms [k, k + terms), whose copy of a begins with term `copied`. */
static void compute_block(const struct plan *p, const struct rectangle *at, size_t k, size_t terms,
                          size_t copied, char *memory)
{
    const struct product *t = p->product;
    size_t strip = p->strip * PRODUCT_COLUMNS;
    struct product_block block = {
        .arithmetic = t->arithmetic,
        .words = words_of(p, terms),
        .a_stride = p->a_stride,
        .a_step = p->across ? PRODUCT_COLUMNS : 1,
        .c_stride = t->c_m,
        .accumulate = t->accumulate || k > 0,
    };
    for (size_t i = 0; i < at->columns; i += PRODUCT_COLUMNS) {
        size_t n = at->n + i;
        if (i % strip == 0)
            pack(p, t->b + k * t->b_k + n * t->b_n, t->b_k, t->b_n, least(at->columns - i, strip),
                 PRODUCT_COLUMNS, terms, memory);
        block.columns = least(at->columns - i, PRODUCT_COLUMNS);
        block.a = t->a + at->m * t->a_m + k;
        if (p->copied)
            block.a = copy_of(p, memory) + words_of(p, k - copied) * sizeof(float);
        block.b = memory + i % strip / PRODUCT_COLUMNS * p->panel_bytes;
        block.c = t->c + at->m * t->c_m + n;
        block.bias = t->bias && k == 0 ? t->bias + n : NULL;
        compute_rows(p, &block, at->rows);
    }
}

/* Many rows: the parts of a and b at work stay in the second-level cache. */
static void compute_many(const struct plan *p, const struct rectangle *all, char *memory)
{
    /* Even blocks of rows: each packs all of b for itself. */
    size_t step = size_ceil_div(all->rows, size_ceil_div(all->rows, p->rows));
    step = size_ceil_div(step, PRODUCT_ROWS) * PRODUCT_ROWS;
    for (size_t m = 0; m < all->rows; m += step) {
        struct rectangle at = {all->m + m, least(all->rows - m, step), all->n, all->columns};
        size_t k = 0;
        do {
            size_t terms = least(p->product->K - k, p->terms);
            copy_rows(p, &at, k, terms, memory);
            compute_block(p, &at, k, terms, k, memory);
            k += terms;
        } while (k < p->product->K);
    }
}

/* Few rows: b is read from memory once, in the order in which it lies there. */
static void compute_few(const struct plan *p, const struct rectangle *all, char *memory)
{
    const struct product *t = p->product;
    size_t step = t->b_n == 1 ? all->columns : PRODUCT_COLUMNS;
    copy_rows(p, all, 0, t->K, memory);
    for (size_t n = 0; n < all->columns; n += step) {
        struct rectangle at = {all->m, all->rows, all->n + n, least(all->columns - n, step)};
        size_t k = 0;
        do {
            size_t terms = least(t->K - k, p->terms);
            compute_block(p, &at, k, terms, 0, memory);
            k += terms;
        } while (k < t->K);
    }
}

/* ---- The cut ---- */

/* In how many parts rows are cut, and columns: so that the longest share is the shortest. */
struct grid {
    size_t down, across;
};

static struct grid grid_of(const struct plan *p, size_t count)
{
    struct grid best = {1, 1};
    size_t pack = p->product->b_n == 1 ? PACK_CYCLES : TURN_CYCLES, best_cost = SIZE_MAX;
    for (size_t down = 1; down <= count; down++) {
        size_t across = count / down;
        size_t tiles = size_ceil_div(p->tiles, down), panels = size_ceil_div(p->panels, across);
        size_t copy = p->copied ? tiles * (p->across ? ACROSS_CYCLES : COPY_CYCLES) : 0;
        size_t cost = tiles * panels * TILE_CYCLES + panels * pack + copy;
        if (cost < best_cost) {
            best_cost = cost;
            best = (struct grid){down, across};
        }
    }
    return best;
}

/* Share `index` of `count`. */
static void compute_share(const struct plan *p, size_t index, size_t count, char *memory)
{
    struct grid grid = grid_of(p, count);
    if (index >= grid.down * grid.across)
        return;
    size_t i = index % grid.down, j = index / grid.down;
    size_t m = p->tiles * i / grid.down * PRODUCT_ROWS;
    size_t m_end = p->tiles * (i + 1) / grid.down * PRODUCT_ROWS;
    size_t n = p->panels * j / grid.across * PRODUCT_COLUMNS;
    size_t n_end = p->panels * (j + 1) / grid.across * PRODUCT_COLUMNS;
    struct rectangle part = {m, least(m_end, p->product->M) - m, n,
                             least(n_end, p->product->N) - n};
    memory += index * (p->strip * p->panel_bytes + p->copy_bytes);
    if (p->few)
        compute_few(p, &part, memory);
    else
        compute_many(p, &part, memory);
}

void product(const struct kernels *kernels, const struct product *product, void *workspace,
             int threads)
{
    assert(product->a_m == 1 || product->a_k == 1);
    assert(product->b_k == 1 || product->b_n == 1);
    assert(product->arithmetic == DTYPE_F32 || product->arithmetic == DTYPE_BF16);
    if (product->M == 0 || product->N == 0)
        return;
    struct plan p = plan_of(kernels, product);
    if (threads == 1 || product->M * product->N * product->K < SMALL_WORK) {
        compute_share(&p, 0, 1, workspace);
        return;
    }
#pragma omp parallel num_threads(threads)
    compute_share(&p, (size_t)omp_get_thread_num(), (size_t)omp_get_num_threads(), workspace);
}
