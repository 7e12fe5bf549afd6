/* Keys and values of a case as segments in every layout, from the words of the public header. What
 * lies between them is NaN, and all that is not part of the segment is not there. */
#include "attend_case.h"

static size_t row_bytes(trib_kv_type type, size_t D)
{
    return type == TRIB_KV_Q8_0 ? D / 32 * 34 : type == TRIB_KV_F32 ? 4 * D : 2 * D;
}

static void put_half(char *out, uint16_t h)
{
    memcpy(out, &h, sizeof h);
}

/* One row [D], whose values the type holds exactly; a block of Q8_0 with a NaN is all NaN. */
static void put_row(trib_kv_type type, char *out, const float *x, size_t D)
{
    for (size_t i = 0; i < D && type != TRIB_KV_Q8_0; i++) {
        if (type == TRIB_KV_F32)
            memcpy(out + 4 * i, x + i, sizeof *x);
        else
            put_half(out + 2 * i,
                     type == TRIB_KV_F16 ? f16_from_float(x[i]) : bf16_from_float(x[i]));
    }
    for (size_t i = 0; i < D && type == TRIB_KV_Q8_0; i += 32, out += 34) {
        float largest = 0;
        for (size_t j = i; j < i + 32; j++)
            largest = fabsf(x[j]) > largest || isnan(x[j]) ? fabsf(x[j]) : largest;
        float scale = largest / 127;
        put_half(out, f16_from_float(scale));
        for (size_t j = 0; j < 32; j++)
            out[2 + j] = (char)(scale > 0 ? lrintf(x[i + j] / scale) : 0);
    }
}

static void *page_new(struct stored *out, size_t bytes)
{
    void *page = out->guarded ? guard_new(bytes) : malloc(bytes);
    assert_non_null(page);
    return page;
}

static size_t page_bytes(const struct stored *out, size_t page)
{
    return out->bytes[page + 1 == out->count];
}

static void pages_new(struct stored *out, size_t count, size_t bytes, size_t last)
{
    out->count = count;
    out->guarded = count < 40;
    out->bytes[0] = bytes;
    out->bytes[1] = last;
    for (size_t side = 0; side < 2; side++) {
        out->pages[side] = guard_new(count * sizeof *out->pages[side]);
        for (size_t i = 0; i < count; i++) {
            out->pages[side][i] = page_new(out, page_bytes(out, i));
            if (page_bytes(out, i))
                memset(out->pages[side][i], 0xff, page_bytes(out, i));
        }
    }
}

void store_free(const struct stored *stored)
{
    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; i < stored->count; i++)
            if (stored->guarded)
                guard_free(stored->pages[side][i], page_bytes(stored, i));
            else
                free(stored->pages[side][i]);
        guard_free(stored->pages[side], stored->count * sizeof *stored->pages[side]);
    }
}

static void use_pages(struct stored *out, bool paged)
{
    trib_segment *s = &out->segment;
    if (paged) {
        s->k_pages = (const void *const *)out->pages[0];
        s->v_pages = (const void *const *)out->pages[1];
    } else {
        s->k = out->pages[0][0];
        s->v = out->pages[1][0];
        s->page_keys = 0;
    }
}

static void store_rows(struct stored *out, const struct attend_case *c, struct random *r,
                       enum layout layout, size_t from)
{
    static const size_t page_keys[ROWS_LAYOUTS] = {0, 0, 0, 1, 16, 48, 64, 100};
    trib_segment *s = &out->segment;
    size_t row = row_bytes(c->type, c->D), n = s->length;
    size_t element = c->type == TRIB_KV_F32 ? 4 : c->type == TRIB_KV_Q8_0 ? 1 : 2;
    size_t keys = page_keys[layout] ? page_keys[layout] : n ? n : 1;
    bool by_head = layout == ROWS_BY_HEAD || (layout > ROWS_BY_HEAD && random_below(r, 2));
    size_t gap = layout == ROWS_STRIDED || layout > PAGES_1 ? element * random_below(r, 9) : 0;
    s->head_stride = by_head ? keys * (row + gap) : row + gap;
    s->key_stride = by_head ? row + gap : c->G * (row + gap) + gap / 2 / element * element;
    size_t pages = page_keys[layout] ? (n + keys - 1) / keys : 1;
    size_t last = pages && n ? n - (pages - 1) * keys : 0, whole = 0, some = 0;
    whole = (keys - 1) * s->key_stride + (c->G - 1) * s->head_stride + row;
    some = last ? (last - 1) * s->key_stride + (c->G - 1) * s->head_stride + row : 0;
    pages_new(out, pages, whole, some);
    s->page_keys = keys;
    for (size_t i = 0; i < n; i++)
        for (size_t g = 0; g < c->G; g++) {
            size_t at = i % keys * s->key_stride + g * s->head_stride;
            size_t x = ((from + i) * c->G + g) * c->D;
            put_row(c->type, (char *)out->pages[0][i / keys] + at, c->k + x, c->D);
            put_row(c->type, (char *)out->pages[1][i / keys] + at, c->v + x, c->D);
        }
    use_pages(out, page_keys[layout]);
}

/* The slots behind the last key hold NaN. */
static void store_chunks(struct stored *out, const struct attend_case *c, struct random *r,
                         enum layout layout, size_t from)
{
    trib_segment *s = &out->segment;
    size_t bytes = trib_chunk_bytes(c->type, c->D), n = s->length, chunks = (n + 63) / 64;
    size_t gap = layout == CHUNKS_DENSE ? 0 : 64 * random_below(r, 3);
    float nan[256];
    for (size_t i = 0; i < 256; i++)
        nan[i] = NAN;
    assert_true(bytes > 0 && bytes % 64 == 0);
    s->head_stride = bytes + gap;
    s->key_stride = c->G * s->head_stride + gap;
    size_t all_heads = (c->G - 1) * s->head_stride + bytes;
    if (layout == CHUNKS_PAGED)
        pages_new(out, chunks, all_heads, all_heads);
    else
        pages_new(out, 1, 0, chunks ? (chunks - 1) * s->key_stride + all_heads : 0);
    s->page_keys = 64;
    for (size_t i = 0; i < chunks * 64; i++)
        for (size_t g = 0; g < c->G; g++) {
            char *chunk[2];
            size_t x = ((from + i) * c->G + g) * c->D;
            for (size_t side = 0; side < 2; side++) {
                chunk[side] = layout == CHUNKS_PAGED
                                  ? out->pages[side][i / 64]
                                  : (char *)out->pages[side][0] + i / 64 * s->key_stride;
                chunk[side] += g * s->head_stride;
                if (i % 64 == 0)
                    memset(chunk[side], 0, bytes);
            }
            trib_chunk_store(c->type, c->D, chunk[0], chunk[1], i % 64, i < n ? c->k + x : nan,
                             i < n ? c->v + x : nan);
        }
    use_pages(out, layout == CHUNKS_PAGED);
}

void store_part(struct stored *out, const struct attend_case *c, struct random *r,
                enum layout layout, size_t from, size_t to)
{
    *out = (struct stored){
        .segment = {.type = c->type, .length = to - from, .first = c->key_first + from}};
    if (layout < ROWS_LAYOUTS) {
        store_rows(out, c, r, layout, from);
        return;
    }
    out->segment.layout = TRIB_KV_CHUNKS;
    store_chunks(out, c, r, layout, from);
}
