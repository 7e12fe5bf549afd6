/* Tributary: recursive attention. States of attention, and how they merge.
 *
 * The attention of a query q over an index set I of keys and values is summarised by a state
 *
 *     s(I) = log sum_{i in I} exp(s_i)       the log-sum-exp of the scores, natural logarithm
 *     v(I) = sum_{i in I} exp(s_i - s(I)) v_i      the softmax-weighted mean of the values
 *
 * and the states of disjoint sets merge exactly:
 *
 *     s(I u J) = log(exp s(I) + exp s(J))
 *     v(I u J) = softmax([s(I), s(J)]) . [v(I), v(J)]
 *
 * Merging is associative and commutative; the state of the empty set, s = -inf and v = 0, is its
 * identity, bit for bit. A NaN stays visible, in its own state alone.
 *
 * Sources: Milakov and Gimelshein 2018 (online softmax); Dao et al. 2022 and 2023 (FlashAttention);
 * Ye et al. 2024 (cascade inference, the state as an operand).
 *
 * Threads: every function works in the calling thread on the memory it is given, keeps nothing, and
 * may run at the same time as any other on other memory. Nothing is allocated.
 */
#ifndef TRIBUTARY_ATTENTION_H
#define TRIBUTARY_ATTENTION_H

#include <stddef.h>

#include "tributary/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An array of `count` states, such as one per query token and head, [T][H]. The memory is the
 * caller's. A state with s = -inf is empty; its v is zero. */
typedef struct trib_states {
    float *s;        /* [count] */
    float *v;        /* [count][head_dim] */
    size_t count;    /* states */
    size_t head_dim; /* floats of a value, at least 1 */
} trib_states;

/* Makes every state empty: the identity of merging. */
void trib_state_clear(const trib_states *states);

/* out[i] = a[i] merged with b[i]. `out` may be `a` or `b`; other overlaps are not allowed. Merging
 * (a, b) and (b, a) gives the same bits. TRIB_INVALID when a pointer is NULL or shapes differ. */
trib_status trib_state_merge(const trib_states *out, const trib_states *a, const trib_states *b,
                             trib_error *error);

/* out[i] = the merge of parts[0][i] to parts[n - 1][i] in one step: one maximum, one sum in the
 * order given. n = 0 gives empty states. `out` may be one of the parts. TRIB_INVALID as above. */
trib_status trib_state_merge_all(const trib_states *out, const trib_states *parts, size_t n,
                                 trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
