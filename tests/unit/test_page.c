/* Pages: what is counted, what is full, what is copied, and that attention reads them in place. */
#include "cache/page.h"
#include "cache_case.h"
#include "guard.h"
#include "random.h"

static const struct kv_shape shapes[] = {
    {DTYPE_F32, 2, 1, 7}, {DTYPE_F16, 3, 2, 16}, {DTYPE_BF16, 1, 2, 40}, {DTYPE_Q8_0, 2, 2, 64}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static struct page_pool *pool_of(const struct kv_shape *shape, size_t pages)
{
    struct page_pool *pool;
    assert_int_equal(page_pool_open(&pool, shape, pages * kv_page_bytes(shape), NULL), TRIB_OK);
    return pool;
}

static void a_pool_is_full_at_its_budget(void **state)
{
    (void)state;
    struct page *pages[5], *none;
    trib_error error = {0};
    struct page_pool *pool = pool_of(&shapes[1], 5);
    assert_int_equal(page_pool_counts(pool).limit, 5);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 5; i++) {
            assert_int_equal(page_take(pool, &pages[i], NULL), TRIB_OK);
            assert_int_equal((uintptr_t)pages[i]->memory % 64, 0);
            for (size_t b = 0; b < kv_page_bytes(&shapes[1]); b++)
                assert_int_equal(pages[i]->memory[b], 0);
            memset(pages[i]->memory, 0xff, kv_page_bytes(&shapes[1]));
        }
        assert_int_equal(page_take(pool, &none, &error), TRIB_FULL);
        assert_null(none);
        assert_non_null(strstr(error.message, "all 5 pages"));
        page_hold(pages[2]);
        page_drop(pool, pages[2]);
        assert_int_equal(page_pool_counts(pool).in_use, 5);
        for (size_t i = 0; i < 5; i++)
            page_drop(pool, pages[i]);
        assert_int_equal(page_pool_counts(pool).in_use, 0);
        assert_int_equal(page_pool_counts(pool).allocated, 5);
    }
    page_pool_close(pool);
    assert_int_equal(page_pool_open(&pool, &shapes[1], kv_page_bytes(&shapes[1]) - 1, &error),
                     TRIB_INVALID);
    assert_null(pool);
    assert_int_equal(page_pool_open(&pool, &(struct kv_shape){DTYPE_Q8_0, 1, 1, 33}, 1 << 20, NULL),
                     TRIB_INVALID);
    assert_int_equal(page_pool_open(&pool, &(struct kv_shape){DTYPE_F32, 0, 1, 33}, 1 << 20, NULL),
                     TRIB_INVALID);
}

static size_t unused_calls;

static void count_unused(struct page_backing *backing)
{
    (void)backing;
    unused_calls++;
}

static void wrapped_pages_are_not_written(void **state)
{
    (void)state;
    struct page_pool *pool = pool_of(&shapes[0], 1);
    struct page_backing backing = {.unused = count_unused};
    char *memory = guard_new(2 * kv_page_bytes(&shapes[0]));
    struct page *a = page_wrap(pool, memory, &backing);
    struct page *b = page_wrap(pool, memory + kv_page_bytes(&shapes[0]), &backing);
    assert_true(a && b && !page_is_writable(a));
    assert_int_equal(page_pool_counts(pool).wrapped, 2);
    assert_int_equal(page_pool_counts(pool).in_use, 0);
    unused_calls = 0;
    page_drop(pool, b);
    assert_int_equal(unused_calls, 0);
    page_drop(pool, a);
    assert_int_equal(unused_calls, 1);
    assert_int_equal(page_pool_counts(pool).wrapped, 0);
    guard_free(memory, 2 * kv_page_bytes(&shapes[0]));
    page_pool_close(pool);
}

/* Of a page full of positions the first n arrive, and nothing of the others: as if only those n had
 * ever been stored. */
static void a_copy_has_the_filled_positions_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        struct page_pool *pool = pool_of(&shapes[i], 3);
        struct page *full, *copy, *expected;
        uint64_t hashes[CHUNK];
        for (size_t j = 0; j < CHUNK; j++)
            hashes[j] = case_hash(j ? hashes[j - 1] : i, 7);
        page_take(pool, &full, NULL);
        page_take(pool, &expected, NULL);
        case_page(&shapes[i], full, hashes, CHUNK, 0);
        for (size_t n = 0; n <= CHUNK; n++) {
            page_take(pool, &copy, NULL);
            page_copy(&shapes[i], copy, full, n);
            case_page(&shapes[i], expected, hashes, n, 0);
            assert_memory_equal(copy->memory, expected->memory, kv_page_bytes(&shapes[i]));
            page_drop(pool, copy);
        }
        page_drop(pool, full);
        page_drop(pool, expected);
        page_pool_close(pool);
    }
}

