/* Unnormalised states: clear, merge, finish. */
#include "attention/partial.h"

#include <string.h>

#include "kernel/exp.h"

void partial_clear(struct partials p, size_t rows, size_t Dv)
{
    for (size_t r = 0; r < rows; r++)
        p.m[r] = -INFINITY;
    memset(p.d, 0, rows * sizeof *p.d);
    memset(p.o, 0, rows * Dv * sizeof *p.o);
}

/* m = max(m1, m2);  x = e^(m1-m) x1 + e^(m2-m) x2 for x = d, o. An empty side leaves the other as
 * it is, bit for bit. */
void partial_merge(struct partials into, struct partials from, size_t rows, size_t Dv)
{
    for (size_t r = 0; r < rows; r++) {
        struct partials a = partials_at(into, r, Dv), b = partials_at(from, r, Dv);
        if (*b.m == -INFINITY)
            continue;
        if (*a.m == -INFINITY) {
            *a.m = *b.m;
            *a.d = *b.d;
            memcpy(a.o, b.o, Dv * sizeof *a.o);
            continue;
        }
        float m = *a.m > *b.m ? *a.m : *b.m;
        float ea = exp_scalar(*a.m - m), eb = exp_scalar(*b.m - m);
        *a.m = m;
        *a.d = ea * *a.d + eb * *b.d;
        for (size_t i = 0; i < Dv; i++)
            a.o[i] = ea * a.o[i] + eb * b.o[i];
    }
}

float partial_finish(struct partials p, size_t D, float *v)
{
    if (*p.m == -INFINITY) {
        memset(v, 0, D * sizeof *v);
        return -INFINITY;
    }
    for (size_t i = 0; i < D; i++)
        v[i] = p.o[i] / *p.d + 0.0f; /* -0 + 0 = 0 */
    return *p.m + logf(*p.d);
}
