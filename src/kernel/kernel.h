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

/* Keys in a chunk: the unit that attention absorbs and a page of the KV cache holds. A chunk's
 * visibility to one query is one 64-bit word. */
enum { CHUNK = 64 };

/* Values of a chunk have rows of a multiple of this many floats; the padding is zero. */
enum { VALUE_ALIGN = 16 };

static inline size_t value_stride(size_t head_dim)
{
    return (head_dim + VALUE_ALIGN - 1) / VALUE_ALIGN * VALUE_ALIGN;
}

/* One step of the canonical fold for a tile of query rows: each row's running state (m, d, o)
 * absorbs the keys of one chunk that its bit mask shows. Dv is value_stride(D).
 *
 *     s_j = q . k_j,  j visible;          m' = max(m, max_j s_j)
 *     p_j = exp(s_j - m');                a  = exp(m - m')
 *     d'  = a d + sum_j p_j;              o' = a o + sum_j p_j v_j
 *
 * (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.) s_j is a chain of
 * fused multiply-adds over ascending dimension, o' one over ascending j. A key that a row does not
 * see adds nothing to the row, whatever the key and the value hold; a row that sees no key of the
 * chunk keeps its state bit for bit (save the sign of a zero in o, which finishing drops). */
struct absorb {
    size_t rows;     /* 1 to kernels.tile_rows */
    size_t head_dim; /* D */
    const float *q;  /* [rows][D], scaled already */
    const float *k;  /* [D][CHUNK] */
    const float *v;  /* [CHUNK][Dv] */
    const uint64_t
        *visible;       /* [rows], bit j: key j is in the set; NULL: every key is, of every row */
    bool values_finite; /* no infinity or NaN in v: then 0 times a value needs no care */
    float *m;           /* [rows] largest score so far; -inf: empty */
    float *d;           /* [rows] sum of exp(s - m) */
    float *o;           /* [rows][Dv] sum of exp(s - m) v */
};

struct kernels {
    const char *name;

    /* Query rows that `absorb` takes at most. */
    size_t tile_rows;

    /* out[i] = in[i]: n elements (whole blocks) of a stored type to float32, exactly. */
    void (*unpack)(enum dtype type, float *out, const void *in, size_t n);

    /* out[i] = in[i] rounded to nearest even: float32 to F32, F16 or BF16. */
    void (*pack)(enum dtype type, void *out, const float *in, size_t n);

    /* y[r][n] = x[r] . w[n] for r < rows, n < outputs: x [rows][K], w [outputs][K], y with
     * `y_stride` floats from row to row. */
    void (*dots)(float *y, size_t y_stride, const float *x, size_t rows, const float *w,
                 size_t outputs, size_t K);

    /* y = x / sqrt(mean(x^2) + eps) * w, over one row of n. (Zhang and Sennrich 2019.) y may be x.
     */
    void (*rmsnorm)(float *y, const float *x, const float *w, size_t n, float eps);

    /* y = silu(gate) * up, silu(x) = x / (1 + exp(-x)). (Shazeer 2020.) y may be gate or up. */
    void (*swiglu)(float *y, const float *gate, const float *up, size_t n);

    /* y += x. */
    void (*add)(float *y, const float *x, size_t n);

    void (*absorb)(const struct absorb *tile);
};

/* The table of that name ("ref", "avx2", "avx512"); NULL or "" asks for the best this machine runs.
 * A name that is unknown is TRIB_INVALID, a table the machine cannot run TRIB_UNSUPPORTED. */
trib_status kernels_choose(const struct kernels **out, const char *name, trib_error *error);

/* Table i of those this machine can run, the slowest first; NULL after the last. */
const struct kernels *kernels_at(size_t i);

#endif