enum { LENGTH = 150, FIRST = 2 }; /* pages before, of which attention must not care */

/* The chunks of one layer, stored one by one in memory of their own: k and v [3]. */
static char *plain_chunks(const struct kv_shape *shape, size_t layer, const void **k_chunks,
                          const void **v_chunks)
{
    size_t D = shape->head_dim, bytes = chunk_bytes(shape->type, D), side = shape->kv_heads * bytes;
    char *memory = aligned_alloc(64, 6 * side);
    float k[CASE_ROW_MOST], v[CASE_ROW_MOST];
    memset(memory, 0, 6 * side);
    for (size_t j = 0; j < LENGTH; j++) {
        char *keys = memory + j / CHUNK * side, *values = keys + 3 * side;
        case_rows(shape, j, layer, k, v);
        for (size_t g = 0; g < shape->kv_heads; g++)
            chunk_store(shape->type, D, keys + g * bytes, values + g * bytes, j % CHUNK, k + g * D,
                        v + g * D);
        k_chunks[j / CHUNK] = keys;
        v_chunks[j / CHUNK] = values;
    }
    return memory;
}

/* Attention over a segment of pages is that over the same chunks put together by hand, bit for bit,
 * in every layer. */
static void attention_reads_pages_in_place(void **state)
{
    (void)state;
    const trib_kernels *kernels;
    assert_int_equal(trib_kernels_choose(&kernels, NULL, NULL), TRIB_OK);
    struct random r = random_start(1);
    for (size_t i = 0; i < SHAPES; i++) {
        const struct kv_shape *shape = &shapes[i];
        size_t G = shape->kv_heads, D = shape->head_dim, H = 2 * G;
        struct page_pool *pool = pool_of(shape, 3);
        struct page *pages[3];
        const void *k_pages[3], *v_pages[3], *k_chunks[3], *v_chunks[3];
        float k[CASE_ROW_MOST], v[CASE_ROW_MOST], q[CASE_ROW_MOST];
        float s[2][8], out[2][CASE_ROW_MOST];
        for (size_t j = 0; j < 3; j++)
            page_take(pool, &pages[j], NULL);
        for (size_t j = 0; j < LENGTH; j++)
            for (size_t layer = 0; layer < shape->layers; layer++) {
                case_rows(shape, j, layer, k, v);
                page_store(shape, pages[j / CHUNK], layer, j % CHUNK, k, v);
            }
        trib_attention attention = {
            .heads = H, .kv_heads = G, .head_dim = D, .scale = 1, .threads = 1};
        size_t bytes = trib_attend_workspace(kernels, &attention, 1, 1024);
        void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
        for (size_t layer = 0; layer < shape->layers; layer++) {
            char *chunks = plain_chunks(shape, layer, k_chunks, v_chunks);
            random_fill(&r, q, H * D, 2);
            trib_queries queries = {q, 1, H * D, FIRST * CHUNK + LENGTH};
            trib_segment segment[2] = {
                {.type = (trib_kv_type)shape->type,
                 .layout = TRIB_KV_CHUNKS,
                 .length = LENGTH,
                 .head_stride = chunk_bytes(shape->type, D),
                 .k_pages = k_chunks,
                 .v_pages = v_chunks,
                 .page_keys = CHUNK},
                page_segment(shape, layer, pages, 3, FIRST, LENGTH, k_pages, v_pages)};
            assert_int_equal(segment[1].first, FIRST * CHUNK);
            for (size_t b = 0; b < 2; b++)
                assert_int_equal(trib_attend(kernels, &attention, &queries, &segment[b],
                                             &(trib_states){s[b], out[b], H, D}, workspace, bytes,
                                             NULL),
                                 TRIB_OK);
            assert_memory_equal(s[0], s[1], H * sizeof(float));
            assert_memory_equal(out[0], out[1], H * D * sizeof(float));
            free(chunks);
        }
        free(workspace);
        for (size_t j = 0; j < 3; j++)
            page_drop(pool, pages[j]);
        page_pool_close(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_is_full_at_its_budget),
        cmocka_unit_test(wrapped_pages_are_not_written),
        cmocka_unit_test(a_copy_has_the_filled_positions_alone),
        cmocka_unit_test(attention_reads_pages_in_place),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
