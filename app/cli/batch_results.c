/* Reading requests, and reading and writing their results. */
#include "batch_results.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "commands.h"
#include "output.h"

static bool is_blank(trib_text text)
{
    for (size_t i = 0; i < text.length; i++)
        if (!memchr(" \t\r", text.bytes[i], 3))
            return false;
    return true;
}

/* The line at *at, without its end; *at goes to the next one. */
static trib_text next_line(const char *bytes, size_t length, size_t *at)
{
    const char *begin = bytes + *at, *end = memchr(begin, '\n', length - *at);
    trib_text line = {begin, end ? (size_t)(end - begin) : length - *at};
    *at += line.length + 1;
    return line;
}

/* ---- Requests ---- */

trib_status batch_requests_read(struct batch_requests *r, const char *path, trib_error *error)
{
    size_t length, lines = 1;
    *r = (struct batch_requests){.name = path};
    trib_status status = read_all(path, &r->bytes, &length, error);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < length; i++)
        lines += r->bytes[i] == '\n';
    r->entries = calloc(lines, sizeof *r->entries);
    if (!r->entries)
        return failure(error, TRIB_NO_MEMORY, "%.180s: no memory for %zu lines", path, lines);
    for (size_t at = 0, number = 1; at < length; number++) {
        trib_text text = next_line(r->bytes, length, &at);
        if (!is_blank(text))
            r->entries[r->count++] = (struct batch_entry){.number = number, .text = text};
    }
    return TRIB_OK;
}

void batch_requests_close(struct batch_requests *r)
{
    free(r->bytes);
    free(r->entries);
    *r = (struct batch_requests){0};
}

static struct batch_entry *find(struct batch_requests *r, json_int_t number)
{
    size_t first = 0, end = r->count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        if ((json_int_t)r->entries[middle].number < number)
            first = middle + 1;
        else
            end = middle;
    }
    bool there = first < r->count && (json_int_t)r->entries[first].number == number;
    return there ? &r->entries[first] : NULL;
}

static void print_hash(char text[BATCH_HASH], uint64_t hash)
{
    snprintf(text, BATCH_HASH, "%016" PRIx64, hash);
}

/* ---- Going on ---- */

/* Which run made line `number`: there are as many as `had` tells apart, since two that differ
 * suffice to know that one of them is not ours. */
static void take_run(struct batch_results *results, const char *run, size_t number)
{
    for (size_t i = 0; i < 2; i++) {
        if (results->had[i].line == 0) {
            results->had[i].line = number;
            memcpy(results->had[i].run, run, BATCH_HASH);
        }
        if (strcmp(results->had[i].run, run) == 0)
            return;
    }
}

/* One result that is there, which is line `number` of its file. */
static trib_status take_result(struct batch_results *results, struct batch_requests *requests,
                               trib_text text, size_t number, trib_error *error)
{
    char hash[BATCH_HASH];
    json_t *root = json_loadb(text.bytes, text.length, JSON_ALLOW_NUL, NULL);
    const json_t *line = json_object_get(root, "line");
    const char *had_hash = json_string_value(json_object_get(root, "hash"));
    const char *had_run = json_string_value(json_object_get(root, "run"));
    bool failed = json_object_get(root, "error") != NULL, known = json_is_integer(line);
    struct batch_entry *entry = known ? find(requests, json_integer_value(line)) : NULL;
    trib_status status = TRIB_OK;
    print_hash(hash, entry ? XXH3_64bits(entry->text.bytes, entry->text.length) : 0);
    if (!known || !had_hash || !had_run || strlen(had_run) != BATCH_HASH - 1)
        status = failure(error, TRIB_INVALID,
                         "%.80s: line %zu: expected a result of trib batch, found something else",
                         results->name, number);
    else if (!entry || strcmp(had_hash, hash) != 0)
        status =
            failure(error, TRIB_INVALID,
                    "%.60s: line %zu: line %lld of %.60s is not what it was when this result "
                    "was made: expected the same requests, or another output",
                    results->name, number, (long long)json_integer_value(line), requests->name);
    else {
        take_run(results, had_run, number);
        results->done += !entry->done;
        results->failed += !entry->done && failed;
        entry->done = true;
    }
    json_decref(root);
    return status;
}

/* A line that was being written when its program was killed. Anything else is somebody's text. */
static bool is_torn_result(trib_text text)
{
    static const char begin[] = "{\"line\":";
    size_t length = sizeof begin - 1;
    return memcmp(text.bytes, begin, text.length < length ? text.length : length) == 0;
}

