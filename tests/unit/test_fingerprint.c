/* Fingerprints: every byte of a model counts, and the threads that read it do not. */
#include "file/fingerprint.h"
#include "gguf_build.h"
#include "random.h"
#include "test.h"

/* Over a batch of blocks and a part of another. */
enum { LARGE = (66 << 20) + 5, SMALL = 70 };

static bool same(struct fingerprint a, struct fingerprint b)
{
    return a.low == b.low && a.high == b.high;
}

static struct fingerprint of_tensor(const struct gguf_tensor *t, int threads)
{
    struct fingerprint f = {0};
    fingerprint_tensor(&f, t, threads);
    return f;
}

static void every_byte_of_a_tensor_counts(void **state)
{
    uint8_t *data = calloc(LARGE, 1);
    struct random r = random_start(1);
    struct gguf_tensor t = {.name = slice_of("w"),
                            .type = DTYPE_F32,
                            .dims = 1,
                            .shape = {LARGE, 1, 1, 1},
                            .bytes = LARGE,
                            .data = data};
    (void)state;
    assert_non_null(data);
    struct fingerprint first = of_tensor(&t, 1);
    for (int threads = 2; threads <= 3; threads++)
        assert_true(same(first, of_tensor(&t, threads)));
    for (size_t i = 0; i < 4; i++) {
        size_t at = i == 0 ? LARGE - 1 : random_below(&r, LARGE);
        data[at] ^= 1;
        assert_false(same(first, of_tensor(&t, 2)));
        data[at] ^= 1;
    }
    t.bytes = SMALL;
    first = of_tensor(&t, 1);
    for (size_t at = 0; at < SMALL; at++) {
        data[at] ^= 128;
        assert_false(same(first, of_tensor(&t, 1)));
        data[at] ^= 128;
    }
    struct gguf_tensor others[5] = {t, t, t, t, t};
    others[0].bytes = SMALL - 1;
    others[1].type = DTYPE_F16;
    others[2].name = slice_of("v");
    others[3].shape[1] = 2;
    others[4].dims = 2;
    for (size_t i = 0; i < 5; i++)
        assert_false(same(first, of_tensor(&others[i], 1)));
    free(data);
}

static struct fingerprint of_metadata(const char *name, const char *part, const char *word,
                                      uint32_t number, uint8_t last)
{
    struct fingerprint f = {0};
    struct gguf_build b;
    struct gguf *file;
    trib_error error;
    gguf_build_open(&b);
    gguf_build_string(&b, "general.name", name);
    if (part)
        gguf_build_u32(&b, part, 7);
    gguf_build_array(&b, "words", GGUF_STRING, 2);
    put_string(&b.values, "one");
    put_string(&b.values, word);
    gguf_build_u32(&b, "number", number);
    gguf_build_array(&b, "bytes", GGUF_U8, 3);
    put_u8(&b.values, 1);
    put_u8(&b.values, 2);
    put_u8(&b.values, last);
    gguf_build_finish(&b);
    if (gguf_parse(&file, b.file.bytes, b.file.size, "test", &error) != TRIB_OK)
        fail_msg("%s", error.message);
    fingerprint_metadata(&f, file);
    gguf_close(file);
    gguf_build_close(&b);
    return f;
}

static void metadata_counts_but_for_name_and_parts(void **state)
{
    struct fingerprint first = of_metadata("A", NULL, "two", 3, 4);
    (void)state;
    assert_true(same(first, of_metadata("another", NULL, "two", 3, 4)));
    assert_true(same(first, of_metadata("A", "split.checksum", "two", 3, 4)));
    assert_false(same(first, of_metadata("A", "splits", "two", 3, 4)));
    assert_false(same(first, of_metadata("A", NULL, "twO", 3, 4)));
    assert_false(same(first, of_metadata("A", NULL, "two", 4, 4)));
    assert_false(same(first, of_metadata("A", NULL, "two", 3, 5)));
}

static void order_counts(void **state)
{
    struct fingerprint a = {0}, b = {0};
    (void)state;
    fingerprint_add(&a, "one", 3);
    fingerprint_add(&a, "two", 3);
    fingerprint_add(&b, "two", 3);
    fingerprint_add(&b, "one", 3);
    assert_false(same(a, b));
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_of_a_tensor_counts),
        cmocka_unit_test(metadata_counts_but_for_name_and_parts),
        cmocka_unit_test(order_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
