/* The arguments of attention held against what tributary/attention.h says of them. */
#include "attention/check.h"

#include <math.h>

#include "base/error.h"
#include "base/size.h"
#include "kernel/chunk.h"

enum { MOST_HEADS = 1 << 20, MOST_THREADS = 1024 };
static const size_t most_positions = (size_t)1 << 40; /* far above memory, far below overflow */

const struct dtype_info *check_kv_type(trib_kv_type type)
{
    bool kept =
        type == TRIB_KV_F32 || type == TRIB_KV_F16 || type == TRIB_KV_BF16 || type == TRIB_KV_Q8_0;
    return kept ? dtype_info((uint32_t)type) : NULL;
}

/* Moves *end on by `count` elements that are `stride` bytes apart, from the first to the last;
 * false where no memory reaches that far. */
static bool reach(uint64_t count, uint64_t stride, uint64_t *end)
{
    uint64_t bytes;
    return count == 0 || (size_mul(count - 1, stride, &bytes) && size_add(*end, bytes, end) &&
                          *end <= PTRDIFF_MAX);
}

static bool aligned(const void *memory, size_t to)
{
    return (uintptr_t)memory % to == 0;
}

static trib_status check_attention(const trib_attention *a, trib_error *error)
{
    if (a->heads < 1 || a->heads > MOST_HEADS || a->kv_heads < 1 || a->heads % a->kv_heads != 0)
        return error_set(error, TRIB_INVALID,
                         "attention: expected 1 to %d heads, a multiple of the KV heads, found %zu "
                         "and %zu",
                         MOST_HEADS, a->heads, a->kv_heads);
    if (a->head_dim < 1 || a->head_dim > HEAD_DIM_MOST)
        return error_set(error, TRIB_INVALID, "attention: head_dim: expected 1 to %d, found %zu",
                         HEAD_DIM_MOST, a->head_dim);
    if (!isfinite(a->scale) || !(a->softcap >= 0 && isfinite(a->softcap)))
        return error_set(error, TRIB_INVALID,
                         "attention: expected a finite scale and a softcap of 0 or more, found %g "
                         "and %g",
                         (double)a->scale, (double)a->softcap);
    if (a->threads < 1 || a->threads > MOST_THREADS)
        return error_set(error, TRIB_INVALID, "attention: threads: expected 1 to %d, found %d",
                         MOST_THREADS, a->threads);
    return TRIB_OK;
}

static trib_status check_mask(const trib_mask *m, const trib_queries *q, const trib_segment *s,
                              trib_error *error)
{
    if (!m->query_document != !m->key_document)
        return error_set(error, TRIB_INVALID,
                         "mask: expected query_document and key_document, or neither");
    if (m->bits && m->bits_stride < (s->length + 63) / 64)
        return error_set(error, TRIB_INVALID, "mask: bits_stride: expected at least %zu, found %zu",
                         (s->length + 63) / 64, m->bits_stride);
    if (m->window > most_positions || m->prefix > most_positions)
        return error_set(error, TRIB_INVALID, "mask: window or prefix is too large");
    uint64_t end = 0;
    if (m->bits && (m->bits_stride > most_positions || !reach(q->tokens, 8 * m->bits_stride, &end)))
        return error_set(error, TRIB_INVALID, "mask: bits_stride of %zu overflows", m->bits_stride);
    for (size_t t = 0; m->parent && t < q->tokens; t++)
        if (m->parent[t] < -1 || m->parent[t] >= (int64_t)t)
            return error_set(error, TRIB_INVALID,
                             "mask: parent of token %zu: expected -1 to %lld, found %d", t,
                             (long long)t - 1, m->parent[t]);
    return TRIB_OK;
}

