/* The cache of prefixes against a plain model: each sequence is an array of ids, and what a
 * position should hold follows from the ids up to it. Random operations, under a budget that
 * suffices and under one that does not, with a folder on disk and without. */
#include <unistd.h>

#include "cache/cascade_plan.h"
#include "cache_case.h"
#include "folder.h"
#include "random.h"

enum { MOST = 12, LENGTH_MOST = 520, PAGES_MOST = LENGTH_MOST / CHUNK + 1, KNOWN_MOST = 1 << 14 };

/* One sequence as it should be. */
struct model {
    struct sequence *s;
    int32_t ids[LENGTH_MOST];
    uint64_t hashes[LENGTH_MOST];
};

struct world {
    struct random r;
    struct kv_shape shape;
    struct prefix_cache *cache;
    struct page_pool *scratch;
    size_t limit;   /* pages of the budget */
    bool ample;     /* nothing is ever given up */
    size_t writing; /* pages that the writer may hold */
    struct model models[MOST];
    size_t count;
    uint64_t known[KNOWN_MOST]; /* hashes at the ends of pages that were ever committed */
    size_t known_count, full;   /* how often TRIB_FULL was met */
};

static bool is_known(const struct world *w, uint64_t hash)
{
    for (size_t i = 0; i < w->known_count; i++)
        if (w->known[i] == hash)
            return true;
    return false;
}

static void know(struct world *w, const struct model *m, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (i % CHUNK == CHUNK - 1 && !is_known(w, m->hashes[i])) {
            assert_true(w->known_count < KNOWN_MOST);
            w->known[w->known_count++] = m->hashes[i];
        }
}

/* ---- What must hold ---- */

static void check_model(struct world *w, const struct model *m, size_t from)
{
    assert_true(case_holds(&w->shape, w->scratch, m->s, m->hashes, from));
}

/* The different pages that sequences hold; how many of them are mapped goes to *mapped. */
static size_t held_pages(const struct world *w, size_t *mapped)
{
    static struct page *held[MOST * PAGES_MOST];
    size_t count = 0;
    *mapped = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct sequence *s = w->models[i].s;
        struct page *pages[PAGES_MOST];
        size_t n = s->place.pages + s->own_count;
        sequence_pages(s, 0, n, pages);
        for (size_t j = 0; j < n; j++) {
            size_t at = 0;
            while (at < count && held[at] != pages[j])
                at++;
            if (at < count)
                continue;
            *mapped += pages[j]->backing != NULL;
            held[count++] = pages[j];
        }
    }
    return count;
}

static void check_counts(const struct world *w)
{
    struct prefix_cache_counts counts = prefix_cache_counts(w->cache);
    size_t own = 0, mapped, held = held_pages(w, &mapped);
    for (size_t i = 0; i < w->count; i++)
        own += w->models[i].s->own_count;
    assert_int_equal(counts.sequences, w->count);
    assert_true(counts.pages.in_use >= held - mapped);
    assert_true(counts.held >= held && counts.held <= held + w->writing);
    assert_true(counts.pages.in_use + counts.pages.wrapped <= counts.cached + own + w->writing);
    assert_true(counts.pages.in_use <= counts.pages.allocated);
    assert_true(counts.pages.allocated <= w->limit && counts.pages.limit == w->limit);
}

/* Each sequence finds its full pages in the runs it is in, in order; each page is in one run. */
static void check_plan(struct world *w)
{
    static struct cascade_plan plan;
    struct sequence *sequences[MOST] = {NULL};
    size_t count = 0, reached[MOST] = {0}, pages = 0;
    bool seen[MOST] = {false};
    for (size_t i = 0; i < w->count; i++)
        if (random_below(&w->r, 4))
            sequences[count++] = w->models[i].s;
    assert_int_equal(cascade_plan_make(&plan, sequences, count, NULL), TRIB_OK);
    for (size_t i = 0; i < count; i++) {
        assert_true(plan.order[i] < count && !seen[plan.order[i]]);
        seen[plan.order[i]] = true;
    }
    for (size_t i = 0; i < plan.run_count; i++) {
        const struct plan_run *run = &plan.runs[i];
        assert_true(run->count > 0 && run->from < run->to && run->to <= count);
        pages += run->count;
        for (size_t j = run->from; j < run->to; j++) {
            struct page *path[PAGES_MOST];
            size_t number = plan.order[j];
            assert_int_equal(run->first, reached[number]);
            sequence_pages(sequences[number], run->first, run->first + run->count, path);
            assert_memory_equal(path, run->pages, run->count * sizeof *path);
            reached[number] += run->count;
        }
    }
    size_t different = 0;
    static struct page *all[MOST * PAGES_MOST];
    for (size_t i = 0; i < count; i++) {
        struct page *path[PAGES_MOST];
        assert_int_equal(reached[i], sequences[i]->place.pages);
        sequence_pages(sequences[i], 0, reached[i], path);
        for (size_t j = 0; j < reached[i]; j++) {
            size_t at = 0;
            while (at < different && all[at] != path[j])
                at++;
            if (at == different)
                all[different++] = path[j];
        }
    }
    assert_int_equal(pages, different);
    cascade_plan_free(&plan);
}

