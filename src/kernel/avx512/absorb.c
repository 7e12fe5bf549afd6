/* Absorbing panels of float32 and of float16, which is widened as it is loaded. */
#include "kernel/avx512/span.h"
#include "kernel/simd/ops.h"

static void absorb_f32(const struct absorb *t)
{
    span_absorb(DTYPE_F32, t, (struct left){(const char *)t->q, t->head_dim * sizeof(float)});
}

static void absorb_f16(const struct absorb *t)
{
    span_absorb(DTYPE_F16, t, (struct left){(const char *)t->q, t->head_dim * sizeof(float)});
}

void absorb_avx512(const struct absorb *t)
{
    if (t->panels[0]->form == DTYPE_F16)
        absorb_f16(t);
    else
        absorb_f32(t);
}
