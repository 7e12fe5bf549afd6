/* The states that attending gives are the states of the algebra: the keys cut anywhere, the parts
 * attended or absorbed apart and in any order, merged in any tree, are attention over all keys.
 *
 * The bound. A part's state is off by E in s and 2 E in v (attend_case.h), and to it come, each
 * time that a state is written, taken up or merged with others, n at a time: s rounded twice, a
 * logarithm and the merge itself (test_states.c), (9 Z + 8 n + 20) u with Z = M + log S + 1 at
 * least every |s|. Over h such steps on a key's way that makes
 *
 *     more = E + h (9 Z + 8 n + 20) u */
#include "attend_case.h"

enum { ROWS = 6, PARTS = 7 };

static double more_error(const struct attend_case *c, const struct kernels *k,
                         const struct expected *x, size_t h, size_t n)
{
    double Z = x->M + log((double)c->S + 1) + 1;
    return case_error(c, k, x) + (double)h * (9 * Z + 8 * (double)n + 20) * 0x1p-24;
}

/* The case with its lists of keys beginning at key `from`. */
static struct attend_case case_from(const struct attend_case *c, size_t from)
{
    struct attend_case part = *c;
    trib_mask *m = &part.attention.mask;
    if (part.attention.bias)
        part.attention.bias += from;
    if (m->key_document)
        m->key_document += from;
    if (m->bits)
        m->bits += from / 64;
    return part;
}

/* A case, its cuts and its rows. Where the cut is by chunks every layout and mask takes part;
 * elsewhere rows, and masks that are not lists of bits. */
struct trial {
    struct attend_case c;
    struct expected expected[ROWS];
    size_t rows;
    size_t cuts[PARTS + 1]; /* part p is [cuts[p], cuts[p + 1]) */
    struct stored stored[PARTS];
};

static int by_size(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Cuts a case that has its shape, and stores the parts. */
static void trial_cut(struct trial *t, struct random *r, size_t step)
{
    struct attend_case *c = &t->c;
    case_draw(c, r);
    t->rows = case_expect_some(c, r, t->expected, ROWS);
    t->cuts[0] = 0;
    t->cuts[PARTS] = c->S;
    for (size_t p = 1; p < PARTS; p++) /* the same twice makes an empty part */
        t->cuts[p] = c->S ? random_below(r, (c->S + step - 1) / step) * step : 0;
    qsort(t->cuts, PARTS, sizeof *t->cuts, by_size);
    for (size_t p = 0; p < PARTS; p++)
        store_part(&t->stored[p], c, r,
                   (enum layout)random_below(r, step % 64 ? ROWS_LAYOUTS : LAYOUTS), t->cuts[p],
                   t->cuts[p + 1]);
}

static void trial_new(struct trial *t, struct random *r, size_t step)
{
    static const unsigned scores[] = {0, 0, SCORE_ALIBI, SCORE_SOFTCAP, SCORE_BIAS};
    struct attend_case *c = &t->c;
    unsigned masks = step % 64 ? 63 & ~(unsigned)SEE_BITS : 63;
    *c = (struct attend_case){.T = 1 + random_below(r, 7),
                              .S = 600 + random_below(r, 900),
                              .H = 4,
                              .G = 2,
                              .D = random_below(r, 2) ? 32 : 96,
                              .type = case_types[random_below(r, 4)],
                              .score = scores[random_below(r, 5)],
                              .mask = (unsigned)random_below(r, 64) & masks,
                              .key_first =
                                  step % 64 ? random_below(r, 600) : step * random_below(r, 3)};
    c->query_first = c->key_first + (random_below(r, 2) ? c->S : random_below(r, c->S));
    trial_cut(t, r, step);
}

/* Trial i of all types, scores and groups of heads with one another and with every mask; shapes
 * from nothing on, even and odd, D from 16 to 256. */
enum { COMBINATIONS = 4 * 6 * 6 };

static void trial_combine(struct trial *t, struct random *r, size_t i)
{
    static const unsigned scores[] = {0,          SCORE_SOFTCAP,  SCORE_ALIBI,
                                      SCORE_BIAS, SCORE_ADDITIVE, SCORE_SOFTCAP | SCORE_ALIBI};
    static const size_t heads[][2] = {{1, 1}, {4, 4}, {8, 2}, {6, 1}, {3, 3}, {10, 5}};
    static const size_t keys[] = {0, 1, 2, 63, 64, 65, 130, 200, 513, 700};
    struct attend_case *c = &t->c;
    *c = (struct attend_case){.H = heads[i / 24][0],
                              .G = heads[i / 24][1],
                              .type = case_types[i % 4],
                              .score = scores[i / 4 % 6],
                              .mask = (unsigned)((i + i / 4) % 64), /* all 64, whatever the type */
                              .key_first = 64 * random_below(r, 9)};
    do {
        c->T = random_below(r, random_below(r, 2) ? 3 : 40);
        c->S = random_below(r, 2) ? keys[random_below(r, 10)] : random_below(r, 300);
        c->D = 16 + random_below(r, 241);
        if (c->type == TRIB_KV_Q8_0)
            c->D = c->D / 32 * 32 + (c->D < 32) * 32;
    } while (c->T * c->S * c->H * c->D > (c->score & SCORE_ADDITIVE ? 60000 : 250000) ||
             (c->T * c->S == 0 && random_below(r, 4)));
    size_t end = c->key_first + c->S;
    c->query_first = random_below(r, 2) && end > c->T ? end - c->T : random_below(r, end + 20);
    trial_cut(t, r, 64);
}

static void trial_free(const struct trial *t)
{
    for (size_t p = 0; p < PARTS; p++)
        store_free(&t->stored[p]);
    case_free(&t->c);
}

static void hold_rows(const struct trial *t, const struct kernels *k, const struct result *got,
                      size_t h, size_t n)
{
    for (size_t i = 0; i < t->rows; i++)
        case_hold(&t->c, k, t->expected + i, got, more_error(&t->c, k, t->expected + i, h, n));
}

static void attend_parts(const struct trial *t, const struct kernels *k, struct result *parts,
                         trib_states *states)
{
    for (size_t p = 0; p < PARTS; p++) {
        struct attend_case part = case_from(&t->c, t->cuts[p]);
        parts[p] = result_new(&t->c);
        states[p] = result_states(&parts[p]);
        case_attend(&part, k, &t->stored[p].segment, 0, t->c.T, 1 + (int)p % 3, &parts[p]);
    }
}

/* Merged all at once, in a chain, and in a random tree in random order. */
static void hold_merges(const struct trial *t, struct random *r)
{
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct result parts[PARTS], whole = result_new(&t->c);
        trib_states states[PARTS], all = result_states(&whole);
        attend_parts(t, k, parts, states);
        assert_int_equal(trib_state_merge_all(&all, states, PARTS, NULL), TRIB_OK);
        hold_rows(t, k, &whole, 2, PARTS);
        trib_state_clear(&all);
        for (size_t p = 0; p < PARTS; p++)
            assert_int_equal(trib_state_merge(&all, &all, states + p, NULL), TRIB_OK);
        hold_rows(t, k, &whole, PARTS + 1, 2);
        for (size_t left = PARTS; left > 1; left--) {
            size_t a = random_below(r, left);
            trib_states taken = states[a];
            states[a] = states[left - 1];
            states[left - 1] = taken;
            size_t b = random_below(r, left - 1);
            assert_int_equal(trib_state_merge(states + b, states + b, &taken, NULL), TRIB_OK);
        }
        struct result tree = {whole.count, whole.D, states[0].s, states[0].v};
        hold_rows(t, k, &tree, PARTS + 1, 2);
        for (size_t p = 0; p < PARTS; p++)
            result_free(&parts[p]);
        result_free(&whole);
    }
}