/* ---- Operations ---- */

/* Ids that often agree with those of others for whole pages, and often part within one. */
static void draw_ids(struct world *w, struct model *m, size_t from, size_t to)
{
    int32_t way = (int32_t)random_below(&w->r, 2);
    for (size_t i = from; i < to; i++) {
        if (random_below(&w->r, 150) == 0)
            way = (int32_t)random_below(&w->r, 3);
        m->ids[i] = way * 1000 + (int32_t)(i % 7);
    }
}

static void hash_ids(struct model *m, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        m->hashes[i] = case_hash(i ? m->hashes[i - 1] : 1, m->ids[i]);
}

static void do_open(struct world *w)
{
    if (w->count == MOST)
        return;
    struct model *m = &w->models[w->count];
    size_t length = random_below(&w->r, LENGTH_MOST - CHUNK), expected = 0, held = 0, from = 0;
    if (w->count && random_below(&w->r, 2)) {
        const struct model *other = &w->models[random_below(&w->r, w->count)];
        from = sequence_length(other->s);
        memcpy(m->ids, other->ids, from * sizeof *m->ids);
    }
    length = length > from ? length : from;
    draw_ids(w, m, from, length);
    hash_ids(m, 0, length);
    while ((expected + 1) * CHUNK <= length && is_known(w, m->hashes[expected * CHUNK + CHUNK - 1]))
        expected++;
    for (size_t i = 0; i < w->count; i++) {
        const struct model *other = &w->models[i];
        size_t pages = 0;
        while (pages < length / CHUNK && pages < sequence_length(other->s) / CHUNK &&
               m->hashes[pages * CHUNK + CHUNK - 1] == other->hashes[pages * CHUNK + CHUNK - 1])
            pages++;
        held = pages > held ? pages : held;
    }
    assert_int_equal(sequence_open(&m->s, w->cache, m->ids, length, NULL), TRIB_OK);
    size_t found = sequence_length(m->s);
    assert_int_equal(found % CHUNK, 0);
    assert_true(found <= expected * CHUNK && found >= held * CHUNK);
    if (w->ample)
        assert_int_equal(found, expected * CHUNK);
    w->count++;
    check_model(w, m, 0);
}

/* Whether the partial page must be copied before it is written. */
static bool needs_copy(const struct world *w, const struct model *m)
{
    const struct page *partial = m->s->own[0];
    for (size_t i = 0; i < w->count; i++) {
        const struct sequence *s = w->models[i].s;
        struct page *pages[PAGES_MOST];
        size_t n = s->place.pages + s->own_count;
        sequence_pages(s, 0, n, pages);
        for (size_t j = 0; j < n && s != m->s; j++)
            if (pages[j] == partial)
                return true;
    }
    return partial->backing != NULL;
}

static void do_append(struct world *w, struct model *m)
{
    size_t length = sequence_length(m->s),
           n = random_below(&w->r, random_below(&w->r, 3) ? 9 : 150);
    n = n < LENGTH_MOST - length ? n : LENGTH_MOST - length;
    draw_ids(w, m, length, length + n);
    hash_ids(m, length, length + n);
    size_t mapped, held = held_pages(w, &mapped) - mapped, own = m->s->own_count;
    bool shared = length % CHUNK && needs_copy(w, m);
    trib_error error = {0};
    trib_status status =
        case_append(&w->shape, m->s, m->ids + length, m->hashes + length, n, &error);
    if (status == TRIB_FULL) { /* true only if not all fit, were everything else given up */
        size_t pages = (length + n + CHUNK - 1) / CHUNK - length / CHUNK;
        assert_false(w->ample);
        assert_true(held + pages - own + shared > w->limit);
        assert_int_equal(sequence_length(m->s), length);
        w->full++;
    } else {
        assert_int_equal(status, TRIB_OK);
        know(w, m, length, length + n);
    }
    check_model(w, m, length / CHUNK);
}

static void do_fork(struct world *w, const struct model *m)
{
    if (w->count == MOST)
        return;
    struct prefix_cache_counts before = prefix_cache_counts(w->cache);
    struct model *fork = &w->models[w->count];
    memcpy(fork->ids, m->ids, sizeof m->ids);
    memcpy(fork->hashes, m->hashes, sizeof m->hashes);
    assert_int_equal(sequence_fork(&fork->s, m->s, NULL), TRIB_OK);
    w->count++;
    assert_int_equal(sequence_length(fork->s), sequence_length(m->s));
    assert_int_equal(prefix_cache_counts(w->cache).pages.in_use, before.pages.in_use);
}