static trib_status check_queries(const trib_attention *a, const trib_queries *q, trib_error *error)
{
    if (q->tokens && !q->q)
        return error_set(error, TRIB_INVALID, "queries: q is NULL");
    if (q->tokens > most_positions || q->first > most_positions)
        return error_set(error, TRIB_INVALID, "queries: too many tokens or too high a position");
    if (q->tokens > 1 &&
        (q->token_stride < a->heads * a->head_dim || q->token_stride > most_positions))
        return error_set(error, TRIB_INVALID,
                         "queries: token_stride: expected at least %zu floats, found %zu",
                         a->heads * a->head_dim, q->token_stride);
    uint64_t end = 0;
    if (q->tokens > 1 && !reach(q->tokens, q->token_stride * sizeof(float), &end))
        return error_set(error, TRIB_INVALID, "queries: token_stride of %zu overflows",
                         q->token_stride);
    return TRIB_OK;
}

static trib_status check_bias(const trib_attention *a, const trib_queries *q, const trib_segment *s,
                              trib_error *error)
{
    size_t head = a->bias_head_stride, token = a->bias_token_stride;
    uint64_t end = s->length * sizeof(float);
    if (a->bias && (head > most_positions || token > most_positions ||
                    !reach(a->heads, head * sizeof(float), &end) ||
                    !reach(q->tokens, token * sizeof(float), &end)))
        return error_set(error, TRIB_INVALID, "attention: bias: strides of %zu and %zu overflow",
                         head, token);
    return TRIB_OK;
}

static trib_status check_pages(const trib_segment *s, size_t align, trib_error *error)
{
    if (!s->k_pages && !s->v_pages) {
        if (s->length && (!s->k || !s->v))
            return error_set(error, TRIB_INVALID, "segment: k or v is NULL");
        if (s->length && (!aligned(s->k, align) || !aligned(s->v, align)))
            return error_set(error, TRIB_INVALID, "segment: k or v is not aligned to %zu bytes",
                             align);
        return TRIB_OK;
    }
    if (!s->k_pages || !s->v_pages || s->page_keys < 1)
        return error_set(error, TRIB_INVALID,
                         "segment: expected k_pages, v_pages and page_keys of 1 or more");
    for (size_t i = 0; i * s->page_keys < s->length; i++)
        if (!s->k_pages[i] || !s->v_pages[i] || !aligned(s->k_pages[i], align) ||
            !aligned(s->v_pages[i], align))
            return error_set(error, TRIB_INVALID,
                             "segment: page %zu is NULL or not aligned to %zu bytes", i, align);
    return TRIB_OK;
}

/* Layout CHUNKS: whole chunks where the kernels want them. */
static trib_status check_chunks(const trib_attention *a, const trib_segment *s, trib_error *error)
{
    size_t bytes = chunk_bytes((enum dtype)s->type, a->head_dim);
    if (s->first % TRIB_CHUNK != 0 || (s->k_pages && s->page_keys != TRIB_CHUNK))
        return error_set(error, TRIB_INVALID,
                         "segment: chunks: expected `first` a multiple of %d and pages of %d keys, "
                         "found %zu and %zu",
                         TRIB_CHUNK, TRIB_CHUNK, s->first, s->page_keys);
    if ((a->kv_heads > 1 && (s->head_stride < bytes || s->head_stride % 64 != 0)) ||
        (!s->k_pages && s->length > TRIB_CHUNK &&
         (s->key_stride < bytes || s->key_stride % 64 != 0)))
        return error_set(
            error, TRIB_INVALID,
            "segment: chunks: strides: expected multiples of 64 of at least %zu bytes, "
            "found %zu and %zu",
            bytes, s->key_stride, s->head_stride);
    uint64_t end = bytes;
    if (!reach(a->kv_heads, s->head_stride, &end) ||
        !reach(s->k_pages ? 1 : size_ceil_div(s->length, TRIB_CHUNK), s->key_stride, &end))
        return error_set(error, TRIB_INVALID, "segment: strides of %zu and %zu overflow",
                         s->key_stride, s->head_stride);
    return check_pages(s, 64, error);
}

