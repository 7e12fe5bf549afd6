/* Texts to tokens and batches: vocabularies of bytes and characters, what is refused, and that
 * windows and streams are where they are said to be. */
#include <unistd.h>

#include "random.h"
#include "test.h"
#include "train/data.h"

static void write_text(char path[64], const void *bytes, size_t size)
{
    strcpy(path, "/tmp/trib-text-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static trib_status open_data(struct data *d, struct vocabulary *v, const char *kind,
                             const void *bytes, size_t size, double validation, trib_error *error)
{
    char path[64];
    const char *paths[] = {path};
    write_text(path, bytes, size);
    trib_status status = vocabulary_open(v, kind, error);
    if (status == TRIB_OK)
        status = data_open(d, v, paths, 1, validation, error);
    unlink(path);
    return status;
}

static int32_t id_at(const struct data *d, size_t i)
{
    return d->narrow ? d->narrow[i] : d->wide[i];
}

static void bytes_are_their_own_ids(void **state)
{
    (void)state;
    unsigned char text[512];
    struct data d;
    struct vocabulary v;
    trib_error error = {0};
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)(i * 7);
    assert_int_equal(open_data(&d, &v, "bytes", text, sizeof text, 0.25, &error), TRIB_OK);
    assert_int_equal(d.vocabulary, 256);
    assert_int_equal(d.count, sizeof text);
    assert_int_equal(d.train, 384);
    for (size_t i = 0; i < sizeof text; i++) {
        char out[4];
        assert_int_equal(id_at(&d, i), text[i]);
        assert_int_equal(vocabulary_decode(&v, id_at(&d, i), false, out, 4), 1);
        assert_int_equal((unsigned char)out[0], text[i]);
    }
    data_close(&d);
    vocabulary_close(&v);
}

/* Of plain text the characters in their order; of others also the bytes and beginnings that lead to
 * them; and the token that ends a text. Decoding gives the text back. */
static void chars_are_those_of_the_text(void **state)
{
    (void)state;
    static const char plain[] = "hello\n",
                      mixed[] = "\xc3\xa9 \xe2\x82\xac\xf0\x9f\x98\x80\xc3\xa8";
    struct data d;
    struct vocabulary v;
    trib_error error = {0};
    assert_int_equal(open_data(&d, &v, "chars", plain, 6, 0, &error), TRIB_OK);
    assert_int_equal(d.vocabulary, 6); /* newline, e, h, l, o and the end */
    const int32_t expected[] = {2, 1, 3, 3, 4, 0};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(id_at(&d, i), expected[i]);
    data_close(&d);
    vocabulary_close(&v);

    assert_int_equal(open_data(&d, &v, "chars", mixed, sizeof mixed - 1, 0, &error), TRIB_OK);
    /* space; c3, a8, a9, c3a8, c3a9; e2, 82, ac, e282, e282ac; f0, 9f, 98, 80, f09f, f09f98,
     * f09f9880; the end */
    assert_int_equal(d.vocabulary, 1 + 5 + 5 + 7 + 1);
    assert_int_equal(d.count, 5);
    char out[32];
    size_t length = 0;
    for (size_t i = 0; i < d.count; i++)
        length += vocabulary_decode(&v, id_at(&d, i), false, out + length, 4);
    assert_int_equal(length, sizeof mixed - 1);
    assert_memory_equal(out, mixed, length);
    data_close(&d);
    vocabulary_close(&v);
}

static void bad_texts_are_named(void **state)
{
    (void)state;
    static const char *const bad[] = {"ab\xff", "ab\xc3", "\xed\xa0\x80", "\xc0\xaf"};
    struct data d = {0};
    struct vocabulary v;
    trib_error error = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(open_data(&d, &v, "chars", bad[i], strlen(bad[i]), 0, &error),
                         TRIB_INVALID);
        assert_non_null(strstr(error.message, "expected UTF-8"));
        vocabulary_close(&v);
        assert_int_equal(open_data(&d, &v, "bytes", bad[i], strlen(bad[i]), 0, &error), TRIB_OK);
        data_close(&d);
        vocabulary_close(&v);
    }
    assert_int_equal(open_data(&d, &v, "bytes", "", 0, 0, &error), TRIB_FORMAT);
    assert_non_null(strstr(error.message, "the file is empty"));
    vocabulary_close(&v);
    assert_int_equal(vocabulary_open(&v, "/no/such/file", &error), TRIB_IO);
}

