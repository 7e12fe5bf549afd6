/* Texts to ids, and batches of them. */
#include "train/data.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"
#include "base/rng.h"
#include "file/map.h"

enum { NARROW = 1 << 16 }; /* vocabularies up to this size have ids of 16 bits */

/* Calls one step for each text, mapped while it runs. */
static trib_status each_text(const char *const *paths, size_t count,
                             trib_status (*step)(void *context, struct slice text, const char *path,
                                                 trib_error *error),
                             void *context, trib_error *error)
{
    for (size_t i = 0; i < count; i++) {
        struct file_map map;
        trib_status status = file_map_open(&map, paths[i], error);
        if (status == TRIB_OK)
            status =
                step(context, (struct slice){(const char *)map.bytes, map.size}, paths[i], error);
        file_map_close(&map);
        if (status != TRIB_OK)
            return status;
    }
    return TRIB_OK;
}

static trib_status add_text(void *context, struct slice text, const char *path, trib_error *error)
{
    return vocabulary_add_text(context, text, path, error);
}

/* The ids in the making. */
struct reader {
    struct data *data;
    const struct vocabulary *vocabulary;
};

/* Makes room for `more` ids. */
static trib_status reserve(struct reader *r, size_t more, trib_error *error)
{
    struct data *d = r->data;
    bool narrow = d->vocabulary <= NARROW;
    size_t size = narrow ? sizeof *d->narrow : sizeof *d->wide;
    if (more > SIZE_MAX / size - d->count)
        return error_no_memory(error, "the tokens of the texts", SIZE_MAX);
    void *memory = realloc(narrow ? (void *)d->narrow : (void *)d->wide, (d->count + more) * size);
    if (!memory)
        return error_no_memory(error, "the tokens of the texts", (d->count + more) * size);
    if (narrow)
        d->narrow = memory;
    else
        d->wide = memory;
    return TRIB_OK;
}

/* Pieces of a text that are encoded at once: a bound for the ids in 32 bits. Vocabularies of files
 * get the whole, since no place is known where it may be cut. */
enum { PIECE = 1 << 20 };

/* The end of the piece that begins at `from`, between two characters. */
static size_t piece_end(const struct vocabulary *v, struct slice text, size_t from)
{
    if (v->kind == VOCABULARY_FILE || text.length - from <= PIECE)
        return text.length;
    size_t end = from + PIECE;
    while (v->kind == VOCABULARY_CHARS && end < text.length &&
           ((unsigned char)text.bytes[end] & 0xc0) == 0x80)
        end++;
    return end;
}

static trib_status encode(void *context, struct slice text, const char *path, trib_error *error)
{
    struct reader *r = context;
    struct data *d = r->data;
    int32_t *ids = NULL;
    size_t capacity = 0;
    trib_status status = TRIB_OK;
    for (size_t from = 0, end; from < text.length && status == TRIB_OK; from = end) {
        size_t count = 0;
        end = piece_end(r->vocabulary, text, from);
        status = vocabulary_encode(r->vocabulary, (struct slice){text.bytes + from, end - from},
                                   path, &ids, &count, &capacity, error);
        if (status == TRIB_OK)
            status = reserve(r, count, error);
        for (size_t i = 0; i < count && status == TRIB_OK; i++)
            if (d->narrow)
                d->narrow[d->count++] = (uint16_t)ids[i];
            else
                d->wide[d->count++] = ids[i];
    }
    d->bytes += text.length;
    free(ids);
    return status;
}

trib_status data_open(struct data *data, struct vocabulary *vocabulary, const char *const *paths,
                      size_t count, double validation, trib_error *error)
{
    *data = (struct data){0};
    struct reader reader = {data, vocabulary};
    trib_status status = each_text(paths, count, add_text, vocabulary, error);
    data->vocabulary = vocabulary_count(vocabulary);
    if (status == TRIB_OK)
        status = each_text(paths, count, encode, &reader, error);
    if (status != TRIB_OK) {
        data_close(data);
        return status;
    }
    size_t last = (size_t)((double)data->count * validation);
    data->train = data->count - last;
    data->hash = data->narrow ? XXH3_64bits(data->narrow, data->count * sizeof *data->narrow)
                              : XXH3_64bits(data->wide, data->count * sizeof *data->wide);
    return TRIB_OK;
}

void data_close(struct data *data)
{
    free(data->narrow);
    free(data->wide);
    *data = (struct data){0};
}

size_t data_memory(const struct data *data)
{
    return data->count * (data->narrow ? sizeof *data->narrow : sizeof *data->wide);
}

static trib_status check_part(const char *name, size_t found, size_t B, size_t T, trib_error *error)
{
    size_t needed = B * T + 1;
    if (found >= needed)
        return TRIB_OK;
    if (B == 1)
        return error_set(error, TRIB_INVALID,
                         "the part of the text for %s: expected at least %zu tokens, one more than "
                         "the context, found %zu",
                         name, needed, found);
    return error_set(error, TRIB_INVALID,
                     "the part of the text for %s: expected at least %zu tokens, one more than "
                     "batch times context, found %zu",
                     name, needed, found);
}

trib_status data_check(const struct data *d, size_t B, size_t T, bool streams, trib_error *error)
{
    trib_status status = check_part("training", d->train, streams ? B : 1, T, error);
    if (status == TRIB_OK && d->count > d->train)
        status = check_part("validation", d->count - d->train, 1, T, error);
    return status;
}

/* Tokens `first` to first + T - 1 and those after each. */
static void copy_window(const struct data *d, size_t first, size_t T, int32_t *tokens,
                        int32_t *targets)
{
    for (size_t t = 0; t < T; t++) {
        tokens[t] = d->narrow ? d->narrow[first + t] : d->wide[first + t];
        targets[t] = d->narrow ? d->narrow[first + t + 1] : d->wide[first + t + 1];
    }
}

void data_windows(const struct data *d, size_t B, size_t T, uint64_t seed, uint64_t n,
                  int32_t *tokens, int32_t *targets)
{
    size_t places = d->train - T;
    for (size_t b = 0; b < B; b++) {
        size_t first = (size_t)(rng_bits(seed, n * B + b) % places);
        copy_window(d, first, T, tokens + b * T, targets + b * T);
    }
}

/* How a part is cut: windows of a stream, tokens from one stream's begin to the next. */
static size_t stream_cut(const struct data *d, enum data_part part, size_t B, size_t T,
                         size_t *first, size_t *stride)
{
    size_t count = part == DATA_TRAIN ? d->train : d->count - d->train;
    *first = part == DATA_TRAIN ? 0 : d->train;
    *stride = count ? (count - 1) / B : 0;
    return *stride / T;
}

size_t data_stream_windows(const struct data *d, enum data_part part, size_t B, size_t T)
{
    size_t first, stride;
    return stream_cut(d, part, B, T, &first, &stride);
}

bool data_stream(const struct data *d, enum data_part part, size_t B, size_t T, uint64_t n,
                 int32_t *tokens, int32_t *targets)
{
    size_t first, stride, windows = stream_cut(d, part, B, T, &first, &stride);
    size_t window = (size_t)(n % windows);
    for (size_t b = 0; b < B; b++)
        copy_window(d, first + b * stride + window * T, T, tokens + b * T, targets + b * T);
    return window > 0;
}
