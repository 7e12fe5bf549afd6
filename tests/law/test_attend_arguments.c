/* Arguments outside their contract: TRIB_INVALID, a message of one line that names the argument,
 * and not a byte written to states or workspace. Each fault is the only one of a call that is
 * otherwise good, and that is seen to be good, so each check shows by itself. */
#include "attend_case.h"

enum { T = 3, S = 130, H = 4, G = 2, D = 32, PAGES = 9, WORDS = 3 };

/* A call; what is NULL in its place says `missing`. */
struct call {
    trib_attention attention;
    trib_queries queries;
    trib_segment segment;
    trib_states states;
    enum { NOTHING, KERNELS, ATTENTION, QUERIES, SEGMENT, STATES } missing;
};

/* What calls read: enough for every type and layout below. */
static _Alignas(64) float memory[3 * 64 * G * (D + 16)];
static float q[T * H * D];
static const void *pages[PAGES];
static int32_t documents[S], parents[T];
static uint64_t bits[T * WORDS];
static float biases[T * S], slopes[H], weights[H * D];

/* Dense rows of float32. */
static struct call good_call(void)
{
    for (size_t t = 0; t < T; t++)
        parents[t] = (int32_t)t - 1;
    for (size_t i = 0; i < PAGES; i++)
        pages[i] = memory;
    return (struct call){
        .attention = {.heads = H, .kv_heads = G, .head_dim = D, .scale = 0.2f, .threads = 2},
        .queries = {q, T, H * D, 127},
        .segment = {.type = TRIB_KV_F32,
                    .length = S,
                    .k = memory,
                    .v = memory,
                    .key_stride = G * D * sizeof(float),
                    .head_stride = D * sizeof(float)},
        .states = {.count = T * H, .head_dim = D},
    };
}

/* ---- What faults begin from ---- */

static void half(struct call *c)
{
    c->segment.type = TRIB_KV_F16;
    c->segment.head_stride /= 2;
    c->segment.key_stride /= 2;
}

static void blocks(struct call *c)
{
    c->segment.type = TRIB_KV_Q8_0;
    c->segment.head_stride = D / 32 * 34;
    c->segment.key_stride = G * D / 32 * 34;
}

static void paged(struct call *c)
{
    c->segment.k = c->segment.v = NULL;
    c->segment.k_pages = c->segment.v_pages = pages;
    c->segment.page_keys = 16;
}

static void packed(struct call *c)
{
    c->segment.layout = TRIB_KV_CHUNKS;
    c->segment.head_stride = trib_chunk_bytes(c->segment.type, D);
    c->segment.key_stride = G * c->segment.head_stride;
}

static void packed_pages(struct call *c)
{
    packed(c);
    paged(c);
    c->segment.page_keys = 64;
}

static void biased(struct call *c)
{
    c->attention.bias = biases;
    c->attention.bias_token_stride = S;
}

static void sloped(struct call *c)
{
    c->attention.alibi = slopes;
}

static void weighted(struct call *c)
{
    c->attention.additive = weights;
}

static void documented(struct call *c)
{
    c->attention.mask.query_document = c->attention.mask.key_document = documents;
}

static void bitten(struct call *c)
{
    c->attention.mask.bits = bits;
    c->attention.mask.bits_stride = WORDS;
}

static void tree(struct call *c)
{
    c->attention.mask.parent = parents;
}

/* ---- Faults that are no single field of the call ---- */

static void blocks_of_40(struct call *c)
{
    blocks(c);
    c->attention.head_dim = c->states.head_dim = 40;
    c->queries.token_stride = H * 40;
    c->segment.head_stride = 68;
    c->segment.key_stride = 136;
}

static void chunks_of_40(struct call *c)
{
    blocks_of_40(c);
    c->segment.layout = TRIB_KV_CHUNKS;
    c->segment.head_stride = 4096;
    c->segment.key_stride = 8192;
}

static void far_tokens(struct call *c)
{
    c->queries.tokens = c->queries.token_stride = (size_t)1 << 40;
    c->states.count = c->queries.tokens * H;
}

static void first_page_missing(struct call *c)
{
    paged(c);
    pages[0] = NULL;
}

static void last_page_missing(struct call *c)
{
    paged(c);
    pages[PAGES - 1] = NULL;
}

