/* Keys that no query sees: hidden by a bias of -inf as by a mask, never read where a whole chunk is
 * hidden; and strides that nothing follows. */
#include <float.h>

#include "attend_case.h"

/* A case whose bias and bits hide the same keys: those of the first nine chunks, so that a span has
 * nothing, all keys of token 0, and others drawn. The keys and values hidden from all are NaN. */
struct hiding {
    struct attend_case c;
    float *hides, *shows; /* [T][S] -inf where hidden, or 0 there */
    uint64_t *bits;       /* [T][words] */
    size_t words;
};

static struct hiding hiding_new(struct random *r, size_t i)
{
    struct hiding h = {.c = {.T = 1 + i % 9,
                             .S = 900,
                             .H = 4,
                             .G = 2,
                             .D = 32,
                             .type = case_types[i % 4],
                             .mask = i & 4 ? SEE_CAUSAL : 0,
                             .query_first = 895}};
    struct attend_case *c = &h.c;
    h.words = (c->S + 63) / 64;
    h.hides = calloc(c->T * c->S, sizeof *h.hides);
    h.shows = calloc(c->T * c->S, sizeof *h.shows);
    h.bits = calloc(c->T * h.words, sizeof *h.bits);
    assert_true(h.hides && h.shows && h.bits);
    case_draw(c, r);
    for (size_t j = 0; j < c->S; j++) {
        bool seen = false;
        for (size_t t = 0; t < c->T; t++) {
            bool hidden = j < 9 * 64 || (t == 0 && i & 1) || random_below(r, 3) == 0;
            float bias = random_between(r, -2, 2);
            h.hides[t * c->S + j] = hidden ? -INFINITY : bias;
            h.shows[t * c->S + j] = hidden ? 0 : bias;
            h.bits[t * h.words + j / 64] |= (uint64_t)!hidden << j % 64;
            seen = seen || !hidden;
        }
        for (size_t at = j * c->G * c->D; at < (j + 1) * c->G * c->D && !seen; at++)
            c->k[at] = c->v[at] = NAN;
    }
    c->attention.bias_token_stride = c->S;
    return h;
}

static void hiding_free(const struct hiding *h)
{
    free(h->hides);
    free(h->shows);
    free(h->bits);
    case_free(&h->c);
}

/* The same bits from both, for any threads and layout, with others and alone. */
static void a_bias_of_minus_infinity_is_a_mask(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (size_t i = 0; i < 32; i++) {
        struct hiding h = hiding_new(&r, i);
        struct attend_case by_bits = h.c, by_bias = h.c;
        by_bits.attention.bias = h.shows;
        by_bits.attention.mask.bits = h.bits;
        by_bits.attention.mask.bits_stride = h.words;
        by_bias.attention.bias = h.hides;
        struct stored stored, other;
        store(&stored, &h.c, &r, (enum layout)random_below(&r, LAYOUTS));
        store(&other, &h.c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result a = result_new(&h.c), b = result_new(&h.c), alone = result_new(&h.c);
            case_attend(&by_bits, k, &stored.segment, 0, h.c.T, 1, &a);
            case_attend(&by_bias, k, &other.segment, 0, h.c.T, 1 + (int)i % 3, &b);
            for (size_t t = 0; t < h.c.T; t++)
                case_attend(&by_bias, k, &stored.segment, t, t + 1, 1, &alone);
            for (size_t row = 0; row < a.count; row++)
                assert_false(isnan(a.s[row]));
            assert_same(&h.c, k, &a, &b, "hidden by the bias");
            assert_same(&h.c, k, &a, &alone, "one query");
            result_free(&a);
            result_free(&b);
            result_free(&alone);
        }
        store_free(&stored);
        store_free(&other);
        hiding_free(&h);
    }
}

/* A bias of -FLT_MAX, by which some programs mask, is a score: where all keys have it, each counts
 * as much as another. The score itself is held at what the unit of log 2 reaches. */
static void the_least_number_is_a_score(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const float heights[] = {-FLT_MAX, -3e38f, FLT_MAX, 3e38f};
    for (size_t i = 0; i < 4; i++) {
        struct attend_case c = {.T = 2, .S = 600, .H = 2, .G = 1, .D = 16, .query_first = 600};
        struct stored stored;
        float bias[600];
        case_draw(&c, &r);
        for (size_t j = 0; j < c.S; j++)
            bias[j] = heights[i];
        c.attention.bias = bias;
        store(&stored, &c, &r, (enum layout)random_below(&r, LAYOUTS));
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result out = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1 + (int)i % 3, &out);
            for (size_t at = 0; at < out.count * c.D; at++) {
                double sum = 0, size = 0;
                for (size_t j = 0; j < c.S; j++) {
                    sum += (double)c.v[j * c.D + at % c.D];
                    size += fabs((double)c.v[j * c.D + at % c.D]);
                }
                assert_true(fabs(out.v[at] - sum / 600) <= 2 * (512 + 5) * 0x1p-24 * size / 600);
                assert_true(fabsf(out.s[at / c.D]) > 2.3e38f && isfinite(out.s[at / c.D]));
                assert_int_equal(out.s[at / c.D] > 0, heights[i] > 0);
            }
            result_free(&out);
        }
        store_free(&stored);
        case_free(&c);
    }
}

