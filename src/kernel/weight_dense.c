/* Dense weights: F32, F16 and BF16, in the panels that matrix products read.
 *
 * A panel has 64 outputs, term after term, in the bytes the file has: of F16 and BF16 two for each
 * number. Of BF16 rows of x are rounded to bf16, and where the table adds the products of two terms
 * at once they lie in pairs, on both sides; else numbers are widened as they are read, x is
 * float32 and an element is the one chain of product.h, with the same bits in every table.
 *
 * Weights are read from memory once, each panel in one run: what a product with few rows takes is
 * the time that this takes. With many rows a block of a panel stays in the second-level cache
 * while all of them pass over it. */
#include <string.h>

#include "base/size.h"
#include "kernel/weight_class.h"

/* Steps of a panel that all rows pass over before the next ones, and from how many rows on memory
 * is asked for meanwhile: with fewer the processor's own streams bring more of it than asking does.
 */
enum { BLOCK_WORDS = 1024, ASK_ROWS = 13 };

/* Pairs of terms that are turned together before they are taken apart. */
enum { SPLIT_WORDS = 64 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static enum dtype arithmetic_of(enum dtype type)
{
    return type == DTYPE_BF16 ? DTYPE_BF16 : DTYPE_F32;
}

static bool in_pairs(const struct kernels *kernels, enum dtype type)
{
    return type == DTYPE_BF16 && kernels->product_pairs;
}

/* Steps of a panel, words of a row. */
static size_t words_of(const struct kernels *kernels, enum dtype type, size_t inputs)
{
    return in_pairs(kernels, type) ? size_ceil_div(inputs, 2) : inputs;
}

/* Bytes of a step. */
static size_t step_of(const struct kernels *kernels, enum dtype type)
{
    return PRODUCT_COLUMNS * (in_pairs(kernels, type) ? sizeof(uint32_t) : dtype_size(type, 1));
}

static size_t panel_size(const struct weight *w)
{
    return words_of(w->kernels, w->type, w->inputs) * step_of(w->kernels, w->type);
}

static size_t dense_bytes(const struct kernels *kernels, enum dtype type, size_t outputs,
                          size_t inputs)
{
    return size_ceil_div(outputs, PRODUCT_COLUMNS) * words_of(kernels, type, inputs) *
           step_of(kernels, type);
}

/* ---- Packing ---- */

/* Numbers of two bytes one by one: where rows of a file begin between words. In pairs the partner
 * of the last term of an odd number is 0. */
static void pack_singly(uint16_t *out, bool pairs, const char *stored, size_t inputs,
                        size_t outputs)
{
    if (pairs && inputs % 2)
        memset(out + (inputs - 1) * PRODUCT_COLUMNS, 0, PRODUCT_COLUMNS * sizeof(uint32_t));
    for (size_t n = 0; n < outputs; n++)
        for (size_t k = 0; k < inputs; k++) {
            size_t at = pairs ? (k / 2 * PRODUCT_COLUMNS + n) * 2 + k % 2 : k * PRODUCT_COLUMNS + n;
            memcpy(out + at, stored + (n * inputs + k) * sizeof *out, sizeof *out);
        }
}

/* The words of two numbers are turned like float32, and then taken apart. */
static void pack_halves(const struct kernels *kernels, uint16_t *out, const float *words,
                        size_t stride, size_t outputs)
{
    uint32_t turned[SPLIT_WORDS][PRODUCT_COLUMNS];
    for (size_t k = 0; k < stride; k += SPLIT_WORDS) {
        size_t count = least(stride - k, SPLIT_WORDS);
        kernels->product_panel(DTYPE_F32, turned, words + k, 1, stride, count, outputs);
        for (size_t i = 0; i < count; i++, out += 2 * PRODUCT_COLUMNS)
            for (size_t n = 0; n < PRODUCT_COLUMNS; n++) {
                out[n] = (uint16_t)turned[i][n];
                out[PRODUCT_COLUMNS + n] = (uint16_t)(turned[i][n] >> 16);
            }
    }
}

static void pack_panel(const struct weight *w, void *out, const char *stored, size_t outputs)
{
    const struct kernels *kernels = w->kernels;
    bool pairs = in_pairs(kernels, w->type);
    const float *words = (const float *)(const void *)stored;
    if (w->type != DTYPE_F32 && (w->inputs % 2 || (uintptr_t)stored % sizeof *words))
        pack_singly(out, pairs, stored, w->inputs, outputs);
    else if (w->type != DTYPE_F32 && !pairs)
        pack_halves(kernels, out, words, w->inputs / 2, outputs);
    else {
        size_t K = pairs ? w->inputs / 2 : w->inputs;
        kernels->product_panel(DTYPE_F32, out, words, 1, K, K, outputs);
    }
}

static void dense_pack(const struct weight *w, const void *stored, size_t first, size_t end)
{
    size_t row = dtype_size(w->type, w->inputs), panel = panel_size(w);
    for (size_t p = first; p < end; p++) {
        size_t n = p * PRODUCT_COLUMNS;
        pack_panel(w, (char *)w->packed + p * panel, (const char *)stored + n * row,
                   least(w->outputs - n, PRODUCT_COLUMNS));
    }
}

/* ---- Rows ---- */

static int dense_form(const struct kernels *kernels, enum dtype type)
{
    (void)kernels;
    return arithmetic_of(type);
}

/* An odd number of cache lines: the rows of a tile lie in different sets. */
static size_t dense_row_bytes(const struct kernels *kernels, enum dtype type, size_t inputs)
{
    size_t lines = size_ceil_div(words_of(kernels, type, inputs) * sizeof(float), 64);
    return (lines | 1) * 64;
}

static void dense_prepare(const struct weight *w, void *out, const float *x, size_t x_stride,
                          size_t rows)
{
    size_t stride = dense_row_bytes(w->kernels, w->type, w->inputs) / sizeof(float);
    w->kernels->product_rows(arithmetic_of(w->type), out, stride, x, x_stride, 1, rows, w->inputs);
}

/* ---- Products ---- */

/* Panel p against all rows; `end` is where what this thread reads next ends. */
static void compute_panel(const struct weight_job *job, const void *prepared, size_t rows, size_t p,
                          const char *end)
{
    const struct weight *w = job->weight;
    size_t n = p * PRODUCT_COLUMNS, words = words_of(w->kernels, w->type, w->inputs);
    size_t step = step_of(w->kernels, w->type), most = rows > PRODUCT_ROWS ? BLOCK_WORDS : words;
    struct product_block block = {
        .arithmetic = arithmetic_of(w->type),
        .halves = in_pairs(w->kernels, w->type) ? DTYPE_F32 : w->type,
        .rows = rows,
        .columns = least(w->outputs - n, PRODUCT_COLUMNS),
        .a_stride = dense_row_bytes(w->kernels, w->type, w->inputs) / sizeof(float),
        .a_step = 1,
        .c = job->y + n,
        .c_stride = job->y_stride,
        .bias = job->bias ? job->bias + n : NULL,
        .accumulate = job->accumulate,
    };
    size_t k = 0;
    do {
        const char *at = (const char *)w->packed + (p * words + k) * step;
        block.words = least(words - k, most);
        block.a = (const float *)prepared + k;
        block.b = at;
        at += block.words * step;
        block.ahead = rows >= ASK_ROWS && at + block.words * step <= end ? at : NULL;
        w->kernels->product_block(&block);
        block.bias = NULL;
        block.accumulate = true;
        k += block.words;
    } while (k < words);
}

static void dense_compute(const struct weight_job *job, const void *prepared, size_t rows,
                          size_t first, size_t end)
{
    if (rows == 0)
        return;
    for (size_t p = first; p < end; p++)
        compute_panel(job, prepared, rows, p,
                      (const char *)job->weight->packed + end * panel_size(job->weight));
}

const struct weight_class weight_dense = {
    .panel_outputs = PRODUCT_COLUMNS,
    .bytes = dense_bytes,
    .pack = dense_pack,
    .form = dense_form,
    .row_bytes = dense_row_bytes,
    .prepare = dense_prepare,
    .compute = dense_compute,
};
