/* Stop strings (tributary/sampling.h).
 *
 * A byte at a time: a stop is met at the first byte that completes one. What is held back is the
 * longest end of the text that some stop begins with, so a stop never begins in what was shown. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/utf8.h"
#include "tributary/sampling.h"

struct trib_stops {
    trib_text *strings; /* [count], their bytes behind them */
    size_t count;
    char *text; /* [length] what was shown last, then what is held back */
    size_t length, capacity;
    size_t shown;
    bool met;
    size_t which;
};

trib_status trib_stops_open(trib_stops **out, const trib_text *strings, size_t count,
                            trib_error *error)
{
    size_t bytes = sizeof *strings * count;
    *out = NULL;
    for (size_t i = 0; i < count; i++) {
        if (strings[i].length == 0)
            return error_set(error, TRIB_INVALID, "stop string %zu is empty", i + 1);
        bytes += strings[i].length;
    }
    trib_stops *stops = calloc(1, sizeof *stops);
    if (stops)
        stops->strings = malloc(bytes + 1);
    if (!stops || !stops->strings) {
        trib_stops_close(stops);
        return error_no_memory(error, "stop strings", bytes);
    }
    char *copy = (char *)(stops->strings + count);
    for (size_t i = 0; i < count; i++) {
        memcpy(copy, strings[i].bytes, strings[i].length);
        stops->strings[i] = (trib_text){copy, strings[i].length};
        copy += strings[i].length;
    }
    stops->count = count;
    *out = stops;
    return TRIB_OK;
}

void trib_stops_close(trib_stops *stops)
{
    if (!stops)
        return;
    free(stops->strings);
    free(stops->text);
    free(stops);
}

/* Whether the text up to `end` ends with the first n bytes of the string. */
static bool ends_with(const trib_stops *stops, size_t end, trib_text string, size_t n)
{
    return n <= end && memcmp(stops->text + end - n, string.bytes, n) == 0;
}

/* Looks for stops that end behind the first `from` bytes, and cuts the text where one begins. */
static void look(trib_stops *stops, size_t from)
{
    for (size_t end = from + 1; end <= stops->length && !stops->met; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < stops->count; i++) {
            trib_text string = stops->strings[i];
            if (string.length <= longest || !ends_with(stops, end, string, string.length))
                continue;
            longest = string.length;
            stops->which = i;
            stops->met = true;
        }
        if (stops->met)
            stops->length = end - longest;
    }
}

/* Bytes at the end that may be the beginning of a stop, or of a character. */
static size_t held_back(const trib_stops *stops)
{
    size_t most = 0;
    for (size_t i = 0; i < stops->count; i++)
        for (size_t n = stops->strings[i].length - 1; n > most; n--)
            if (ends_with(stops, stops->length, stops->strings[i], n))
                most = n;
    return most + utf8_incomplete_tail(stops->text, stops->length - most);
}

trib_status trib_stops_next(trib_stops *stops, trib_text piece, trib_text *shown, trib_error *error)
{
    size_t held = stops->length - stops->shown;
    *shown = (trib_text){"", 0};
    if (stops->met)
        return TRIB_OK;
    if (held + piece.length >= stops->capacity) {
        size_t capacity = 2 * (held + piece.length) + 64;
        char *larger = realloc(stops->text, capacity);
        if (!larger)
            return error_no_memory(error, "a text before its stop", capacity);
        stops->text = larger;
        stops->capacity = capacity;
    }
    memmove(stops->text, stops->text + stops->shown, held);
    if (piece.length)
        memcpy(stops->text + held, piece.bytes, piece.length);
    stops->length = held + piece.length;
    look(stops, held);
    stops->shown = stops->length - (stops->met ? 0 : held_back(stops));
    *shown = (trib_text){stops->text, stops->shown};
    return TRIB_OK;
}

trib_text trib_stops_rest(trib_stops *stops)
{
    size_t from = stops->shown;
    stops->shown = stops->length;
    return (trib_text){stops->text ? stops->text + from : "", stops->length - from};
}

bool trib_stops_met(const trib_stops *stops, size_t *which)
{
    if (stops->met && which)
        *which = stops->which;
    return stops->met;
}
