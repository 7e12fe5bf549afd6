/* Overlaps of what a call writes. Strided arrays count from their first to their last element: what
 * lies in their gaps is refused too. No size here overflows, which check_arguments has seen to. */
#include "attention/apart.h"

#include "base/error.h"
#include "base/size.h"
#include "kernel/chunk.h"

struct writing {
    const char *who;
    const struct extent *extents;
    size_t count;
};

static bool overlap(const struct extent *a, const struct extent *b)
{
    uintptr_t x = (uintptr_t)a->at, y = (uintptr_t)b->at;
    return a->at && b->at && a->bytes && b->bytes && x < y + b->bytes && y < x + a->bytes;
}

static trib_status check_one(const struct writing *w, struct extent other, trib_error *error)
{
    for (size_t i = 0; i < w->count; i++)
        if (overlap(&w->extents[i], &other))
            return error_set(error, TRIB_INVALID, "%s: %s, which is written, overlaps %s", w->who,
                             w->extents[i].name, other.name);
    return TRIB_OK;
}

/* Bytes of `keys` keys or values that lie together. */
static size_t keys_bytes(const trib_attention *a, const trib_segment *s, size_t keys)
{
    enum dtype type = (enum dtype)s->type;
    bool packed = s->layout == TRIB_KV_CHUNKS;
    size_t one = packed ? chunk_bytes(type, a->head_dim) : dtype_size(type, a->head_dim);
    size_t steps = packed ? size_ceil_div(keys, TRIB_CHUNK) : keys;
    return keys ? (steps - 1) * s->key_stride + (a->kv_heads - 1) * s->head_stride + one : 0;
}

static trib_status check_keys(const struct writing *w, const trib_attention *a,
                              const trib_segment *s, const char *name, const void *all,
                              const void *const *pages, trib_error *error)
{
    if (!pages)
        return check_one(w, (struct extent){name, all, keys_bytes(a, s, s->length)}, error);
    trib_status status = TRIB_OK;
    size_t count = size_ceil_div(s->length, s->page_keys);
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        size_t left = s->length - i * s->page_keys,
               keys = left < s->page_keys ? left : s->page_keys;
        status = check_one(w, (struct extent){name, pages[i], keys_bytes(a, s, keys)}, error);
    }
    if (status == TRIB_OK)
        status =
            check_one(w, (struct extent){"a list of pages", pages, count * sizeof *pages}, error);
    return status;
}

/* The arrays of `a` and `q`; those that are not there are NULL. */
static trib_status check_arrays(const struct writing *w, const trib_attention *a,
                                const trib_queries *q, const trib_segment *s, trib_error *error)
{
    const trib_mask *m = &a->mask;
    size_t T = q->tokens, S = s->length, H = a->heads, words = size_ceil_div(S, 64);
    size_t bias = (H - 1) * a->bias_head_stride + (T - 1) * a->bias_token_stride + S;
    const struct extent arrays[] = {
        {"q", q->q, T ? ((T - 1) * q->token_stride + H * a->head_dim) * sizeof *q->q : 0},
        {"alibi", a->alibi, H * sizeof *a->alibi},
        {"additive", a->additive, H * a->head_dim * sizeof *a->additive},
        {"bias", a->bias, T && S ? bias * sizeof *a->bias : 0},
        {"query_document", m->query_document, T * sizeof *m->query_document},
        {"key_document", m->key_document, S * sizeof *m->key_document},
        {"parent", m->parent, T * sizeof *m->parent},
        {"bits", m->bits, T && S ? ((T - 1) * m->bits_stride + words) * sizeof *m->bits : 0},
    };
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays && status == TRIB_OK; i++)
        status = check_one(w, arrays[i], error);
    return status;
}

trib_status check_apart(const char *who, const trib_attention *a, const trib_queries *q,
                        const trib_segment *s, const struct extent *extents, size_t written,
                        size_t count, trib_error *error)
{
    struct writing w = {who, extents, 0};
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        w.count = i < written ? i : written;
        status = check_one(&w, extents[i], error);
    }
    w.count = written;
    if (status == TRIB_OK)
        status = check_arrays(&w, a, q, s, error);
    if (status == TRIB_OK)
        status = check_keys(&w, a, s, "keys", s->k, s->k_pages, error);
    if (status == TRIB_OK)
        status = check_keys(&w, a, s, "values", s->v, s->v_pages, error);
    return status;
}