/* Chunks hidden from all, the first and the last but one excepted, on pages that nobody may read.
 */
enum { CHUNKS = 40, D = 64, KEYS = CHUNKS * TRIB_CHUNK };
static const size_t chunk_floats = TRIB_CHUNK * D;

static bool chunk_is_hidden(size_t chunk)
{
    return chunk != 0 && chunk != CHUNKS - 2;
}

static float *hidden_pages(struct random *r)
{
    size_t bytes = KEYS * D * sizeof(float);
    float *x = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(x != MAP_FAILED);
    for (size_t i = 0; i < KEYS * D; i++)
        x[i] = random_between(r, -1, 1);
    for (size_t c = 0; c < CHUNKS; c++)
        if (chunk_is_hidden(c))
            assert_int_equal(mprotect(x + c * chunk_floats, chunk_floats * sizeof *x, PROT_NONE),
                             0);
    return x;
}

static void hidden_chunks_are_not_read(void **state)
{
    (void)state;
    static float q[40 * D], bias[KEYS];
    static uint64_t bits[40 * CHUNKS];
    static int32_t of_key[KEYS], of_query[40];
    static char workspace_memory[1 << 24];
    struct random r = random_start(3);
    float *k = hidden_pages(&r), *v = hidden_pages(&r);
    for (size_t i = 0; i < 40 * D; i++)
        q[i] = random_between(&r, -1, 1);
    for (size_t j = 0; j < KEYS; j++) {
        bool hidden = chunk_is_hidden(j / TRIB_CHUNK);
        of_key[j] = hidden;
        bias[j] = hidden ? -INFINITY : 0;
        for (size_t t = 0; t < 40; t++)
            bits[t * CHUNKS + j / TRIB_CHUNK] |= (uint64_t)!hidden << j % TRIB_CHUNK;
    }
    for (size_t i = 0; i < 3 * 3 * 2; i++) {
        static const size_t tokens[] = {1, 8, 40};
        trib_attention a = {
            .heads = 1, .kv_heads = 1, .head_dim = D, .scale = 0.125f, .threads = 2};
        trib_queries queries = {q, tokens[i / 3 % 3], D, KEYS};
        trib_segment segment = {.type = TRIB_KV_F32,
                                .layout = i < 9 ? TRIB_KV_ROWS : TRIB_KV_CHUNKS,
                                .length = KEYS,
                                .k = k,
                                .v = v,
                                .head_stride = chunk_floats * sizeof *k};
        segment.key_stride = i < 9 ? D * sizeof *k : chunk_floats * sizeof *k;
        float s[40], y[40 * D];
        trib_states states = {s, y, queries.tokens, D};
        if (i % 3 == 0)
            a.bias = bias;
        if (i % 3 == 1)
            a.mask = (trib_mask){.query_document = of_query, .key_document = of_key};
        if (i % 3 == 2)
            a.mask = (trib_mask){.bits = bits, .bits_stride = CHUNKS};
        for (const struct kernels *t = tables_first(); t; t = tables_after(t)) {
            char *workspace = workspace_memory + 64 - (uintptr_t)workspace_memory % 64;
            assert_int_equal(trib_attend(t, &a, &queries, &segment, &states, workspace,
                                         sizeof workspace_memory - 64, NULL),
                             TRIB_OK);
            assert_true(fabsf(s[0] - logf(2 * TRIB_CHUNK)) < 1);
        }
    }
    assert_int_equal(munmap(k, KEYS * D * sizeof *k), 0);
    assert_int_equal(munmap(v, KEYS * D * sizeof *v), 0);
}

/* From one key of a segment, or of a page, to the next there is no way: the stride may say
 * anything. */
static void one_key_needs_no_stride(void **state)
{
    (void)state;
    struct random r = random_start(4);
    for (size_t i = 0; i < 32; i++) {
        struct attend_case c = {.T = 2,
                                .S = i & 16 ? 5 : 1,
                                .H = 2,
                                .G = 1,
                                .D = i & 4 ? 128 : 32,
                                .type = case_types[i % 4],
                                .key_first = i & 8 ? 5 : 0,
                                .query_first = 9};
        struct stored stored;
        case_draw(&c, &r);
        store(&stored, &c, &r, i & 16 ? PAGES_1 : ROWS_DENSE);
        trib_segment bare = stored.segment;
        bare.key_stride = 0;
        for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
            struct result a = result_new(&c), b = result_new(&c);
            case_attend(&c, k, &stored.segment, 0, c.T, 1, &a);
            case_attend(&c, k, &bare, 0, c.T, 1, &b);
            assert_same(&c, k, &a, &b, "without a stride");
            result_free(&a);
            result_free(&b);
        }
        store_free(&stored);
        case_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bias_of_minus_infinity_is_a_mask),
        cmocka_unit_test(the_least_number_is_a_score),
        cmocka_unit_test(hidden_chunks_are_not_read),
        cmocka_unit_test(one_key_needs_no_stride),
    };
    random_seed();
    return cmocka_run_group_tests_name("attend hidden", tests, NULL, NULL);
}
