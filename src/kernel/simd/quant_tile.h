/* Tiles of products with block-quantised weights: R rows by width(R) vectors of outputs, over a run
 * of units. Equations: kernel/quant.h.
 *
 * Bodies are compiled for constant `type`, `apart`, `looks_up` and R. Of codes that lie apart, a
 * byte each, the type stands for all that share its layout but for the size of a unit, which is a
 * variable. Loops over such codes are loops, or else the code would not fit its cache.
 */
#ifndef KERNEL_SIMD_QUANT_TILE_H
#define KERNEL_SIMD_QUANT_TILE_H

#include "kernel/simd/quant_code.h"
#include "kernel/simd/some.h"

/* Rows that fill the registers, and whether there are dot products of bytes. */
#if defined(__AVX512VNNI__)
enum { ROWS = 6, VNNI = 1 };
#elif defined(__AVX512F__)
enum { ROWS = 4, VNNI = 0 };
#else
enum { ROWS = 3, VNNI = 0 };
#endif

/* Vectors of outputs. One row takes all outputs of a panel at once, so that memory is read in
 * order: without AVX-512 35 to 37 GB/s of 37, where half of them at a time read 7 to 30. */
enum { WIDTH_MOST = QUANT_OUTPUTS / LANES };

INLINE size_t width(size_t R)
{
    return R == 1 ? WIDTH_MOST : 2;
}

struct tile {
    const struct quant_panel *panel;
    size_t unit_bytes;
    size_t x_stride;
    size_t first, end;  /* units */
    const char *codes;  /* those that lie apart, from the first unit on: [inputs / 4] words */
    size_t codes_bytes; /* from unit to unit */
    const char *scales; /* those that lie apart, from the first unit on: [pairs] */
    float *levels;      /* of s, from the first unit on: [units][QUANT_LEVELS][QUANT_OUTPUTS] */
    size_t row, output; /* the first of the tile */
    const char *ask;    /* what is read soon: */
    size_t ask_lines;   /* lines of it to ask for with each step, a unit of 32 or a pair */
    size_t ahead;       /* of each unit, of what is read once, at once; or 0: from `ask` on */
};

/* The asking of a tile. */
struct asking {
    const char *at;
    size_t lines;
    bool once;
};

/* Between the products: in one burst it would fill the queue of misses. Into the second-level
 * cache, or what is read but once past it. */
INLINE void ask_step(struct asking *a)
{
    for (size_t i = 0; i < a->lines; i++, a->at += 64)
        a->once ? _mm_prefetch(a->at, _MM_HINT_NTA) : _mm_prefetch(a->at, _MM_HINT_T1);
}

struct sums {
    vi at[ROWS][WIDTH_MOST];
};

struct results {
    vf at[ROWS][WIDTH_MOST];
};

/* ---- y ---- */

/* How many floats of vector w exist. */
INLINE size_t there(const struct tile *t, size_t w)
{
    size_t output = t->output + w * LANES;
    return output < t->panel->outputs ? t->panel->outputs - output : 0;
}

INLINE void results_load(size_t R, struct results *y, const struct tile *t)
{
    const struct quant_panel *p = t->panel;
    bool old = t->first > 0 || p->accumulate, bias = t->first == 0 && p->bias;
    UNROLL
    for (size_t w = 0; w < width(R); w++) {
        size_t output = t->output + w * LANES, n = there(t, w);
        vf start = bias && n ? vf_load_some(p->bias + output, n) : vf_set(0);
        UNROLL
        for (size_t r = 0; r < R; r++) {
            y->at[r][w] = start;
            if (old && n) {
                vf before = vf_load_some(p->y + (t->row + r) * p->y_stride + output, n);
                y->at[r][w] = bias ? vf_add(before, start) : before;
            }
        }
    }
}

