/* The canonical fold of every kernel table: against the definition, and the same bits however it is
 * cut.
 *
 * The bound, u = 2^-24, A at least every sum |scale q_i||k_i|. The query is scaled and a score is D
 * fused steps: off by (D + 1) A u. The differences s - m, m_old - m of the chunks and of the merges
 * are rounded; each kind adds up to at most 2 A on a term's way: 8 A u. Each exponential is off by
 * 2 u: one for the key, and with one product each, one per chunk of the span and one per merge, with
 * one addition there. A sum over a span is at most min(S, SPAN) additions. So a term of d and of o is
 * off by a factor of e^E,
 *
 *     E = ((D + 9) A + 2 + 3 SPAN_CHUNKS + min(S, SPAN) + 4 ceil(S / SPAN)) u
 *     |v - exact| <= (e^(2 E + 2 u) - 1) max_i |v_i|        two sums and their quotient
 *     |s - exact| <= E + (|s| + 2 log S + 1) u              logf, and the addition of m
 *
 * and terms below 2^-149 are lost: S 2^-147 of the largest value. */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "attention/partial.h"
#include "fold_case.h"
#include "tables.h"
#include "test.h"
#include "tributary/attention.h"

static double fold_error(const struct fold_case *c, double A, double u)
{
    double S = (double)c->S, D = (double)c->D, spans = ceil(S / SPAN);
    return ((D + 9) * A + 2 + 3 * SPAN_CHUNKS + fmin(S, SPAN) + 4 * spans) * u;
}

/* The largest finite |x| in row d of a [S][G][D] array. */
static double column_reach(const struct fold_case *c, const float *x, size_t g, size_t d)
{
    double most = 0;
    for (size_t i = 0; i < c->S; i++) {
        double one = fabs((double)x[(i * c->G + g) * c->D + d]);
        most = isfinite(one) ? fmax(most, one) : most;
    }
    return most;
}

/* What the definition says of a case, and how far a result may be from it. */
struct oracle {
    double *y, *s;           /* [T][H][D], [T][H] */
    double *y_error, *error; /* [G][D]: largest |v|; [T][H]: E */
};

static void *array(size_t n)
{
    void *out = calloc(n + 1, sizeof(double));
    assert_non_null(out);
    return out;
}

/* `exact`: the scores of the case have no rounding error, so A counts for nothing. */
static struct oracle oracle_new(const struct fold_case *c, bool exact)
{
    struct oracle o = {array(c->T * c->H * c->D), array(c->T * c->H), array(c->G * c->D),
                       array(c->T * c->H)};
    double *scores = array(c->T * c->S), *k_reach = array(c->G * c->D);
    struct definition definition = case_definition(c);
    definition_matrix(&definition, scores, o.y, o.s);
    for (size_t i = 0; i < c->G * c->D; i++) {
        o.y_error[i] = column_reach(c, c->v, i / c->D, i % c->D);
        k_reach[i] = column_reach(c, c->k, i / c->D, i % c->D);
    }
    for (size_t i = 0; i < c->T * c->H; i++) {
        double A = 0;
        size_t g = i % c->H / (c->H / c->G);
        for (size_t d = 0; d < c->D && !exact; d++)
            A += fabs((double)c->scale * c->q[i * c->D + d]) * k_reach[g * c->D + d];
        o.error[i] = fold_error(c, A, 0x1p-24);
    }
    free(scores);
    free(k_reach);
    return o;
}

static void oracle_free(const struct oracle *o)
{
    free(o->y);
    free(o->s);
    free(o->y_error);
    free(o->error);
}

/* Equal where infinite or NaN; else within `error`. */
static bool near(double got, double expected, double error)
{
    if (isnan(expected))
        return isnan(got);
    return got == expected || fabs(got - expected) <= 1.001 * error;
}

