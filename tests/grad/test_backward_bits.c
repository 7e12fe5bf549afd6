/* What the bits of attention's gradients depend on, and what they do not: threads, how keys lie in
 * memory, who else is there; and what trib_attend_backward refuses. */
#include "backward_case.h"

/* Many blocks and strips, and few. */
static void draw_bits_case(struct attend_case *c, struct random *r, size_t i)
{
    static const size_t heads[][2] = {{1, 1}, {2, 2}, {4, 2}, {3, 1}};
    size_t pair = random_below(r, 4);
    c->H = heads[pair][0];
    c->G = heads[pair][1];
    c->D = 1 + random_below(r, 40);
    c->T = 1 + random_below(r, i % 3 ? 300 : 700);
    c->S = 1 + random_below(r, i % 3 ? 300 : 900);
    c->score = i % 2 ? 0 : (unsigned)random_below(r, 8);
    draw_positions(c, r, true);
}

/* A clean run of a case: states and gradients by one thread. */
struct run {
    struct stored stored;
    struct result states;
    struct gradients got;
};

static void run_new(struct run *run, const struct attend_case *c, struct random *r,
                    enum layout layout)
{
    store(&run->stored, c, r, layout);
    run->states = result_new(c);
    run->got = gradients_new(c);
}

static void run_with(struct run *run, const struct attend_case *c, const struct kernels *k,
                     const float *dy, int threads)
{
    case_attend(c, k, &run->stored.segment, 0, c->T, 1, &run->states);
    case_backward(c, k, &run->stored.segment, threads, &run->states, dy, &run->got);
}

static void run_free(const struct run *run)
{
    store_free(&run->stored);
    result_free(&run->states);
    gradients_free(&run->got);
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    (void)state;
    struct random r = random_start(11);
    static const int threads[] = {2, 3, 5};
    for (size_t i = 0; i < 24; i++) {
        struct attend_case c = {.mask = random_below(&r, 2) ? SEE_CAUSAL
                                                            : (unsigned)random_below(&r, 64)};
        draw_bits_case(&c, &r, i);
        case_draw(&c, &r);
        float *dy = draw_output_gradient(&c, &r);
        struct run one;
        struct gradients more = gradients_new(&c);
        run_new(&one, &c, &r, ROWS_DENSE);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            run_with(&one, &c, k, dy, 1);
            for (size_t n = 0; n < 3; n++) {
                case_backward(&c, k, &one.stored.segment, threads[n], &one.states, dy, &more);
                if (memcmp(one.got.dq, more.dq, more.rows * sizeof *more.dq) != 0 ||
                    memcmp(one.got.dk, more.dk, more.keys * sizeof *more.dk) != 0 ||
                    memcmp(one.got.dv, more.dv, more.keys * sizeof *more.dv) != 0)
                    fail_msg("%s: %s: other bits with %d threads", k->name, case_name(&c),
                             threads[n]);
            }
        }
        gradients_free(&more);
        run_free(&one);
        guard_free_floats(dy, c.T * c.H * c.D);
        case_free(&c);
    }
}

static void every_layout_gives_the_same_bits(void **state)
{
    (void)state;
    struct random r = random_start(12);
    for (size_t type = 0; type < 4; type++) {
        struct attend_case c = {.T = 70,
                                .S = 150,
                                .H = 4,
                                .G = 2,
                                .D = 32,
                                .type = case_types[type],
                                .mask = SEE_CAUSAL};
        draw_positions(&c, &r, true);
        case_draw(&c, &r);
        float *dy = draw_output_gradient(&c, &r);
        struct run dense, other;
        run_new(&dense, &c, &r, ROWS_DENSE);
        for (size_t layout = 1; layout < LAYOUTS; layout++) {
            run_new(&other, &c, &r, (enum layout)layout);
            for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
                run_with(&dense, &c, k, dy, 1);
                run_with(&other, &c, k, dy, 1);
                assert_same_gradients(&c, k, &dense.got, &other.got, "layout");
            }
            run_free(&other);
        }
        run_free(&dense);
        guard_free_floats(dy, c.T * c.H * c.D);
        case_free(&c);
    }
}

