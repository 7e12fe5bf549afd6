/* Fuzz target of attention's options: any sizes, strides, pointers, masks and overlaps are either
 * refused with one line, or attended, and attended backward, without a step outside of what they
 * describe.
 *
 * The input is a list of choices; most take what a careful caller would give, some anything at all.
 * Every array is allocated exactly as long as the options say. An array that no memory can hold
 * makes the call one that must be refused; where an array is merely large the call is not made. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tributary/attention.h"

/* Not assert: it shall hold in every build. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

enum { LARGE = 1 << 18, WORK = 200000, WORKSPACE = 1 << 25, ARRAYS = 80 };

/* Sizes of arrays; one beyond `everything` stands for all that no memory can hold. */
typedef __int128 wide;
static const wide everything = (wide)INT64_MAX;

static wide times(wide a, wide b)
{
    return a == 0 || b <= everything / a ? a * b : everything + 1;
}

struct input {
    const uint8_t *bytes;
    size_t size;
};

static uint8_t take(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->bytes++;
}

/* What is usual, or something near, or something far away. */
static size_t take_size(struct input *in, size_t usual)
{
    static const size_t far[] = {0,
                                 1,
                                 32,
                                 64,
                                 (size_t)1 << 20,
                                 (size_t)1 << 32,
                                 (size_t)1 << 40,
                                 ((size_t)1 << 40) + 1,
                                 (size_t)1 << 61,
                                 (size_t)1 << 62,
                                 SIZE_MAX / 3,
                                 SIZE_MAX - 63,
                                 SIZE_MAX};
    uint8_t how = take(in);
    if (how < 200)
        return usual;
    if (how < 230)
        return usual + (size_t)(int8_t)take(in);
    return far[take(in) % (sizeof far / sizeof *far)];
}

static float take_float(struct input *in, float usual)
{
    static const float others[] = {0, -1, 1e-30f, 3e38f, NAN, INFINITY, -INFINITY, 0.5f};
    uint8_t how = take(in);
    return how < 200 ? usual : others[how % 8];
}

/* ---- Arrays ---- */

struct arrays {
    void *memory[ARRAYS];
    size_t count;
    uint64_t noise;
    uint8_t keep; /* the bits of each byte of noise that stay */
    bool large, impossible;
};

/* An array of so many bytes, full of noise; aligned to 64, or one byte beside that. */
static void *array(struct arrays *all, wide bytes, bool aslant)
{
    void *memory = NULL;
    if (bytes > everything) {
        all->impossible = true;
        return all; /* never looked at */
    }
    if (bytes > LARGE || all->count == ARRAYS) {
        all->large = true;
        return NULL;
    }
    size_t n = bytes > 0 ? (size_t)bytes : 0;
    CHECK(posix_memalign(&memory, 64, n + aslant + !n) == 0);
    all->memory[all->count++] = memory;
    for (size_t i = 0; i < n + aslant; i++) {
        all->noise = all->noise * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)memory)[i] = (uint8_t)(all->noise >> 56) & all->keep;
    }
    return (char *)memory + aslant;
}

static void free_arrays(const struct arrays *all)
{
    for (size_t i = 0; i < all->count; i++)
        free(all->memory[i]);
}

/* Bytes from the first of `count` things to the end of the last, `stride` apart. */
static wide reach(size_t count, wide stride, wide last)
{
    return count == 0 ? 0 : times((wide)count - 1, stride) + last;
}

/* ---- The call ---- */

struct call {
    const trib_kernels *kernels;
    trib_attention attention;
    trib_queries queries;
    trib_segment segment;
    trib_states states;
    uint8_t nothing; /* which of these are NULL */
    bool together;   /* something that is written overlaps something else */
};

