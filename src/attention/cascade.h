/* Attention over a tree of segments: what several sequences share is read once for all of them.
 *
 *     keys    0 |---------- part 0: queries 0 to 4 ----------|-- part 1: 0 to 2 --|- part 3: 0 -|
 *                                                            |                    |- part 4: 1, 2
 *                                                            |-- part 2: 3, 4 ---|
 *
 * A part is a run of keys with all queries that see it; the parts on the way from the root to a
 * query's last part are its keys, from position 0 on. Each query's states are folded in the
 * canonical order: a span that a part begins and another ends goes on from the state that the first
 * left. So every query gets the bits that fold_run gives it alone over all its keys, whoever else
 * is there. (Ye et al. 2024, "ChunkAttention"; Juravsky et al. 2024, "Hydragen": both merge in
 * another order.) */
#ifndef ATTENTION_CASCADE_H
#define ATTENTION_CASCADE_H

#include "kernel/kernel.h"
#include "tributary/attention.h"

enum { CASCADE_ROOT = -1 };

struct cascade_part {
    trib_segment segment; /* not empty; begins where the parent ends, at a multiple of CHUNK */
    int parent;           /* index of a part before this one, or CASCADE_ROOT: it begins at 0 */
    size_t from, to;      /* tokens [from, to) see it, some of the parent's */
};

struct cascade {
    const struct cascade_part *parts; /* [count], parents first */
    size_t count;
    const float *q; /* [T] token_stride floats apart, heads as in trib_queries */
    size_t token_stride;
    size_t tokens;           /* T */
    const size_t *positions; /* [T]; a token's last part holds the key at its position */
};

/* Bytes of workspace for up to `tokens` tokens: a multiple of 64. */
size_t cascade_workspace(const struct kernels *kernels, const trib_attention *attention,
                         size_t tokens);

/* v [T][H][D] = the attention of every token. Of masks causal (which must be set) and window are
 * heeded, of scores scale and soft-cap; the others must be off. `workspace` is aligned to 64. */
void cascade_run(const struct kernels *kernels, const trib_attention *attention,
                 const struct cascade *cascade, float *v, void *workspace);

#endif
