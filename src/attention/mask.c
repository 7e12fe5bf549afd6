/* Masks as words of visible keys. Positions are compared as signed numbers: a window may begin
 * before position 0. */
#include "attention/mask.h"

#include <math.h>

static size_t position_of(const struct mask_view *v, size_t t)
{
    return v->positions ? v->positions[t] : v->query_first + t;
}

/* Bits of the keys at positions below `end` in the chunk at `start`. */
static uint64_t below(int64_t end, size_t start)
{
    int64_t n = end - (int64_t)start;
    return n <= 0 ? 0 : n >= TRIB_CHUNK ? UINT64_MAX : ((uint64_t)1 << n) - 1;
}

uint64_t mask_existing(const struct mask_view *v, size_t start)
{
    return below((int64_t)(v->key_first + v->length), start) & ~below((int64_t)v->key_first, start);
}

/* Of the keys in `bits`, those of token t's document. */
static uint64_t same_document(const struct mask_view *v, size_t t, size_t start, uint64_t bits)
{
    uint64_t same = 0;
    for (size_t j = 0; j < TRIB_CHUNK; j++)
        if (bits >> j & 1)
            same |= (uint64_t)(v->attention->mask.key_document[start + j - v->key_first] ==
                               v->attention->mask.query_document[t])
                    << j;
    return same;
}

/* Everything before the draft; of the draft, token t and its ancestors. */
static uint64_t ancestors(const struct mask_view *v, size_t t, size_t start)
{
    uint64_t bits = below((int64_t)v->query_first, start);
    for (int64_t a = (int64_t)t; a >= 0; a = v->attention->mask.parent[a]) {
        int64_t j = (int64_t)v->query_first + a - (int64_t)start;
        if (j >= 0 && j < TRIB_CHUNK)
            bits |= (uint64_t)1 << j;
    }
    return bits;
}

/* 64 bits of token t's row from key index start - key_first on, which may lie before the row. */
static uint64_t row_bits(const struct mask_view *v, size_t t, size_t start)
{
    const uint64_t *row = v->attention->mask.bits + t * v->attention->mask.bits_stride;
    size_t words = (v->length + 63) / 64;
    if (start < v->key_first) {
        size_t shift = v->key_first - start; /* below 64: the chunk has a key */
        return words ? row[0] << shift : 0;
    }
    size_t i = start - v->key_first, word = i / 64, shift = i % 64;
    uint64_t bits = word < words ? row[word] >> shift : 0;
    if (shift && word + 1 < words)
        bits |= row[word + 1] << (64 - shift);
    return bits;
}

/* What token t sees, before any bias. */
static uint64_t token_word(const struct mask_view *v, size_t t, size_t start)
{
    const trib_mask *m = &v->attention->mask;
    int64_t p = (int64_t)position_of(v, t);
    uint64_t bits = mask_existing(v, start);
    if (m->causal)
        bits &= below(p + 1, start) | below((int64_t)m->prefix, start);
    if (m->window)
        bits &= ~below(p - (int64_t)m->window + 1, start);
    if (m->parent)
        bits &= ancestors(v, t, start);
    if (m->bits && bits)
        bits &= row_bits(v, t, start);
    if (m->query_document)
        bits &= same_document(v, t, start, bits);
    return bits;
}

enum mask_cover mask_cover(const struct mask_view *v, size_t t0, size_t t1, size_t start,
                           size_t end)
{
    const trib_mask *m = &v->attention->mask;
    size_t low = position_of(v, t0), high = position_of(v, t1);
    for (size_t t = t0; t <= t1 && v->positions; t++) {
        low = v->positions[t] < low ? v->positions[t] : low;
        high = v->positions[t] > high ? v->positions[t] : high;
    }
    if (start >= v->key_first + v->length || end <= v->key_first)
        return MASK_NOTHING;
    if (m->causal && start > high && start >= m->prefix)
        return MASK_NOTHING;
    if (m->window && end - 1 + m->window <= low)
        return MASK_NOTHING;
    bool whole = start >= v->key_first && end <= v->key_first + v->length;
    bool past = !m->causal || end - 1 <= low || end <= m->prefix;
    bool near = !m->window || start + m->window > high;
    bool trunk = !m->parent || end <= v->query_first;
    bool uniform = !m->bits && !m->query_document && !v->attention->bias;
    return whole && past && near && trunk && uniform ? MASK_EVERYTHING : MASK_SOME;
}

/* Of the keys in `bits`, those whose bias for a head of token t is more than -inf. */
static uint64_t bias_leaves(const struct mask_view *v, size_t head, size_t t, size_t start,
                            uint64_t bits)
{
    const trib_attention *a = v->attention;
    const float *bias = a->bias + head * a->bias_head_stride + t * a->bias_token_stride;
    size_t from = start < v->key_first ? v->key_first - start : 0;
    size_t end = v->key_first + v->length - start, to = end < TRIB_CHUNK ? end : TRIB_CHUNK;
    bool none = true;
    for (size_t j = from; j < to; j++) /* vectors, and most have no -inf */
        none &= bias[start + j - v->key_first] != -INFINITY;
    for (size_t j = from; j < to && !none; j++)
        if (bias[start + j - v->key_first] == -INFINITY)
            bits &= ~((uint64_t)1 << j);
    return bits;
}

enum mask_cover mask_rows(const struct mask_view *v, size_t g, size_t row, size_t rows,
                          size_t start, uint64_t *words)
{
    size_t group = v->attention->heads / v->attention->kv_heads;
    uint64_t word = 0, any = 0, all = UINT64_MAX;
    enum mask_cover cover =
        mask_cover(v, row / group, (row + rows - 1) / group, start, start + TRIB_CHUNK);
    if (cover != MASK_SOME)
        return cover;
    for (size_t r = 0; r < rows; r++) {
        size_t t = (row + r) / group, head = g * group + (row + r) % group;
        if (r == 0 || (row + r) % group == 0) /* the heads of a token see the same */
            word = token_word(v, t, start);
        words[r] = v->attention->bias ? bias_leaves(v, head, t, start, word) : word;
        any |= words[r];
        all &= words[r];
    }
    return any == 0 ? MASK_NOTHING : all == UINT64_MAX ? MASK_EVERYTHING : MASK_SOME;
}

bool mask_sees(const struct mask_view *v, size_t g, size_t row, size_t rows, size_t start)
{
    size_t group = v->attention->heads / v->attention->kv_heads;
    uint64_t word;
    for (size_t r = rows; r > 0; r--) { /* the last sees most where a mask is causal */
        bool same = r < rows && (row + r) % group != 0 && !v->attention->bias;
        if (!same && mask_rows(v, g, row + r - 1, 1, start, &word) != MASK_NOTHING)
            return true;
    }
    return false;
}
