/* Reading and making the header of a KV segment file. */
#include "file/segment.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/size.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "segments are read as they lie in the file, which is little-endian"
#endif

static const char magic[8] = "TRIB-KV\n";

/* The fixed part, as it stands in the file. */
struct fixed {
    char magic[8];
    uint32_t version;
    uint32_t positions; /* of a page: TRIB_CHUNK */
    uint64_t header_bytes, page_bytes, stride;
    uint64_t first, count;
    uint64_t checksum; /* of the header, where this field is zero */
    uint64_t parent[2], key[2];
    uint8_t model[SEGMENT_MODEL];
    char kernels[SEGMENT_NAME], program[SEGMENT_NAME];
    uint32_t type, layers, kv_heads, head_dim;
    uint8_t zero[64];
};

static_assert(sizeof(struct fixed) == 256, "the fixed part has no gaps");

enum { PAGE_IDS = TRIB_CHUNK * sizeof(int32_t) };

struct prefix_key segment_root_key(const struct segment_origin *origin)
{
    static_assert(sizeof *origin == SEGMENT_MODEL + 2 * SEGMENT_NAME + 4 * 4 + 8, "no gaps");
    return prefix_key_root(origin, sizeof *origin);
}

size_t segment_stride(size_t page_bytes)
{
    return size_ceil_div(page_bytes, SEGMENT_ALIGN) * SEGMENT_ALIGN;
}

size_t segment_header_bytes(size_t first, size_t count)
{
    size_t bytes = sizeof(struct fixed) + (first + count) * PAGE_IDS + count * sizeof(uint64_t);
    return size_ceil_div(bytes, SEGMENT_ALIGN) * SEGMENT_ALIGN;
}

/* The checksum that a header should have. */
static uint64_t header_checksum(const void *header, size_t header_bytes)
{
    struct fixed fixed;
    XXH3_state_t state;
    memcpy(&fixed, header, sizeof fixed);
    fixed.checksum = 0;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, &fixed, sizeof fixed);
    XXH3_64bits_update(&state, (const char *)header + sizeof fixed, header_bytes - sizeof fixed);
    return XXH3_64bits_digest(&state);
}

void segment_seal(void *header, size_t header_bytes)
{
    struct fixed *fixed = header;
    fixed->checksum = header_checksum(header, header_bytes);
}

/* ---- Reading ---- */

static trib_status malformed(trib_error *error, const char *name, const char *field,
                             uint64_t expected, uint64_t found)
{
    return error_set(error, TRIB_FORMAT, "%s: %s: expected %" PRIu64 ", found %" PRIu64, name,
                     field, expected, found);
}

/* The sizes, in an order in which each is believed only after those it rests on. */
static trib_status check_sizes(const struct fixed *f, size_t size, const char *name,
                               trib_error *error)
{
    uint64_t pages, ids, sums, header, stride, all;
    if (f->header_bytes > size || f->header_bytes < sizeof *f)
        return malformed(error, name, "bytes of the header", size, f->header_bytes);
    if (f->count == 0 || f->count > f->header_bytes || f->first > f->header_bytes)
        return error_set(error, TRIB_FORMAT,
                         "%s: expected 1 page or more that its header has room for, found %" PRIu64
                         " after %" PRIu64,
                         name, f->count, f->first);
    bool fits = size_add(f->first, f->count, &pages) && size_mul(pages, PAGE_IDS, &ids) &&
                size_mul(f->count, sizeof(uint64_t), &sums) && size_add(ids, sums, &header) &&
                size_add(header, sizeof *f, &header) && size_align(header, SEGMENT_ALIGN, &header);
    if (!fits || header != f->header_bytes)
        return malformed(error, name, "bytes of the header", fits ? header : 0, f->header_bytes);
    if (!size_align(f->page_bytes, SEGMENT_ALIGN, &stride) || stride != f->stride || stride == 0)
        return malformed(error, name, "bytes from page to page", stride, f->stride);
    if (!size_mul(stride, f->count, &all) || !size_add(all, header, &all) || all != size)
        return malformed(error, name, "bytes of the file", all, size);
    return TRIB_OK;
}

/* A name of the origin: something, then zeros to its end. */
static bool name_is_sound(const char text[SEGMENT_NAME])
{
    size_t length = strnlen(text, SEGMENT_NAME);
    for (size_t i = length; i < SEGMENT_NAME; i++)
        if (text[i] != 0)
            return false;
    return length < SEGMENT_NAME;
}

/* Both keys must be those of the ids. */
static bool keys_are_sound(const struct segment *s)
{
    struct prefix_key key = segment_root_key(&s->origin);
    for (size_t i = 0; i < s->first; i++)
        key = prefix_key_next(key, s->ids + i * TRIB_CHUNK);
    if (!prefix_key_equal(key, s->parent))
        return false;
    for (size_t i = s->first; i < s->first + s->count; i++)
        key = prefix_key_next(key, s->ids + i * TRIB_CHUNK);
    return prefix_key_equal(key, s->key);
}