static void do_close(struct world *w, size_t i)
{
    sequence_close(w->models[i].s);
    w->models[i] = w->models[--w->count];
}

static void step(struct world *w)
{
    size_t i = w->count ? random_below(&w->r, w->count) : 0, what = random_below(&w->r, 20);
    if (w->count == 0 || what < 2)
        do_open(w);
    else if (what < 14)
        do_append(w, &w->models[i]);
    else if (what < 16)
        do_fork(w, &w->models[i]);
    else if (what < 18)
        sequence_rewind(w->models[i].s, random_below(&w->r, sequence_length(w->models[i].s) + 1));
    else
        do_close(w, i);
}

/* ---- Worlds ---- */

static void world_open(struct world *w, const char *folder)
{
    struct prefix_cache_options options = {
        .shape = w->shape,
        .budget = w->limit * kv_page_bytes(&w->shape),
        .disk = {.folder = folder, .budget = UINT64_MAX, .kernels = "test", .threads = 2}};
    assert_int_equal(prefix_cache_open(&w->cache, &options, NULL), TRIB_OK);
}

static void world_close_sequences(struct world *w)
{
    for (size_t i = 0; i < w->count; i++)
        check_model(w, &w->models[i], 0);
    while (w->count)
        do_close(w, w->count - 1);
    struct prefix_cache_counts counts = prefix_cache_counts(w->cache);
    assert_int_equal(counts.pages.in_use + counts.pages.wrapped, counts.cached);
}

static void world_close(struct world *w)
{
    world_close_sequences(w);
    prefix_cache_clear(w->cache);
    struct prefix_cache_counts counts = prefix_cache_counts(w->cache);
    assert_int_equal(counts.cached, 0);
    assert_int_equal(counts.pages.in_use, 0);
    assert_int_equal(counts.pages.wrapped, 0);
    prefix_cache_close(w->cache);
}

static const struct kv_shape shapes[] = {
    {DTYPE_F32, 1, 1, 3}, {DTYPE_F16, 2, 1, 8}, {DTYPE_BF16, 1, 2, 4}, {DTYPE_Q8_0, 1, 1, 32}};

static struct world *world_new(uint64_t salt, size_t limit, bool ample)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->r = random_start(salt);
    w->shape = shapes[salt % 4];
    w->limit = limit;
    w->ample = ample;
    assert_int_equal(page_pool_open(&w->scratch, &w->shape, 2 * kv_page_bytes(&w->shape), NULL),
                     TRIB_OK);
    return w;
}

static void run_steps(struct world *w, size_t steps)
{
    for (size_t n = 0; n < steps; n++) {
        step(w);
        check_counts(w);
        if (n % 4 == 0)
            check_plan(w);
        if (n % 64 == 0)
            for (size_t i = 0; i < w->count; i++)
                check_model(w, &w->models[i], 0);
    }
}

static void nothing_is_lost_where_there_is_room(void **state)
{
    (void)state;
    for (uint64_t salt = 0; salt < 8; salt++) {
        struct world *w = world_new(salt, 4000, true);
        world_open(w, NULL);
        run_steps(w, 600);
        assert_int_equal(w->full, 0);
        world_close(w);
        page_pool_close(w->scratch);
        free(w);
    }
}

static void pages_are_given_up_under_a_budget(void **state)
{
    (void)state;
    size_t full = 0;
    for (uint64_t salt = 100; salt < 112; salt++) {
        struct world *w = world_new(salt, 12 + 3 * (salt % 4), false);
        world_open(w, NULL);
        run_steps(w, 600);
        full += w->full;
        world_close(w);
        page_pool_close(w->scratch);
        free(w);
    }
    assert_true(full > 0);
}

/* What sequences hold is found in the folder by a cache that has nothing else. */
static void check_folder(struct world *w, const char *folder)
{
    struct prefix_cache *cache = w->cache;
    world_open(w, folder);
    for (size_t i = 0; i < w->count; i++) {
        const struct model *m = &w->models[i];
        struct sequence *s;
        size_t length = sequence_length(m->s);
        assert_int_equal(sequence_open(&s, w->cache, m->ids, length, NULL), TRIB_OK);
        assert_int_equal(sequence_length(s), length / CHUNK * CHUNK);
        sequence_close(s);
    }
    prefix_cache_close(w->cache);
    w->cache = cache;
}

/* Everything is there again after a restart, from memory or from disk, and a small budget in memory
 * loses only what was not yet written and no sequence holds. */