static void parts_merge_into_the_whole(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (size_t trial = 0; trial < 24; trial++) {
        struct trial t;
        trial_new(&t, &r, trial & 1 ? 64 : 1);
        hold_merges(&t, &r);
        trial_free(&t);
    }
}

static void every_combination_merges_into_the_whole(void **state)
{
    (void)state;
    struct random r = random_start(6);
    for (size_t i = 0; i < COMBINATIONS; i++) {
        struct trial t;
        trial_combine(&t, &r, i);
        hold_merges(&t, &r);
        trial_free(&t);
    }
}

/* Absorbed one after the other into states that begin empty, from part `first` on. */
static void hold_absorbs(const struct trial *t, size_t first)
{
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct result whole = result_new(&t->c);
        trib_states states = result_states(&whole);
        trib_state_clear(&states);
        for (size_t i = 0; i < PARTS; i++) {
            size_t p = (i + first) % PARTS;
            struct attend_case part = case_from(&t->c, t->cuts[p]);
            case_absorb(&part, k, &t->stored[p].segment, 1 + (int)i % 3, &whole);
        }
        hold_rows(t, k, &whole, PARTS + 1, 2);
        result_free(&whole);
    }
}

/* Pieces of whole spans from left to right, or any pieces in any order. */
static void parts_absorb_into_the_whole(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const size_t steps[] = {512, 64, 1};
    for (size_t trial = 0; trial < 24; trial++) {
        struct trial t;
        size_t step = steps[trial % 3], turn = step == 512 ? 0 : random_below(&r, PARTS);
        trial_new(&t, &r, step);
        hold_absorbs(&t, turn);
        trial_free(&t);
    }
}

static void every_combination_absorbs_into_the_whole(void **state)
{
    (void)state;
    struct random r = random_start(7);
    for (size_t i = 0; i < COMBINATIONS; i++) {
        struct trial t;
        trial_combine(&t, &r, i);
        hold_absorbs(&t, random_below(&r, PARTS));
        trial_free(&t);
    }
}