INLINE void results_store(size_t R, const struct results *y, const struct tile *t)
{
    const struct quant_panel *p = t->panel;
    UNROLL
    for (size_t w = 0; w < width(R); w++) {
        size_t output = t->output + w * LANES, n = there(t, w);
        UNROLL
        for (size_t r = 0; r < R; r++)
            if (n)
                vf_store_some(p->y + (t->row + r) * p->y_stride + output, y->at[r][w], n);
    }
}

/* Asks for the rows that come next: with wide matrices each is a page of its own. */
INLINE void results_ask(size_t R, const struct tile *t)
{
    const struct quant_panel *p = t->panel;
    for (size_t r = t->row + R; r < t->row + 2 * R && r < p->rows; r++)
        for (size_t w = 0; w < width(R); w++)
            _mm_prefetch((const char *)(p->y + r * p->y_stride + t->output + w * LANES),
                         _MM_HINT_T0);
}

/* The float of row r, of which `first` is row 0's. */
INLINE vf float_of(const struct tile *t, const float *first, size_t r)
{
    return vf_set(*(const float *)(const void *)((const char *)first + r * t->x_stride));
}

/* Vector w of s or m, [QUANT_OUTPUTS] in f16. */
INLINE vf scales_at(const struct tile *t, const char *s, size_t w)
{
    return vf_from_f16((const uint16_t *)(const void *)s + t->output + w * LANES);
}

/* y += (d s) t */
INLINE void results_add(size_t R, struct results *y, const struct tile *t, const char *s,
                        const float *d, const struct results *terms)
{
    UNROLL
    for (size_t w = 0; w < width(R); w++) {
        vf scale = scales_at(t, s, w);
        UNROLL
        for (size_t r = 0; r < R; r++)
            y->at[r][w] = vf_fma(vf_mul(float_of(t, d, r), scale), terms->at[r][w], y->at[r][w]);
    }
}

/* y += d (s t - (m sum)) for sums of whole numbers. */
INLINE void results_add_mins(size_t R, struct results *y, const struct tile *t, const char *unit,
                             const float *d, const struct results *terms, const struct sums *sums)
{
    UNROLL
    for (size_t w = 0; w < width(R); w++) {
        vf s = scales_at(t, unit, w), m = vf_negate(scales_at(t, unit + QUANT_SCALES, w));
        UNROLL
        for (size_t r = 0; r < R; r++) {
            vf v = vf_fma(s, terms->at[r][w], vf_mul(m, vf_from_vi(sums->at[r][w])));
            y->at[r][w] = vf_fma(float_of(t, d, r), v, y->at[r][w]);
        }
    }
}

/* ---- Levels ---- */

/* Where `looks_up` says so, tiles look d s up, as the first of them has stored it: a multiplication
 * less for each sum, on those units of the processor that the dot products keep busy.
 *
 * levels[j] = (1 + j / QUANT_LEVELS) s, exactly. */
INLINE void levels_store(size_t R, const struct tile *t, float *levels, const char *s)
{
    UNROLL
    for (size_t w = 0; w < width(R); w++) {
        size_t output = t->output + w * LANES;
        vf level = scales_at(t, s, w);
        vf step = vf_mul(level, vf_set(1.0f / QUANT_LEVELS));
        UNROLL
        for (size_t j = 0; j < QUANT_LEVELS; j++) {
            vf_store(levels + j * QUANT_OUTPUTS + output, level);
            level = vf_add(level, step);
        }
    }
}

/* y += (d s) times the sums, which began at the lift; x is row 0's. */
INLINE void results_add_lifted(size_t R, struct results *y, const struct tile *t,
                               const float *levels, const struct quant_block32 *x,
                               const struct sums *sums)
{
    UNROLL
    for (size_t r = 0; r < R; r++) {
        const struct quant_block32 *row = (const void *)((const char *)x + r * t->x_stride);
        const float *level = levels + quant_level(row->d) * QUANT_OUTPUTS + t->output;
        vf lift = vf_set(row->lift);
        UNROLL
        for (size_t w = 0; w < width(R); w++)
            y->at[r][w] = vf_fma(vf_load(level + w * LANES),
                                 vf_sub(vf_from_bits(sums->at[r][w]), lift), y->at[r][w]);
    }
}