static void what_was_written_comes_back(void **state)
{
    (void)state;
    for (uint64_t salt = 200; salt < 208; salt++) {
        char folder[FOLDER_NAME];
        bool more = true;
        folder_make(folder);
        struct world *w = world_new(salt, salt % 2 ? 4000 : 20, salt % 2);
        w->writing = 64;
        for (size_t life = 0; life < 4; life++) {
            world_open(w, folder);
            for (size_t n = 0; n < 20; n++) {
                run_steps(w, 8);
                size_t bytes = random_below(&w->r, random_below(&w->r, 2) ? 3000 : 100000);
                assert_int_equal(
                    prefix_cache_write(w->cache, bytes, random_below(&w->r, 2), &more, NULL),
                    TRIB_OK);
            }
            do
                assert_int_equal(prefix_cache_write(w->cache, 1, true, &more, NULL), TRIB_OK);
            while (more);
            check_folder(w, folder);
            world_close_sequences(w);
            do
                assert_int_equal(prefix_cache_write(w->cache, 1, false, &more, NULL), TRIB_OK);
            while (more);
            world_close(w);
        }
        assert_int_equal(folder_remove(folder), 0);
        page_pool_close(w->scratch);
        free(w);
    }
}

/* ---- By hand ---- */

/* A page that two sequences computed apart is kept once: the second one's is dropped. */
static void the_same_page_is_kept_once(void **state)
{
    (void)state;
    struct world *w = world_new(0, 100, true);
    struct model *a = &w->models[0], *b = &w->models[1];
    world_open(w, NULL);
    for (size_t i = 0; i < 200; i++)
        a->ids[i] = b->ids[i] = (int32_t)i;
    hash_ids(a, 0, 200);
    hash_ids(b, 0, 200);
    for (w->count = 0; w->count < 2; w->count++)
        sequence_open(&w->models[w->count].s, w->cache, a->ids, 0, NULL);
    assert_int_equal(case_append(&w->shape, a->s, a->ids, a->hashes, 200, NULL), TRIB_OK);
    assert_int_equal(prefix_cache_counts(w->cache).pages.in_use, 4);
    assert_int_equal(case_append(&w->shape, b->s, b->ids, b->hashes, 200, NULL), TRIB_OK);
    assert_int_equal(prefix_cache_counts(w->cache).pages.in_use, 5); /* two partial ones */
    assert_int_equal(prefix_cache_counts(w->cache).cached, 3);
    struct page *pages[2];
    for (size_t i = 0; i < 4; i++) {
        sequence_pages(a->s, i, i + 1, &pages[0]);
        sequence_pages(b->s, i, i + 1, &pages[1]);
        assert_true((pages[0] == pages[1]) == (i < 3));
    }
    world_close(w);
    page_pool_close(w->scratch);
    free(w);
}

/* Of leaves that nobody stands on, the one left first gives up first, its last page first. */
static void the_oldest_leaf_goes_first(void **state)
{
    (void)state;
    static const size_t order[] = {1, 2, 0}; /* of leaving */
    static const size_t left[6][3] = {{2, 1, 2}, {2, 0, 2}, {2, 0, 1},
                                      {2, 0, 0}, {1, 0, 0}, {0, 0, 0}};
    for (size_t taken = 1; taken <= 6; taken++) {
        struct world *w = world_new(0, 6, false);
        struct model *m = w->models;
        world_open(w, NULL);
        for (size_t n = 0; n < 3; n++) {
            for (size_t i = 0; i < 2 * CHUNK; i++)
                m[n].ids[i] = (int32_t)(n * 1000 + i);
            hash_ids(&m[n], 0, 2 * CHUNK);
            assert_int_equal(sequence_open(&m[n].s, w->cache, m[n].ids, 0, NULL), TRIB_OK);
            assert_int_equal(case_append(&w->shape, m[n].s, m[n].ids, m[n].hashes, 2 * CHUNK, NULL),
                             TRIB_OK);
        }
        for (size_t i = 0; i < 3; i++)
            sequence_close(m[order[i]].s);
        struct sequence *s, *found;
        assert_int_equal(sequence_open(&s, w->cache, NULL, 0, NULL), TRIB_OK);
        assert_int_equal(sequence_reserve(s, taken * CHUNK, NULL), TRIB_OK);
        for (size_t n = 0; n < 3; n++) {
            assert_int_equal(sequence_open(&found, w->cache, m[n].ids, 2 * CHUNK, NULL), TRIB_OK);
            assert_int_equal(sequence_length(found), left[taken - 1][n] * CHUNK);
            sequence_close(found);
        }
        assert_int_equal(sequence_reserve(s, 7 * CHUNK, NULL), TRIB_FULL);
        sequence_close(s);
        world_close(w);
        page_pool_close(w->scratch);
        free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_where_there_is_room),
        cmocka_unit_test(pages_are_given_up_under_a_budget),
        cmocka_unit_test(what_was_written_comes_back),
        cmocka_unit_test(the_same_page_is_kept_once),
        cmocka_unit_test(the_oldest_leaf_goes_first),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
