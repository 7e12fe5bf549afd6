/* The kernel table: every operation on arrays of numbers that the engine is made of.
 *
 * `ref` is the truth in plain C and fills the whole table; `avx2` and `avx512` override what they
 * have. A table is chosen once and passed down as `const struct kernels *`, so one process can hold
 * several side by side.
 *
 * The rule every entry keeps: a row of output depends on the row's own inputs and on nothing else:
 * not on how many rows there are, where the row stands among them, or which thread computes it.
 * Sums over a row take one fixed order per table. Inputs need no alignment. Entries run in the
 * calling thread; the functions of ops.h cut work over threads.
 */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "tributary/status.h"

/* Keys in a chunk: the unit that attention absorbs. What a query sees of a chunk is one 64-bit
 * word. */
enum { CHUNK = 64 };

/* States that are merged together, see state_weights. */
enum { MERGE_ROWS = 16 };

/* What D may be at most. */
enum { HEAD_DIM_MOST = 1024 };

/* Rows of values in panels and states have a multiple of this many floats; the padding is zero. */
enum { VALUE_ALIGN = 16 };

static inline size_t value_stride(size_t head_dim)
{
    return (head_dim + VALUE_ALIGN - 1) / VALUE_ALIGN * VALUE_ALIGN;
}

/* The keys and values of one KV head in one chunk, as stored. */
struct chunk_rows {
    enum dtype type;
    bool packed;       /* the chunk as kernel/chunk.h lays it out; else rows of D elements */
    const char *k, *v; /* the packed chunk, or the row of key `from` */
    size_t stride;     /* bytes from row to row */
    size_t from, to;   /* the keys of the chunk that exist, 0 <= from < to <= CHUNK */
};

/* The same in the form that the table's absorb reads; what form that is, the table knows. */
struct panel {
    const void *k; /* ref: float [D][CHUNK]: keys lie across, so scores need no sum across lanes */
    const void *v; /* ref: float [CHUNK][v_stride] */
    size_t v_stride; /* elements; 0: the values lie as in a packed chunk, kernel/chunk.h */
    size_t from, to; /* as in chunk_rows; keys outside are never visible */
    enum dtype form; /* of the elements */
};

/* Bytes of an element of form F32, F16 or BF16. */
static inline size_t form_size(enum dtype form)
{
    return form == DTYPE_F32 ? 4 : 2;
}

/* The stored keys and values of a chunk that is read soon; NULL: of none. */
struct stored_chunk {
    const char *k, *v;
};

/* What a panel is loaded for. */
enum panel_use {
    PANEL_ONCE,  /* a tile or two: values may stay where they are stored */
    PANEL_MANY,  /* many tiles: worth packing */
    PANEL_FLOAT, /* keys as float32 in any case: something else than absorb reads them too */
};

/* A part of the canonical fold for a tile of query rows: each row's running state (m, d, o)
 * absorbs, chunk after chunk, the keys that its bit mask shows. Scores are in units of log 2: q
 * carries scale / ln 2. Dv is value_stride(D).
 *
 *     s_j = q . k_j,  j visible;          m' = max(m, max_j s_j)
 *     p_j = 2^(s_j - m');                 a  = 2^(m - m')
 *     d'  = a d + sum_j p_j;              o' = a o + sum_j p_j v_j
 *
 * (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.) s_j is a chain of
 * fused multiply-adds over ascending dimension, o' one over ascending j. A key that a row does not
 * see adds nothing to the row, whatever the key and the value hold; a row that sees no key of a
 * chunk keeps its state bit for bit (save the sign of a zero in o, which finishing drops). */
struct absorb {
    size_t rows;                       /* 1 to kernels.tile_rows */
    size_t head_dim;                   /* D */
    size_t chunks;                     /* 1 to SPAN_CHUNKS */
    const float *q;                    /* [rows][D] */
    const struct panel *const *panels; /* [chunks] */
    const uint64_t *const *visible;    /* [chunks] -> [rows], bit j: key j is in the set; NULL: all
                                          64 keys are, of every row */
    const bool *finite; /* [chunks] no infinity or NaN in the values: then 0 times a value
                           needs no care. Read only where visible is not NULL */

    /* NULL, or what turns the products of chunk c into scores: s [rows][CHUNK] in and out. */
    void (*score)(const void *context, size_t c, float *s);
    const void *context;

    /* NULL, or memory to ask for meanwhile because it is read next: for each chunk two pieces, of
     * as many bytes as its keys and its values have. Tiles over the same chunks share the asking:
     * this one is number `part` of `parts`. Changes no result; a table need not heed it. */
    const struct stored_chunk *ahead; /* [chunks] */
    size_t part, parts;

    float *m; /* [rows] largest score so far, in units of log 2; -inf: empty */
    float *d; /* [rows] sum of 2^(s - m) */
    float *o; /* [rows][Dv] sum of 2^(s - m) v */
};