/* Absorbing into empty states is attending, bit for bit: there is nothing to merge with. */
static void absorbing_into_nothing_is_attending(void **state)
{
    (void)state;
    struct random r = random_start(3);
    for (size_t trial = 0; trial < 10; trial++) {
        struct trial t;
        trial_new(&t, &r, 64);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result one = result_new(&t.c), other = result_new(&t.c);
            trib_states states = result_states(&other);
            struct attend_case part = case_from(&t.c, t.cuts[PARTS - 1]);
            const trib_segment *segment = &t.stored[PARTS - 1].segment;
            trib_state_clear(&states);
            case_attend(&part, k, segment, 0, t.c.T, 1, &one);
            case_absorb(&part, k, segment, 2, &other);
            assert_same(&t.c, k, &one, &other, "absorbed into nothing");
            result_free(&one);
            result_free(&other);
        }
        trial_free(&t);
    }
}

/* Absorbing onto a state of any height and the same merge in float64. */
static void absorbing_is_attending_and_merging(void **state)
{
    (void)state;
    struct random r = random_start(4);
    static const float sizes[] = {1, 30, 1e4f};
    for (size_t trial = 0; trial < 12; trial++) {
        struct trial t;
        trial_new(&t, &r, 64);
        struct attend_case *c = &t.c;
        struct stored stored;
        store(&stored, c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(c), before = result_new(c);
            float size = sizes[trial % 3];
            random_fill(&r, before.s, before.count, size);
            random_fill(&r, before.v, before.count * c->D, 4);
            result_copy(&out, &before);
            case_absorb(c, k, &stored.segment, 2, &out);
            for (size_t i = 0; i < t.rows; i++) {
                struct expected x = t.expected[i];
                size_t row = x.t * c->H + x.h;
                double sb = before.s[row], top = fmax(x.s, sb);
                double a = exp(x.s - top), b = exp(sb - top), sum = a + b;
                for (size_t d = 0; d < c->D; d++) {
                    double v = before.v[row * c->D + d];
                    x.y[d] = (a * x.y[d] + b * v) / sum;
                    x.reach[d] = (a * x.reach[d] + b * fabs(v)) / sum;
                }
                x.s = top + log(sum);
                x.M = fmax(x.M, fabs(sb));
                x.largest = fmax(x.largest, 4);
                case_hold(c, k, &x, &out, more_error(c, k, &x, 2, 2));
            }
            result_free(&out);
            result_free(&before);
        }
        store_free(&stored);
        trial_free(&t);
    }
}

/* A sink is one more key with a score and a value of zero: s' = log(e^s + e^sink) and
 * v' = e^(s - s') v, for rows that see nothing too. */
static void a_sink_is_one_more_key(void **state)
{
    (void)state;
    struct random r = random_start(5);
    for (size_t trial = 0; trial < 12; trial++) {
        struct trial t;
        trial_new(&t, &r, 64);
        struct attend_case *c = &t.c;
        struct stored stored;
        float sink[4] = {random_between(&r, -9, 9), -INFINITY, 60, -60};
        store(&stored, c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(c), before = result_new(c);
            trib_states states = result_states(&out);
            case_attend(c, k, &stored.segment, 0, c->T, 2, &out);
            result_copy(&before, &out);
            assert_int_equal(trib_state_sink(&states, sink, c->H, NULL), TRIB_OK);
            for (size_t row = 1; row < out.count; row += c->H) { /* head 1: a sink of -inf */
                assert_memory_equal(out.s + row, before.s + row, sizeof(float));
                assert_memory_equal(out.v + row * c->D, before.v + row * c->D,
                                    c->D * sizeof(float));
            }
            for (size_t i = 0; i < t.rows; i++) {
                struct expected x = t.expected[i];
                double other = sink[x.h], top = fmax(x.s, other);
                if (top == -(double)INFINITY)
                    continue;
                double s = top + log(exp(x.s - top) + exp(other - top)), weight = exp(x.s - s);
                for (size_t d = 0; d < c->D; d++) {
                    x.y[d] *= weight;
                    x.reach[d] *= weight;
                }
                x.s = s;
                x.M = fmax(x.M, x.h == 1 ? 0 : fabs(other));
                case_hold(c, k, &x, &out, more_error(c, k, &x, 2, 2));
            }
            result_free(&out);
            result_free(&before);
        }
        store_free(&stored);
        trial_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_merge_into_the_whole),
        cmocka_unit_test(every_combination_merges_into_the_whole),
        cmocka_unit_test(parts_absorb_into_the_whole),
        cmocka_unit_test(every_combination_absorbs_into_the_whole),
        cmocka_unit_test(absorbing_into_nothing_is_attending),
        cmocka_unit_test(absorbing_is_attending_and_merging),
        cmocka_unit_test(a_sink_is_one_more_key),
    };
    random_seed();
    return cmocka_run_group_tests_name("attend states", tests, NULL, NULL);
}