static void hold(const struct fold_case *c, const struct oracle *o, const struct fold_result *got,
                 const char *who, double more)
{
    double lost = (double)c->S * 0x1p-147, u = 0x1p-24;
    for (size_t i = 0; i < c->T * c->H; i++) {
        double E = o->error[i] + more, s = o->s[i];
        double s_error = E + (fabs(s) + 2 * log((double)c->S + 1) + 1) * u;
        if (!near(got->s[i], s, s_error))
            fail_msg("%s: T %zu S %zu H %zu G %zu D %zu: s[%zu] = %.9g, expected %.17g within %.3g",
                     who, c->T, c->S, c->H, c->G, c->D, i, got->s[i], s, s_error);
        size_t g = i % c->H / (c->H / c->G);
        for (size_t d = 0; d < c->D; d++) {
            double v = got->v[i * c->D + d], y = o->y[i * c->D + d];
            double error = (expm1(2 * E + 2 * u) + lost) * o->y_error[g * c->D + d];
            if (!near(v, y, error))
                fail_msg("%s: T %zu S %zu H %zu G %zu D %zu: v[%zu][%zu] = %.9g, expected %.17g "
                         "within %.3g",
                         who, c->T, c->S, c->H, c->G, c->D, i, d, v, y, error);
        }
    }
}

/* The two forms of the definition against each other: the same bound, with the u of float64. */
static void hold_forms(const struct fold_case *c, const struct oracle *o, struct random *r)
{
    double y[256];
    for (size_t trial = 0; trial < 6 && c->T > 0; trial++) {
        struct definition definition = case_definition(c);
        size_t t = random_below(r, c->T), h = random_below(r, c->H), at = t * c->H + h;
        size_t g = h / (c->H / c->G);
        double E = o->error[at] * 0x1p-29, s = definition_timestep(&definition, t, h, y);
        assert_true(near(s, o->s[at], E + fabs(s) * 0x1p-52));
        for (size_t d = 0; d < c->D; d++)
            assert_true(near(y[d], o->y[at * c->D + d], 4 * E * o->y_error[g * c->D + d]));
    }
}

static const size_t tokens[] = {0, 1, 2, 7, 64, 130};
static const size_t keys[] = {0, 1, 63, 64, 65, 511, 512, 513, 1100};
static const size_t heads[][2] = {{1, 1}, {4, 4}, {8, 2}, {6, 1}};
static const size_t dims[] = {8, 16, 40, 64, 128, 256};

static void assert_same(const struct fold_result *a, const struct fold_result *b, const char *who,
                        const char *what)
{
    size_t n = a->T * a->H;
    if (n && (memcmp(a->s, b->s, n * sizeof *a->s) != 0 ||
              memcmp(a->v, b->v, n * a->D * sizeof *a->v) != 0))
        fail_msg("%s: other bits: %s", who, what);
}

/* Every T with every S; heads, dimension, type, mask and position drawn. */
static void fold_is_attention_by_definition(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (size_t shape = 0; shape < 6 * 9; shape++) {
        struct fold_case c = {.T = tokens[shape / 9], .S = keys[shape % 9]};
        do {
            size_t pair = random_below(&r, 4);
            c.H = heads[pair][0];
            c.G = heads[pair][1];
            c.D = dims[random_below(&r, 6)];
        } while (c.T * c.S * c.H * c.D > 6000000);
        c.type = random_below(&r, 2) ? DTYPE_F32 : DTYPE_F16;
        c.mask = random_below(&r, 3) ? MASK_CAUSAL : MASK_NONE;
        size_t firsts[4] = {0, c.S > c.T ? c.S - c.T : 0, c.S, random_below(&r, c.S + 1)};
        c.first = firsts[random_below(&r, 4)];
        case_open(&c, &r, shape % 5 == 4 ? 6 : 1);
        struct oracle o = oracle_new(&c, false);
        struct fold_result one = result_new(&c), more = result_new(&c);
        hold_forms(&c, &o, &r);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            case_fold(&c, k, 0, c.T, 1, &one);
            case_fold(&c, k, 0, c.T, 2 + (int)random_below(&r, 4), &more);
            hold(&c, &o, &one, k->name, 0);
            assert_same(&one, &more, k->name, "threads");
        }
        result_free(&one);
        result_free(&more);
        oracle_free(&o);
        case_close(&c);
    }
}

/* Shapes around the edges of blocks, tiles, spans and chunks, for what must give the same bits. */
static const struct fold_case same_bits_shapes[] = {
    {70, 1100, 8, 2, 40, DTYPE_F16, MASK_CAUSAL, 1030, 0, 0, 0, 0, 0, 0},
    {130, 130, 6, 1, 16, DTYPE_F32, MASK_CAUSAL, 0, 0, 0, 0, 0, 0, 0},
    {7, 1537, 4, 4, 64, DTYPE_F16, MASK_NONE, 0, 0, 0, 0, 0, 0, 0},
    {33, 600, 1, 1, 8, DTYPE_F32, MASK_CAUSAL, 490, 0, 0, 0, 0, 0, 0},
    {10, 513, 6, 1, 128, DTYPE_F32, MASK_CAUSAL, 505, 0, 0, 0, 0, 0, 0},
};
enum { SAME_BITS_SHAPES = sizeof same_bits_shapes / sizeof *same_bits_shapes };

