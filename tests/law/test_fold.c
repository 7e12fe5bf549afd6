/* The canonical fold of every kernel table: against the definition, and the same bits however it is
 * cut. The bound is derived in fold_oracle.h. */
#include <math.h>
#include <stdbool.h>

#include "attention/partial.h"
#include "fold_oracle.h"
#include "tables.h"
#include "test.h"
#include "tributary/attention.h"

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
        } while (c.T * c.S * c.H * c.D > 4000000);
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
enum { SAME_BITS_SHAPES = 5 };

static struct fold_case same_bits_shape(size_t i)
{
    switch (i) {
    case 0:
        return case_shape(70, 600, 8, 2, 8, DTYPE_F16, MASK_CAUSAL, 530);
    case 1:
        return case_shape(130, 130, 6, 1, 16, DTYPE_F32, MASK_CAUSAL, 0);
    case 2:
        return case_shape(7, 1537, 4, 4, 40, DTYPE_F16, MASK_NONE, 0);
    case 3:
        return case_shape(33, 600, 1, 1, 8, DTYPE_F32, MASK_CAUSAL, 490);
    default:
        return case_shape(10, 513, 6, 1, 128, DTYPE_F32, MASK_CAUSAL, 505);
    }
}

/* The bits of all queries at once in one thread are those of any number of threads, of chunks of 1,
 * 7 and 64 queries in changing numbers of threads, and of any run of queries. */
static void any_cut_gives_the_same_bits(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const int threads[] = {1, 2, 3, 5};
    for (size_t i = 0; i < SAME_BITS_SHAPES; i++)
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct fold_case c = same_bits_shape(i);
            case_open(&c, &r, 1);
            struct fold_result whole = result_new(&c), cut = result_new(&c);
            case_fold(&c, k, 0, c.T, 1, &whole);
            const size_t chunks[] = {1, 7, 64, c.T, c.T, c.T};
            for (size_t j = 0; j < 6; j++) {
                memset(cut.v, 0xff, c.T * c.H * c.D * sizeof(float));
                for (size_t t = 0; t < c.T; t += chunks[j]) {
                    size_t to = t + chunks[j] < c.T ? t + chunks[j] : c.T;
                    int team = threads[j < 3 ? random_below(&r, 4) : j - 2];
                    case_fold(&c, k, t, to, team, &cut);
                }
                assert_same(&whole, &cut, k->name, "chunks of queries and threads");
            }
            for (size_t j = 0; j < 6; j++) {
                size_t from = random_below(&r, c.T), to = from + 1 + random_below(&r, c.T - from);
                memset(cut.v + from * c.H * c.D, 0xff, (to - from) * c.H * c.D * sizeof(float));
                case_fold(&c, k, from, to, threads[random_below(&r, 4)], &cut);
                assert_same(&whole, &cut, k->name, "a run of queries");
            }
            result_free(&whole);
            result_free(&cut);
            case_close(&c);
        }
}

/* A causal query at position p has the same bits with the segment cut behind p, with NaN in all
 * keys and values behind p, and with no memory at all for the chunks behind p. */
static void what_a_query_does_not_see_does_not_matter(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (size_t i = 0; i < SAME_BITS_SHAPES; i++)
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct fold_case c = same_bits_shape(i);
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

/* The page fold.h draws, written down with a row alone: chunks absorbed left to right within a
 * span, spans merged left to right. fold_run gives these bits. */
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
            struct fold_case c = same_bits_shape(i);
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
        enum dtype type = trial & 1 ? DTYPE_F16 : DTYPE_F32;
        struct fold_case c =
            case_shape(5, 700 + random_below(&r, 200), 4, 2, 16, type, MASK_NONE, 0);
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

/* The heads of one KV head, folded as a model of that head alone, have the bits they have among the
 * others. */
static void heads_do_not_know_of_each_other(void **state)
{
    (void)state;
    struct random r = random_start(6);
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct fold_case c = same_bits_shape(0);
        case_open(&c, &r, 1);
        struct fold_result whole = result_new(&c), rebuilt = result_new(&c);
        case_fold(&c, k, 0, c.T, 2, &whole);
        for (size_t g = 0, group = c.H / c.G; g < c.G; g++) {
            struct fold_case alone = c;
            alone.G = 1;
            alone.H = group;
            alone.offset += g * segment_head_bytes(c.type, c.D);
            alone.q = guard_floats(c.T * group * c.D);
            for (size_t t = 0; t < c.T; t++)
                memcpy(alone.q + t * group * c.D, c.q + (t * c.H + g * group) * c.D,
                       group * c.D * sizeof(float));
            struct fold_result out = result_new(&alone);
            case_fold(&alone, k, 0, c.T, 3, &out);
            for (size_t t = 0; t < c.T; t++) {
                memcpy(rebuilt.s + t * c.H + g * group, out.s + t * group, group * sizeof(float));
                memcpy(rebuilt.v + (t * c.H + g * group) * c.D, out.v + t * group * c.D,
                       group * c.D * sizeof(float));
            }
            result_free(&out);
            guard_free_floats(alone.q, c.T * group * c.D);
        }
        assert_same(&whole, &rebuilt, k->name, "a KV head alone");
        result_free(&whole);
        result_free(&rebuilt);
        case_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fold_is_attention_by_definition),
        cmocka_unit_test(any_cut_gives_the_same_bits),
        cmocka_unit_test(what_a_query_does_not_see_does_not_matter),
        cmocka_unit_test(fold_is_chunks_absorbed_and_spans_merged),
        cmocka_unit_test(states_of_any_split_merge),
        cmocka_unit_test(heads_do_not_know_of_each_other),
    };
    random_seed();
    return cmocka_run_group_tests_name("fold", tests, NULL, NULL);
}