/* dq of a run of queries does not depend on the others, nor dk and dv of keys on other keys. */
static void neighbours_change_no_bit(void **state)
{
    (void)state;
    struct random r = random_start(13);
    for (size_t i = 0; i < 40; i++) {
        struct attend_case c = {.mask = (unsigned)random_below(&r, 64) & ~(unsigned)SEE_TREE};
        draw_bits_case(&c, &r, 1);
        case_draw(&c, &r);
        float *dy = draw_output_gradient(&c, &r);
        struct run all;
        run_new(&all, &c, &r, ROWS_DENSE);
        size_t t = random_below(&r, c.T), tokens = 1 + random_below(&r, c.T - t);
        size_t key = random_below(&r, (c.S + 63) / 64) * 64;
        size_t keys = 1 + random_below(&r, c.S - key);
        size_t row = t * c.H, at = key * c.G * c.D;
        struct attend_case few = case_queries(&c, t, t + tokens);
        struct attend_case part = case_keys(&c, key, key + keys);
        struct gradients few_got = gradients_new(&few), part_got = gradients_new(&part);
        struct stored part_stored;
        store_part(&part_stored, &c, &r, ROWS_DENSE, key, key + keys);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            run_with(&all, &c, k, dy, 1);
            struct result few_states = {tokens * c.H, c.D, all.states.s + row,
                                        all.states.v + row * c.D};
            case_backward(&few, k, &all.stored.segment, 1, &few_states, dy + row * c.D, &few_got);
            case_backward(&part, k, &part_stored.segment, 1, &all.states, dy, &part_got);
            if (memcmp(few_got.dq, all.got.dq + row * c.D, few_got.rows * sizeof(float)) != 0)
                fail_msg("%s: %s: other bits without other queries", k->name, case_name(&c));
            if (memcmp(part_got.dk, all.got.dk + at, part_got.keys * sizeof(float)) != 0 ||
                memcmp(part_got.dv, all.got.dv + at, part_got.keys * sizeof(float)) != 0)
                fail_msg("%s: %s: other bits without other keys", k->name, case_name(&c));
        }
        store_free(&part_stored);
        gradients_free(&few_got);
        gradients_free(&part_got);
        run_free(&all);
        guard_free_floats(dy, c.T * c.H * c.D);
        case_free(&c);
    }
}

/* ---- What is not finite ---- */

enum place { IN_KEY, IN_VALUE, IN_QUERY, IN_GRADIENT, PLACES };

struct bad {
    enum place place;
    size_t t, h, i, d; /* the query and head, or the key (head: any of its group) and dimension */
};

/* Whether row (t, h) reads what is bad. */
static bool row_is_bad(const struct attend_case *c, const struct bad *bad, size_t t, size_t h)
{
    if (bad->place == IN_QUERY || bad->place == IN_GRADIENT)
        return t == bad->t && h == bad->h;
    return h / (c->H / c->G) == bad->h / (c->H / c->G) && case_sees(c, t, bad->i);
}

/* Whether a bad row sees key i of KV head g. */
static bool key_is_bad(const struct attend_case *c, const struct bad *bad, size_t i, size_t g)
{
    size_t group = c->H / c->G;
    for (size_t t = 0; t < c->T; t++)
        for (size_t h = g * group; h < (g + 1) * group; h++)
            if (row_is_bad(c, bad, t, h) && case_sees(c, t, i))
                return true;
    return false;
}

static bool row_sees(const struct attend_case *c, size_t t)
{
    for (size_t i = 0; i < c->S; i++)
        if (case_sees(c, t, i))
            return true;
    return false;
}