/* A tile of attention's backward: rows of queries against the keys of one chunk, those that each
 * row's bit mask shows. With x_rj = q_r . k_j,
 *
 *     p_rj = 2^(factor x_rj + shift_r)             the probability, kept to 1 at most
 *     ds_rj = scale p_rj (dy_r . v_j - delta_r)    its score's gradient, times scale
 *     dv_j += sum_r p_rj dy_r      dk_j += sum_r ds_rj q_r      dq_r += sum_j ds_rj k_j
 *
 * (Dao, "FlashAttention-2", 2023.) Every sum is a chain of fused multiply-adds, over ascending
 * dimension, row or key. A key that a row does not see adds nothing to the row and the row nothing
 * to the key, whatever they hold. No zero that is written is negative: so where nothing is added,
 * nothing changes. Dv is value_stride(D); padding is zero. */
struct absorb_backward {
    size_t rows;                  /* 1 to BACKWARD_ROWS */
    size_t head_dim;              /* D */
    const float *q, *dy;          /* [rows][Dv] */
    const float *shift, *delta;   /* [rows] */
    const float *k_dims, *v_dims; /* [D][CHUNK]: keys and values across */
    const float *k;               /* [CHUNK][Dv] */
    size_t from, to;              /* the keys that exist; the others are never visible */
    const uint64_t *visible;      /* [rows]; NULL: all 64 keys are, of every row */
    float factor, scale;

    /* NULL, or what puts scores in place of the products x [rows][CHUNK], and their derivatives
     * after scale x into `slope`; ds gets that factor then, and p is of the score. */
    void (*score)(const void *context, float *x, float *slope);
    const void *context;
    float *slope; /* [rows][CHUNK], or NULL: 1 everywhere */

    float *p, *ds;  /* [rows][CHUNK] scratch */
    float *dq;      /* [rows][Dv] */
    float *dk, *dv; /* [CHUNK][Dv] */
};

enum { BACKWARD_ROWS = 64 };

/* The columns of b that lie together in a matrix product, and the rows in which its work is cut. */
enum { PRODUCT_COLUMNS = 64, PRODUCT_ROWS = 6 };

/* A part of a matrix product: rows against the columns of one panel over a block of terms,
 *
 *     c[m][n] = start + sum_k a[m][k] b[k][n]
 *     start   = accumulate ? c[m][n] + bias[n] : bias[n]      (without bias: c[m][n], or 0)
 *
 * one chain of fused multiply-adds over ascending k, from start, for each element. a and b are in
 * words of 4 bytes as product_rows and product_panel write them: a float32, or where the arithmetic
 * is BF16 and the table has product_pairs, two terms in bf16, the first in the low half. Where
 * `halves` names a type, b has that type's two bytes instead of each float32, which are as good as
 * the float32 they stand for. */
struct product_block {
    enum dtype arithmetic; /* F32 or BF16 */
    enum dtype halves;     /* F16 or BF16, F32: words of 4 bytes. With words of two terms, F32 */
    size_t rows, columns;  /* 1 to any, 1 to PRODUCT_COLUMNS */
    size_t words;          /* of terms; 0: c = start */
    const void *a;         /* [rows] of words, `a_stride` words from row to row */
    size_t a_stride;
    size_t a_step; /* words from term to term: 1, or of a panel that has rows for its columns,
                      PRODUCT_COLUMNS, with an `a_stride` of 1 */
    const void *b; /* [words][PRODUCT_COLUMNS], aligned to 64 */
    float *c;      /* [rows][columns], c_stride floats from row to row */
    size_t c_stride;
    const float *bias; /* [columns], or NULL */
    bool accumulate;

    /* NULL, or as many bytes as b has, to ask for meanwhile because they are read next. Changes no
     * result; a table need not heed it. */
    const void *ahead;
};

/* Chunks of a span, which absorb takes at once, and its keys. */
enum { SPAN_CHUNKS = 8, SPAN = SPAN_CHUNKS * CHUNK };

/* Running states, unnormalised: rows of (m, d, o). */
struct partials {
    float *m; /* [rows] */
    float *d; /* [rows] */
    float *o; /* [rows][Dv] */
};

struct quant_panel;

struct kernels {
    const char *name;

    /* Query rows that `absorb` takes at most. */
    size_t tile_rows;

    /* out[i] = in[i]: n elements (whole blocks) of a stored type to float32, exactly. */
    void (*unpack)(enum dtype type, float *out, const void *in, size_t n);

    /* out[i] = in[i] rounded to nearest even: float32 to F32, F16 or BF16. */
    void (*pack)(enum dtype type, void *out, const float *in, size_t n);

    /* x [n], whole blocks of a block type, quantised: kernel/quantise.h. One table's bits in all.
     */
    void (*quantise)(enum dtype type, void *out, const float *x, size_t n);

    /* y[r][n] = x[r] . w[n] for r < rows, n < outputs: x [rows][K], w [outputs][K], y with
     * `y_stride` floats from row to row. */
    void (*dots)(float *y, size_t y_stride, const float *x, size_t rows, const float *w,
                 size_t outputs, size_t K);

