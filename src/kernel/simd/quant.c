/* Products with block-quantised weights. Contract and layout: kernel/quant.h.
 *
 * With one row, codes are taken apart on the way from memory to the products. With more, too, where
 * that takes no more than a shift and a mask: units of the processor do these that have no part in
 * the products. Else once for all rows, for a part of the panel that stays in cache while the
 * rows pass over it.
 */
#include <assert.h>

#include "kernel/simd/ops.h"
#include "kernel/simd/quant_tile.h"
#if defined(__AVX512VNNI__)
#include "kernel/avx512/avx512.h"
#endif

/* Rows that two tiles of half as many take faster than a whole and a small one. */
enum { EVEN_ROWS = ROWS == 6 ? 8 : 0 };

/* Inputs of a part: 64 KiB of codes. With half, y is read and written twice as often: 2 to 4%
 * with 512 rows, as it lies a page apart from row to row in wide matrices, while the second-level
 * cache is fast enough for codes. */
enum { PART = 2048, LEVELS = PART / 32 * QUANT_LEVELS * QUANT_OUTPUTS };

/* How far ahead of one row memory is asked for. It is where the products take so long that the
 * processor's own prefetching falls behind: of Q6_K 54 GB/s are read so, and not 21; but of Q4_K
 * with VNNI 33 of 37, and 37 without asking. The prefetching still does its part: 40 GB/s of 59
 * were read 8 KiB ahead. Without AVX-512 all types gain, blocks of 32 from a
 * tenth (Q4_1, Q8_0) to two fifths (Q4_0). */
enum { AHEAD = 1024 };

INLINE bool asks_ahead(enum dtype type)
{
    struct quant_layout l = quant_layout(type);
    return VNNI ? l.high > 1 || type == DTYPE_Q2_K : LANES == 8 || l.inputs == 256;
}

/* The tiles of a part share in asking for the next one, which follows it in memory. */
INLINE void ask_next(enum dtype type, struct tile *t)
{
    size_t units = t->end - t->first, lines = units * t->unit_bytes / 64;
    size_t tiles = (t->panel->rows + ROWS - 1) / ROWS, steps = tiles * units * steps_of(type);
    t->ask = t->panel->panel + t->end * t->unit_bytes;
    t->ask_lines = (lines + steps - 1) / steps;
}

/* ---- Codes and scales apart ---- */

/* The codes of units [t->first, t->end). */
INLINE void unpack(enum dtype type, char *out, const struct tile *t)
{
    int halves = quant_layout(type).inputs == 32 ? 1 : 2, parts = halves == 1 ? 1 : 4;
    for (size_t i = t->first; i < t->end; i++)
        for (int half = 0; half < halves; half++)
            UNROLL
    for (int part = 0; part < parts; part++)
        UNROLL
    for (int g = 0; g < 8; g++, out += QUANT_WORD)
        for (size_t output = 0; output < QUANT_OUTPUTS; output += LANES)
            vi_store(out + 4 * output, quant_lifted(type, t->panel->panel + i * t->unit_bytes, half,
                                                    part, g, output));
}

/* The scales of the same units. */
INLINE void unpack_scales(enum dtype type, char *out, const struct tile *t)
{
    struct quant_layout l = quant_layout(type);
    for (size_t i = t->first; i < t->end; i++)
        for (int pair = 0; pair < (int)steps_of(type); pair++, out += PAIR_APART)
            UNROLL
    for (size_t output = 0; output < QUANT_OUTPUTS; output += LANES)
        scales_store(out, quant_scales(l, t->panel->panel + i * t->unit_bytes, pair, output),
                     output);
}

/* Whether the next of so many rows are a tile of ROWS. */
INLINE bool whole_tile(size_t rows)
{
    return rows >= ROWS && rows != EVEN_ROWS;
}

/* All rows over units [t->first, t->end). Levels pay off once a whole tile has stored them; without
 * VNNI they lose up to 15% with few rows and gain nothing with many. */
INLINE void all_rows(enum dtype type, bool apart, struct tile *t)
{
    bool levels = VNNI && quant_layout(type).inputs == 32;
    t->row = 0;
    while (whole_tile(t->panel->rows - t->row))
        tile_rows(type, apart, levels, ROWS, t);
#if defined(__AVX512VNNI__)
    while (levels && t->row > 0 && t->panel->rows - t->row >= 4)
        tile_rows(type, apart, true, 4, t);
    while (t->panel->rows - t->row >= 4)
        tile_rows(type, apart, false, 4, t);
    if (t->panel->rows - t->row >= 2)
        tile_rows(type, apart, false, 2, t);
#endif
    while (t->row < t->panel->rows)
        tile_rows(type, apart, false, 1, t);
}

static void rows_32(struct tile *t)
{
    all_rows(DTYPE_Q8_0, true, t);
}

static void rows_32_mins(struct tile *t)
{
    all_rows(DTYPE_Q4_1, true, t);
}

static void rows_256_by_16(struct tile *t)
{
    all_rows(DTYPE_Q6_K, true, t);
}

static void rows_256_by_16_mins(struct tile *t)
{
    all_rows(DTYPE_Q2_K, true, t);
}

static void rows_256_by_32_mins(struct tile *t)
{
    all_rows(DTYPE_Q4_K, true, t);
}

static void rows_256_by_32(struct tile *t)
{
    all_rows(DTYPE_IQ4_XS, true, t);
}

