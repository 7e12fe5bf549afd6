/* One chunk of one head brought into the form of absorb: keys across, values in rows. */
#include "kernel/chunk.h"
#include "kernel/simd/ops.h"
#include "kernel/simd/simd.h"

/* The keys of LANES rows, [LANES][D] in `block`, become columns `at` and on of k [D][CHUNK]. */
static void put_columns(float *k, size_t at, const float *block, size_t D)
{
    size_t i = 0;
    for (; i + LANES <= D; i += LANES) {
        vf r[LANES];
        for (size_t j = 0; j < LANES; j++)
            r[j] = vf_load(block + j * D + i);
        vf_transpose(r);
        for (size_t j = 0; j < LANES; j++)
            vf_store(k + (i + j) * CHUNK + at, r[j]);
    }
    for (; i < D; i++)
        for (size_t j = 0; j < LANES; j++)
            k[i * CHUNK + at + j] = block[j * D + i];
}

/* Key j, or zeros where there is none. */
static void load_key(float *to, const struct chunk_rows *rows, size_t j, size_t D)
{
    if (j < rows->from || j >= rows->to) {
        memset(to, 0, D * sizeof *to);
        return;
    }
    SIMD(unpack)(rows->type, to, rows->k + (j - rows->from) * rows->stride, D);
}

/* A packed chunk is in form already; only its type may be another. For a tile or two that is
 * widened as it is read, and else once for all. */
static void load_packed(struct panel *panel, float *memory, const struct chunk_rows *rows, size_t D,
                        enum panel_use use)
{
    size_t Dv = value_stride(D);
    *panel = (struct panel){rows->k, rows->v, 0, rows->from, rows->to, rows->type};
    if (rows->type == DTYPE_F32 || use == PANEL_ONCE)
        return;
    SIMD(unpack_chunk)(rows->type, D, memory, memory + Dv * CHUNK, rows->k, rows->v);
    panel->k = memory;
    panel->v = memory + Dv * CHUNK;
    panel->v_stride = Dv;
    panel->form = DTYPE_F32;
}

/* What does not exist is zero. The place of the values holds each block of keys first. */
void SIMD(panel_load)(struct panel *panel, void *memory, const struct chunk_rows *rows, size_t D,
                      enum panel_use use)
{
    size_t Dv = value_stride(D);
    float *k = memory, *v = k + D * CHUNK;
    if (rows->packed) {
        load_packed(panel, memory, rows, D, use);
        return;
    }
    bool in_place = rows->type == DTYPE_F32 && D == Dv && use == PANEL_ONCE &&
                    rows->stride % sizeof(float) == 0;
    for (size_t at = 0; at < CHUNK; at += LANES) {
        for (size_t j = at; j < at + LANES; j++)
            load_key(v + (j - at) * D, rows, j, D);
        put_columns(k, at, v, D);
    }
    *panel = (struct panel){k, v, Dv, rows->from, rows->to, DTYPE_F32};
    if (in_place) {
        panel->v_stride = rows->stride / sizeof(float);
        panel->v = (const float *)(const void *)rows->v - rows->from * panel->v_stride;
        return;
    }
    for (size_t j = rows->from; j < rows->to; j++) {
        SIMD(unpack)(rows->type, v + j * Dv, rows->v + (j - rows->from) * rows->stride, D);
        memset(v + j * Dv + D, 0, (Dv - D) * sizeof *v);
    }
}