/* ---- Sums of whole numbers ---- */

INLINE void sums_zero(size_t R, struct sums *sums)
{
    UNROLL
    for (size_t r = 0; r < R; r++)
        UNROLL
    for (size_t w = 0; w < width(R); w++)
        sums->at[r][w] = vi_zero();
}

/* Codes that may have 8 bits. */
INLINE bool wide(enum dtype type, bool apart)
{
    struct quant_layout l = quant_layout(type);
    return !l.mins && (apart || l.zero == QUANT_ZERO);
}

/* sums = -zero times the sums of q, where zero is that of the codes, and the bits of `lift` unless
 * it is NULL; `start` and `lift` are row 0's. */
INLINE void sums_start(enum dtype type, bool apart, size_t R, struct sums *sums,
                       const struct tile *t, const int32_t *start, const float *lift)
{
    struct quant_layout l = quant_layout(type);
    bool zero = l.mins || (wide(type, apart) && WIDE_CODES_ARE_SIGNED);
    int shift = zero || wide(type, apart) ? 0 : __builtin_ctz(QUANT_ZERO / l.zero);
    UNROLL
    for (size_t r = 0; r < R; r++) {
        vi x = zero ? vi_zero() : vi_broadcast((const char *)start + r * t->x_stride);
        x = shift ? vi_shift_signed(x, shift) : x;
        if (lift)
            x = vi_add(x, vi_broadcast((const char *)lift + r * t->x_stride));
        UNROLL
        for (size_t w = 0; w < width(R); w++)
            sums->at[r][w] = x;
    }
}

/* The sums in float32. */
INLINE void sums_round(size_t R, struct results *out, const struct sums *sums)
{
    UNROLL
    for (size_t r = 0; r < R; r++)
        UNROLL
    for (size_t w = 0; w < width(R); w++)
        out->at[r][w] = vf_from_vi(sums->at[r][w]);
}

/* sums += u q of four inputs from 128 half + 32 part + 4 g on, for g in [from, to). */
INLINE void sums_add(enum dtype type, bool apart, size_t R, struct sums *sums, const struct tile *t,
                     const char *unit, const char *codes, const int8_t *q, int half, int part,
                     int from, int to)
{
    int s = 4 * half + part;
    UNROLL
    for (int g = from; g < to; g++) {
        struct codes u[WIDTH_MOST];
        UNROLL
        for (size_t w = 0; w < width(R); w++) {
            size_t output = t->output + w * LANES;
            vi x = apart ? vi_load(codes + (s * 8 + g) * QUANT_WORD + 4 * output)
                         : quant_code(type, unit, half, part, g, output);
            u[w] = codes_make(wide(type, apart), x);
        }
        UNROLL
        for (size_t r = 0; r < R; r++) {
            vi x = vi_broadcast((const char *)q + r * t->x_stride + s * 32 + g * 4);
            UNROLL
            for (size_t w = 0; w < width(R); w++)
                sums->at[r][w] = vi_dot(wide(type, apart), sums->at[r][w], u[w], x);
        }
    }
}

/* ---- Units of 32 ---- */

