/* What is in the fingerprint of an engine besides the model's weights. */
#include "engine/identity.h"

#include <math.h>

/* Rotary angles come from the C library, whose results are not fixed to the last bit: they differ
 * between versions, and between processors with the same version. Where they differ at all, it
 * shows in some of these. */
static void add_library(struct fingerprint *f)
{
    enum { PROBES = 256 };
    double values[PROBES][4];
    for (size_t i = 0; i < PROBES; i++) {
        double x = 0.7 + 41.3 * (double)i;
        values[i][0] = sin(x);
        values[i][1] = cos(x);
        values[i][2] = pow(10000, -(double)i / PROBES);
        values[i][3] = log(x);
    }
    fingerprint_add(f, values, sizeof values);
}

void identity_begin(struct fingerprint *f, const struct gguf *file)
{
    *f = (struct fingerprint){0};
    add_library(f);
    fingerprint_metadata(f, file);
}

void identity_of_predictor(struct fingerprint *f, const struct gguf *file, int threads)
{
    identity_begin(f, file);
    for (size_t i = 0; i < file->tensor_count; i++)
        fingerprint_tensor(f, &file->tensors[i], threads);
}