static void page_aslant(struct call *c)
{
    paged(c);
    pages[3] = (char *)memory + 2;
}

static void packed_page_missing(struct call *c)
{
    packed_pages(c);
    pages[2] = NULL;
}

static void packed_page_aslant(struct call *c)
{
    packed_pages(c);
    pages[1] = (char *)memory + 32;
}

static void parent_itself(struct call *c)
{
    tree(c);
    parents[1] = 1;
}

static void parent_above(struct call *c)
{
    tree(c);
    parents[0] = 2;
}

/* parent[T] is not there. */
static void tree_of_other_states(struct call *c)
{
    tree(c);
    c->queries.tokens = (size_t)1 << 30;
}

static void parent_below_none(struct call *c)
{
    tree(c);
    parents[2] = -2;
}

/* ---- The faults ---- */

struct fault {
    const char *says; /* a word of the message */
    void (*begin)(struct call *);
    size_t at, size;   /* the field of the call, */
    const void *value; /* and what is put there; NULL: begin did it */
};

#define SET(field, type, ...)                                                                      \
    offsetof(struct call, field), sizeof(type), &(const type)                                      \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define SET_SIZE(field, x) SET(field, size_t, x)
#define SET_NULL(field)    SET(field, void *, NULL)
#define FAR                ((size_t)1 << 62)
typedef const void *address;

