/* UTF-8: every code point both ways, every kind of malformed sequence, and cut streams. */
#include <stdbool.h>

#include "test.h"
#include "text/utf8.h"

/* Strict validity by another road than utf8.c: shape first, then the value against its length. */
static size_t valid_length(const unsigned char *bytes, size_t length)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = bytes[0] < 0x80             ? 1
               : (bytes[0] & 0xe0) == 0xc0 ? 2
               : (bytes[0] & 0xf0) == 0xe0 ? 3
               : (bytes[0] & 0xf8) == 0xf0 ? 4
                                           : 0;
    if (n < 2 || n > length)
        return n < 2 ? n : 0;
    uint32_t value = bytes[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (bytes[i] & 0x3f);
    }
    bool surrogate = value >= 0xd800 && value <= 0xdfff;
    return value < least[n] || value > 0x10ffff || surrogate ? 0 : n;
}

static void every_code_point(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        char text[4];
        uint32_t back = 0;
        size_t length = utf8_encode(code, text);
        assert_in_range(length, 1, 4);
        if (code >= 0xd800 && code <= 0xdfff) {
            assert_int_equal(utf8_decode(text, length, &back), 0);
            continue;
        }
        assert_int_equal(utf8_decode(text, length, &back), length);
        assert_int_equal(back, code);
        if (length > 1)
            assert_int_equal(utf8_decode(text, length - 1, &back), 0);
    }
}

/* All pairs of first bytes, followed by bytes at the edges of every range. */
static void every_beginning(void **state)
{
    static const unsigned char edges[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
    (void)state;
    for (unsigned first = 0; first < 65536; first++)
        for (size_t i = 0; i < sizeof edges; i++)
            for (size_t j = 0; j < sizeof edges; j++) {
                unsigned char bytes[4] = {(unsigned char)(first >> 8), (unsigned char)first,
                                          edges[i], edges[j]};
                uint32_t code;
                for (size_t length = 1; length <= 4; length++)
                    if (utf8_decode((char *)bytes, length, &code) != valid_length(bytes, length))
                        fail_msg("%02x %02x %02x %02x, length %zu", bytes[0], bytes[1], bytes[2],
                                 bytes[3], length);
            }
}

/* A tail is incomplete exactly when some bytes after it make it one valid character. */
static bool can_complete(const unsigned char *tail, size_t length)
{
    static const unsigned char rests[][3] = {{0x80, 0x80, 0x80}, {0xbf, 0xbf, 0xbf}};
    for (size_t r = 0; r < 2; r++)
        for (size_t n = length + 1; n <= 4; n++) {
            unsigned char bytes[4];
            memcpy(bytes, tail, length);
            memcpy(bytes + length, rests[r], n - length);
            if (valid_length(bytes, n) == n)
                return true;
        }
    return false;
}

static void incomplete_tails(void **state)
{
    static const unsigned char edges[] = {0x00, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc1, 0xc2,
                                          0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5};
    enum { COUNT = sizeof edges };
    (void)state;
    assert_int_equal(utf8_incomplete_tail("", 0), 0);
    for (size_t length = 1; length <= 4; length++)
        for (size_t i = 0; i < (size_t)COUNT * COUNT * COUNT * COUNT; i++) {
            unsigned char bytes[4] = {edges[i % COUNT], edges[i / COUNT % COUNT],
                                      edges[i / COUNT / COUNT % COUNT],
                                      edges[i / COUNT / COUNT / COUNT]};
            size_t expected = 0;
            for (size_t tail = 1; tail <= 3 && tail <= length; tail++)
                if (can_complete(bytes + length - tail, tail))
                    expected = tail;
            if (utf8_incomplete_tail((char *)bytes, length) != expected)
                fail_msg("%02x %02x %02x %02x, length %zu: expected %zu", bytes[0], bytes[1],
                         bytes[2], bytes[3], length, expected);
        }
}

/* Holding back the tail, a stream cut anywhere comes out whole and always in whole characters. */
static void streaming(void **state)
{
    static const char text[] = "a\xc3\xa9\xe2\x96\x81\xf0\x9f\xa6\x99z";
    (void)state;
    for (size_t cut = 0; cut < sizeof text; cut++) {
        size_t held = utf8_incomplete_tail(text, cut);
        uint32_t code;
        size_t i = 0;
        while (i < cut - held) {
            size_t length = utf8_decode(text + i, cut - held - i, &code);
            assert_true(length > 0);
            i += length;
        }
        assert_int_equal(i, cut - held);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(every_beginning),
        cmocka_unit_test(incomplete_tails),
        cmocka_unit_test(streaming),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