    /* y = x / sqrt(mean(x^2) + eps) * w, over one row of n. (Zhang and Sennrich 2019.) y may be x.
     */
    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps);

    /* y = silu(gate) * up, silu(x) = x / (1 + exp(-x)). (Shazeer 2020.) y may be gate or up. */
    void (*swiglu)(float *y, const float *gate, const float *up, size_t n);

    /* y = gelu(x), of the tanh or of the erf form, and y = gelu(gate) * up of the tanh form:
     * kernel/gelu.h. The same bits in every table. y may be x, gate or up. */
    void (*gelu_tanh)(float *y, const float *x, size_t n);
    void (*gelu_erf)(float *y, const float *x, size_t n);
    void (*geglu)(float *y, const float *gate, const float *up, size_t n);

    /* y += x. */
    void (*add)(float *y, const float *x, size_t n);

    /* s[i] = cap tanh(s[i] / cap). */
    void (*softcap)(float *s, size_t n, float cap);

    /* s[j] = sum_d w[d] tanh(q[d] + k[d][j]) for the CHUNK keys of a panel of form F32. */
    void (*additive)(float *s, const float *q, const float *w, const float *k, size_t D);

    /* Brings one chunk of one head into a form that `absorb` reads. `memory` has panel_bytes(D)
     * bytes, aligned to 64; the panel is valid as long as rows and memory. */
    void (*panel_load)(struct panel *panel, void *memory, const struct chunk_rows *rows, size_t D,
                       enum panel_use use);

    /* The fold's inner loop: see struct absorb. */
    void (*absorb)(const struct absorb *tile);

    /* into = into merged with from, row by row: the span before with the span after.
     *     m = max(m1, m2);  x = 2^(m1-m) x1 + 2^(m2-m) x2 for x = d, o
     * An empty side leaves the other as it is (save the sign of a zero). */
    void (*merge)(const struct partials *into, const struct partials *from, size_t rows, size_t D);

    /* x[i] = exp(x[i]), the bits of exp_scalar in every table. */
    void (*exp)(float *x, size_t n);

    /* Of the scores s [parts][MERGE_ROWS] of states: largest[r] and least[r], of which those before
     * are in place. NaN is passed over. */
    void (*state_range)(float *largest, float *least, const float *s, size_t parts);

    /* w[p][r] = exp(w[p][r] - largest[r]) for w [parts][MERGE_ROWS], and sum[r] = sum[r] + w[0][r]
     * + w[1][r] + ..., in order: every table gives the same bits. */
    void (*state_weights)(float *w, float *sum, const float *largest, size_t parts);

    /* y[r][j] = y[r][j] + w[0][r] x[0][from + r n + j] + w[1][r] x[1][from + r n + j] + ..., a
     * chain of fused multiply-adds over `parts` in order, r < rows, j < n: every table gives the
     * same bits. w has w_stride floats from part to part. */
    void (*weigh)(float *y, const float *w, size_t w_stride, const float *const *x, size_t parts,
                  size_t from, size_t rows, size_t n);

    /* What training adds: kernel/learn.h. */
    const struct learn_kernels *learn;

    /* out[j][i] = in[i][j] for i < rows, j < columns; strides in floats. */
    void (*transpose)(float *out, size_t out_stride, const float *in, size_t in_stride, size_t rows,
                      size_t columns);

    /* What attention's backward is made of: see struct absorb_backward. */
    void (*absorb_backward)(const struct absorb_backward *tile);

    /* What matrix products are made of: see struct product_block. Of a, [rows][terms] with one of
     * the strides 1, product_rows makes rows of words, and of b, [terms][columns] with one of the
     * strides 1, product_panel makes a panel; columns that are not there may hold anything. Where a
     * word is two terms, the missing one of an odd number is 0. */
    bool product_pairs;
    void (*product_rows)(enum dtype arithmetic, void *out, size_t out_stride, const float *a,
                         size_t a_m, size_t a_k, size_t rows, size_t terms);
    void (*product_panel)(enum dtype arithmetic, void *out, const float *b, size_t b_k, size_t b_n,
                          size_t terms, size_t columns);
    void (*product_block)(const struct product_block *block);

    /* Products with block-quantised weights: kernel/quant.h. quant_row prepares a row of x, with
     * zeros in what is spare of it; quant_panel multiplies. */
    void (*quant_row)(enum dtype type, void *out, const float *x, size_t inputs);
    void (*quant_panel)(const struct quant_panel *panel);
};

/* Bytes of a panel in the largest form, a multiple of 64. */
static inline size_t panel_bytes(size_t D)
{
    return 2 * value_stride(D) * CHUNK * sizeof(float);
}

/* The table of that name ("ref", "avx2", "avx512"); NULL or "" asks for the best this machine runs.
 * A name that is unknown is TRIB_INVALID, a table the machine cannot run TRIB_UNSUPPORTED. */
trib_status kernels_choose(const struct kernels **out, const char *name, trib_error *error);

/* The fastest table that this machine can run. */
const struct kernels *kernels_best(void);

/* Table i of those this machine can run, the slowest first; NULL after the last. */
const struct kernels *kernels_at(size_t i);

#endif
