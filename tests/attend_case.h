/* Cases of attention for the tests of tributary/attention.h: queries, keys, values, scores and
 * masks as a caller has them, every array ending at a guard page and every gap full of NaN, and
 * what the definition (attention/definition.h) says of them.
 *
 * Who sees whom, and what is stored how, is written here from the words of the public header, with
 * nothing of src/attention or src/kernel but the definition; chunks alone are packed by
 * trib_chunk_store, which unit/test_chunk.c holds to the header.
 *
 * The bound, u = 2^-24. Per key, with P = |scale| sum |q_d k_d|, in units of u:
 *
 *     product    q scale log2(e), rounded twice, log2(e) itself, D fused steps     (D + 3) P
 *     additive   q + k, tanh (9), w's D fused steps, scale:
 *                |scale| sum |w_d| (|q_d| + |k_d| + 9) + (D + 2) P,  P = |scale| sum |w_d|
 *     softcap    s / cap, tanh (9) and its product: P + 10 cap; then P is at most cap
 *     alibi      R = |slope (j - p)|: the product and the sum, R + (P + R); then P grows by R
 *     bias       the sum, P + |b|; then P grows by |b|
 *     to log2    2 P
 *
 * With e the largest of these sums and M the largest P among the keys that the query sees: the
 * differences s - m of keys, m_old - m of chunks, of spans and of their merges are rounded; m only
 * grows, so each kind adds at most 2 M on a term's way: 8 M. An exponential is off by 4.1
 * (test_kernels.c): one per key, and with a product each one per chunk of the span and one per
 * merge, with one addition more there. A sum over a span has at most n = min(S, 512) additions. So
 * a term of d and of o is off by a factor of at most exp(E),
 *
 *     E = (e + 8 M + 5 + 6 * 8 + n + 7 spans) u
 *     |v - exact| <= (exp(2 E + 2 u) - 1) sum_i a_i |v_i|       two sums and their quotient
 *     |s - exact| <= E + (3 M + |s| + 2 log S + 2) u            m ln 2, logf and their sum
 *
 * and terms below 2^-149 are lost: S 2^-147 of the largest value, and of 1. Table avx512bf16, where
 * keys are bf16, rounds q and the probabilities to bf16, whose exponential is off by 2^-13: 2^-8 P
 * more in e, 2^-8 + 2^-13 more in E; and it has no subnormal numbers. */
#ifndef ATTEND_CASE_H
#define ATTEND_CASE_H

#include <stdbool.h>

#include "attention/definition.h"
#include "guard.h"
#include "kernel/kernel.h"
#include "random.h"
#include "tables.h"
#include "test.h"
#include "tributary/attention.h"

/* Parts of a score; none: the scaled dot product. */
enum { SCORE_SOFTCAP = 1, SCORE_ALIBI = 2, SCORE_BIAS = 4, SCORE_ADDITIVE = 8 };

/* Parts of a mask. PREFIX counts with CAUSAL only. */
enum {
    SEE_CAUSAL = 1,
    SEE_PREFIX = 2,
    SEE_WINDOW = 4,
    SEE_DOCUMENTS = 8,
    SEE_TREE = 16,
    SEE_BITS = 32,
};

enum layout {
    ROWS_DENSE,   /* [S][G][D] */
    ROWS_BY_HEAD, /* [G][S][D] */
    ROWS_STRIDED, /* gaps behind each head and each key */
    PAGES_1,      /* by the keys of a page, [keys][G][D] or [G][keys][D] */
    PAGES_16,
    PAGES_48,
    PAGES_64,
    PAGES_100,
    CHUNKS_DENSE,
    CHUNKS_STRIDED,
    CHUNKS_PAGED,
    LAYOUTS,
    ROWS_LAYOUTS = CHUNKS_DENSE, /* those before it may begin between chunks */
};

extern const trib_kv_type case_types[4];

/* The shape is the test's; case_draw fills in the rest. */
struct attend_case {
    size_t T, S, H, G, D;
    trib_kv_type type;
    size_t query_first, key_first; /* positions of query 0 and of key 0 */
    unsigned score, mask;
    float size; /* of queries and keys: 0 for 1 */