static trib_status go_on(struct batch_results *results, struct batch_requests *requests,
                         trib_error *error)
{
    char *bytes;
    size_t length, at = 0;
    trib_status status = read_all(results->name, &bytes, &length, error);
    for (size_t number = 1; status == TRIB_OK && at < length; number++) {
        size_t begin = at;
        trib_text text = next_line(bytes, length, &at);
        bool whole = at <= length;
        if (whole)
            status = take_result(results, requests, text, number, error);
        else if (!is_torn_result(text))
            status =
                failure(error, TRIB_INVALID,
                        "%.80s: line %zu: expected a result of trib batch, found something else",
                        results->name, number);
        results->length = whole ? at : begin;
    }
    results->torn = results->length < length;
    free(bytes);
    return status;
}

trib_status batch_results_open(struct batch_results *results, const char *path,
                               struct batch_requests *requests, trib_error *error)
{
    struct stat info;
    *results = (struct batch_results){.name = path ? path : "standard output"};
    results->file =
        path ? open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : STDOUT_FILENO;
    if (results->file < 0 || fstat(results->file, &info) != 0)
        return failure(error, TRIB_IO, "%.180s: %s", results->name, strerror(errno));
    results->regular = path && S_ISREG(info.st_mode);
    if (!results->regular)
        return TRIB_OK;
    if (is_same_file(&info, requests->name)) /* it would be answered by its own answers */
        return failure(error, TRIB_INVALID, "%.180s: expected another file than the requests",
                       path);
    if (flock(results->file, LOCK_EX | LOCK_NB) != 0)
        return failure(error, TRIB_INVALID, "%.180s: in use by another run", path);
    return go_on(results, requests, error);
}

trib_status batch_results_begin(struct batch_results *results, uint64_t run, trib_error *error)
{
    print_hash(results->run, run);
    for (size_t i = 0; i < 2; i++)
        if (results->had[i].line && strcmp(results->had[i].run, results->run) != 0)
            return failure(error, TRIB_INVALID,
                           "%.50s: line %zu was made with another model or other options, or by "
                           "another program or machine (run %s, this one is %s): expected the same "
                           "ones, or another output",
                           results->name, results->had[i].line, results->had[i].run, results->run);
    if (results->torn && ftruncate(results->file, (off_t)results->length) != 0)
        return failure(error, TRIB_IO, "%.180s: %s", results->name, strerror(errno));
    return TRIB_OK;
}

/* ---- Writing ---- */

/* In one write, unless the system takes it in pieces. */
static trib_status write_all(struct batch_results *results, const char *bytes, size_t length,
                             trib_error *error)
{
    for (size_t done = 0; done < length;) {
        ssize_t n = write(results->file, bytes + done, length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            failure(error, TRIB_IO, "%.160s: cannot be written: %s", results->name,
                    strerror(errno));
            if (results->regular && done > 0 &&
                ftruncate(results->file, (off_t)results->length) != 0)
                return failure(error, TRIB_IO, "%.160s: ends with a line that is not whole: %s",
                               results->name, strerror(errno));
            return TRIB_IO;
        }
        done += (size_t)n;
    }
    results->length += length;
    return TRIB_OK;
}

trib_status batch_results_add(struct batch_results *results, struct batch_entry *entry,
                              json_t *rest, trib_error *error)
{
    char hash[BATCH_HASH];
    print_hash(hash, XXH3_64bits(entry->text.bytes, entry->text.length));
    json_t *whole = json_pack("{s:I, s:s, s:s}", "line", (json_int_t)entry->number, "hash", hash,
                              "run", results->run);
    bool failed = json_object_get(rest, "error") != NULL;
    bool fits = whole && rest && json_object_update(whole, rest) == 0;
    char *text = fits ? json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(rest);
    json_decref(whole);
    if (!text)
        return failure(error, TRIB_NO_MEMORY, "no memory for a result");
    size_t length = strlen(text);
    text[length] = '\n'; /* in the place of the terminating zero */
    trib_status status = write_all(results, text, length + 1, error);
    free(text);
    if (status != TRIB_OK)
        return status;
    entry->done = true;
    results->done++;
    results->failed += failed;
    return TRIB_OK;
}

bool batch_results_close(struct batch_results *results)
{
    bool synced = true;
    if (results->regular && results->file >= 0) {
        synced = fsync(results->file) == 0;
        synced = close(results->file) == 0 && synced;
    }
    results->file = -1;
    results->regular = false;
    return synced;
}
