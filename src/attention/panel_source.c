/* Finding the rows of a chunk in a segment. Rows that lie one after the other go to the kernels as
 * they are; a chunk that straddles pages is first brought together. */
#include "attention/panel_source.h"

#include <string.h>

#include "kernel/chunk.h"

/* Where key i of head g begins. */
static const char *row_at(const trib_segment *s, const void *base, const void *const *pages,
                          size_t i, size_t g)
{
    if (s->k_pages) {
        base = pages[i / s->page_keys];
        i %= s->page_keys;
    }
    return (const char *)base + i * s->key_stride + g * s->head_stride;
}

/* Where head g of the packed chunk at position `start` begins. */
static const char *chunk_at(const trib_segment *s, const void *base, const void *const *pages,
                            size_t start, size_t g)
{
    size_t chunk = (start - s->first) / CHUNK;
    if (s->k_pages)
        return (const char *)pages[chunk] + g * s->head_stride;
    return (const char *)base + chunk * s->key_stride + g * s->head_stride;
}

/* The keys [from, to) of the chunk at `start` that the segment holds. */
static void existing(const trib_segment *s, size_t start, size_t *from, size_t *to)
{
    size_t end = s->first + s->length;
    *from = start < s->first ? s->first - start : 0;
    *to = end - start < CHUNK ? end - start : CHUNK;
}

void panel_source_load(const struct kernels *kernels, const trib_segment *s, size_t D, size_t g,
                       size_t start, enum panel_use use, void *memory, char *gather,
                       struct panel *panel)
{
    size_t from, to;
    existing(s, start, &from, &to);
    size_t first = start + from - s->first, last = start + to - 1 - s->first;
    struct chunk_rows rows = {.type = (enum dtype)s->type, .from = from, .to = to};
    if (s->layout == TRIB_KV_CHUNKS) {
        rows.packed = true;
        rows.k = chunk_at(s, s->k, s->k_pages, start, g);
        rows.v = chunk_at(s, s->v, s->v_pages, start, g);
        kernels->panel_load(panel, memory, &rows, D, use);
        return;
    }
    rows.k = row_at(s, s->k, s->k_pages, first, g);
    rows.v = row_at(s, s->v, s->v_pages, first, g);
    rows.stride = first == last ? dtype_size(rows.type, D) : s->key_stride; /* any, of one key */
    if (!s->k_pages || first / s->page_keys == last / s->page_keys) {
        kernels->panel_load(panel, memory, &rows, D, use);
        return;
    }
    size_t bytes = dtype_size(rows.type, D);
    for (size_t i = first; i <= last; i++) {
        memcpy(gather + (i - first) * bytes, row_at(s, s->k, s->k_pages, i, g), bytes);
        memcpy(gather + (CHUNK + i - first) * bytes, row_at(s, s->v, s->v_pages, i, g), bytes);
    }
    rows.k = gather;
    rows.v = gather + CHUNK * bytes;
    rows.stride = bytes;
    kernels->panel_load(panel, memory, &rows, D, use == PANEL_ONCE ? PANEL_MANY : use);
}

void panel_source_stored(const trib_segment *s, size_t g, size_t start, const char **k,
                         const char **v)
{
    *k = *v = NULL;
    if (s->layout != TRIB_KV_CHUNKS || start < s->first || start >= s->first + s->length)
        return;
    *k = chunk_at(s, s->k, s->k_pages, start, g);
    *v = chunk_at(s, s->v, s->v_pages, start, g);
}

