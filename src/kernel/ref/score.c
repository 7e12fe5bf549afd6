/* Scores that are more than a dot product. */
#include "kernel/exp.h"
#include "kernel/ref/ref.h"

void softcap_ref(float *s, size_t n, float cap)
{
    for (size_t i = 0; i < n; i++)
        s[i] = cap * tanh_scalar(s[i] / cap);
}

void additive_ref(float *s, const float *q, const float *w, const float *k, size_t D)
{
    for (size_t j = 0; j < CHUNK; j++) {
        s[j] = 0;
        for (size_t i = 0; i < D; i++)
            s[j] = fmaf(w[i], tanh_scalar(q[i] + k[i * CHUNK + j]), s[j]);
    }
}