/* Fills `out` from a fixed part whose sizes are right. */
static void point_into(struct segment *out, const struct fixed *f, const uint8_t *bytes)
{
    size_t first = (size_t)f->first, count = (size_t)f->count;
    const uint8_t *ids = bytes + sizeof *f, *sums = ids + (first + count) * PAGE_IDS;
    *out = (struct segment){.origin = {.type = f->type,
                                       .layers = f->layers,
                                       .kv_heads = f->kv_heads,
                                       .head_dim = f->head_dim,
                                       .page_bytes = f->page_bytes},
                            .parent = {f->parent[0], f->parent[1]},
                            .key = {f->key[0], f->key[1]},
                            .first = first,
                            .count = count,
                            .ids = (const int32_t *)(const void *)ids,
                            .checksums = (const uint64_t *)(const void *)sums,
                            .pages = bytes + f->header_bytes,
                            .stride = (size_t)f->stride};
    memcpy(out->origin.model, f->model, sizeof f->model);
    memcpy(out->origin.kernels, f->kernels, sizeof f->kernels);
    memcpy(out->origin.program, f->program, sizeof f->program);
}

trib_status segment_parse(struct segment *out, const void *bytes, size_t size, const char *name,
                          trib_error *error)
{
    struct fixed f;
    *out = (struct segment){0};
    if (size < sizeof f || memcmp(bytes, magic, sizeof magic) != 0)
        return error_set(error, TRIB_FORMAT, "%s: not a KV segment file", name);
    memcpy(&f, bytes, sizeof f);
    if (f.version != SEGMENT_VERSION)
        return error_set(error, TRIB_UNSUPPORTED, "%s: version: expected %d, found %u", name,
                         SEGMENT_VERSION, f.version);
    trib_status status = check_sizes(&f, size, name, error);
    if (status != TRIB_OK)
        return status;
    if (header_checksum(bytes, (size_t)f.header_bytes) != f.checksum)
        return error_set(error, TRIB_FORMAT, "%s: the header's checksum does not match it", name);
    if (f.positions != TRIB_CHUNK)
        return malformed(error, name, "positions of a page", TRIB_CHUNK, f.positions);
    if (!name_is_sound(f.kernels) || !name_is_sound(f.program))
        return error_set(error, TRIB_FORMAT, "%s: a name that does not end", name);
    point_into(out, &f, bytes);
    if (!keys_are_sound(out)) {
        *out = (struct segment){0};
        return error_set(error, TRIB_FORMAT, "%s: its keys are not those of its token ids", name);
    }
    return TRIB_OK;
}

trib_status segment_expect(const struct segment *segment, const struct segment_origin *origin,
                           const char *name, trib_error *error)
{
    const struct segment_origin *found = &segment->origin;
    if (memcmp(found->model, origin->model, sizeof origin->model) != 0)
        return error_set(error, TRIB_UNSUPPORTED, "%s: of another model", name);
    if (strcmp(found->kernels, origin->kernels) != 0)
        return error_set(error, TRIB_UNSUPPORTED, "%s: kernels: expected %s, found %s", name,
                         origin->kernels, found->kernels);
    if (strcmp(found->program, origin->program) != 0)
        return error_set(error, TRIB_UNSUPPORTED, "%s: program: expected %s, found %s", name,
                         origin->program, found->program);
    if (memcmp(found, origin, sizeof *origin) != 0)
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: shape: expected type %u, %u layers, %u heads of %u, %" PRIu64
                         " bytes, found %u, %u, %u of %u, %" PRIu64,
                         name, origin->type, origin->layers, origin->kv_heads, origin->head_dim,
                         origin->page_bytes, found->type, found->layers, found->kv_heads,
                         found->head_dim, found->page_bytes);
    return TRIB_OK;
}

static uint64_t page_checksum(const void *page, size_t bytes)
{
    return XXH3_64bits(page, bytes);
}

bool segment_page_is_whole(const struct segment *segment, size_t page)
{
    return page_checksum(segment->pages + page * segment->stride,
                         (size_t)segment->origin.page_bytes) == segment->checksums[page];
}

/* ---- Making ---- */

void *segment_header(const struct segment_origin *origin, const int32_t *ids, size_t first,
                     size_t count, const void *const *pages)
{
    size_t header_bytes = segment_header_bytes(first, count), page_bytes = origin->page_bytes;
    uint8_t *header = calloc(1, header_bytes);
    if (!header)
        return NULL;
    struct prefix_key parent = segment_root_key(origin);
    for (size_t i = 0; i < first; i++)
        parent = prefix_key_next(parent, ids + i * TRIB_CHUNK);
    struct prefix_key key = parent;
    for (size_t i = first; i < first + count; i++)
        key = prefix_key_next(key, ids + i * TRIB_CHUNK);

    struct fixed f = {.version = SEGMENT_VERSION,
                      .positions = TRIB_CHUNK,
                      .header_bytes = header_bytes,
                      .page_bytes = page_bytes,
                      .stride = segment_stride(page_bytes),
                      .first = first,
                      .count = count,
                      .parent = {parent.low, parent.high},
                      .key = {key.low, key.high},
                      .type = origin->type,
                      .layers = origin->layers,
                      .kv_heads = origin->kv_heads,
                      .head_dim = origin->head_dim};
    memcpy(f.magic, magic, sizeof magic);
    memcpy(f.model, origin->model, sizeof f.model);
    memcpy(f.kernels, origin->kernels, sizeof f.kernels);
    memcpy(f.program, origin->program, sizeof f.program);
    uint8_t *at = header;
    memcpy(at, &f, sizeof f);
    at += sizeof f;
    memcpy(at, ids, (first + count) * PAGE_IDS);
    at += (first + count) * PAGE_IDS;
    for (size_t i = 0; i < count; i++, at += sizeof(uint64_t)) {
        uint64_t checksum = page_checksum(pages[i], page_bytes);
        memcpy(at, &checksum, sizeof checksum);
    }
    segment_seal(header, header_bytes);
    return header;
}