/* The bits of all queries at once in one thread are those of any number of threads, of chunks of 1,
 * 7 and 64 queries, and of any run of queries. */
static void any_cut_gives_the_same_bits(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const int threads[] = {1, 2, 3, 5};
    for (size_t i = 0; i < SAME_BITS_SHAPES; i++)
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct fold_case c = same_bits_shapes[i];
            case_open(&c, &r, 1);
            struct fold_result whole = result_new(&c), cut = result_new(&c);
            case_fold(&c, k, 0, c.T, 1, &whole);
            const size_t chunks[] = {1, 7, 64, c.T};
            for (size_t j = 0; j < 16; j++) {
                memset(cut.v, 0xff, c.T * c.H * c.D * sizeof(float));
                for (size_t t = 0, chunk = chunks[j / 4]; t < c.T; t += chunk)
                    case_fold(&c, k, t, t + chunk < c.T ? t + chunk : c.T, threads[j % 4], &cut);
                assert_same(&whole, &cut, k->name, "chunks of queries and threads");
            }
            for (size_t j = 0; j < 10; j++) {
                size_t from = random_below(&r, c.T), to = from + 1 + random_below(&r, c.T - from);
                for (size_t at = from * c.H; at < to * c.H; at++)
                    cut.s[at] = NAN;
                case_fold(&c, k, from, to, threads[random_below(&r, 4)], &cut);
                assert_same(&whole, &cut, k->name, "a run of queries");
            }
            result_free(&whole);
            result_free(&cut);
            case_close(&c);
        }
}

/* A causal query at position p has the same bits with the segment cut behind p, with NaN in all keys
 * and values behind p, and with no memory at all for the chunks behind p. */
static void what_a_query_does_not_see_does_not_matter(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (size_t i = 0; i < SAME_BITS_SHAPES; i++)
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct fold_case c = same_bits_shapes[i];
            if (c.mask != MASK_CAUSAL)
                continue;
            case_open(&c, &r, 1);
            struct fold_result whole = result_new(&c), part = result_new(&c);
            void *chunks[64];
            case_fold(&c, k, 0, c.T, 2, &whole);
            case_fold(&c, k, 0, c.T, 1, &part);
            for (size_t trial = 0; trial < 6; trial++) {
                size_t from = random_below(&r, c.T), to = from + 1 + random_below(&r, 3);
                to = to < c.T ? to : c.T;
                size_t seen = c.first + to < c.S ? c.first + to : c.S;
                struct segment segment = case_segment(&c);
                memcpy(chunks, c.chunks, case_chunks(&c) * sizeof *chunks);
                for (size_t j = (seen + CHUNK - 1) / CHUNK; j < case_chunks(&c); j++)
                    chunks[j] = NULL;
                segment.chunks = chunks;
                case_store(&c, seen);
                case_fold_over(&c, &segment, k, from, to, 1 + (int)trial % 3, &part);
                segment.length = seen;
                assert_same(&whole, &part, k->name, "keys behind the query");
                case_fold_over(&c, &segment, k, from, to, 1 + (int)trial % 3, &part);
                assert_same(&whole, &part, k->name, "a shorter segment");
            }
            result_free(&whole);
            result_free(&part);
            case_close(&c);
        }
}

/* The page fold.h draws, written down with a row alone: chunks absorbed left to right within a span,
 * spans merged left to right. fold_run gives these bits. */