    trib_queries queries;
    trib_attention attention;
    float *q, *k, *v; /* dense, [T][H][D] and [S][G][D], the values that are stored */
    float *v_size;    /* |v| */
    float *bias;      /* dense, [H][T][S] */
    float *given;     /* what queries.q points to */

    struct owned {
        void *memory;
        size_t bytes;
    } owned[16];
    size_t owned_count;
};

void case_draw(struct attend_case *c, struct random *r);
void case_free(const struct attend_case *c);

/* Changes one element; keys and values before they are stored. */
void case_set_query(const struct attend_case *c, size_t t, size_t h, size_t d, float x);
void case_set_key(const struct attend_case *c, size_t i, size_t g, size_t d, float x);
void case_set_value(const struct attend_case *c, size_t i, size_t g, size_t d, float x);

/* The case in words, in a static buffer. */
const char *case_name(const struct attend_case *c);

/* Whether query t sees key i, by the words of the header. */
bool case_sees(const struct attend_case *c, size_t t, size_t i);

struct definition case_definition(const struct attend_case *c);

/* Whether type and D go together. */
static inline bool case_possible(const struct attend_case *c)
{
    return c->type != TRIB_KV_Q8_0 || c->D % 32 == 0;
}

/* Keys [from, to) of a case as a segment in some layout. */
struct stored {
    trib_segment segment;
    void **pages[2];
    size_t count;    /* pages, or 1 */
    size_t bytes[2]; /* of a page; of the last page */
    bool guarded;    /* else pages are from malloc */
};

void store_part(struct stored *out, const struct attend_case *c, struct random *r,
                enum layout layout, size_t from, size_t to);
void store_free(const struct stored *stored);

static inline void store(struct stored *out, const struct attend_case *c, struct random *r,
                         enum layout layout)
{
    store_part(out, c, r, layout, 0, c->S);
}

/* Results, [count] and [count][D], of a whole case. */
struct result {
    size_t count, D;
    float *s, *v;
};

struct result result_new(const struct attend_case *c);
void result_free(const struct result *out);
void result_copy(const struct result *to, const struct result *from);

static inline trib_states result_states(const struct result *out)
{
    return (trib_states){out->s, out->v, out->count, out->D};
}

/* Attends queries [from, to) over `segment` into their places of `out`, or absorbs. The workspace
 * is as long as trib_attend_workspace says and ends at a guard page. */
void case_attend(const struct attend_case *c, const struct kernels *k, const trib_segment *segment,
                 size_t from, size_t to, int threads, const struct result *out);
void case_absorb(const struct attend_case *c, const struct kernels *k, const trib_segment *segment,
                 int threads, const struct result *out);

/* Equal bits, or NaN in both: which NaN comes out of two is the machine's choice in the backward.
 */
bool same_floats(const float *a, const float *b, size_t n);

/* Equal bits, of NaN too. */
void assert_same(const struct attend_case *c, const struct kernels *k, const struct result *a,
                 const struct result *b, const char *what);

/* What the definition says of one row, and how far from it a result may be. */
struct expected {
    size_t t, h;
    double s, y[256], reach[256]; /* reach: sum_i a_i |v_i| */
    double largest;               /* |v| of a key that is seen */
    double M;
    double E[3]; /* of the scores, by enum arithmetic */
};

void case_expect(const struct attend_case *c, size_t t, size_t h, struct expected *out);

/* What a table computes with: float32; bf16 where keys are; bytes, with 16 bits for queries and
 * weights, where keys are Q8_0. */
enum arithmetic { IN_F32, IN_BF16, IN_BYTES };
enum arithmetic case_arithmetic(const struct attend_case *c, const struct kernels *k);

/* E of the table. */
double case_error(const struct attend_case *c, const struct kernels *k, const struct expected *x);

/* Holds a row of `got` to it; `more` is error that the test adds to E. */
void case_hold(const struct attend_case *c, const struct kernels *k,
               const struct expected *expected, const struct result *got, double more);

/* The first row, the last, and others drawn; at most `most` of them. Returns how many. */
size_t case_expect_some(const struct attend_case *c, struct random *r, struct expected *out,
                        size_t most);

#endif
