/* The cascade: over random trees of segments, every token gets bit for bit what the fold gives it
 * alone over all its keys, in every table and type, for any number of threads. */
#include "attention/cascade.h"

#include <stdlib.h>

#include "attention/fold.h"
#include "random.h"
#include "tables.h"
#include "test.h"

enum { PARTS = 64, SEQUENCES = 160, TOKENS = 400, PATH_PAGES = 128 };

struct sequence {
    int leaf;
    size_t token, tokens, first; /* its tokens in the cascade; the position of the first */
};

struct shape {
    size_t H, G, D, window;
    float softcap;
    trib_kv_type type;
    size_t children, sequences; /* of a part at most; at least in all */
};

struct forest {
    struct shape shape;
    struct cascade_part parts[PARTS];
    size_t part_count;
    void **pages[PARTS]; /* [pages] each part's: keys of all heads, then values */
    const void **k[PARTS], **v[PARTS];
    struct sequence sequences[SEQUENCES];
    size_t sequence_count, tokens;
    size_t positions[TOKENS];
    float *q; /* [tokens][H][D] */
};

static size_t head_bytes(const struct shape *s)
{
    return trib_chunk_bytes(s->type, s->D);
}

static void fill_page(const struct forest *f, size_t part, size_t page, size_t keys,
                      struct random *r)
{
    const struct shape *s = &f->shape;
    size_t bytes = head_bytes(s);
    float k[256], v[256];
    char *memory = aligned_alloc(64, 2 * s->G * bytes);
    memset(memory, 0, 2 * s->G * bytes);
    for (size_t g = 0; g < s->G; g++)
        for (size_t slot = 0; slot < keys; slot++) {
            random_fill(r, k, s->D, 1);
            random_fill(r, v, s->D, 1);
            trib_chunk_store(s->type, s->D, memory + g * bytes, memory + (s->G + g) * bytes, slot,
                             k, v);
        }
    f->pages[part][page] = memory;
    f->k[part][page] = memory;
    f->v[part][page] = memory + s->G * bytes;
}

/* A part of `length` keys behind `parent`; returns its index. */
static int add_part(struct forest *f, int parent, size_t length, struct random *r)
{
    int index = (int)f->part_count++;
    size_t pages = (length + CHUNK - 1) / CHUNK;
    f->pages[index] = malloc(pages * sizeof(void *));
    f->k[index] = malloc(pages * sizeof(void *));
    f->v[index] = malloc(pages * sizeof(void *));
    for (size_t i = 0; i < pages; i++)
        fill_page(f, (size_t)index, i, length - i * CHUNK < CHUNK ? length - i * CHUNK : CHUNK, r);
    const struct cascade_part *before = parent < 0 ? NULL : &f->parts[parent];
    f->parts[index] = (struct cascade_part){
        .segment = {.type = f->shape.type,
                    .layout = TRIB_KV_CHUNKS,
                    .length = length,
                    .first = before ? before->segment.first + before->segment.length : 0,
                    .head_stride = head_bytes(&f->shape),
                    .k_pages = f->k[index],
                    .v_pages = f->v[index],
                    .page_keys = CHUNK},
        .parent = parent,
        .from = f->tokens};
    return index;
}

/* A leaf of one sequence, whose last keys are those of its tokens. */
static void add_leaf(struct forest *f, int parent, struct random *r)
{
    size_t tokens = random_below(r, 4) ? 1 : 1 + random_below(r, 5);
    size_t length = tokens + random_below(r, 150);
    int index = add_part(f, parent, length, r);
    size_t end = f->parts[index].segment.first + length;
    f->sequences[f->sequence_count++] = (struct sequence){index, f->tokens, tokens, end - tokens};
    for (size_t t = 0; t < tokens; t++)
        f->positions[f->tokens++] = end - tokens + t;
    f->parts[index].to = f->tokens;
}

static void grow(struct forest *f, int parent, size_t depth, struct random *r)
{
    size_t children = 1 + random_below(r, f->shape.children);
    for (size_t i = 0; i < children; i++) {
        bool room = f->part_count + 8 < PARTS;
        if (depth == 0 || !room || random_below(r, 3) == 0) {
            if (f->part_count < PARTS)
                add_leaf(f, parent, r);
            continue;
        }
        int index = add_part(f, parent, CHUNK * (1 + random_below(r, 14)), r);
        grow(f, index, depth - 1, r);
        f->parts[index].to = f->tokens;
    }
}

static struct forest *forest_new(const struct shape *shape, struct random *r)
{
    struct forest *f = calloc(1, sizeof *f);
    f->shape = *shape;
    while (f->sequence_count < shape->sequences && f->part_count + 1 < PARTS)
        grow(f, CASCADE_ROOT, 3, r);
    size_t floats = f->tokens * shape->H * shape->D;
    f->q = malloc(floats * sizeof *f->q);
    random_fill(r, f->q, floats, 2);
    return f;
}

