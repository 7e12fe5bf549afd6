/* Tributary: recursive attention. Attend queries over segments of keys and values, merge the states
 * that come out, finish them into the attention output.
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
 * identity, bit for bit. A NaN stays visible, in its own state alone, and what is computed and no
 * number is one NaN, whatever made it.
 *
 * Sources: Milakov and Gimelshein 2018 (online softmax); Dao et al. 2022 and 2023 (FlashAttention);
 * Ye et al. 2024 (cascade inference, the state as an operand).
 *
 * Dimensions: T query tokens, S keys, H query heads, G KV heads (H a multiple of G; query head h
 * reads KV head h / (H / G)), D head_dim. q, states and all sums are float32; keys and values
 * may be stored in fewer bits, and what they are multiplied with may then be rounded, to bf16
 * beside bf16 and to 16 bits beside q8_0 (docs/attention.md says by which table, and the error).
 *
 * The same bits: what a query gets depends on the query, its position, the keys and values it sees
 * with their positions, the options and the kernel table, and on nothing else: not on the queries
 * beside it, the threads, or how the segment lies in memory.
 *
 * Threads: nothing is kept between calls and nothing is allocated; calls on different memory may
 * run at the same time. A call uses as many OpenMP threads as its `threads` says.
 */
#ifndef TRIBUTARY_ATTENTION_H
#define TRIBUTARY_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tributary/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- States ---- */

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

/* Merges an attention sink into every state: a key of score sink[i mod heads] and value zero (Xiao
 * et al. 2023). A sink of -inf changes nothing. TRIB_INVALID when `count` is no multiple of
 * `heads`. */
trib_status trib_state_sink(const trib_states *states, const float *sink, size_t heads,
                            trib_error *error);

/* y[i] = v[i], the attention output, with `stride` floats from one to the next (head_dim: dense).
 */
trib_status trib_state_finish(const trib_states *states, float *y, size_t stride,
                              trib_error *error);

/* ---- Kernels ---- */

/* A table of kernels; static storage. */
typedef struct kernels trib_kernels;

/* The table of that name: "ref" (plain C, the truth), "avx2", "avx512", "avx512bf16"; NULL: the one
 * that $TRIB_CPU names, or the best this machine runs. TRIB_INVALID for an unknown name,
 * TRIB_UNSUPPORTED for one this machine cannot run. */
trib_status trib_kernels_choose(const trib_kernels **out, const char *name, trib_error *error);
const char *trib_kernels_name(const trib_kernels *kernels);

/* ---- What to attend ---- */

/* Keys per chunk, the unit of the canonical fold and of skipping, and chunks per span, the unit of
 * parallel work. Chunks are aligned to absolute position: chunk c holds positions 64 c to 64 c
 * + 63. */
#define TRIB_CHUNK       64
#define TRIB_SPAN_CHUNKS 8

/* How keys and values are stored. The numbers are those of the GGUF format. */
typedef enum trib_kv_type {
    TRIB_KV_F32 = 0,
    TRIB_KV_F16 = 1,
    TRIB_KV_Q8_0 = 8, /* blocks of 32 along D: an f16 scale, then 32 signed bytes */
    TRIB_KV_BF16 = 30,
} trib_kv_type;

/* How they lie. */
typedef enum trib_kv_layout {
    TRIB_KV_ROWS,   /* each key and each value is D consecutive elements */
    TRIB_KV_CHUNKS, /* 64 positions together, keys across: what attention reads fastest */
} trib_kv_layout;

/* S consecutive keys and values of G heads, read only.
 *
 * Layout ROWS: key i of head g begins i * key_stride + g * head_stride bytes behind k; with pages,
 * i mod page_keys instead of i, behind k_pages[i / page_keys]. Values likewise. Dense [S][G][D]:
 * head_stride = the bytes of D elements, key_stride = G of them; dense [G][S][D]: key_stride = the
 * bytes of D elements, head_stride = S of them. Float elements must be aligned to their size. Of
 * one key alone the key_stride may be anything.
 *
 * Layout CHUNKS: `first` is a multiple of 64; the keys of head g in chunk i of the segment begin i
 * * key_stride + g * head_stride bytes behind k, or g * head_stride behind k_pages[i] with
 * page_keys = 64, and are as trib_chunk_store wrote them; values likewise. Aligned to 64 bytes. */
typedef struct trib_segment {
    trib_kv_type type;
    trib_kv_layout layout;
    size_t length; /* S */
    size_t first;  /* absolute position of key 0 */
    const void *k, *v;
    size_t key_stride, head_stride; /* bytes */
    const void *const *k_pages;     /* NULL: not paged; else k and v are not looked at */
    const void *const *v_pages;
    size_t page_keys; /* keys of a page, at least 1 */
} trib_segment;

/* Bytes of one head's keys, or of its values, in a chunk of layout CHUNKS; a multiple of 64. With
 * D' = D rounded up to 16, keys are [D'][64] elements and values [D' / 64][64][64], columns 64 at a
 * time and last those that are left over, [64][D' % 64]; of Q8_0 keys
 * are bytes [D / 2][64][2], two dimensions together, and values [D / 32][32][32][2], blocks of 32
 * columns with two positions together, and the scales follow, f16 [D / 32][64]. 0 where the type
 * cannot have such a D. */
size_t trib_chunk_bytes(trib_kv_type type, size_t head_dim);

/* Writes key and value [D] of one head as number `slot` (0 to 63) of a chunk, rounded to the type.
 * The chunk must have been zeroed before its first use. */
void trib_chunk_store(trib_kv_type type, size_t head_dim, void *k_chunk, void *v_chunk, size_t slot,
                      const float *k, const float *v);

