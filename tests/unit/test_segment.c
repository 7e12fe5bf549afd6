/* Segment files as bytes: what is made is read back; whatever is cut off or changed is refused with
 * a message, or is a page that is not whole. */
#include "file/segment.h"
#include "guard.h"
#include "random.h"

enum { FIRST = 2, COUNT = 3, PAGE = 4096 + 64, IDS = (FIRST + COUNT) * TRIB_CHUNK };

struct made {
    struct segment_origin origin;
    int32_t ids[IDS];
    uint8_t pages[COUNT][PAGE];
    uint8_t *bytes; /* aligned by malloc */
    size_t size, header_bytes;
};

static void make(struct made *m, struct random *r)
{
    const void *pages[COUNT];
    m->origin = (struct segment_origin){{1, 2, 3}, "avx2", "0.1", 1, 2, 1, 8, PAGE};
    for (size_t i = 0; i < IDS; i++)
        m->ids[i] = (int32_t)random_below(r, 50000);
    for (size_t i = 0; i < COUNT; i++) {
        pages[i] = m->pages[i];
        for (size_t b = 0; b < PAGE; b++)
            m->pages[i][b] = (uint8_t)random_bits(r);
    }
    void *header = segment_header(&m->origin, m->ids, FIRST, COUNT, pages);
    assert_non_null(header);
    m->header_bytes = segment_header_bytes(FIRST, COUNT);
    m->size = m->header_bytes + COUNT * segment_stride(PAGE);
    m->bytes = calloc(1, m->size);
    assert_non_null(m->bytes);
    memcpy(m->bytes, header, m->header_bytes);
    for (size_t i = 0; i < COUNT; i++)
        memcpy(m->bytes + m->header_bytes + i * segment_stride(PAGE), m->pages[i], PAGE);
    free(header);
}

static void what_is_made_is_read_back(void **state)
{
    (void)state;
    static struct made m;
    struct random r = random_start(1);
    struct segment s;
    make(&m, &r);
    assert_int_equal(segment_parse(&s, m.bytes, m.size, "it", NULL), TRIB_OK);
    assert_int_equal(segment_expect(&s, &m.origin, "it", NULL), TRIB_OK);
    assert_int_equal(s.first, FIRST);
    assert_int_equal(s.count, COUNT);
    assert_memory_equal(s.ids, m.ids, sizeof m.ids);
    assert_int_equal(s.stride % SEGMENT_ALIGN, 0);
    assert_int_equal((size_t)(s.pages - m.bytes) % SEGMENT_ALIGN, 0);
    struct prefix_key key = segment_root_key(&m.origin);
    for (size_t i = 0; i < FIRST + COUNT; i++) {
        if (i == FIRST)
            assert_true(prefix_key_equal(s.parent, key));
        key = prefix_key_next(key, m.ids + i * TRIB_CHUNK);
    }
    assert_true(prefix_key_equal(s.key, key));
    for (size_t i = 0; i < COUNT; i++) {
        assert_memory_equal(s.pages + i * s.stride, m.pages[i], PAGE);
        assert_true(segment_page_is_whole(&s, i));
    }
    free(m.bytes);
}

/* One bit of each byte of the header, and of some of each page. */
static void a_flipped_bit_shows(void **state)
{
    (void)state;
    static struct made m;
    struct random r = random_start(2);
    struct segment s;
    make(&m, &r);
    for (size_t i = 0; i < m.header_bytes; i++) {
        uint8_t bit = (uint8_t)(1 << random_below(&r, 8));
        trib_error error = {0};
        m.bytes[i] ^= bit;
        trib_status status = segment_parse(&s, m.bytes, m.size, "it", &error);
        if (status != TRIB_FORMAT && status != TRIB_UNSUPPORTED)
            fail_msg("byte %zu: %s", i, trib_status_name(status));
        assert_int_equal(strncmp(error.message, "it: ", 4), 0);
        assert_null(s.ids);
        m.bytes[i] ^= bit;
    }
    for (size_t n = 0; n < 2000; n++) {
        size_t page = random_below(&r, COUNT), at = n < PAGE ? n * 2 % PAGE : 0;
        uint8_t *byte = m.bytes + m.header_bytes + page * segment_stride(PAGE) + at;
        uint8_t bit = (uint8_t)(1 << random_below(&r, 8));
        *byte ^= bit;
        assert_int_equal(segment_parse(&s, m.bytes, m.size, "it", NULL), TRIB_OK);
        for (size_t i = 0; i < COUNT; i++)
            assert_true(segment_page_is_whole(&s, i) == (i != page));
        *byte ^= bit;
    }
    free(m.bytes);
}