static const struct fault faults[] = {
    {"NULL", NULL, SET(missing, int, KERNELS)},
    {"NULL", NULL, SET(missing, int, ATTENTION)},
    {"NULL", NULL, SET(missing, int, QUERIES)},
    {"NULL", NULL, SET(missing, int, SEGMENT)},
    {"NULL", NULL, SET(missing, int, STATES)},

    {"heads", NULL, SET_SIZE(attention.heads, 0)},
    {"heads", NULL, SET_SIZE(attention.heads, FAR)},
    {"heads", NULL, SET_SIZE(attention.kv_heads, 0)},
    {"heads", NULL, SET_SIZE(attention.kv_heads, 3)},
    {"heads", NULL, SET_SIZE(attention.kv_heads, 2 * H)},
    {"head_dim", NULL, SET_SIZE(attention.head_dim, 0)},
    {"head_dim", NULL, SET_SIZE(attention.head_dim, 1025)},
    {"head_dim", NULL, SET_SIZE(attention.head_dim, SIZE_MAX)},
    {"scale", NULL, SET(attention.scale, float, NAN)},
    {"scale", NULL, SET(attention.scale, float, -INFINITY)},
    {"softcap", NULL, SET(attention.softcap, float, -1)},
    {"softcap", NULL, SET(attention.softcap, float, NAN)},
    {"softcap", NULL, SET(attention.softcap, float, INFINITY)},
    {"threads", NULL, SET(attention.threads, int, 0)},
    {"threads", NULL, SET(attention.threads, int, -1)},
    {"threads", NULL, SET(attention.threads, int, 1 << 30)},
    {"bias", biased, SET_SIZE(attention.bias_head_stride, FAR)},
    {"bias", biased, SET_SIZE(attention.bias_token_stride, SIZE_MAX)},

    {"q is NULL", NULL, SET_NULL(queries.q)},
    {"tokens", NULL, SET_SIZE(queries.tokens, SIZE_MAX)},
    {"position", NULL, SET_SIZE(queries.first, SIZE_MAX - 1)},
    {"token_stride", NULL, SET_SIZE(queries.token_stride, 0)},
    {"token_stride", NULL, SET_SIZE(queries.token_stride, H *D - 1)},
    {"token_stride", NULL, SET_SIZE(queries.token_stride, FAR)},
    {"token_stride", far_tokens, 0, 0, NULL},

    {"type", NULL, SET(segment.type, int, 2)},
    {"type", NULL, SET(segment.type, int, -1)},
    {"layout", NULL, SET(segment.layout, int, 2)},
    {"layout", NULL, SET(segment.layout, int, -1)},
    {"multiple of 32", blocks_of_40, 0, 0, NULL},
    {"multiple of 32", chunks_of_40, 0, 0, NULL},
    {"keys", NULL, SET_SIZE(segment.length, SIZE_MAX)},
    {"keys", packed, SET_SIZE(segment.length, SIZE_MAX)},
    {"position", NULL, SET_SIZE(segment.first, SIZE_MAX - 63)},
    {"position", NULL, SET_SIZE(segment.first, (size_t)1 << 40)},
    {"NULL", NULL, SET_NULL(segment.k)},
    {"NULL", NULL, SET_NULL(segment.v)},
    {"aligned", NULL, SET(segment.k, address, (char *)memory + 2)},
    {"aligned", half, SET(segment.v, address, (char *)memory + 1)},
    {"stride", NULL, SET_SIZE(segment.key_stride, 0)},
    {"stride", NULL, SET_SIZE(segment.key_stride, 4 * D - 4)},
    {"stride", NULL, SET_SIZE(segment.key_stride, 8 * D + 2)},
    {"stride", NULL, SET_SIZE(segment.head_stride, 0)},
    {"stride", NULL, SET_SIZE(segment.head_stride, 4 * D - 4)},
    {"stride", NULL, SET_SIZE(segment.head_stride, 4 * D + 1)},
    {"stride", half, SET_SIZE(segment.key_stride, 4 * D + 1)},
    {"stride", blocks, SET_SIZE(segment.key_stride, 33)},
    {"stride", NULL, SET_SIZE(segment.key_stride, FAR)},
    {"stride", NULL, SET_SIZE(segment.key_stride, (size_t)PTRDIFF_MAX / 129 / 4 * 4)},
    {"stride", NULL, SET_SIZE(segment.head_stride, (size_t)-4)},
    {"stride", NULL, SET_SIZE(segment.head_stride, PTRDIFF_MAX / 4 * 4)},
    {"stride", paged, SET_SIZE(segment.key_stride, FAR)},

    {"page_keys", paged, SET_SIZE(segment.page_keys, 0)},
    {"segment", paged, SET_SIZE(segment.page_keys, SIZE_MAX)},
    {"k_pages", paged, SET_NULL(segment.k_pages)},
    {"v_pages", paged, SET_NULL(segment.v_pages)},
    {"page 0", first_page_missing, 0, 0, NULL},
    {"page 8", last_page_missing, 0, 0, NULL},
    {"page 3", page_aslant, 0, 0, NULL},

    {"first", packed, SET_SIZE(segment.first, 32)},
    {"aligned", packed, SET(segment.k, address, (char *)memory + 32)},
    {"NULL", packed, SET_NULL(segment.v)},
    {"stride", packed, SET_SIZE(segment.head_stride, 64 * D * 4 - 64)},
    {"stride", packed, SET_SIZE(segment.head_stride, 64 * D * 4 + 4)},
    {"stride", packed, SET_SIZE(segment.head_stride, (size_t)-64)},
    {"stride", packed, SET_SIZE(segment.key_stride, 64)},
    {"stride", packed, SET_SIZE(segment.key_stride, 64 * D * 8 + 32)},
    {"stride", packed, SET_SIZE(segment.key_stride, FAR)},
    {"64", packed_pages, SET_SIZE(segment.page_keys, 32)},
    {"page 2", packed_page_missing, 0, 0, NULL},
    {"page 1", packed_page_aslant, 0, 0, NULL},

    {"document", documented, SET_NULL(attention.mask.key_document)},
    {"document", documented, SET_NULL(attention.mask.query_document)},
    {"parent", parent_itself, 0, 0, NULL},
    {"parent", parent_above, 0, 0, NULL},
    {"parent", parent_below_none, 0, 0, NULL},
    {"states", tree_of_other_states, 0, 0, NULL},
    {"bits_stride", bitten, SET_SIZE(attention.mask.bits_stride, 0)},
    {"bits_stride", bitten, SET_SIZE(attention.mask.bits_stride, WORDS - 1)},
    {"bits_stride", bitten, SET_SIZE(attention.mask.bits_stride, FAR)},
    {"window", NULL, SET_SIZE(attention.mask.window, SIZE_MAX)},
    {"prefix", NULL, SET_SIZE(attention.mask.prefix, SIZE_MAX)},

    {"states", NULL, SET_SIZE(states.count, T *H - 1)},
    {"states", NULL, SET_SIZE(states.count, T *H + 1)},
    {"states", NULL, SET_SIZE(states.head_dim, D - 1)},
    {"states", NULL, SET_SIZE(states.head_dim, D + 1)},
};
enum { FAULTS = sizeof faults / sizeof *faults };