static void forest_free(struct forest *f)
{
    for (size_t i = 0; i < f->part_count; i++) {
        for (size_t page = 0; page < (f->parts[i].segment.length + CHUNK - 1) / CHUNK; page++)
            free(f->pages[i][page]);
        free(f->pages[i]);
        free(f->k[i]);
        free(f->v[i]);
    }
    free(f->q);
    free(f);
}

static trib_attention attention_of(const struct shape *s, int threads)
{
    return (trib_attention){.heads = s->H,
                            .kv_heads = s->G,
                            .head_dim = s->D,
                            .scale = 0.3f,
                            .softcap = s->softcap,
                            .mask = {.causal = true, .window = s->window},
                            .threads = threads};
}

/* One sequence by the fold, over all pages on its way. */
static void fold_alone(const struct forest *f, const struct kernels *kernels,
                       const struct sequence *sequence, float *v)
{
    trib_attention attention = attention_of(&f->shape, 1);
    const void *k_pages[PATH_PAGES], *v_pages[PATH_PAGES];
    trib_segment segment = f->parts[sequence->leaf].segment;
    segment.length += segment.first;
    segment.first = 0;
    segment.k_pages = k_pages;
    segment.v_pages = v_pages;
    for (int part = sequence->leaf; part != CASCADE_ROOT; part = f->parts[part].parent) {
        const trib_segment *s = &f->parts[part].segment;
        for (size_t i = 0; i < (s->length + CHUNK - 1) / CHUNK; i++) {
            k_pages[s->first / CHUNK + i] = f->k[part][i];
            v_pages[s->first / CHUNK + i] = f->v[part][i];
        }
    }
    trib_queries queries = {.q = f->q + sequence->token * f->shape.H * f->shape.D,
                            .tokens = sequence->tokens,
                            .token_stride = f->shape.H * f->shape.D,
                            .first = sequence->first};
    void *workspace =
        aligned_alloc(64, fold_workspace(kernels, &attention, sequence->tokens, segment.length));
    fold_run(kernels, &attention, &queries, &segment, NULL, v, false, workspace);
    free(workspace);
}

static void hold(const struct forest *f, const struct kernels *kernels)
{
    size_t row = f->shape.H * f->shape.D, bytes = f->tokens * row * sizeof(float);
    float *expected = malloc(bytes), *found = malloc(bytes);
    for (size_t i = 0; i < f->sequence_count; i++)
        fold_alone(f, kernels, &f->sequences[i], expected + f->sequences[i].token * row);
    for (int threads = 1; threads <= 3; threads++) {
        trib_attention attention = attention_of(&f->shape, threads);
        struct cascade cascade = {.parts = f->parts,
                                  .count = f->part_count,
                                  .q = f->q,
                                  .token_stride = row,
                                  .tokens = f->tokens,
                                  .positions = f->positions};
        void *workspace = aligned_alloc(64, cascade_workspace(kernels, &attention, f->tokens));
        memset(found, 0xff, bytes);
        cascade_run(kernels, &attention, &cascade, found, workspace);
        free(workspace);
        for (size_t i = 0; i < f->tokens * row; i++)
            if (memcmp(&found[i], &expected[i], sizeof *found) != 0)
                fail_msg("%s, type %d, %zu sequences, %d threads: token %zu: %a, alone %a",
                         kernels->name, (int)f->shape.type, f->sequence_count, threads, i / row,
                         (double)found[i], (double)expected[i]);
    }
    free(expected);
    free(found);
}

static void every_token_gets_what_it_gets_alone(void **state)
{
    (void)state;
    struct random r = random_start(1);
    static const struct shape shapes[] = {
        {.H = 4, .G = 1, .D = 32, .type = TRIB_KV_F32, .children = 3, .sequences = 1},
        {.H = 8, .G = 2, .D = 64, .type = TRIB_KV_F16, .children = 4, .sequences = 6},
        {.H = 4, .G = 4, .D = 128, .type = TRIB_KV_BF16, .children = 3, .sequences = 4},
        {.H = 6, .G = 2, .D = 64, .type = TRIB_KV_Q8_0, .children = 5, .sequences = 8},
        {.H = 4,
         .G = 2,
         .D = 24,
         .type = TRIB_KV_F16,
         .children = 3,
         .window = 300,
         .sequences = 5},
        {.H = 2, .G = 1, .D = 48, .type = TRIB_KV_F32, .children = 3, .softcap = 5, .sequences = 5},
        {.H = 16, .G = 1, .D = 32, .type = TRIB_KV_BF16, .children = 20, .sequences = 40},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct forest *f = forest_new(&shapes[i], &r);
        for (const struct kernels *k = tables_first(); k; k = tables_after(k))
            hold(f, k);
        forest_free(f);
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_token_gets_what_it_gets_alone),
    };
    return cmocka_run_group_tests_name("cascade", tests, NULL, NULL);
}