static trib_status check_segment(const trib_attention *a, const trib_segment *s, trib_error *error)
{
    const struct dtype_info *info = check_kv_type(s->type);
    if (!info)
        return error_set(error, TRIB_INVALID, "segment: unknown type %d", (int)s->type);
    if (a->head_dim % info->block != 0)
        return error_set(error, TRIB_INVALID,
                         "segment: %s: expected head_dim a multiple of %u, found %zu", info->name,
                         info->block, a->head_dim);
    if (s->first > most_positions || s->length > most_positions - s->first ||
        (s->k_pages && s->page_keys > most_positions))
        return error_set(error, TRIB_INVALID, "segment: too many keys or too high a position");
    if (s->layout == TRIB_KV_CHUNKS)
        return check_chunks(a, s, error);
    if (s->layout != TRIB_KV_ROWS)
        return error_set(error, TRIB_INVALID, "segment: unknown layout %d", (int)s->layout);
    size_t element = info->block == 1 ? info->bytes : 1,
           row = dtype_size((enum dtype)s->type, a->head_dim);
    size_t together = s->k_pages && s->page_keys < s->length ? s->page_keys : s->length;
    uint64_t end = row;
    if (s->key_stride % element || s->head_stride % element ||
        (together > 1 && s->key_stride < row) || (a->kv_heads > 1 && s->head_stride < row))
        return error_set(
            error, TRIB_INVALID,
            "segment: strides: expected at least %zu bytes and multiples of %zu, found "
            "%zu and %zu",
            row, element, s->key_stride, s->head_stride);
    if (!reach(together, s->key_stride, &end) || !reach(a->kv_heads, s->head_stride, &end))
        return error_set(error, TRIB_INVALID, "segment: strides of %zu and %zu overflow",
                         s->key_stride, s->head_stride);
    return check_pages(s, element, error);
}

static trib_status check_states(const trib_attention *a, const trib_queries *q,
                                const trib_states *states, trib_error *error)
{
    if (states->count != q->tokens * a->heads || states->head_dim != a->head_dim)
        return error_set(error, TRIB_INVALID,
                         "states: expected %zu of %zu floats, found %zu of %zu",
                         q->tokens * a->heads, a->head_dim, states->count, states->head_dim);
    if (states->count && (!states->s || !states->v))
        return error_set(error, TRIB_INVALID, "states: s or v is NULL");
    return TRIB_OK;
}

bool check_sizes(const trib_kernels *kernels, const trib_attention *attention, size_t tokens,
                 size_t keys)
{
    return kernels && attention && check_attention(attention, NULL) == TRIB_OK &&
           tokens <= most_positions && keys <= most_positions;
}

trib_status check_arguments(const char *who, const trib_kernels *kernels, const trib_attention *a,
                            const trib_queries *q, const trib_segment *s, const trib_states *states,
                            trib_error *error)
{
    if (!kernels || !a || !q || !s || !states)
        return error_set(error, TRIB_INVALID, "%s: a NULL argument", who);
    trib_status status;
    if ((status = check_attention(a, error)) || (status = check_queries(a, q, error)) ||
        (status = check_segment(a, s, error)) || (status = check_bias(a, q, s, error)) ||
        (status = check_states(a, q, states, error)))
        return status;
    return check_mask(&a->mask, q, s, error); /* last: it reads as many tokens as are said to be */
}

trib_status check_workspace(const char *who, const void *workspace, size_t bytes, size_t needed,
                            trib_error *error)
{
    if (needed == 0)
        return error_set(error, TRIB_INVALID, "%s: workspace: no number of bytes is enough", who);
    if (!workspace || !aligned(workspace, 64) || bytes < needed)
        return error_set(error, TRIB_INVALID,
                         "%s: workspace: expected %zu bytes aligned to 64, found %zu%s", who,
                         needed, bytes, workspace ? "" : " and NULL");
    return TRIB_OK;
}
