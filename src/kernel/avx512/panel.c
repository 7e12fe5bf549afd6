/* One chunk of one head brought into the form of absorb, which is that of packed chunks: keys
 * across, [Dv][CHUNK], and values in rows. Packed chunks of a type that absorb reads stay where
 * they are; of rows the keys are transposed and the values copied, unless they are needed but once.
 */
#include <immintrin.h>
#include <string.h>

#include "kernel/avx512/avx512.h"
#include "kernel/avx512/transpose.h"
#include "kernel/chunk.h"
#include "kernel/simd/ops.h"

/* ---- Transposing ---- */

/* out [Dv][CHUNK] = rows [CHUNK][Dv], 4 bytes an element. */
static void transpose_words(char *out, const char *rows, size_t stride, size_t Dv)
{
    for (size_t j = 0; j < CHUNK; j += 16)
        for (size_t i = 0; i < Dv; i += 4) {
            __m512i y[4];
            transpose_16_rows(y, rows + j * stride + i * 4, stride);
            for (size_t n = 0; n < 4; n++)
                _mm512_store_si512(out + ((i + n) * CHUNK + j) * 4, y[n]);
        }
}

/* The same, 2 bytes an element: pairs are transposed, then their halves parted. */
static void transpose_halves(char *out, const char *rows, size_t stride, size_t Dv)
{
    static const uint16_t part[32] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                      1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
    __m512i order = _mm512_loadu_si512(part);
    for (size_t j = 0; j < CHUNK; j += 16)
        for (size_t i = 0; i < Dv; i += 8) {
            __m512i y[4];
            transpose_16_rows(y, rows + j * stride + i * 2, stride);
            for (size_t n = 0; n < 4; n++) {
                char *to = out + ((i + 2 * n) * CHUNK + j) * 2;
                __m512i z = _mm512_permutexvar_epi16(order, y[n]);
                _mm256_store_si256((void *)to, _mm512_castsi512_si256(z));
                _mm256_store_si256((void *)(to + CHUNK * 2), _mm512_extracti64x4_epi64(z, 1));
            }
        }
}

/* ---- Rows ---- */

/* 64 rows of Dv elements. */
struct full {
    const char *row;
    size_t stride; /* bytes */
};

/* The rows of a chunk, or where some of the 64 do not exist, or elements to Dv, or the type is to
 * be float32, a copy with zeros for what is missing. */
static struct full fill_up(const struct chunk_rows *rows, const char *from, size_t D,
                           enum dtype form, char *memory)
{
    size_t size = dtype_size(form, 1), Dv = value_stride(D);
    if (rows->type == form && rows->from == 0 && rows->to == CHUNK && D == Dv)
        return (struct full){from, rows->stride};
    for (size_t j = 0; j < CHUNK; j++) {
        char *row = memory + j * Dv * size;
        size_t n = j >= rows->from && j < rows->to ? D : 0;
        const char *at = n ? from + (j - rows->from) * rows->stride : NULL;
        if (n && rows->type == form)
            memcpy(row, at, n * size);
        else if (n)
            unpack_avx512(rows->type, (float *)(void *)row, at, n);
        memset(row + n * size, 0, (Dv - n) * size);
    }
    return (struct full){memory, Dv * size};
}

static void load_rows(struct panel *panel, char *memory, const struct chunk_rows *rows, size_t D,
                      enum dtype form, enum panel_use use)
{
    size_t size = dtype_size(form, 1), Dv = value_stride(D), bytes = Dv * CHUNK * size;
    char *v = memory + bytes; /* keys that have to be filled up are so in the values' place */
    struct full keys = fill_up(rows, rows->k, D, form, v);
    if (form == DTYPE_F32)
        transpose_words(memory, keys.row, keys.stride, Dv);
    else
        transpose_halves(memory, keys.row, keys.stride, Dv);
    *panel = (struct panel){memory, v, Dv, rows->from, rows->to, form};
    if (use == PANEL_ONCE && rows->type == form && D == Dv && rows->stride % size == 0) {
        panel->v_stride = rows->stride / size;
        panel->v = rows->v - rows->from * rows->stride;
        return;
    }
    struct full values = fill_up(rows, rows->v, D, form, v);
    for (size_t j = 0; j < CHUNK && values.row != v; j++)
        memcpy(v + j * Dv * size, values.row + j * values.stride, Dv * size);
}

/* ---- Rows of Q8_0 ---- */