static float fold_by_hand(const struct fold_case *c, const struct kernels *k, size_t t, size_t h,
                          float *v)
{
    size_t D = c->D, Dv = value_stride(D), g = h / (c->H / c->G);
    float memory[2][2 + 256], q[256], m, panel[2 * 256 * CHUNK];
    struct partials total = {memory[0], memory[0] + 1, memory[0] + 2};
    struct partials span = {memory[1], memory[1] + 1, memory[1] + 2};
    partial_clear(total, 1, Dv);
    for (size_t d = 0; d < D; d++)
        q[d] = c->q[(t * c->H + h) * D + d] * c->scale;
    for (size_t chunk = 0; chunk < case_chunks(c); chunk++) {
        const char *stored = (const char *)c->chunks[chunk] + c->offset;
        uint64_t visible = 0;
        if (chunk % 8 == 0)
            partial_clear(span, 1, Dv);
        for (size_t j = 0; j < 64 && chunk * 64 + j < c->S; j++)
            visible |= (uint64_t)case_visible(c, t, chunk * 64 + j) << j;
        stored += g * segment_head_bytes(c->type, D);
        k->unpack(c->type, panel, stored, D * CHUNK);
        k->unpack(c->type, panel + D * CHUNK, stored + segment_key_bytes(c->type, D), CHUNK * Dv);
        if (visible)
            k->absorb(&(struct absorb){1, D, q, panel, panel + D * CHUNK, &visible, false, span.m,
                                       span.d, span.o});
        if (chunk % 8 == 7 || chunk + 1 == case_chunks(c))
            partial_merge(total, span, 1, Dv);
    }
    m = partial_finish(total, D, v);
    return m;
}

static void fold_is_chunks_absorbed_and_spans_merged(void **state)
{
    (void)state;
    struct random r = random_start(4);
    assert_int_equal(CHUNK, 64);
    for (size_t i = 0; i < SAME_BITS_SHAPES; i++)
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct fold_case c = same_bits_shapes[i];
            case_open(&c, &r, 1);
            struct fold_result whole = result_new(&c), hand = result_new(&c);
            case_fold(&c, k, 0, c.T, 2, &whole);
            case_fold(&c, k, 0, c.T, 2, &hand);
            for (size_t trial = 0; trial < 12; trial++) {
                size_t at = random_below(&r, c.T * c.H);
                hand.s[at] = fold_by_hand(&c, k, at / c.H, at % c.H, hand.v + at * c.D);
            }
            assert_same(&whole, &hand, k->name, "the fold by hand");
            result_free(&whole);
            result_free(&hand);
            case_close(&c);
        }
}

/* The keys split at random places, each part folded by itself as a segment of its own, the parts
 * merged as states of the public header: attention over all keys. */
static void states_of_any_split_merge(void **state)
{
    (void)state;
    struct random r = random_start(5);
    enum { MOST = 6 };
    for (size_t trial = 0; trial < 12; trial++) {
        struct fold_case c = {5, 700 + random_below(&r, 200), 4, 2, 16, trial & 1, MASK_NONE};
        case_open(&c, &r, 1);
        struct oracle o = oracle_new(&c, false);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct fold_result parts[MOST], whole = result_new(&c);
            trib_states states[MOST], all = {whole.s, whole.v, c.T * c.H, c.D};
            for (size_t p = 0, from = 0; p < MOST; p++) {
                size_t left = c.S - from, n = p + 1 == MOST ? left : random_below(&r, left / 2);
                struct fold_case part = c;
                part.S = n;
                case_open(&part, &r, 1);
                memcpy(part.q, c.q, c.T * c.H * c.D * sizeof(float));
                if (n) {
                    memcpy(part.k, c.k + from * c.G * c.D, n * c.G * c.D * sizeof(float));
                    memcpy(part.v, c.v + from * c.G * c.D, n * c.G * c.D * sizeof(float));
                }
                case_store(&part, n);
                parts[p] = result_new(&c);
                case_fold(&part, k, 0, c.T, 1, &parts[p]);
                states[p] = (trib_states){parts[p].s, parts[p].v, c.T * c.H, c.D};
                case_close(&part);
                from += n;
            }
            /* One merge of MOST states (test_states.c), |s| at most 3 sqrt(D) + log S. */
            double more = (6 * (12 + 7) + 8 * MOST + 6) * 0x1p-24;
            assert_int_equal(trib_state_merge_all(&all, states, MOST, NULL), TRIB_OK);
            hold(&c, &o, &whole, k->name, more);
            for (size_t p = 1; p < MOST; p++)
                assert_int_equal(trib_state_merge(states, states, states + p, NULL), TRIB_OK);
            hold(&c, &o, &parts[0], k->name, MOST * more);
            for (size_t p = 0; p < MOST; p++)
                result_free(&parts[p]);
            result_free(&whole);
        }
        oracle_free(&o);
        case_close(&c);
    }
}