/* Every length but the right one; not a byte past the end is read. */
static void truncation_shows(void **state)
{
    (void)state;
    static struct made m;
    struct random r = random_start(3);
    struct segment s;
    make(&m, &r);
    for (size_t size = 0; size < m.size; size++) {
        if (size > m.header_bytes + 64 && size % 61) /* beyond the header they are all alike */
            continue;
        assert_int_not_equal(segment_parse(&s, m.bytes, size, "it", NULL), TRIB_OK);
        if (size % 8 == 0 && size < 4096) {
            uint8_t *cut = guard_copy(m.bytes, size);
            assert_int_not_equal(segment_parse(&s, cut, size, "it", NULL), TRIB_OK);
            guard_free(cut, size);
        }
    }
    uint8_t *longer = calloc(1, m.size + SEGMENT_ALIGN);
    memcpy(longer, m.bytes, m.size);
    assert_int_not_equal(segment_parse(&s, longer, m.size + 1, "it", NULL), TRIB_OK);
    assert_int_not_equal(segment_parse(&s, longer, m.size + SEGMENT_ALIGN, "it", NULL), TRIB_OK);
    free(longer);
    free(m.bytes);
}

/* Wrong fields under a right checksum: any number in any field of the fixed part. */
static void no_field_is_believed(void **state)
{
    (void)state;
    static struct made m;
    static const uint64_t odd[] = {0,
                                   1,
                                   2,
                                   3,
                                   4096,
                                   1 << 20,
                                   UINT32_MAX,
                                   UINT64_MAX / 256,
                                   UINT64_MAX / 8,
                                   UINT64_MAX - 4095,
                                   UINT64_MAX};
    enum { SIZES = 16, CHECKSUM = 56, END = 192 };
    struct random r = random_start(4);
    struct segment s;
    make(&m, &r);
    uint8_t *copy = malloc(m.size);
    for (size_t at = 0; at < END; at += 4)
        for (size_t i = 0; i < 2 * (sizeof odd / sizeof *odd); i++) {
            size_t bytes = i % 2 ? 4 : 8;
            memcpy(copy, m.bytes, m.size);
            memcpy(copy + at, &odd[i / 2], bytes);
            if (memcmp(copy, m.bytes, m.size) == 0)
                continue;
            segment_seal(copy, m.header_bytes);
            trib_status status = segment_parse(&s, copy, m.size, "it", NULL);
            if (at + bytes > CHECKSUM && at < CHECKSUM + 8 && status == TRIB_OK)
                continue; /* only the checksum was changed, and then made right */
            if (status == TRIB_OK)
                fail_msg("%llu at %zu is believed", (unsigned long long)odd[i / 2], at);
        }
    free(copy);
    free(m.bytes);
}

static void another_origin_is_told(void **state)
{
    (void)state;
    static struct made m;
    struct random r = random_start(5);
    struct segment s;
    make(&m, &r);
    assert_int_equal(segment_parse(&s, m.bytes, m.size, "it", NULL), TRIB_OK);
    static const char *const messages[] = {"it: of another model",
                                           "it: kernels: expected ref, found avx2",
                                           "it: program: expected 0.2, found 0.1",
                                           "it: shape: expected type 1, 2 layers, 2 heads of 8"};
    for (size_t i = 0; i < 4; i++) {
        struct segment_origin other = m.origin;
        trib_error error;
        if (i == 0)
            other.model[0]++;
        else if (i == 1)
            memcpy(other.kernels, "ref", 4);
        else if (i == 2)
            memcpy(other.program, "0.2", 4);
        else
            other.kv_heads = 2;
        assert_int_equal(segment_expect(&s, &other, "it", &error), TRIB_UNSUPPORTED);
        assert_non_null(strstr(error.message, messages[i]));
        assert_false(prefix_key_equal(segment_root_key(&other), segment_root_key(&m.origin)));
    }
    free(m.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_is_read_back), cmocka_unit_test(a_flipped_bit_shows),
        cmocka_unit_test(truncation_shows),          cmocka_unit_test(no_field_is_believed),
        cmocka_unit_test(another_origin_is_told),
    };
    random_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
