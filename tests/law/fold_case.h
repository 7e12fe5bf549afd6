/* One case of the fold: queries, keys and values as the definition reads them, and the same keys
 * and values as a segment, in the layout of attention/segment.h.
 *
 * Every chunk ends at a guard page, and what the segment must not depend on is NaN: key slots and
 * value rows past the length. Values are rounded to the stored type before anybody sees them. */
#ifndef FOLD_CASE_H
#define FOLD_CASE_H

#include <math.h>
#include <stdbool.h>

#include "attention/definition.h"
#include "attention/fold.h"
#include "base/half.h"
#include "guard.h"
#include "random.h"

struct fold_case {
    size_t T, S, H, G, D;
    enum dtype type;
    enum mask_kind mask;
    size_t first;
    float scale;
    float *q, *k, *v; /* [T][H][D], [S][G][D], [S][G][D] */
    void **chunks;
    size_t offset;
};

/* The shape alone: nothing is allocated. */
static inline struct fold_case case_shape(size_t T, size_t S, size_t H, size_t G, size_t D,
                                          enum dtype type, enum mask_kind mask, size_t first)
{
    return (struct fold_case){
        .T = T, .S = S, .H = H, .G = G, .D = D, .type = type, .mask = mask, .first = first};
}

static inline size_t case_chunks(const struct fold_case *c)
{
    return (c->S + CHUNK - 1) / CHUNK;
}

static inline size_t case_chunk_bytes(const struct fold_case *c)
{
    return c->offset + c->G * segment_head_bytes(c->type, c->D);
}

static inline struct segment case_segment(const struct fold_case *c)
{
    return (struct segment){c->type, c->G, c->D, c->S, c->chunks, c->offset};
}

static inline void case_put(const struct fold_case *c, char *array, size_t i, float x)
{
    uint16_t half = f16_from_float(x);
    if (c->type == DTYPE_F32)
        memcpy(array + 4 * i, &x, 4);
    else
        memcpy(array + 2 * i, &half, 2);
}

/* Writes the keys and values before position `known` into the segment, and NaN after them. */
static inline void case_store(const struct fold_case *c, size_t known)
{
    size_t Dv = value_stride(c->D);
    for (size_t i = 0; i < case_chunks(c) * CHUNK; i++)
        for (size_t g = 0; g < c->G; g++) {
            char *keys = (char *)c->chunks[i / CHUNK] + c->offset;
            keys += g * segment_head_bytes(c->type, c->D);
            char *values = keys + segment_key_bytes(c->type, c->D);
            const float *k = c->k + (i * c->G + g) * c->D, *v = c->v + (i * c->G + g) * c->D;
            for (size_t d = 0; d < c->D; d++)
                case_put(c, keys, d * CHUNK + i % CHUNK, i < known ? k[d] : NAN);
            for (size_t d = 0; d < Dv; d++)
                case_put(c, values, i % CHUNK * Dv + d, i >= known ? NAN : d < c->D ? v[d] : 0);
        }
}

static inline void case_draw(const struct fold_case *c, struct random *r, float *x, size_t n,
                             float size)
{
    random_fill(r, x, n, size);
    for (size_t i = 0; i < n && c->type == DTYPE_F16; i++)
        x[i] = f16_to_float(f16_from_float(x[i]));
}

/* Allocates what the shape asks for and draws it: scores are of the order of `size`. */
static inline void case_open(struct fold_case *c, struct random *r, float size)
{
    c->q = guard_floats(c->T * c->H * c->D);
    c->k = guard_floats(c->S * c->G * c->D);
    c->v = guard_floats(c->S * c->G * c->D);
    c->offset = 64 * random_below(r, 3);
    c->scale = 1 / sqrtf((float)c->D);
    random_fill(r, c->q, c->T * c->H * c->D, 3 * size);
    case_draw(c, r, c->k, c->S * c->G * c->D, 1);
    case_draw(c, r, c->v, c->S * c->G * c->D, 2);
    c->chunks = guard_new(case_chunks(c) * sizeof *c->chunks);
    for (size_t i = 0; i < case_chunks(c); i++)
        c->chunks[i] = guard_new(case_chunk_bytes(c));
    case_store(c, c->S);
}

static inline void case_close(struct fold_case *c)
{
    for (size_t i = 0; i < case_chunks(c); i++)
        guard_free(c->chunks[i], case_chunk_bytes(c));
    guard_free(c->chunks, case_chunks(c) * sizeof *c->chunks);
    guard_free_floats(c->q, c->T * c->H * c->D);
    guard_free_floats(c->k, c->S * c->G * c->D);
    guard_free_floats(c->v, c->S * c->G * c->D);
}

/* The results of a case, [T][H][D] and [T][H]. */
struct fold_result {
    size_t T, H, D;
    float *v, *s;
};

static inline struct fold_result result_new(const struct fold_case *c)
{
    struct fold_result out = {c->T, c->H, c->D, NULL, NULL};
    out.v = guard_floats(c->T * c->H * c->D);
    out.s = guard_floats(c->T * c->H);
    return out;
}

static inline void result_free(const struct fold_result *out)
{
    guard_free_floats(out->v, out->T * out->H * out->D);
    guard_free_floats(out->s, out->T * out->H);
}

/* Folds queries [from, to) over `segment` into their places of `out`. The workspace is as long as
 * fold_workspace says, to 64 bytes, and ends at a guard page. */
static inline void case_fold_over(const struct fold_case *c, const struct segment *segment,
                                  const struct kernels *k, size_t from, size_t to, int threads,
                                  const struct fold_result *out)
{
    struct fold fold = {.tokens = to - from,
                        .heads = c->H,
                        .first = c->first + from,
                        .scale = c->scale,
                        .mask = c->mask,
                        .segment = segment,
                        .q = c->q + from * c->H * c->D,
                        .v = out->v + from * c->H * c->D,
                        .s = out->s + from * c->H};
    size_t bytes = fold_workspace(k, to - from, c->H, c->G, c->D, segment->length, threads);
    bytes = (bytes + 63) / 64 * 64;
    void *workspace = guard_new(bytes);
    fold_run(k, &fold, workspace, threads);
    guard_free(workspace, bytes);
}

static inline void case_fold(const struct fold_case *c, const struct kernels *k, size_t from,
                             size_t to, int threads, const struct fold_result *out)
{
    struct segment segment = case_segment(c);
    case_fold_over(c, &segment, k, from, to, threads, out);
}

static inline bool case_visible(const void *context, size_t t, size_t i)
{
    const struct fold_case *c = context;
    return c->mask == MASK_NONE || i <= c->first + t;
}

static inline struct definition case_definition(const struct fold_case *c)
{
    return (struct definition){c->T, c->S, c->H, c->G,         c->D, (double)c->scale,
                               c->q, c->k, c->v, case_visible, c};
}

#endif
