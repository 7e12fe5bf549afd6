/* Unnormalised states: clear, begin, finish. */
#include "attention/partial.h"

#include <math.h>
#include <string.h>

#include "attention/nan.h"
#include "attention/score.h"

static const float ln2 = 0x1.62e430p-1f;

void partial_clear(struct partials p, size_t rows, size_t D)
{
    for (size_t r = 0; r < rows; r++)
        p.m[r] = -INFINITY;
    memset(p.d, 0, rows * sizeof *p.d);
    memset(p.o, 0, rows * value_stride(D) * sizeof *p.o);
}

void partial_clear_empty(struct partials p, size_t rows, size_t D)
{
    for (size_t r = 0; r < rows; r++)
        if (p.m[r] == -INFINITY)
            partial_clear(partials_at(p, r, D), 1, D);
}

void partial_from_state(struct partials p, float s, const float *v, size_t D)
{
    partial_clear(p, 1, D);
    if (s == -INFINITY)
        return;
    *p.m = score_to_log2(s);
    *p.d = 1;
    memcpy(p.o, v, D * sizeof *v);
}

bool partial_is_state(struct partials p, float s, const float *v, size_t D)
{
    float m = score_to_log2(s);
    return memcmp(p.m, &m, sizeof m) == 0 && *p.d == (s == -INFINITY ? 0.0f : 1.0f) &&
           memcmp(p.o, v, D * sizeof *v) == 0;
}

float partial_finish(struct partials p, size_t D, float *v)
{
    if (*p.m == -INFINITY) {
        memset(v, 0, D * sizeof *v);
        return -INFINITY;
    }
    for (size_t i = 0; i < D; i++)
        v[i] = one_nan(p.o[i] / *p.d + 0.0f); /* -0 + 0 = 0 */
    return one_nan(*p.m * ln2 + logf(*p.d));
}