void panel_source_part(const trib_segment *s, size_t D, size_t g, size_t G, size_t start,
                       const char **k, const char **v)
{
    size_t row = dtype_size((enum dtype)s->type, D), first = start - s->first;
    size_t page_keys = s->k_pages ? s->page_keys : s->length, page = page_keys * G * row;
    size_t part = CHUNK * row, at = g * part;
    bool by_heads = s->key_stride == row;
    bool by_keys = s->head_stride == row && s->key_stride == G * row;
    *k = *v = NULL;
    if (s->layout != TRIB_KV_ROWS || start < s->first || first + CHUNK > s->length ||
        (!by_heads && !by_keys))
        return;
    if (first / page_keys == (first + CHUNK - 1) / page_keys) {
        size_t head = by_heads ? g : 0, behind = by_heads ? 0 : at;
        *k = row_at(s, s->k, s->k_pages, first, head) + behind;
        *v = row_at(s, s->v, s->v_pages, first, head) + behind;
        return;
    }
    /* Of pages that make up the chunk, each with all heads in one piece, a part of one of them. */
    if (first % page_keys != 0 || CHUNK % page_keys != 0 || at % page + part > page ||
        (!by_keys && s->head_stride != page_keys * row))
        return;
    *k = (const char *)s->k_pages[first / page_keys + at / page] + at % page;
    *v = (const char *)s->v_pages[first / page_keys + at / page] + at % page;
}

static void prefetch(const char *row, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(row + i, 0, 2);
}

/* A packed chunk is one piece of memory, which hardware reads ahead by itself. */
void panel_source_prefetch(const trib_segment *s, size_t D, size_t g, size_t start)
{
    size_t from, to, bytes = dtype_size((enum dtype)s->type, D);
    if (s->layout == TRIB_KV_CHUNKS)
        return;
    existing(s, start, &from, &to);
    for (size_t i = start + from - s->first; i < start + to - s->first; i++) {
        prefetch(row_at(s, s->k, s->k_pages, i, g), bytes);
        prefetch(row_at(s, s->v, s->v_pages, i, g), bytes);
    }
}

void panel_source_prefetch_rows(const trib_segment *s, size_t D, size_t g, size_t from, size_t to)
{
    size_t end = s->first + s->length, bytes = dtype_size((enum dtype)s->type, D);
    for (size_t i = from < s->first ? s->first : from; i < to && i < end; i++) {
        prefetch(row_at(s, s->k, s->k_pages, i - s->first, g), bytes);
        prefetch(row_at(s, s->v, s->v_pages, i - s->first, g), bytes);
    }
}

/* Whether no float of `width` bytes has all the exponent bits set that `exponent` names. */
static bool finite_floats(const char *row, size_t n, size_t width, uint32_t exponent)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u = 0;
        memcpy(&u, row + i * width, width);
        bad |= (u & exponent) == exponent;
    }
    return !bad;
}

static bool row_finite(enum dtype type, const char *row, size_t D)
{
    switch (type) {
    case DTYPE_F32:
        return finite_floats(row, D, 4, 0x7f800000u);
    case DTYPE_F16:
        return finite_floats(row, D, 2, 0x7c00u);
    case DTYPE_BF16:
        return finite_floats(row, D, 2, 0x7f80u);
    case DTYPE_Q8_0: /* only a block's scale can be other than finite */
        for (size_t block = 0; block < D / 32; block++)
            if (!finite_floats(row + 34 * block, 1, 2, 0x7c00u))
                return false;
        return true;
    default:
        return false;
    }
}

/* The values that exist of a packed chunk. */
static bool packed_finite(const trib_segment *s, size_t D, const char *v, size_t to)
{
    bool finite = true;
    enum dtype type = (enum dtype)s->type;
    for (size_t i = 0; type != DTYPE_Q8_0 && i < value_stride(D); i += chunk_columns(type))
        finite = finite && row_finite(type, v + dtype_size(type, chunk_value_at(type, D, 0, i)),
                                      to * chunk_columns_at(type, D, i));
    if (type != DTYPE_Q8_0)
        return finite;
    for (size_t b = 0; b < D / 32; b++)
        finite = finite && finite_floats(v + chunk_scales(D) + 2 * b * CHUNK, to, 2, 0x7c00u);
    return finite;
}

bool panel_source_finite(const trib_segment *s, size_t D, size_t g, size_t start)
{
    size_t from, to;
    existing(s, start, &from, &to);
    if (s->layout == TRIB_KV_CHUNKS)
        return packed_finite(s, D, chunk_at(s, s->v, s->v_pages, start, g), to);
    for (size_t j = from; j < to; j++)
        if (!row_finite((enum dtype)s->type, row_at(s, s->v, s->v_pages, start + j - s->first, g),
                        D))
            return false;
    return true;
}