INLINE void unit_32(enum dtype type, bool apart, bool looks_up, size_t R, struct results *y,
                    const struct tile *t, const char *unit, const char *codes, float *levels,
                    const struct quant_block32 *x, struct asking *asking)
{
    struct sums sums;
    ask_step(asking);
    if (looks_up && t->row == 0)
        levels_store(R, t, levels, unit);
    sums_start(type, apart, R, &sums, t, &x->start, looks_up ? &x->lift : NULL);
    sums_add(type, apart, R, &sums, t, unit, codes, x->q, 0, 0, 0, 8);
    if (looks_up) {
        results_add_lifted(R, y, t, levels, x, &sums);
    } else {
        struct results terms;
        sums_round(R, &terms, &sums);
        results_add(R, y, t, unit, &x->d, &terms);
    }
    if (!quant_layout(type).mins)
        return;
    UNROLL
    for (size_t w = 0; w < width(R); w++) {
        vf mins = scales_at(t, unit + QUANT_SCALES, w);
        UNROLL
        for (size_t r = 0; r < R; r++)
            y->at[r][w] = vf_fma(float_of(t, &x->d_sum, r), mins, y->at[r][w]);
    }
}

/* ---- Units of 256 ---- */

/* Whether a tile takes scales that lie apart. Those of 6 bits take it longer to unpack than codes:
 * 512 rows of Q4_K gain 3%, but few rows lose as much. */
INLINE bool scales_apart(enum dtype type, size_t R)
{
    return quant_layout(type).scale_bits == 6 && R == ROWS;
}

/* The scales of a pair of a unit, or those that lie apart. */
INLINE struct scales pair_scales(enum dtype type, size_t R, const char *unit, const char *scales,
                                 int pair, size_t output)
{
    return scales_apart(type, R) ? scales_load(scales + pair * PAIR_APART, output)
                                 : quant_scales(quant_layout(type), unit, pair, output);
}

/* total = total + c_b (sum u q - zero sum q) for both sub-blocks of a pair; of its number `fixed`
 * is the part that is a constant where codes are taken apart. */
INLINE void add_pair(enum dtype type, bool apart, size_t R, struct results *total,
                     const struct tile *t, const char *unit, const char *codes,
                     const char *apart_scales, const struct quant_block256 *x,
                     struct asking *asking, int half, int fixed)
{
    struct quant_layout l = quant_layout(type);
    int pair = (l.sub == 16 ? 4 : 2) * half + fixed;
    struct scales scales[WIDTH_MOST];
    ask_step(asking);
    UNROLL
    for (size_t w = 0; w < width(R); w++)
        scales[w] = pair_scales(type, R, unit, apart_scales, pair, t->output + w * LANES);
    UNROLL
    for (int i = 0; i < 2; i++) {
        int b = 2 * pair + i;
        struct sums sums;
        if (l.sub == 16) {
            sums_start(type, apart, R, &sums, t, &x->start16[b], NULL);
            sums_add(type, apart, R, &sums, t, unit, codes, x->q, half, fixed, 4 * i, 4 * i + 4);
        } else {
            sums_start(type, apart, R, &sums, t, &x->start32[b], NULL);
            sums_add(type, apart, R, &sums, t, unit, codes, x->q, half, 2 * fixed + i, 0, 8);
        }
        UNROLL
        for (size_t r = 0; r < R; r++)
            UNROLL
        for (size_t w = 0; w < width(R); w++)
            total->at[r][w] = vf_fma(scales[w].c[i], vf_from_vi(sums.at[r][w]), total->at[r][w]);
    }
}

/* total += e_b sum q for both sub-blocks of a pair */
INLINE void add_pair_mins(enum dtype type, size_t R, struct sums *total, const struct tile *t,
                          const char *unit, const char *scales, const struct quant_block256 *x,
                          int pair)
{
    struct quant_layout l = quant_layout(type);
    const int16_t *both = l.sub == 16 ? &x->sum16[2 * pair] : &x->sum32[2 * pair];
    vi e[WIDTH_MOST];
    UNROLL
    for (size_t w = 0; w < width(R); w++)
        e[w] = pair_scales(type, R, unit, scales, pair, t->output + w * LANES).e;
    UNROLL
    for (size_t r = 0; r < R; r++) {
        vi sum = vi_broadcast((const char *)both + r * t->x_stride);
        UNROLL
        for (size_t w = 0; w < width(R); w++)
            total->at[r][w] = vi_dot_pairs(total->at[r][w], e[w], sum);
    }
}