static void take_shape(struct input *in, struct call *c)
{
    static const char *const tables[] = {"ref", "avx2", "avx512", "avx512bf16"};
    static const trib_kv_type types[] = {TRIB_KV_F32, TRIB_KV_F16, TRIB_KV_BF16, TRIB_KV_Q8_0};
    trib_attention *a = &c->attention;
    uint8_t table = take(in), type = take(in), group = take(in) % 4;
    if (trib_kernels_choose(&c->kernels, tables[table % 4], NULL) != TRIB_OK)
        CHECK(trib_kernels_choose(&c->kernels, "ref", NULL) == TRIB_OK);
    c->segment.type = type < 250 ? types[type % 4] : (trib_kv_type)(type - 250);
    c->segment.layout = (trib_kv_layout)(take(in) % 16 ? type / 4 % 2 : 2 + take(in));
    a->kv_heads = take_size(in, 1 + group);
    a->heads = take_size(in, a->kv_heads * (1 + take(in) % 3));
    a->head_dim = take_size(in, type % 4 == 3 ? 32 : 1 + take(in) % 70);
    a->scale = take_float(in, 0.1f);
    a->softcap = take_float(in, 0);
    a->threads = take(in) < 240 ? 1 + take(in) % 3 : (int)(int8_t)take(in);
    c->queries.tokens = take_size(in, take(in) % 12);
    c->queries.first = take_size(in, take(in));
    c->queries.token_stride = take_size(in, a->heads * a->head_dim + take(in) % 3);
    c->segment.length = take_size(in, 3 * (size_t)take(in));
    c->segment.first = take_size(in, take(in) / 64 * 64);
    c->states.count = take_size(in, c->queries.tokens * a->heads);
    c->states.head_dim = take_size(in, a->head_dim);
    c->nothing = take(in);
}

static void take_segment(struct input *in, struct call *c, struct arrays *all)
{
    trib_segment *s = &c->segment;
    size_t D = c->attention.head_dim, G = c->attention.kv_heads,
           chunk = trib_chunk_bytes(s->type, D);
    bool chunks = s->layout == TRIB_KV_CHUNKS;
    size_t width = s->type == TRIB_KV_F32 ? 4 : 2, pages = 1, keys = s->length;
    size_t one = chunks ? chunk : s->type == TRIB_KV_Q8_0 ? D / 32 * 34 : D * width;
    uint8_t how = take(in);
    s->head_stride = take_size(in, one);
    s->key_stride = take_size(in, G * s->head_stride);
    if (how & 1) {
        s->page_keys = take_size(in, chunks ? 64 : 1 + take(in) % 100);
        pages = s->page_keys ? s->length / s->page_keys + (s->length % s->page_keys > 0) : 0;
        keys = s->page_keys < s->length ? s->page_keys : s->length;
    }
    size_t steps = !chunks ? keys : how & 1 ? 1 : keys / 64 + (keys % 64 > 0);
    wide bytes = keys ? reach(steps, s->key_stride, 0) + reach(G, s->head_stride, one) : 0;
    const void **lists[2];
    for (size_t side = 0; side < 2; side++) {
        bool aslant = (how >> (1 + side) & 31) == 31;
        if (!(how & 1)) {
            *(side ? &s->v : &s->k) = array(all, bytes, aslant);
            continue;
        }
        lists[side] = array(all, times(pages, sizeof(void *)), false);
        for (size_t i = 0; i < pages && !all->large && !all->impossible; i++)
            lists[side][i] = how == 255 && i == pages - 1 ? NULL : array(all, bytes, aslant);
        *(side ? &s->v_pages : &s->k_pages) = lists[side];
    }
}

/* Ids of so few documents that some meet. */
static const int32_t *documents(struct arrays *all, size_t n)
{
    int32_t *ids = array(all, times(n, 4), false);
    for (size_t i = 0; i < n && !all->large && !all->impossible; i++)
        ids[i] &= 3;
    return ids;
}

