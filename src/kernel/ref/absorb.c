/* The steps of the canonical fold in plain C, as kernel.h writes them: panels, absorb, merge. */
#include <math.h>
#include <string.h>

#include "kernel/chunk.h"
#include "kernel/exp.h"
#include "kernel/ref/ref.h"

/* Keys go across, values stay rows; what does not exist is zero. */
void panel_load_ref(struct panel *panel, void *memory, const struct chunk_rows *rows, size_t D,
                    enum panel_use use)
{
    (void)use;
    size_t Dv = value_stride(D);
    float *k = memory, *v = k + D * CHUNK;
    *panel = (struct panel){k, v, Dv, rows->from, rows->to, DTYPE_F32};
    if (rows->packed) {
        v = k + Dv * CHUNK;
        unpack_chunk_ref(rows->type, D, k, v, rows->k, rows->v);
        panel->v = v;
        return;
    }
    memset(memory, 0, panel_bytes(D));
    for (size_t j = rows->from; j < rows->to; j++) {
        size_t at = (j - rows->from) * rows->stride;
        float *row = v + j * Dv; /* the value's place holds the key first */
        unpack_ref(rows->type, row, rows->k + at, D);
        for (size_t i = 0; i < D; i++)
            k[i * CHUNK + j] = row[i];
        unpack_ref(rows->type, row, rows->v + at, D);
    }
}

/* The scores of one row, -inf where masked. */
static void scores(const struct absorb *t, size_t c, float *s)
{
    const float *k = t->panels[c]->k;
    for (size_t row = 0; row < t->rows; row++)
        for (size_t j = 0; j < CHUNK; j++) {
            float *sum = &s[row * CHUNK + j];
            *sum = 0;
            if (t->visible[c] && !(t->visible[c][row] >> j & 1))
                continue;
            for (size_t i = 0; i < t->head_dim; i++)
                *sum = fmaf(t->q[row * t->head_dim + i], k[i * CHUNK + j], *sum);
        }
    if (t->score)
        t->score(t->context, c, s);
}

/* One row takes one chunk, s [CHUNK] its scores. */
static void absorb_row(const struct absorb *t, const struct panel *panel, size_t row,
                       const float *s, uint64_t visible)
{
    size_t Dv = value_stride(t->head_dim);
    const float *v = panel->v;
    float *o = t->o + row * Dv, m = t->m[row];
    bool nan = false;

    for (size_t j = 0; j < CHUNK; j++)
        if (visible >> j & 1) {
            m = s[j] > m ? s[j] : m;
            nan = nan || isnan(s[j]);
        }
    if (m == -INFINITY) {
        if (!nan) /* every visible score is -inf, which is as good as masked */
            return;
        m = NAN;
    }
    float scale = exp2_scalar(t->m[row] - m), sum = 0;
    for (size_t i = 0; i < Dv; i++)
        o[i] *= scale;
    for (size_t j = 0; j < CHUNK; j++) {
        if (!(visible >> j & 1))
            continue;
        float p = exp2_scalar(s[j] - m);
        sum += p;
        for (size_t i = 0; i < t->head_dim; i++)
            o[i] = fmaf(p, v[j * panel->v_stride + i], o[i]);
    }
    t->d[row] = fmaf(t->d[row], scale, sum);
    t->m[row] = m;
}

void absorb_ref(const struct absorb *t)
{
    float s[TILE_ROWS_REF * CHUNK];
    for (size_t c = 0; c < t->chunks; c++) {
        scores(t, c, s);
        for (size_t row = 0; row < t->rows; row++) {
            uint64_t visible = t->visible[c] ? t->visible[c][row] : UINT64_MAX;
            if (visible)
                absorb_row(t, t->panels[c], row, s + row * CHUNK, visible);
        }
    }
}

void merge_ref(const struct partials *into, const struct partials *from, size_t rows, size_t D)
{
    size_t Dv = value_stride(D);
    for (size_t r = 0; r < rows; r++) {
        float *a = into->o + r * Dv, *b = from->o + r * Dv, m1 = into->m[r], m2 = from->m[r];
        if (m2 == -INFINITY)
            continue;
        float m = m1 > m2 ? m1 : m2;
        float x1 = m1 == -INFINITY ? 0 : exp2_scalar(m1 - m), x2 = exp2_scalar(m2 - m);
        into->m[r] = m;
        into->d[r] = fmaf(x1, into->d[r], x2 * from->d[r]);
        for (size_t i = 0; i < Dv; i++)
            a[i] = fmaf(x1, a[i], x2 * b[i]);
    }
}