INLINE void unit_256(enum dtype type, bool apart, size_t R, struct results *y, const struct tile *t,
                     const char *unit, const char *codes, const char *scales,
                     const struct quant_block256 *x, struct asking *asking)
{
    struct quant_layout l = quant_layout(type);
    int pairs = 128 / (int)l.sub;
    bool along = l.mins && !apart && R == 1; /* has registers for them: 3 to 14% of Q4_K */
    struct results terms;
    struct sums mins;
    sums_zero(R, &mins);
    UNROLL
    for (size_t r = 0; r < R; r++)
        UNROLL
    for (size_t w = 0; w < width(R); w++)
        terms.at[r][w] = vf_set(0);
    if (apart) {
        for (int pair = 0; pair < pairs; pair++)
            add_pair(type, apart, R, &terms, t, unit, codes, scales, x, asking, 0, pair);
    } else {
        for (int half = 0; half < 2; half++)
            UNROLL
        for (int fixed = 0; fixed < pairs / 2; fixed++) {
            add_pair(type, apart, R, &terms, t, unit, codes, scales, x, asking, half, fixed);
            if (along)
                add_pair_mins(type, R, &mins, t, unit, scales, x, pairs / 2 * half + fixed);
        }
    }
    if (!l.mins) {
        results_add(R, y, t, unit, &x->d, &terms);
        return;
    }
    for (int pair = 0; pair < pairs && !along; pair++)
        add_pair_mins(type, R, &mins, t, unit, scales, x, pair);
    results_add_mins(R, y, t, unit, &x->d, &terms, &mins);
}

/* ---- A tile ---- */

/* Steps of asking in a unit, of which one of 256 has as many pairs. */
INLINE size_t steps_of(enum dtype type)
{
    struct quant_layout l = quant_layout(type);
    return l.inputs == 32 ? 1 : 128 / l.sub;
}

INLINE void tile_outputs(enum dtype type, bool apart, bool looks_up, size_t R, const struct tile *t)
{
    const char *x = t->panel->x + t->row * t->x_stride;
    const char *unit = t->panel->panel + t->first * t->unit_bytes, *codes = t->codes;
    const char *scales = t->scales;
    float *levels = t->levels;
    bool once = !apart && R == 1 && t->ahead; /* known here for all tiles but one row's */
    struct asking asking = {t->ask, t->output == 0 ? t->ask_lines : 0, once};
    struct results y;
    results_load(R, &y, t);
    results_ask(R, t);
    for (size_t i = t->first; i < t->end; i++) {
        if (once) /* else lines that are rounded up would add up */
            asking.at = unit + t->ahead;
        if (quant_layout(type).inputs == 32) {
            unit_32(type, apart, looks_up, R, &y, t, unit, codes, levels,
                    (const struct quant_block32 *)x + i, &asking);
        } else {
            __asm__ volatile("" : "+m"(y)); /* y is rarely needed: the registers are for sums */
            unit_256(type, apart, R, &y, t, unit, codes, scales,
                     (const struct quant_block256 *)x + i, &asking);
        }
        unit += t->unit_bytes;
        if (apart) /* else there are none */
            codes += t->codes_bytes;
        if (looks_up)
            levels += QUANT_LEVELS * QUANT_OUTPUTS;
        if (scales_apart(type, R))
            scales += (int)steps_of(type) * PAIR_APART;
    }
    results_store(R, &y, t);
}

/* The next R rows with all outputs of the panel. */
INLINE void tile_rows(enum dtype type, bool apart, bool looks_up, size_t R, struct tile *t)
{
    for (t->output = 0; t->output < t->panel->outputs; t->output += width(R) * LANES)
        tile_outputs(type, apart, looks_up, R, t);
    t->ask += (t->end - t->first) * steps_of(type) * t->ask_lines * 64;
    t->row += R;
}

#endif
