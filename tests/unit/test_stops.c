/* Stop strings: where a text ends, whatever pieces it comes in, and what is held back till then. */
#include "random.h"
#include "test.h"
#include "tributary/sampling.h"

enum { LONGEST = 64 };

static trib_text text_of(const char *text)
{
    return (trib_text){text, strlen(text)};
}

static trib_stops *open_stops(const char *const *strings, size_t count)
{
    trib_text texts[8] = {{0}};
    trib_stops *stops;
    trib_error error = {0};
    for (size_t i = 0; i < count; i++)
        texts[i] = text_of(strings[i]);
    if (trib_stops_open(&stops, texts, count, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return stops;
}

static trib_text next(trib_stops *stops, const char *bytes, size_t length)
{
    trib_text shown;
    trib_error error = {0};
    assert_int_equal(trib_stops_next(stops, (trib_text){bytes, length}, &shown, &error), TRIB_OK);
    return shown;
}

static void expect_shown(trib_stops *stops, const char *piece, const char *expected)
{
    trib_text shown = next(stops, piece, strlen(piece));
    assert_int_equal(shown.length, strlen(expected));
    assert_memory_equal(shown.bytes, expected, shown.length);
}

static void expect_rest(trib_stops *stops, const char *expected)
{
    trib_text rest = trib_stops_rest(stops);
    assert_int_equal(rest.length, strlen(expected));
    assert_memory_equal(rest.bytes, expected, rest.length);
}

static void a_stop_may_be_spread_over_pieces(void **state)
{
    const char *const strings[] = {"END", "\n\n"};
    trib_stops *stops = open_stops(strings, 2);
    size_t which = 9;
    (void)state;
    expect_shown(stops, "one E", "one ");
    expect_shown(stops, "N", "");
    expect_shown(stops, "E", "EN"); /* no stop after all, but this E may begin one */
    assert_false(trib_stops_met(stops, &which));
    assert_int_equal(which, 9);
    expect_shown(stops, "ND more", "");
    assert_true(trib_stops_met(stops, &which));
    assert_int_equal(which, 0);
    expect_shown(stops, "text", "");
    expect_rest(stops, "");
    trib_stops_close(stops);
}

static void what_is_held_back_comes_at_the_end(void **state)
{
    const char *const strings[] = {"abab", "abc"};
    trib_stops *stops = open_stops(strings, 2);
    (void)state;
    expect_shown(stops, "xaba", "x");
    expect_shown(stops, "", "");
    expect_rest(stops, "aba");
    expect_rest(stops, "");
    assert_false(trib_stops_met(stops, NULL));
    trib_stops_close(stops);
}

/* "bc" is complete before "abcd"; "abc" and "bc" are at the same byte. */
static void the_first_complete_wins_then_the_longest(void **state)
{
    const char *const first[] = {"abcd", "bc"}, *const longest[] = {"bc", "abc"};
    size_t which;
    (void)state;
    trib_stops *stops = open_stops(first, 2);
    expect_shown(stops, "xabcd", "xa");
    assert_true(trib_stops_met(stops, &which));
    assert_int_equal(which, 1);
    trib_stops_close(stops);
    stops = open_stops(longest, 2);
    expect_shown(stops, "xabcd", "x");
    assert_true(trib_stops_met(stops, &which));
    assert_int_equal(which, 1);
    trib_stops_close(stops);
}

/* U+1F30A in four pieces; U+00E9 of which a stop, U+00E8, has the first byte too. */
static void characters_stay_whole(void **state)
{
    const char *const strings[] = {"\xc3\xa8"};
    trib_stops *stops = open_stops(strings, 1);
    (void)state;
    expect_shown(stops, "a\xf0", "a");
    expect_shown(stops, "\x9f", "");
    expect_shown(stops, "\x8c", "");
    expect_shown(stops, "\x8a", "\xf0\x9f\x8c\x8a");
    expect_shown(stops, "b\xc3", "b");
    expect_shown(stops, "\xa9", "\xc3\xa9");
    expect_shown(stops, "\xff", "\xff"); /* what begins no character is shown as it is */
    expect_shown(stops, "c\xc3", "c");
    expect_shown(stops, "\xa8", "");
    assert_true(trib_stops_met(stops, NULL));
    trib_stops_close(stops);
}

static void no_stops_hold_nothing_back(void **state)
{
    trib_stops *stops = open_stops(NULL, 0);
    (void)state;
    expect_shown(stops, "any text", "any text");
    expect_rest(stops, "");
    assert_false(trib_stops_met(stops, NULL));
    trib_stops_close(stops);
}

static void an_empty_stop_is_refused(void **state)
{
    const trib_text strings[] = {{"a", 1}, {"", 0}};
    trib_stops *stops;
    trib_error error = {0};
    (void)state;
    assert_int_equal(trib_stops_open(&stops, strings, 2, &error), TRIB_INVALID);
    assert_string_equal(error.message, "stop string 2 is empty");
    assert_null(stops);
}

/* ---- Random texts, cut anywhere ---- */

/* Characters of one to three bytes that share first bytes, so that stops overlap and begin often.
 */
static size_t draw_text(struct random *r, size_t characters, char *out)
{
    static const char *const alphabet[] = {"a", "b", "\xc3\xa9", "\xc3\xa8", "\xe2\x82\xac"};
    size_t length = 0;
    for (size_t i = 0; i < characters; i++) {
        const char *c = alphabet[random_below(r, 5)];
        memcpy(out + length, c, strlen(c));
        length += strlen(c);
    }
    return length;
}

/* By the rule itself: the first end of a stop, and the longest that ends there. */
static size_t text_before_stop(const char *text, size_t length, const trib_text *stops,
                               size_t count, size_t *which)
{
    for (size_t end = 1; end <= length; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < count; i++)
            if (stops[i].length > longest && stops[i].length <= end &&
                memcmp(text + end - stops[i].length, stops[i].bytes, stops[i].length) == 0) {
                longest = stops[i].length;
                *which = i;
            }
        if (longest)
            return end - longest;
    }
    *which = count;
    return length;
}

static bool begins_character(char byte)
{
    return ((unsigned char)byte & 0xc0) != 0x80;
}

static void cuts_change_nothing(void **state)
{
    struct random r = random_start(1);
    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        char text[LONGEST], bytes[3][LONGEST], found[LONGEST];
        trib_text strings[3];
        size_t count = random_below(&r, 4), length = draw_text(&r, random_below(&r, 20), text);
        for (size_t i = 0; i < count; i++)
            strings[i] = (trib_text){bytes[i], draw_text(&r, 1 + random_below(&r, 4), bytes[i])};
        size_t expected_which, which = count, used = 0;
        size_t expected = text_before_stop(text, length, strings, count, &expected_which);
        trib_stops *stops;
        assert_int_equal(trib_stops_open(&stops, strings, count, NULL), TRIB_OK);
        for (size_t at = 0; at < length;) {
            size_t piece = random_below(&r, length - at + 1);
            trib_text shown = next(stops, text + at, piece);
            memcpy(found + used, shown.bytes, shown.length);
            used += shown.length;
            at += piece;
            assert_true(used <= expected);
            assert_true(used == length || begins_character(text[used]));
        }
        trib_text rest = trib_stops_rest(stops);
        memcpy(found + used, rest.bytes, rest.length);
        assert_int_equal(used + rest.length, expected);
        assert_memory_equal(found, text, expected);
        trib_stops_met(stops, &which);
        assert_int_equal(which, expected_which);
        trib_stops_close(stops);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_may_be_spread_over_pieces),
        cmocka_unit_test(what_is_held_back_comes_at_the_end),
        cmocka_unit_test(the_first_complete_wins_then_the_longest),
        cmocka_unit_test(characters_stay_whole),
        cmocka_unit_test(no_stops_hold_nothing_back),
        cmocka_unit_test(an_empty_stop_is_refused),
        cmocka_unit_test(cuts_change_nothing),
    };
    random_seed();
    return cmocka_run_group_tests_name("stops", tests, NULL, NULL);
}