/* What multiplies codes of a type that lie apart. */
INLINE void rows(enum dtype type, struct tile *t)
{
    struct quant_layout l = quant_layout(type);
    if (l.inputs == 32)
        l.mins ? rows_32_mins(t) : rows_32(t);
    else if (l.sub == 16)
        l.mins ? rows_256_by_16_mins(t) : rows_256_by_16(t);
    else
        l.mins ? rows_256_by_32_mins(t) : rows_256_by_32(t);
}

/* Whether codes are taken apart for each tile anew. */
INLINE bool taken_at_once(enum dtype type)
{
    return type == DTYPE_Q4_0 || type == DTYPE_Q4_K;
}

INLINE void many_rows(enum dtype type, struct tile *t)
{
    _Alignas(64) char codes[PART / 4 * QUANT_WORD], scales[PART / 64 * PAIR_APART];
    _Alignas(64) float levels[LEVELS];
    size_t inputs = quant_layout(type).inputs, units = t->panel->inputs / inputs;
    t->codes = codes;
    t->codes_bytes = inputs / 4 * QUANT_WORD;
    t->scales = scales;
    t->levels = levels;
    for (t->first = 0; t->first < units; t->first = t->end) {
        t->end = units - t->first < PART / inputs ? units : t->first + PART / inputs;
        ask_next(type, t);
        if (scales_apart(type, ROWS) && whole_tile(t->panel->rows))
            unpack_scales(type, scales, t);
        if (taken_at_once(type)) {
            all_rows(type, false, t);
        } else {
            unpack(type, codes, t);
            rows(type, t);
        }
    }
}

/* ---- Panels ---- */

INLINE struct tile tile_of(enum dtype type, const struct quant_panel *p)
{
    struct quant_layout l = quant_layout(type);
    return (struct tile){.panel = p,
                         .unit_bytes = quant_unit_bytes(l),
                         .x_stride = quant_row_bytes(type, p->inputs),
                         .end = p->inputs / l.inputs};
}

/* One row passes over the panel but once. */
INLINE void one_row(enum dtype type, struct tile *t)
{
    size_t steps = steps_of(type);
    t->ahead = AHEAD;
    t->ask_lines = asks_ahead(type) ? (t->unit_bytes / 64 + steps - 1) / steps : 0;
    tile_rows(type, false, false, 1, t);
}

INLINE void panel(enum dtype type, const struct quant_panel *p)
{
    struct tile t = tile_of(type, p);
    p->rows == 1 ? one_row(type, &t) : many_rows(type, &t);
}

/* Codes of Q8_0 lie apart in the panel. */
static void many_rows_q8_0(struct tile *t)
{
    _Alignas(64) float levels[LEVELS];
    size_t units = t->end, step = PART / 32;
    t->levels = levels;
    t->codes_bytes = t->unit_bytes;
    for (t->first = 0; t->first < units; t->first = t->end) {
        t->codes =
            t->panel->panel + t->first * t->unit_bytes + quant_words_at(quant_layout(DTYPE_Q8_0));
        t->end = units - t->first < step ? units : t->first + step;
        ask_next(DTYPE_Q8_0, t);
        rows_32(t);
    }
}

static void panel_q8_0(const struct quant_panel *p)
{
    struct tile t = tile_of(DTYPE_Q8_0, p);
    p->rows == 1 ? one_row(DTYPE_Q8_0, &t) : many_rows_q8_0(&t);
}

static void panel_q4_0(const struct quant_panel *p)
{
    panel(DTYPE_Q4_0, p);
}

static void panel_q4_1(const struct quant_panel *p)
{
    panel(DTYPE_Q4_1, p);
}

static void panel_q5_0(const struct quant_panel *p)
{
    panel(DTYPE_Q5_0, p);
}

static void panel_q5_1(const struct quant_panel *p)
{
    panel(DTYPE_Q5_1, p);
}

static void panel_q2_k(const struct quant_panel *p)
{
    panel(DTYPE_Q2_K, p);
}

static void panel_q3_k(const struct quant_panel *p)
{
    panel(DTYPE_Q3_K, p);
}

static void panel_q4_k(const struct quant_panel *p)
{
    panel(DTYPE_Q4_K, p);
}

static void panel_q5_k(const struct quant_panel *p)
{
    panel(DTYPE_Q5_K, p);
}

static void panel_q6_k(const struct quant_panel *p)
{
    panel(DTYPE_Q6_K, p);
}

static void panel_iq4_nl(const struct quant_panel *p)
{
    panel(DTYPE_IQ4_NL, p);
}

static void panel_iq4_xs(const struct quant_panel *p)
{
    panel(DTYPE_IQ4_XS, p);
}

void SIMD(quant_panel)(const struct quant_panel *p)
{
    switch (p->type) {
    case DTYPE_Q8_0:
        panel_q8_0(p);
        break;
    case DTYPE_Q4_0:
        panel_q4_0(p);
        break;
    case DTYPE_Q4_1:
        panel_q4_1(p);
        break;
    case DTYPE_Q5_0:
        panel_q5_0(p);
        break;
    case DTYPE_Q5_1:
        panel_q5_1(p);
        break;
    case DTYPE_Q2_K:
        panel_q2_k(p);
        break;
    case DTYPE_Q3_K:
        panel_q3_k(p);
        break;
    case DTYPE_Q4_K:
        panel_q4_k(p);
        break;
    case DTYPE_Q5_K:
        panel_q5_k(p);
        break;
    case DTYPE_Q6_K:
        panel_q6_k(p);
        break;
    case DTYPE_IQ4_NL:
        panel_iq4_nl(p);
        break;
    case DTYPE_IQ4_XS:
        panel_iq4_xs(p);
        break;
    default:
        assert(!"no product with this type");
    }
}