/* NaN where it must be (if what is bad is NaN), the bits of the clean run where it must not. */
static void hold_one(const struct attend_case *c, const struct kernels *k, const struct bad *bad,
                     bool nan, float clean, float got, bool reached, const char *which, size_t at)
{
    if (reached ? !nan || isnan(got) : float_bits(got) == float_bits(clean))
        return;
    fail_msg("%s: %s: place %d (%zu %zu %zu %zu): %s[%zu] = %.9g, clean %.9g", k->name,
             case_name(c), (int)bad->place, bad->t, bad->h, bad->i, bad->d, which, at, (double)got,
             (double)clean);
}

static void hold_bad(const struct attend_case *c, const struct kernels *k, const struct bad *bad,
                     bool nan, const struct gradients *clean, const struct gradients *got)
{
    for (size_t row = 0; row < c->T * c->H; row++) {
        size_t t = row / c->H;
        bool reached = row_is_bad(c, bad, t, row % c->H) && row_sees(c, t);
        for (size_t at = row * c->D; at < (row + 1) * c->D; at++)
            hold_one(c, k, bad, nan, clean->dq[at], got->dq[at], reached, "dq", at);
    }
    for (size_t key = 0; key < c->S * c->G; key++) {
        bool reached = key_is_bad(c, bad, key / c->G, key % c->G);
        for (size_t d = 0; d < c->D; d++) {
            size_t at = key * c->D + d;
            bool dv =
                reached && bad->place != IN_VALUE && (bad->place != IN_GRADIENT || d == bad->d);
            hold_one(c, k, bad, nan, clean->dk[at], got->dk[at], reached, "dk", at);
            hold_one(c, k, bad, nan, clean->dv[at], got->dv[at], dv, "dv", at);
        }
    }
}

/* A NaN or an infinity reaches the queries that see it and the keys that those see, and nothing
 * else, whatever shares a tile with it. */
static void what_is_not_finite_stays_where_it_is_seen(void **state)
{
    (void)state;
    struct random r = random_start(14);
    static const unsigned masks[] = {SEE_CAUSAL, SEE_CAUSAL | SEE_WINDOW, SEE_DOCUMENTS, SEE_BITS,
                                     0};
    for (size_t i = 0; i < 60; i++) {
        struct attend_case c = {.T = 1 + random_below(&r, 90),
                                .S = 1 + random_below(&r, 150),
                                .H = 4,
                                .G = 2,
                                .D = 1 + random_below(&r, 24),
                                .mask = masks[i % 5]};
        draw_positions(&c, &r, true);
        case_draw(&c, &r);
        float *dy = draw_output_gradient(&c, &r);
        struct bad bad = {(enum place)(i / 5 % PLACES), random_below(&r, c.T),
                          random_below(&r, c.H), random_below(&r, c.S), random_below(&r, c.D)};
        bool nan = random_below(&r, 3) != 0;
        float x = nan ? NAN : random_below(&r, 2) ? INFINITY : -INFINITY;
        struct run clean, dirty;
        run_new(&clean, &c, &r, ROWS_DENSE);
        float *dirty_dy = guard_copy(dy, c.T * c.H * c.D * sizeof *dy);
        size_t g = bad.h / (c.H / c.G);
        run_new(&dirty, &c, &r, ROWS_DENSE);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            float q = c.q[(bad.t * c.H + bad.h) * c.D + bad.d];
            run_with(&clean, &c, k, dy, 1);
            float *kv = bad.place == IN_KEY ? dirty.stored.pages[0][0] : dirty.stored.pages[1][0];
            if (bad.place == IN_KEY || bad.place == IN_VALUE)
                kv[(bad.i * c.G + g) * c.D + bad.d] = x;
            if (bad.place == IN_QUERY)
                case_set_query(&c, bad.t, bad.h, bad.d, x);
            if (bad.place == IN_GRADIENT)
                dirty_dy[(bad.t * c.H + bad.h) * c.D + bad.d] = x;
            run_with(&dirty, &c, k, dirty_dy, 2);
            hold_bad(&c, k, &bad, nan, &clean.got, &dirty.got);
            case_set_query(&c, bad.t, bad.h, bad.d, q);
        }
        run_free(&clean);
        run_free(&dirty);
        guard_free_floats(dy, c.T * c.H * c.D);
        guard_free_floats(dirty_dy, c.T * c.H * c.D);
        case_free(&c);
    }
}

