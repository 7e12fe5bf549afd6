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
        const char *at = from + (j - rows->from) * rows->stride;
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

/* ---- Chunks ---- */

static void load(struct panel *panel, char *memory, const struct chunk_rows *rows, size_t D,
                 enum dtype form, enum panel_use use)
{
    size_t Dv = value_stride(D);
    if (!rows->packed) {
        load_rows(panel, memory, rows, D, form, use);
        return;
    }
    *panel = (struct panel){rows->k, rows->v, Dv, rows->from, rows->to, form};
    if (rows->type == form)
        return;
    float *k = (float *)(void *)memory, *v = k + Dv * CHUNK;
    chunk_unpack_keys(unpack_avx512, rows->type, D, k, rows->k);
    chunk_unpack_values(unpack_avx512, rows->type, D, v, rows->v);
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
    bool read = (rows->type == DTYPE_F16 || rows->type == DTYPE_BF16) && use != PANEL_FLOAT;
    load(panel, memory, rows, D, read ? rows->type : DTYPE_F32, use);
}
