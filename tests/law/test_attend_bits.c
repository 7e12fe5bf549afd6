/* The same bits: what a query gets does not depend on the threads, on the queries beside it, on how
 * the segment lies in memory, on whether a mask is said or spelled out, or on what it does not see.
 * Compared bit for bit; NaN equals NaN. */
#include "attend_case.h"

#include "attention/partial.h"

/* Cases around the edges of tiles, blocks, chunks and spans. Few rows over many spans, one block of
 * rows over several spans, and several blocks of 768 rows are cut in different ways, which depend
 * on the number of threads too. */
static const struct attend_case shapes[] = {
    {.T = 1, .S = 2100, .H = 8, .G = 2, .D = 32, .mask = SEE_CAUSAL, .query_first = 2099},
    {.T = 3, .S = 1537, .H = 4, .G = 4, .D = 32, .mask = 0, .key_first = 64},
    {.T = 50, .S = 560, .H = 4, .G = 1, .D = 8, .mask = SEE_CAUSAL, .query_first = 510},
    {.T = 40, .S = 130, .H = 6, .G = 1, .D = 16, .mask = SEE_CAUSAL, .key_first = 448},
    {.T = 5, .S = 700, .H = 2, .G = 2, .D = 96, .mask = SEE_CAUSAL | SEE_WINDOW},
    {.T = 20, .S = 520, .H = 5, .G = 1, .D = 7, .mask = SEE_BITS, .score = SCORE_BIAS},
    {.T = 20, .S = 300, .H = 3, .G = 3, .D = 32, .mask = SEE_DOCUMENTS | SEE_CAUSAL},
    {.T = 9, .S = 1100, .H = 2, .G = 1, .D = 24, .mask = SEE_WINDOW, .score = SCORE_ALIBI},
    {.T = 7, .S = 200, .H = 4, .G = 2, .D = 128, .mask = SEE_CAUSAL | SEE_PREFIX},
    {.T = 3, .S = 540, .H = 2, .G = 2, .D = 32, .score = SCORE_ADDITIVE, .mask = SEE_CAUSAL},
    {.T = 6, .S = 540, .H = 4, .G = 2, .D = 64, .score = SCORE_SOFTCAP, .mask = SEE_CAUSAL},
    {.T = 5, .S = 540, .H = 4, .G = 2, .D = 80, .mask = SEE_TREE, .query_first = 535},
    {.T = 410, .S = 600, .H = 4, .G = 1, .D = 8, .mask = SEE_CAUSAL, .key_first = 64},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Case i of the list with a type and, where the list leaves it open, the queries at the keys' end.
 */
static struct attend_case drawn_case(struct random *r, size_t i, trib_kv_type type)
{
    struct attend_case c = shapes[i];
    c.type = type;
    if (c.type == TRIB_KV_Q8_0)
        c.D = (c.D + 31) / 32 * 32;
    if (c.query_first == 0)
        c.query_first = c.key_first + c.S - (c.T < c.S ? c.T : c.S) / 2;
    case_draw(&c, r);
    return c;
}

static void any_number_of_threads(void **state)
{
    (void)state;
    struct random r = random_start(1);
    static const int threads[] = {2, 3, 5, 1};
    for (size_t i = 0; i < SHAPES; i++) {
        struct attend_case c = drawn_case(&r, i, case_types[i % 4]);
        struct stored stored;
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result one = result_new(&c), more = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1, &one);
            for (size_t j = 0; j < 4; j++) {
                memset(more.v, 0xff, more.count * more.D * sizeof *more.v);
                case_attend(&c, k, &stored.segment, 0, c.T, threads[j], &more);
                assert_same(&c, k, &one, &more, "threads");
            }
            result_free(&one);
            result_free(&more);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* One query at a time, 7 and 64 at a time, and any run of queries; what is beside the run in the
 * output stays. A tree's tokens count from its first: runs of it begin there. */
static void any_run_of_queries(void **state)
{
    (void)state;
    struct random r = random_start(2);
    for (size_t i = 0; i < SHAPES; i++) {
        struct attend_case c = drawn_case(&r, i, case_types[random_below(&r, 4)]);
        struct stored stored;
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result whole = result_new(&c), part = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 2, &whole);
            const size_t steps[2] = {1, random_below(&r, 2) ? 7 : 64};
            for (size_t j = 0; j < 2 && !(c.mask & SEE_TREE); j++) {
                memset(part.v, 0xff, part.count * part.D * sizeof *part.v);
                for (size_t t = 0; t < c.T; t += steps[j])
                    case_attend(&c, k, &stored.segment, t, t + steps[j] < c.T ? t + steps[j] : c.T,
                                1 + (int)(t % 3), &part);
                assert_same(&c, k, &whole, &part, "queries a few at a time");
            }
            result_copy(&part, &whole);
            for (size_t j = 0; j < 3; j++) {
                size_t from = c.mask & SEE_TREE ? 0 : random_below(&r, c.T);
                size_t to = from + 1 + random_below(&r, c.T - from);
                memset(part.v + from * c.H * c.D, 0xff, (to - from) * c.H * c.D * sizeof(float));
                case_attend(&c, k, &stored.segment, from, to, 1 + (int)j % 3, &part);
                assert_same(&c, k, &whole, &part, "a run of queries");
            }
            result_free(&whole);
            result_free(&part);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* Dense, strided, paged and packed; where the segment begins between chunks, in rows. */
static void any_layout(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (size_t i = 0; i < SHAPES + 4; i++) {
        size_t shape = i < SHAPES ? i : random_below(&r, SHAPES);
        struct attend_case c = drawn_case(&r, shape, case_types[random_below(&r, 4)]);
        if (i >= SHAPES)
            c.key_first += 1 + random_below(&r, 63);
        struct stored stored[LAYOUTS];
        size_t layouts = i < SHAPES ? LAYOUTS : ROWS_LAYOUTS;
        for (size_t j = 0; j < layouts; j++)
            store(&stored[j], &c, &r, (enum layout)j);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result first = result_new(&c), other = result_new(&c);
            case_attend(&c, k, &stored[0].segment, 0, c.T, 1, &first);
            for (size_t j = 1; j < layouts; j++) {
                char what[32];
                snprintf(what, sizeof what, "layout %zu", j);
                case_attend(&c, k, &stored[j].segment, 0, c.T, 1, &other);
                assert_same(&c, k, &first, &other, what);
            }
            result_free(&first);
            result_free(&other);
        }
        for (size_t j = 0; j < layouts; j++)
            store_free(&stored[j]);
        case_free(&c);
    }
}

/* Any mask against the same mask spelled out bit by bit, of which nothing is known before it is
 * looked at: what the one skips, the other computes. */
static void a_mask_is_what_its_bits_are(void **state)
{
    (void)state;
    struct random r = random_start(4);
    for (size_t i = 0; i < 64; i++) {
        struct attend_case c = {.T = 1 + random_below(&r, 30),
                                .S = 1 + random_below(&r, random_below(&r, 2) ? 700 : 150),
                                .H = 2,
                                .G = 1 + i % 2,
                                .D = 32,
                                .type = case_types[random_below(&r, 4)],
                                .mask = (unsigned)i,
                                .score = random_below(&r, 4) ? 0 : SCORE_ALIBI,
                                .key_first = random_below(&r, 2) ? 64 : random_below(&r, 600)};
        c.query_first = c.key_first + random_below(&r, c.S + 1);
        case_draw(&c, &r);
        struct attend_case spelled = c;
        size_t words = (c.S + 63) / 64;
        uint64_t *bits = guard_new(c.T * words * sizeof *bits);
        memset(bits, 0, c.T * words * sizeof *bits);
        for (size_t at = 0; at < c.T * c.S; at++)
            bits[at / c.S * words + at % c.S / 64] |= (uint64_t)case_sees(&c, at / c.S, at % c.S)
                                                      << at % c.S % 64;
        spelled.attention.mask = (trib_mask){.bits = bits, .bits_stride = words};
        struct stored stored;
        store(&stored, &c, &r, (enum layout)random_below(&r, ROWS_LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result said = result_new(&c), spelt = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1 + (int)i % 3, &said);
            case_attend(&spelled, k, &stored.segment, 0, c.T, 1, &spelt);
            assert_same(&c, k, &said, &spelt, "a mask spelled out");
            result_free(&said);
            result_free(&spelt);
        }
        store_free(&stored);
        guard_free(bits, c.T * words * sizeof *bits);
        case_free(&c);
    }
}

/* Puts into every key and value that queries [from, to) do not see: NaN, infinity or numbers. */
static void spoil_unseen(const struct attend_case *c, struct random *r, size_t from, size_t to)
{
    static const float garbage[] = {NAN, INFINITY, -INFINITY, 65504, 0};
    for (size_t i = 0; i < c->S; i++) {
        bool seen = false;
        for (size_t t = from; t < to; t++)
            seen = seen || case_sees(c, t, i);
        for (size_t d = 0; d < c->G * c->D && !seen; d++) {
            c->k[i * c->G * c->D + d] = c->type == TRIB_KV_Q8_0 ? NAN : garbage[random_below(r, 5)];
            c->v[i * c->G * c->D + d] = c->type == TRIB_KV_Q8_0 ? NAN : garbage[random_below(r, 5)];
        }
    }
}

/* Whatever keys and values hold that a run of queries does not see, its bits are the same. */
static void what_is_not_seen_does_not_matter(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (size_t i = 0; i < 3 * SHAPES; i++) {
        struct attend_case c = drawn_case(&r, i % SHAPES, case_types[i % 4]);
        size_t from = c.mask & SEE_TREE ? 0 : random_below(&r, c.T);
        size_t to = from + 1 + random_below(&r, random_below(&r, 2) ? 2 : c.T);
        to = to < c.T ? to : c.T;
        enum layout layout = (enum layout)random_below(&r, LAYOUTS);
        struct stored clean, spoilt;
        store(&clean, &c, &r, layout);
        spoil_unseen(&c, &r, from, to);
        store(&spoilt, &c, &r, layout);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result whole = result_new(&c), part = result_new(&c);
            case_attend(&c, k, &clean.segment, 0, c.T, 2, &whole);
            result_copy(&part, &whole);
            memset(part.v + from * c.H * c.D, 0xff, (to - from) * c.H * c.D * sizeof(float));
            case_attend(&c, k, &spoilt.segment, from, to, 1 + (int)i % 3, &part);
            assert_same(&c, k, &whole, &part, "garbage where nobody looks");
            result_free(&whole);
            result_free(&part);
        }
        store_free(&clean);
        store_free(&spoilt);
        case_free(&c);
    }
}

/* A causal run of queries over a segment cut behind the last key it sees. */
static void a_longer_segment_with_a_mask_is_a_shorter_one(void **state)
{
    (void)state;
    struct random r = random_start(6);
    for (size_t i = 0; i < 2 * SHAPES; i++) {
        struct attend_case c = drawn_case(&r, i % SHAPES, case_types[random_below(&r, 4)]);
        enum layout layout = (enum layout)random_below(&r, LAYOUTS);
        struct stored longer, shorter;
        size_t to = 1 + random_below(&r, c.T), end = c.query_first + to - c.key_first;
        if (!c.attention.mask.causal || c.attention.mask.prefix || end > c.S) {
            case_free(&c);
            continue;
        }
        store(&longer, &c, &r, layout);
        store_part(&shorter, &c, &r, layout, 0, end);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result whole = result_new(&c), part = result_new(&c);
            case_attend(&c, k, &longer.segment, 0, c.T, 1, &whole);
            result_copy(&part, &whole);
            memset(part.v, 0xff, to * c.H * c.D * sizeof *part.v);
            case_attend(&c, k, &shorter.segment, 0, to, 1 + (int)i % 2, &part);
            assert_same(&c, k, &whole, &part, "a shorter segment");
            result_free(&whole);
            result_free(&part);
        }
        store_free(&longer);
        store_free(&shorter);
        case_free(&c);
    }
}