/* The rows, or where some of the 64 do not exist, a copy with zeros for those. */
static struct full fill_up_blocks(const struct chunk_rows *rows, const char *from, size_t D,
                                  char *memory)
{
    size_t row = D / 32 * 34;
    if (rows->from == 0 && rows->to == CHUNK)
        return (struct full){from, rows->stride};
    memset(memory, 0, CHUNK * row);
    for (size_t j = rows->from; j < rows->to; j++)
        memcpy(memory + j * row, from + (j - rows->from) * rows->stride, row);
    return (struct full){memory, row};
}

static void pack_scales(char *chunk, size_t D, size_t b, struct full rows)
{
    char *scales = chunk + chunk_scales(D) + b * CHUNK * sizeof(uint16_t);
    for (size_t j = 0; j < CHUNK; j++)
        memcpy(scales + j * sizeof(uint16_t), rows.row + j * rows.stride + 34 * b,
               sizeof(uint16_t));
}

/* Two bytes of a key are one element of 16 bits. */
static void pack_keys(char *chunk, size_t D, struct full rows)
{
    for (size_t b = 0; b < D / 32; b++) {
        pack_scales(chunk, D, b, rows);
        transpose_halves(chunk + b * 32 * CHUNK, rows.row + 34 * b + 2, rows.stride, 16);
    }
}

/* Two rows of values, element by element. Unpacking works within 128 bits: elements 0 to 7 and 16
 * to 23, then the others. */
static void pack_values(char *chunk, size_t D, struct full rows)
{
    for (size_t b = 0; b < D / 32; b++) {
        const char *row = rows.row + 34 * b + 2;
        __m256i *to = (void *)(chunk + b * 32 * CHUNK);
        pack_scales(chunk, D, b, rows);
        for (size_t j = 0; j < CHUNK; j += 2, row += 2 * rows.stride, to += 2) {
            __m256i x = _mm256_loadu_si256((const void *)row);
            __m256i y = _mm256_loadu_si256((const void *)(row + rows.stride));
            __m256i low = _mm256_unpacklo_epi8(x, y), high = _mm256_unpackhi_epi8(x, y);
            _mm256_store_si256(to, _mm256_permute2x128_si256(low, high, 0x20));
            _mm256_store_si256(to + 1, _mm256_permute2x128_si256(low, high, 0x31));
        }
    }
}

/* The packed chunk of some rows. */
static void load_blocks(struct panel *panel, char *memory, const struct chunk_rows *rows, size_t D)
{
    char *v = memory + chunk_bytes(DTYPE_Q8_0, D), *spare = v + chunk_bytes(DTYPE_Q8_0, D);
    *panel = (struct panel){memory, v, 0, rows->from, rows->to, DTYPE_Q8_0};
    pack_keys(memory, D, fill_up_blocks(rows, rows->k, D, spare));
    pack_values(v, D, fill_up_blocks(rows, rows->v, D, spare));
}

/* ---- Chunks ---- */

static void load(struct panel *panel, char *memory, const struct chunk_rows *rows, size_t D,
                 enum dtype form, enum panel_use use)
{
    size_t Dv = value_stride(D);
    if (!rows->packed) {
        load_rows(panel, memory, rows, D, form, use);
        return;
    }
    *panel = (struct panel){rows->k, rows->v, 0, rows->from, rows->to, form};
    if (rows->type == form)
        return;
    panel->v_stride = Dv;
    float *k = (float *)(void *)memory, *v = k + Dv * CHUNK;
    unpack_chunk_avx512(rows->type, D, k, v, rows->k, rows->v);
    panel->k = k;
    panel->v = v;
}

void panel_load_avx512(struct panel *panel, void *memory, const struct chunk_rows *rows, size_t D,
                       enum panel_use use)
{
    bool read = rows->type == DTYPE_F16 && use != PANEL_FLOAT;
    load(panel, memory, rows, D, read ? rows->type : DTYPE_F32, use);
}

void panel_load_avx512bf16(struct panel *panel, void *memory, const struct chunk_rows *rows,
                           size_t D, enum panel_use use)
{
    if (rows->type == DTYPE_Q8_0 && use != PANEL_FLOAT && !rows->packed) {
        load_blocks(panel, memory, rows, D);
        return;
    }
    load(panel, memory, rows, D, use == PANEL_FLOAT ? DTYPE_F32 : rows->type, use);
}