/* ---- Arguments ---- */

/* A call that is right, for one thing after the other to be made wrong. */
struct call {
    const struct kernels *kernels;
    trib_attention attention;
    trib_queries queries;
    trib_segment segment;
    trib_states states;
    const float *dy;
    float *dq, *dk, *dv;
    void *workspace;
    size_t bytes;
};

static const float zeros[64];
static _Alignas(64) char workspace_memory[1 << 20];

static struct call right_call(float *dq, float *dk, float *dv, float *s, float *v)
{
    struct call call = {
        .kernels = kernels_at(0),
        .attention = {.heads = 2, .kv_heads = 1, .head_dim = 4, .scale = 0.5f, .threads = 2},
        .queries = {zeros, 3, 8, 0},
        .segment = {.type = TRIB_KV_F32,
                    .length = 5,
                    .k = zeros,
                    .v = zeros,
                    .key_stride = 16,
                    .head_stride = 16},
        .states = {s, v, 6, 4},
        .dy = zeros,
        .dq = dq,
        .dk = dk,
        .dv = dv,
        .workspace = workspace_memory};
    call.bytes = trib_attend_backward_workspace(call.kernels, &call.attention, 3, 5);
    assert_true(call.bytes > 0 && call.bytes < sizeof workspace_memory - 64);
    return call;
}

static void expect(const struct call *c, trib_status expected, const char *word)
{
    trib_error error = {TRIB_OK, ""};
    trib_status status =
        trib_attend_backward(c->kernels, &c->attention, &c->queries, &c->segment, &c->states, c->dy,
                             c->dq, c->dk, c->dv, c->workspace, c->bytes, &error);
    if (status != expected || error.status != expected || !strstr(error.message, word))
        fail_msg("expected %d with '%s', found %d: %s", (int)expected, word, (int)status,
                 error.message);
    assert_int_equal(trib_attend_backward(c->kernels, &c->attention, &c->queries, &c->segment,
                                          &c->states, c->dy, c->dq, c->dk, c->dv, c->workspace,
                                          c->bytes, NULL),
                     expected);
}