/* ---- Calls ---- */

/* What calls write, full of one byte before each. */
struct written {
    float s[T * H], v[T * H * 40];
    char *workspace; /* aligned to 64 */
    size_t bytes;
};

static struct written written_new(size_t bytes)
{
    struct written w = {.workspace = aligned_alloc(64, (bytes + 64) / 64 * 64), .bytes = bytes};
    assert_non_null(w.workspace);
    memset(w.s, 0x5a, sizeof w.s);
    memset(w.v, 0x5a, sizeof w.v);
    memset(w.workspace, 0x5a, bytes);
    return w;
}

static bool untouched(const struct written *w)
{
    const char *arrays[] = {(const char *)w->s, (const char *)w->v, w->workspace};
    const size_t sizes[] = {sizeof w->s, sizeof w->v, w->bytes};
    for (size_t i = 0; i < 3; i++)
        for (size_t at = 0; at < sizes[i]; at++)
            if (arrays[i][at] != 0x5a)
                return false;
    return true;
}

static trib_status call(const trib_kernels *k, const struct call *c, bool absorb, void *workspace,
                        size_t bytes, trib_error *error)
{
    return (absorb ? trib_absorb : trib_attend)(
        c->missing == KERNELS ? NULL : k, c->missing == ATTENTION ? NULL : &c->attention,
        c->missing == QUERIES ? NULL : &c->queries, c->missing == SEGMENT ? NULL : &c->segment,
        c->missing == STATES ? NULL : &c->states, workspace, bytes, error);
}

static size_t needed(const trib_kernels *k, const struct call *c)
{
    return trib_attend_workspace(k, &c->attention, T, S);
}

/* Refused twice, by attend and by absorb, with an error and without one. */
static void assert_refused(const trib_kernels *k, const struct call *c, const struct written *w,
                           void *workspace, size_t bytes, const char *says)
{
    for (int absorb = 0; absorb < 2; absorb++) {
        trib_error error = {TRIB_OK, ""};
        trib_status status = call(k, c, absorb, workspace, bytes, &error);
        if (status != TRIB_INVALID || error.status != status || !strstr(error.message, says) ||
            strlen(error.message) < 10 || strpbrk(error.message, "\n\t"))
            fail_msg("expected a word of '%s', found status %d: %s", says, (int)status,
                     error.message);
        assert_int_equal(call(k, c, absorb, workspace, bytes, NULL), TRIB_INVALID);
        assert_true(untouched(w));
    }
}

static void every_fault_is_refused(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k))
        for (size_t i = 0; i < FAULTS; i++) {
            const struct fault *fault = &faults[i];
            struct call c = good_call();
            struct written w = written_new(needed(k, &c));
            c.states.s = w.s;
            c.states.v = w.v;
            if (fault->begin)
                fault->begin(&c);
            if (fault->value) {
                assert_int_equal(call(k, &c, false, w.workspace, w.bytes, NULL), TRIB_OK);
                memset(w.s, 0x5a, sizeof w.s);
                memset(w.v, 0x5a, sizeof w.v);
                memset(w.workspace, 0x5a, w.bytes);
                memcpy((char *)&c + fault->at, fault->value, fault->size);
            }
            assert_refused(k, &c, &w, w.workspace, w.bytes, fault->says);
            free(w.workspace);
        }
}

static void states_and_workspace_must_be_there(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct call c = good_call();
        size_t bytes = needed(k, &c);
        struct written w = written_new(bytes + 64);
        c.states.s = w.s;
        assert_refused(k, &c, &w, w.workspace, bytes, "NULL");
        c.states.s = NULL;
        c.states.v = w.v;
        assert_refused(k, &c, &w, w.workspace, bytes, "NULL");
        c.states.s = w.s;
        assert_refused(k, &c, &w, NULL, bytes, "workspace");
        assert_refused(k, &c, &w, w.workspace, bytes - 1, "workspace");
        assert_refused(k, &c, &w, w.workspace, 0, "workspace");
        for (size_t by = 1; by < 64; by *= 2)
            assert_refused(k, &c, &w, w.workspace + by, bytes, "workspace");
        assert_int_equal(call(k, &c, false, w.workspace, bytes, NULL), TRIB_OK);
        free(w.workspace);
    }
}