static void take_lists(struct input *in, struct call *c, struct arrays *all)
{
    trib_attention *a = &c->attention;
    trib_mask *m = &a->mask;
    size_t T = c->queries.tokens, S = c->segment.length, H = a->heads, D = a->head_dim;
    uint8_t uses = take(in), masks = take(in);
    wide row = times(times(H, D), 4);
    c->queries.q = array(all, reach(T, times(c->queries.token_stride, 4), row), false);
    if (uses & 1)
        a->alibi = array(all, times(H, 4), false);
    if (uses & 2)
        a->additive = array(all, row, false);
    if (uses & 4) {
        a->bias_token_stride = take_size(in, S);
        a->bias_head_stride = take_size(in, T * a->bias_token_stride);
        wide bias = reach(H, times(a->bias_head_stride, 4), 0) +
                    reach(T, times(a->bias_token_stride, 4), times(S, 4));
        a->bias = array(all, T && S ? bias : 0, false);
    }
    m->causal = masks & 1;
    m->prefix = masks & 2 ? take_size(in, take(in)) : 0;
    m->window = masks & 4 ? take_size(in, 1 + take(in)) : 0;
    if (masks & 8)
        m->query_document = documents(all, T);
    if (masks & 16)
        m->key_document = documents(all, S);
    if (masks & 32) {
        int32_t *parent = array(all, times(T, 4), false);
        for (size_t t = 0; t < T && !all->large && !all->impossible; t++)
            parent[t] = take(in) < 250 ? (int32_t)(take(in) % (t + 1)) - 1 : (int8_t)take(in);
        m->parent = parent;
    }
    if (masks & 64) {
        m->bits_stride = take_size(in, S / 64 + (S % 64 > 0));
        m->bits =
            array(all, reach(T, times(m->bits_stride, 8), times(S / 64 + (S % 64 > 0), 8)), false);
    }
    c->states.s = array(all, times(c->states.count, 4), false);
    c->states.v = array(all, times(times(c->states.count, c->states.head_dim), 4), false);
}

/* One pointer, sometimes, that is not there. */
static void take_nothing(struct call *c)
{
    const void **pointers[] = {&c->segment.k, &c->segment.v, (const void **)&c->segment.k_pages,
                               (const void **)&c->segment.v_pages, (const void **)&c->queries.q};
    if (c->nothing <= 200)
        return;
    if (c->nothing % 16 < 5)
        *pointers[c->nothing % 16] = NULL;
    else if (c->nothing % 16 < 7)
        *(c->nothing % 16 == 5 ? &c->states.s : &c->states.v) = NULL;
}

/* States, sometimes, where something else is. */
static void take_overlap(struct input *in, struct call *c, const struct arrays *all)
{
    const trib_segment *s = &c->segment;
    const trib_attention *a = &c->attention;
    const trib_mask *m = &a->mask;
    uint8_t how = take(in);
    if (how < 230 || all->large || all->impossible || !c->states.count || !c->states.head_dim ||
        !c->queries.tokens || !s->length || (s->k_pages && !s->page_keys))
        return;
    const void *there[] = {c->states.s,
                           s->k_pages ? s->k_pages[0] : s->k,
                           s->v_pages ? s->v_pages[0] : s->v,
                           s->k_pages,
                           c->queries.q,
                           a->alibi,
                           a->bias,
                           m->query_document,
                           m->key_document,
                           m->parent,
                           m->bits};
    const void *at = there[take(in) % (sizeof there / sizeof *there)];
    if (!at)
        return;
    c->together = true;
    if (how & 1 && at != c->states.s)
        memcpy(&c->states.s, &at, sizeof at);
    else
        memcpy(&c->states.v, &at, sizeof at);
}

static trib_status run(const struct call *c, bool absorb, void *workspace, size_t bytes,
                       trib_error *error)
{
    uint8_t missing = c->nothing > 200 ? c->nothing % 16 : 0;
    return (absorb ? trib_absorb : trib_attend)(
        missing == 7 ? NULL : c->kernels, missing == 8 ? NULL : &c->attention,
        missing == 9 ? NULL : &c->queries, missing == 10 ? NULL : &c->segment,
        missing == 11 ? NULL : &c->states, workspace, bytes, error);
}