static void wrong_arguments_are_named_and_nothing_is_written(void **state)
{
    (void)state;
    enum { FLOATS = 24 };
    float out[3][FLOATS], s[6] = {0}, v[FLOATS] = {0};
    memset(out, 0x5a, sizeof out);
    struct call right = right_call(out[0], out[1], out[2], s, v), wrong;
#define WRONG(field, value, status, word)                                                          \
    wrong = right;                                                                                 \
    wrong.field = value;                                                                           \
    expect(&wrong, status, word)
    WRONG(kernels, NULL, TRIB_INVALID, "NULL");
    WRONG(dy, NULL, TRIB_INVALID, "dy");
    WRONG(dq, NULL, TRIB_INVALID, "dq");
    WRONG(dk, NULL, TRIB_INVALID, "dk");
    WRONG(dv, NULL, TRIB_INVALID, "dv");
    WRONG(workspace, NULL, TRIB_INVALID, "workspace");
    WRONG(workspace, workspace_memory + 32, TRIB_INVALID, "workspace");
    WRONG(bytes, right.bytes - 1, TRIB_INVALID, "workspace");
    WRONG(attention.additive, zeros, TRIB_UNSUPPORTED, "additive");
    WRONG(attention.heads, 0, TRIB_INVALID, "heads");
    WRONG(attention.kv_heads, 3, TRIB_INVALID, "heads");
    WRONG(attention.head_dim, 1025, TRIB_INVALID, "head_dim");
    WRONG(attention.scale, NAN, TRIB_INVALID, "scale");
    WRONG(attention.softcap, -1, TRIB_INVALID, "softcap");
    WRONG(attention.threads, 0, TRIB_INVALID, "threads");
    WRONG(attention.mask.bits, (const uint64_t *)(const void *)workspace_memory, TRIB_INVALID,
          "bits");
    WRONG(queries.q, NULL, TRIB_INVALID, "q is NULL");
    WRONG(queries.token_stride, 7, TRIB_INVALID, "token_stride");
    WRONG(segment.k, NULL, TRIB_INVALID, "segment");
    WRONG(segment.type, (trib_kv_type)7, TRIB_INVALID, "type");
    WRONG(segment.key_stride, 12, TRIB_INVALID, "strides");
    WRONG(states.count, 5, TRIB_INVALID, "states");
    WRONG(states.head_dim, 3, TRIB_INVALID, "states");
    WRONG(states.s, NULL, TRIB_INVALID, "states");
    WRONG(dk, right.dq, TRIB_INVALID, "overlaps");
    WRONG(dv, right.dk + 19, TRIB_INVALID, "overlaps");
    WRONG(dy, right.dq, TRIB_INVALID, "overlaps dy");
    WRONG(states.s, right.dk, TRIB_INVALID, "overlaps s");
    WRONG(states.v, right.dv, TRIB_INVALID, "overlaps v");
    WRONG(queries.q, right.dq, TRIB_INVALID, "overlaps q");
    WRONG(segment.k, right.dv, TRIB_INVALID, "overlaps keys");
    WRONG(segment.v, right.dk, TRIB_INVALID, "overlaps values");
    WRONG(dq, (float *)(void *)workspace_memory, TRIB_INVALID, "overlaps");
#undef WRONG
    wrong = right; /* rows that share memory, and gradients that no memory holds */
    wrong.attention.heads = wrong.attention.kv_heads = (size_t)1 << 20;
    wrong.attention.head_dim = wrong.states.head_dim = 1024;
    wrong.queries.token_stride = (size_t)1 << 30;
    wrong.segment.length = (size_t)1 << 40;
    wrong.segment.key_stride = wrong.segment.head_stride = 4096;
    wrong.states.count = 3 * wrong.attention.heads;
    expect(&wrong, TRIB_INVALID, "no memory");
    for (size_t i = 0; i < sizeof out; i++)
        assert_int_equal(((char *)out)[i], 0x5a);
    trib_error error = {TRIB_OK, ""};
    assert_int_equal(trib_attend_backward(right.kernels, NULL, &right.queries, &right.segment,
                                          &right.states, right.dy, out[0], out[1], out[2],
                                          right.workspace, right.bytes, &error),
                     TRIB_INVALID);
    expect(&right, TRIB_OK, "");
}

static void senseless_numbers_have_no_workspace(void **state)
{
    (void)state;
    const struct kernels *k = kernels_at(0);
    trib_attention a = {.heads = 2, .kv_heads = 1, .head_dim = 4, .scale = 1, .threads = 1};
    assert_true(trib_attend_backward_workspace(k, &a, 9, 9) > 0);
    assert_true(trib_attend_backward_workspace(k, &a, 0, 0) > 0);
    assert_int_equal(trib_attend_backward_workspace(NULL, &a, 9, 9), 0);
    assert_int_equal(trib_attend_backward_workspace(k, NULL, 9, 9), 0);
    assert_int_equal(trib_attend_backward_workspace(k, &a, SIZE_MAX, 9), 0);
    assert_int_equal(trib_attend_backward_workspace(k, &a, 9, SIZE_MAX), 0);
    a.head_dim = 0;
    assert_int_equal(trib_attend_backward_workspace(k, &a, 9, 9), 0);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(every_layout_gives_the_same_bits),
        cmocka_unit_test(neighbours_change_no_bit),
        cmocka_unit_test(what_is_not_finite_stays_where_it_is_seen),
        cmocka_unit_test(wrong_arguments_are_named_and_nothing_is_written),
        cmocka_unit_test(senseless_numbers_have_no_workspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