/* ---- Overlaps ---- */

/* What a call reads, and from where to where. */
static const struct {
    void (*begin)(struct call *);
    void *at;
    size_t bytes;
} arrays[] = {
    {NULL, q, sizeof q},
    {NULL, memory, S *G *D * sizeof(float)},
    {half, memory, S *G *D * 2},
    {blocks, memory, S *G *D / 32 * 34},
    {paged, memory, 16 * G *D * sizeof(float)}, /* every page is there */
    {paged, pages, sizeof pages},
    {packed, memory, 3 * 64 * G *D * sizeof(float)},
    {packed_pages, memory, 64 * G *D * sizeof(float)},
    {biased, biases, sizeof biases},
    {sloped, slopes, sizeof slopes},
    {weighted, weights, sizeof weights},
    {documented, documents, sizeof documents},
    {tree, parents, sizeof parents},
    {bitten, bits, sizeof bits},
};

/* States that share with an array its last four bytes, or its first. */
static void states_overlap_nothing_that_is_read(void **state)
{
    (void)state;
    const struct kernels *k = tables_first();
    for (size_t i = 0; i < 4 * sizeof arrays / sizeof *arrays; i++) {
        struct call c = good_call();
        struct written w = written_new(needed(k, &c));
        char *at = arrays[i / 4].at;
        size_t bytes = i & 1 ? sizeof(float) * T * H : sizeof(float) * T * H * D;
        void *there = i & 2 ? at + arrays[i / 4].bytes - 4 : at + 4 - bytes;
        c.states.s = w.s;
        c.states.v = w.v;
        if (arrays[i / 4].begin)
            arrays[i / 4].begin(&c);
        assert_int_equal(call(k, &c, false, w.workspace, w.bytes, NULL), TRIB_OK);
        memset(w.s, 0x5a, sizeof w.s);
        memset(w.v, 0x5a, sizeof w.v);
        memset(w.workspace, 0x5a, w.bytes);
        *(i & 1 ? &c.states.s : &c.states.v) = there;
        void *before = malloc(arrays[i / 4].bytes);
        assert_non_null(before);
        memcpy(before, at, arrays[i / 4].bytes);
        assert_refused(k, &c, &w, w.workspace, w.bytes, "overlaps");
        assert_memory_equal(before, at, arrays[i / 4].bytes);
        free(before);
        free(w.workspace);
    }
}

/* Workspace, s, q and v in one piece of memory: side by side they serve, one float nearer not. */
static void what_is_written_lies_apart_from_itself(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct call c = good_call();
        size_t bytes = needed(k, &c), states = T * H, queries = T * H * D;
        struct written w = written_new(bytes + (states + 2 * queries) * sizeof(float));
        float *s = (float *)(void *)(w.workspace + bytes);
        assert_true(bytes % sizeof(float) == 0);
        c.states.s = s;
        c.queries.q = s + states;
        c.states.v = s + states + queries;
        c.states.s--; /* in the workspace */
        assert_refused(k, &c, &w, w.workspace, bytes, "workspace");
        c.states.s += 2; /* in q */
        assert_refused(k, &c, &w, w.workspace, bytes, "overlaps q");
        c.states.s--;
        c.states.v--; /* in q */
        assert_refused(k, &c, &w, w.workspace, bytes, "overlaps q");
        c.states.v = s + states - 1; /* in s */
        assert_refused(k, &c, &w, w.workspace, bytes, "overlaps");
        c.states.v = s + states + queries;
        memset(s + states, 0, queries * sizeof *s);
        assert_int_equal(call(k, &c, false, w.workspace, bytes, NULL), TRIB_OK);
        free(w.workspace);
    }
}

/* What is not looked at may be anything: strides of one key, of one KV head, of one token, pointers
 * where there is no key or no token. */