/* What was attended gives the same bits in one thread; and after that, absorbing it works. */
static bool again(struct call *c, struct arrays *all)
{
    size_t floats = c->states.count * c->states.head_dim;
    float *s = c->states.s, *v = c->states.v;
    c->attention.threads = 1;
    c->states.s = array(all, times(c->states.count, 4), false);
    c->states.v = array(all, (wide)floats * 4, false);
    if (all->large)
        return false;
    size_t bytes = trib_attend_workspace(c->kernels, &c->attention, c->queries.tokens,
                                         c->segment.first + c->segment.length);
    void *workspace = NULL;
    CHECK(posix_memalign(&workspace, 64, bytes) == 0);
    CHECK(run(c, false, workspace, bytes, NULL) == TRIB_OK);
    for (size_t i = 0; i < c->states.count; i++)
        CHECK(memcmp(s + i, c->states.s + i, 4) == 0 || (isnan(s[i]) && isnan(c->states.s[i])));
    for (size_t i = 0; i < floats; i++)
        CHECK(memcmp(v + i, c->states.v + i, 4) == 0 || (isnan(v[i]) && isnan(c->states.v[i])));
    CHECK(run(c, true, workspace, bytes, NULL) == TRIB_OK);
    free(workspace);
    c->states.s = s;
    c->states.v = v;
    return true;
}

/* Gradients of it from noise: the same bits in one thread, or no gradient of that score. */
static void backward(struct call *c, struct arrays *all, int threads)
{
    const trib_attention *a = &c->attention;
    size_t rows = c->queries.tokens * a->heads * a->head_dim;
    size_t keys = c->segment.length * a->kv_heads * a->head_dim;
    const size_t floats[] = {rows, keys, keys};
    const float *dy = array(all, (wide)rows * 4, false);
    float *d[2][3];
    for (size_t i = 0; i < 6; i++)
        d[i / 3][i % 3] = array(all, (wide)floats[i % 3] * 4, false);
    if (all->large)
        return;
    for (size_t i = 0; i < 2; i++) {
        void *workspace = NULL;
        c->attention.threads = i ? 1 : threads;
        size_t bytes = trib_attend_backward_workspace(c->kernels, a, c->queries.tokens,
                                                      c->segment.first + c->segment.length);
        if (bytes > WORKSPACE)
            return;
        CHECK(bytes > 0 && posix_memalign(&workspace, 64, bytes) == 0);
        trib_status status =
            trib_attend_backward(c->kernels, a, &c->queries, &c->segment, &c->states, dy, d[i][0],
                                 d[i][1], d[i][2], workspace, bytes, NULL);
        free(workspace);
        CHECK(status == (a->additive ? TRIB_UNSUPPORTED : TRIB_OK));
    }
    for (size_t i = 0; i < 3 && !a->additive; i++)
        for (size_t j = 0; j < floats[i]; j++)
            CHECK(memcmp(d[0][i] + j, d[1][i] + j, 4) == 0 ||
                  (isnan(d[0][i][j]) && isnan(d[1][i][j])));
}

/* What the OpenMP library keeps for its threads until the end. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libomp\nleak:libgomp\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct input in = {bytes, size};
    struct arrays all = {.noise = size};
    struct call c = {0};
    trib_error error = {0};
    take_shape(&in, &c);
    uint8_t noise = take(&in);
    all.noise += noise;
    all.keep = noise < 192 ? 0xbf : 0xff; /* floats of all types are below 2; or anything at all */
    take_segment(&in, &c, &all);
    if (!all.large)
        take_lists(&in, &c, &all);
    take_nothing(&c);
    take_overlap(&in, &c, &all);
    size_t keys = c.segment.first + c.segment.length;
    size_t needed = trib_attend_workspace(c.kernels, &c.attention, c.queries.tokens, keys);
    wide work = times(times(c.queries.tokens, c.segment.length),
                      times(c.attention.heads, c.attention.head_dim));
    if (!all.large && needed <= WORKSPACE && (all.impossible || work <= WORK)) {
        void *workspace = NULL;
        size_t given = needed - (take(&in) == 255 && needed);
        CHECK(posix_memalign(&workspace, 64, given + !given) == 0);
        bool absorb = take(&in) & 1;
        trib_status status = run(&c, absorb, workspace, given, &error);
        free(workspace);
        CHECK(status == error.status && (status == TRIB_OK || status == TRIB_INVALID));
        CHECK(status == TRIB_OK || (strlen(error.message) > 10 && !strchr(error.message, '\n')));
        CHECK(status != TRIB_OK ||
              (!all.impossible && !c.together && given == needed && needed > 0));
        int threads = c.attention.threads;
        if (status == TRIB_OK && !absorb && again(&c, &all))
            backward(&c, &all, threads);
    }
    free_arrays(&all);
    return 0;
}