/* T queries at consecutive positions. Head h of token t is q[t * token_stride + h * D] and on. */
typedef struct trib_queries {
    const float *q;
    size_t tokens;       /* T */
    size_t token_stride; /* floats, at least H * D */
    size_t first;        /* absolute position of token 0 */
} trib_queries;

/* Which keys a query sees: those that every condition in use allows. All zero: every key. What is
 * ruled out in whole chunks is skipped, and skipping changes no bit. p is the query's position, j
 * the key's, t the query's index, i the key's. */
typedef struct trib_mask {
    bool causal;   /* j <= p */
    size_t prefix; /* with causal: j < prefix too (prefix-LM); 0: none */
    size_t window; /* j > p - window (sliding window); 0: none */

    /* Documents (block-diagonal): query_document[t] == key_document[i]. Both or neither. */
    const int32_t *query_document; /* [T] */
    const int32_t *key_document;   /* [S] */

    /* Tree of draft tokens, whose keys stand at the queries' own positions: of the keys at
     * positions
     * >= queries.first, token t sees its own and its ancestors'. parent[t] < t; -1: none. */
    const int32_t *parent; /* [T] */

    /* Any mask: bit i mod 64 of bits[t * bits_stride + i / 64]. */
    const uint64_t *bits;
    size_t bits_stride; /* words, at least (S + 63) / 64 */
} trib_mask;

/* The attention to compute. The score of query q and key k, in this order:
 *
 *     s = scale * q.k                        or, with `additive`, scale * sum_d w_d tanh(q_d + k_d)
 *     s = softcap * tanh(s / softcap)        softcap > 0
 *     s = s + slope[h] * (j - p)             alibi (Press et al. 2021)
 *     s = s + bias[h * bias_head_stride + t * bias_token_stride + i]
 *
 * (Vaswani et al. 2017; additive: Bahdanau et al. 2014.) A bias of -inf hides the key as a mask
 * does; one of -FLT_MAX is a score. Scores count up to 2.3e38 and are held there. What is not used
 * costs nothing. */
typedef struct trib_attention {
    size_t heads;                               /* H, a multiple of G */
    size_t kv_heads;                            /* G */
    size_t head_dim;                            /* D, 1 to 1024; with Q8_0 a multiple of 32 */
    float scale;                                /* such as 1 / sqrt(D) */
    float softcap;                              /* 0: off */
    const float *alibi;                         /* [H] slopes, or NULL */
    const float *additive;                      /* [H][D] w, or NULL */
    const float *bias;                          /* or NULL */
    size_t bias_head_stride, bias_token_stride; /* floats */
    trib_mask mask;
    int threads; /* at least 1 */

    /* For measuring what the canonical order costs, and else false: each thread folds its keys in
     * one running state, without spans. Then bits depend on the threads, and on H / G. */
    bool any_order;
} trib_attention;

/* ---- Attend ---- */

/* Bytes of workspace for `tokens` queries or fewer over segments that reach up to `keys` positions
 * or fewer; 0 where the numbers are senseless. */
size_t trib_attend_workspace(const trib_kernels *kernels, const trib_attention *attention,
                             size_t tokens, size_t keys);

/* states [T][H] = the states of the queries over the segment. A query that sees no key gets the
 * empty state. `workspace` is aligned to 64 bytes, of at least trib_attend_workspace(...) bytes,
 * and holds nothing between calls. Nothing may overlap what is written, gaps of strided arrays
 * included. TRIB_INVALID for arguments outside their contract; then nothing is written. */
trib_status trib_attend(const trib_kernels *kernels, const trib_attention *attention,
                        const trib_queries *queries, const trib_segment *segment,
                        const trib_states *states, void *workspace, size_t workspace_bytes,
                        trib_error *error);

/* states = states merged with the states over the segment: attend and merge in one. */
trib_status trib_absorb(const trib_kernels *kernels, const trib_attention *attention,
                        const trib_queries *queries, const trib_segment *segment,
                        const trib_states *states, void *workspace, size_t workspace_bytes,
                        trib_error *error);

/* ---- Backward ---- */

/* Bytes of workspace for trib_attend_backward, as for trib_attend_workspace. */
size_t trib_attend_backward_workspace(const trib_kernels *kernels, const trib_attention *attention,
                                      size_t tokens, size_t keys);

/* Gradients of a loss through attention, by recomputing the probabilities from the states that
 * trib_attend gave (Dao 2023, FlashAttention-2). With y = v of the states and dy [T][H][D] its
 * gradient,
 *
 *     p_ti = exp(s_ti - s_t),  dv_i = sum_t p_ti dy_t,  ds_ti = p_ti (dy_t . v_i - dy_t . y_t)
 *     dq_t = scale sum_i ds_ti k_i,  dk_i = scale sum_t ds_ti q_t
 *
 * and ds times 1 - (s / softcap)^2 where there is a softcap. dq is [T][H][D], dk and dv [S][G][D],
 * dense float32, written whole; a query that saw nothing has dq = 0. With states merged over
 * several segments, the call for each segment gives that segment's dk and dv and its part of dq,
 * which the caller adds up. Same bits for any number of threads. TRIB_UNSUPPORTED for the additive
 * score; otherwise as trib_attend. */
trib_status trib_attend_backward(const trib_kernels *kernels, const trib_attention *attention,
                                 const trib_queries *queries, const trib_segment *segment,
                                 const trib_states *states, const float *dy, float *dq, float *dk,
                                 float *dv, void *workspace, size_t workspace_bytes,
                                 trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
