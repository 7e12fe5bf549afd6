/* One chunk absorbed into running states, row by row and key by key, as kernel.h writes it. */
#include <math.h>

#include "kernel/exp.h"
#include "kernel/ref/ref.h"

static bool any_nan(const float *s, uint64_t visible)
{
    for (size_t j = 0; j < CHUNK; j++)
        if ((visible >> j & 1) && isnan(s[j]))
            return true;
    return false;
}

static void absorb_row(const struct absorb *t, size_t row, uint64_t visible)
{
    size_t D = t->head_dim, Dv = value_stride(D);
    const float *q = t->q + row * D;
    float *o = t->o + row * Dv;
    float m = t->m[row];
    float s[CHUNK]; /* scores, then probabilities */

    for (size_t j = 0; j < CHUNK; j++) {
        if (!(visible >> j & 1))
            continue;
        s[j] = 0;
        for (size_t i = 0; i < D; i++)
            s[j] = fmaf(q[i], t->k[i * CHUNK + j], s[j]);
        if (s[j] > m)
            m = s[j];
    }
    if (m == -INFINITY) {
        if (!any_nan(s, visible)) /* every visible score is -inf, which is as good as masked */
            return;
        m = NAN;
    }

    float scale = exp_scalar(t->m[row] - m), sum = 0;
    for (size_t i = 0; i < Dv; i++)
        o[i] *= scale;
    for (size_t j = 0; j < CHUNK; j++) {
        if (!(visible >> j & 1))
            continue;
        float p = exp_scalar(s[j] - m);
        sum += p;
        for (size_t i = 0; i < Dv; i++)
            o[i] = fmaf(p, t->v[j * Dv + i], o[i]);
    }
    t->d[row] = fmaf(t->d[row], scale, sum);
    t->m[row] = m;
}

void absorb_ref(const struct absorb *t)
{
    for (size_t row = 0; row < t->rows; row++) {
        uint64_t visible = t->visible ? t->visible[row] : UINT64_MAX;
        if (visible)
            absorb_row(t, row, visible);
    }
}