static void short_texts_are_refused(void **state)
{
    (void)state;
    char text[100];
    struct data d;
    struct vocabulary v;
    trib_error error = {0};
    memset(text, 'x', sizeof text);
    assert_int_equal(open_data(&d, &v, "bytes", text, sizeof text, 0.2, &error), TRIB_OK);
    assert_int_equal(data_check(&d, 4, 19, false, &error), TRIB_OK);
    assert_int_equal(data_check(&d, 4, 19, true, &error), TRIB_OK);
    assert_int_equal(data_check(&d, 1, 20, false, &error), TRIB_INVALID); /* validation: 20 */
    assert_non_null(strstr(error.message, "validation: expected at least 21 tokens"));
    assert_int_equal(data_check(&d, 5, 19, true, &error), TRIB_INVALID); /* training: 80 */
    assert_non_null(strstr(error.message, "training: expected at least 96 tokens"));
    data_close(&d);
    vocabulary_close(&v);
}

/* Every window lies in the training part, is followed by its targets, and is a function of seed and
 * number; all places are drawn, the last one too. */
static void windows(void **state)
{
    (void)state;
    enum { B = 4, T = 8, SIZE = 60 };
    unsigned char text[SIZE];
    struct data d;
    struct vocabulary v;
    trib_error error = {0};
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (unsigned char)i;
    assert_int_equal(open_data(&d, &v, "bytes", text, SIZE, 0.25, &error), TRIB_OK);
    bool seen[SIZE] = {false};
    for (uint64_t n = 0; n < 200; n++) {
        int32_t tokens[B * T], targets[B * T], again[B * T], scratch[B * T];
        data_windows(&d, B, T, 7, n, tokens, targets);
        data_windows(&d, B, T, 7, n, again, scratch);
        assert_memory_equal(tokens, again, sizeof tokens);
        for (size_t i = 0; i < B * T; i++) {
            assert_int_equal(targets[i], tokens[i] + 1); /* the text counts up */
            assert_true(i % T == 0 || tokens[i] == tokens[i - 1] + 1);
            assert_true(targets[i] < 45);
        }
        for (size_t b = 0; b < B; b++)
            seen[tokens[b * T]] = true;
    }
    for (size_t i = 0; i < SIZE; i++)
        assert_int_equal(seen[i], i < 45 - T);
    data_close(&d);
    vocabulary_close(&v);
}

/* Windows of a stream follow each other without a gap, streams do not overlap, and after the last
 * window comes the first, which continues nothing. */
static void streams(void **state)
{
    (void)state;
    enum { B = 3, T = 5, SIZE = 100 };
    unsigned char text[SIZE];
    struct data d;
    struct vocabulary v;
    trib_error error = {0};
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (unsigned char)i;
    assert_int_equal(open_data(&d, &v, "bytes", text, SIZE, 0.2, &error), TRIB_OK);
    for (int part = DATA_TRAIN; part <= DATA_VALIDATION; part++) {
        size_t first = part == DATA_TRAIN ? 0 : 80, count = part == DATA_TRAIN ? 80 : 20;
        size_t stride = (count - 1) / B, windows = stride / T;
        assert_int_equal(data_stream_windows(&d, (enum data_part)part, B, T), windows);
        for (uint64_t n = 0; n < 2 * windows; n++) {
            int32_t tokens[B * T], targets[B * T];
            bool continues = data_stream(&d, (enum data_part)part, B, T, n, tokens, targets);
            assert_int_equal(continues, n % windows != 0);
            for (size_t i = 0; i < B * T; i++) {
                size_t place = first + i / T * stride + n % windows * T + i % T;
                assert_int_equal(tokens[i], place);
                assert_int_equal(targets[i], place + 1);
            }
        }
    }
    data_close(&d);
    vocabulary_close(&v);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_their_own_ids),
        cmocka_unit_test(chars_are_those_of_the_text),
        cmocka_unit_test(bad_texts_are_named),
        cmocka_unit_test(short_texts_are_refused),
        cmocka_unit_test(windows),
        cmocka_unit_test(streams),
    };
    return cmocka_run_group_tests_name("data", tests, NULL, NULL);
}