static void what_is_not_used_is_not_held_against_the_caller(void **state)
{
    (void)state;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        struct call c = good_call();
        struct written w = written_new(needed(k, &c));
        c.attention.kv_heads = 1;
        c.segment.length = 1;
        c.segment.key_stride = c.segment.head_stride = 0;
        c.queries.tokens = 1;
        c.queries.token_stride = 0;
        c.states = (trib_states){w.s, w.v, H, D};
        assert_int_equal(call(k, &c, false, w.workspace, w.bytes, NULL), TRIB_OK);
        c.segment.length = 0;
        c.segment.k = c.segment.v = NULL;
        assert_int_equal(call(k, &c, false, w.workspace, w.bytes, NULL), TRIB_OK);
        assert_true(w.s[0] == -INFINITY && w.v[0] == 0);
        c.queries.tokens = 0;
        c.queries.q = NULL;
        c.states = (trib_states){NULL, NULL, 0, D};
        assert_int_equal(call(k, &c, false, w.workspace, w.bytes, NULL), TRIB_OK);
        free(w.workspace);
    }
}

/* 0 for what no call could use, however large the product; and what serves a call serves every
 * smaller one. */
static void workspaces_grow_with_what_they_are_for(void **state)
{
    (void)state;
    struct random r = random_start(1);
    const struct call c = good_call();
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        trib_attention a = c.attention;
        assert_int_equal(trib_attend_workspace(NULL, &a, T, S), 0);
        assert_int_equal(trib_attend_workspace(k, NULL, T, S), 0);
        assert_int_equal(trib_attend_workspace(k, &a, SIZE_MAX, S), 0);
        assert_int_equal(trib_attend_workspace(k, &a, T, SIZE_MAX), 0);
        a.threads = 0;
        assert_int_equal(trib_attend_workspace(k, &a, T, S), 0);
        a = (trib_attention){1 << 20, 1 << 20, 1024, .scale = 1, .threads = 1024};
        assert_int_equal(trib_attend_workspace(k, &a, 40, (size_t)1 << 40), 0);
        for (size_t trial = 0; trial < 2000; trial++) {
            a = c.attention;
            a.kv_heads = 1 + random_below(&r, 8);
            a.heads = a.kv_heads * (1 + random_below(&r, 8));
            a.head_dim = 1 + random_below(&r, 256);
            a.threads = 1 + (int)random_below(&r, 8);
            size_t tokens = random_below(&r, 300), keys = random_below(&r, 9000);
            size_t bytes = trib_attend_workspace(k, &a, tokens, keys);
            size_t fewer = tokens ? random_below(&r, tokens) : 0;
            size_t shorter = keys ? random_below(&r, keys) : 0;
            assert_true(bytes > 0 && trib_attend_workspace(k, &a, fewer, shorter) <= bytes);
        }
    }
}

static void tables_are_chosen_by_name(void **state)
{
    (void)state;
    trib_error error = {TRIB_OK, ""};
    const trib_kernels *found = NULL;
    for (const struct kernels *k = tables_first(); k; k = tables_after(k)) {
        assert_int_equal(trib_kernels_choose(&found, trib_kernels_name(k), &error), TRIB_OK);
        assert_ptr_equal(found, k);
    }
    assert_int_equal(setenv("TRIB_CPU", "ref", 1), 0);
    assert_int_equal(trib_kernels_choose(&found, NULL, &error), TRIB_OK);
    assert_string_equal(trib_kernels_name(found), "ref");
    assert_int_equal(setenv("TRIB_CPU", "abacus", 1), 0);
    assert_int_equal(trib_kernels_choose(&found, NULL, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "abacus"));
    assert_int_equal(unsetenv("TRIB_CPU"), 0);
    assert_int_equal(trib_kernels_choose(&found, NULL, &error), TRIB_OK);
    assert_non_null(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_is_refused),
        cmocka_unit_test(states_and_workspace_must_be_there),
        cmocka_unit_test(states_overlap_nothing_that_is_read),
        cmocka_unit_test(what_is_written_lies_apart_from_itself),
        cmocka_unit_test(what_is_not_used_is_not_held_against_the_caller),
        cmocka_unit_test(workspaces_grow_with_what_they_are_for),
        cmocka_unit_test(tables_are_chosen_by_name),
    };
    random_seed();
    return cmocka_run_group_tests_name("attend arguments", tests, NULL, NULL);
}