/* All positions moved on by whole spans: nothing changes but the numbers. */
static void moving_by_whole_spans_changes_nothing(void **state)
{
    (void)state;
    struct random r = random_start(7);
    for (size_t i = 0; i < SHAPES; i++) {
        struct attend_case c = drawn_case(&r, i, case_types[i % 4]), moved = c;
        struct stored stored;
        size_t by = SPAN * (1 + random_below(&r, 200));
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        struct stored there = stored;
        there.segment.first += by;
        moved.queries.first += by;
        if (moved.attention.mask.prefix)
            moved.attention.mask.prefix += by;
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result before = result_new(&c), after = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 2, &before);
            case_attend(&moved, k, &there.segment, 0, c.T, 2, &after);
            assert_same(&c, k, &before, &after, "moved by spans");
            result_free(&before);
            result_free(&after);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* The heads of one KV head as a model of that head alone. */
static void heads_do_not_know_of_each_other(void **state)
{
    (void)state;
    struct random r = random_start(8);
    for (size_t i = 0; i < SHAPES; i++) {
        struct attend_case c = drawn_case(&r, i, case_types[i % 4]);
        struct stored stored;
        if (c.score || c.G == 1) {
            case_free(&c);
            continue;
        }
        store(&stored, &c, &r, (enum layout)random_below(&r, PAGES_1));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result whole = result_new(&c);
            size_t group = c.H / c.G, g = random_below(&r, c.G);
            struct attend_case alone = c;
            case_attend(&c, k, &stored.segment, 0, c.T, 2, &whole);
            alone.H = alone.attention.heads = group;
            alone.G = alone.attention.kv_heads = 1;
            alone.queries.q += g * group * c.D;
            struct stored part = stored;
            part.segment.k = (const char *)part.segment.k + g * part.segment.head_stride;
            part.segment.v = (const char *)part.segment.v + g * part.segment.head_stride;
            struct result out = result_new(&alone);
            case_attend(&alone, k, &part.segment, 0, c.T, 3, &out);
            for (size_t row = 0; row < out.count; row++) {
                size_t at = row / group * c.H + g * group + row % group;
                assert_memory_equal(whole.s + at, out.s + row, sizeof(float));
                assert_memory_equal(whole.v + at * c.D, out.v + row * c.D, c.D * sizeof(float));
            }
            result_free(&out);
            result_free(&whole);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* The canonical fold, written down for one row alone: chunks absorbed left to right within a span,
 * spans merged left to right. */
static float fold_by_hand(const struct attend_case *c, const struct kernels *k, size_t t, size_t h,
                          float *v)
{
    static _Alignas(64) float memory[2][2 + 256], panel_memory[2 * 256 * CHUNK];
    size_t D = c->D, g = h / (c->H / c->G), first = c->key_first;
    struct partials total = {memory[0], memory[0] + 1, memory[0] + 2};
    struct partials span = {memory[1], memory[1] + 1, memory[1] + 2};
    float q[256];
    partial_clear(total, 1, D);
    for (size_t d = 0; d < D; d++)
        q[d] = c->q[(t * c->H + h) * D + d] * (c->attention.scale * 0x1.715476p+0f);
    for (size_t start = first / 64 * 64; start < first + c->S; start += 64) {
        size_t from = start < first ? first - start : 0;
        size_t to = first + c->S - start < 64 ? first + c->S - start : 64;
        uint64_t word = 0;
        for (size_t j = from; j < to; j++)
            word |= (uint64_t)case_sees(c, t, start + j - first) << j;
        struct chunk_rows rows = {
            .type = DTYPE_F32, .stride = c->G * D * sizeof(float), .from = from, .to = to};
        rows.k = (const char *)(c->k + ((start + from - first) * c->G + g) * D);
        rows.v = (const char *)(c->v + ((start + from - first) * c->G + g) * D);
        if (start % 512 == 0 || start <= first)
            partial_clear(span, 1, D);
        struct panel panel;
        const struct panel *const panels = &panel;
        const uint64_t *const words = &word;
        const bool finite = false;
        k->panel_load(&panel, panel_memory, &rows, D, PANEL_ONCE);
        k->absorb(&(struct absorb){.rows = 1,
                                   .head_dim = D,
                                   .chunks = 1,
                                   .q = q,
                                   .panels = &panels,
                                   .visible = &words,
                                   .finite = &finite,
                                   .m = span.m,
                                   .d = span.d,
                                   .o = span.o});
        if (start % 512 == 448 || start + 64 >= first + c->S)
            k->merge(&total, &span, 1, D);
    }
    return partial_finish(total, D, v);
}

static void attending_is_chunks_absorbed_and_spans_merged(void **state)
{
    (void)state;
    struct random r = random_start(9);
    for (size_t i = 0; i < SHAPES; i++) {
        struct attend_case c = drawn_case(&r, i, TRIB_KV_F32);
        struct stored stored;
        if (c.score) {
            case_free(&c);
            continue;
        }
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result whole = result_new(&c), hand = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 2, &whole);
            result_copy(&hand, &whole);
            for (size_t trial = 0; trial < 9; trial++) {
                size_t at = random_below(&r, c.T * c.H);
                hand.s[at] = fold_by_hand(&c, k, at / c.H, at % c.H, hand.v + at * c.D);
            }
            assert_same(&c, k, &whole, &hand, "the fold by hand");
            result_free(&whole);
            result_free(&hand);
        }
        store_free(&stored);
        case_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(any_run_of_queries),
        cmocka_unit_test(any_layout),
        cmocka_unit_test(a_mask_is_what_its_bits_are),
        cmocka_unit_test(what_is_not_seen_does_not_matter),
        cmocka_unit_test(a_longer_segment_with_a_mask_is_a_shorter_one),
        cmocka_unit_test(moving_by_whole_spans_changes_nothing),
        cmocka_unit_test(heads_do_not_know_of_each_other),
        cmocka_unit_test(attending_is_chunks_absorbed_and_spans_merged),
    };
    random_seed();
    return cmocka_run_group_tests_name("attend bits", tests, NULL, NULL);
}
