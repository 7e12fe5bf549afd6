/* Absorbing panels of Q8_0. */
#include "kernel/avx512/avx512.h"
#include "kernel/avx512/span.h"

void absorb_q8_avx512(const struct absorb *t)
{
    struct q8_queries queries;
    q8_round_queries(t, &queries);
    span_absorb(DTYPE_Q8_0, t, (struct left){(const char *)&queries, 0});
}
