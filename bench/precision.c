/* The precision of attention, measured: the table of docs/attention.md.
 *
 * For each storage type and length a few queries attend over random keys and values. Two references
 * in float64 by the definition: over the keys and values as stored, which leaves the error of the
 * arithmetic; and over them as they were before they were rounded for storage, which adds that of
 * the type. Printed as Markdown; the seed is fixed, so a table can be made again. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention/definition.h"
#include "base/memory.h"
#include "base/rng.h"
#include "kernel/chunk.h"
#include "kernel/ref/ref.h"
#include "tributary/attention.h"

enum { T = 4 };

/* Near to normal, variance 1: the sum of 12 uniform numbers less 6. */
static float normal(uint64_t *n)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += rng_uniform(1, (*n)++);
    return (float)sum;
}

struct data {
    size_t S, D;
    float *q, *k, *v;           /* [T][D], [S][D], [S][D] */
    float *stored_k, *stored_v; /* what the chunks hold, in float32 */
    char *k_chunks, *v_chunks;
};

static void *need(void *memory)
{
    if (!memory) {
        fprintf(stderr, "precision: no memory\n");
        exit(EXIT_FAILURE);
    }
    return memory;
}

static struct data make(size_t S, size_t D)
{
    struct data d = {.S = S, .D = D};
    size_t chunks = (S + CHUNK - 1) / CHUNK, most = chunks * chunk_bytes(DTYPE_F32, D);
    uint64_t n = S + D;
    d.q = need(memory_zeroed(T * D * sizeof(float)));
    d.k = need(memory_zeroed(S * D * sizeof(float)));
    d.v = need(memory_zeroed(S * D * sizeof(float)));
    d.stored_k = need(memory_zeroed(S * D * sizeof(float)));
    d.stored_v = need(memory_zeroed(S * D * sizeof(float)));
    d.k_chunks = need(memory_zeroed(most));
    d.v_chunks = need(memory_zeroed(most));
    for (size_t i = 0; i < T * D; i++)
        d.q[i] = 2 * normal(&n); /* scores of standard deviation 2: some keys stand out */
    for (size_t i = 0; i < S * D; i++) {
        d.k[i] = normal(&n);
        d.v[i] = normal(&n);
    }
    return d;
}

static void release(struct data *d)
{
    free(d->q);
    free(d->k);
    free(d->v);
    free(d->stored_k);
    free(d->stored_v);
    free(d->k_chunks);
    free(d->v_chunks);
}

/* Stores keys and values in chunks of a type, and reads them back. */
static void store(struct data *d, enum dtype type)
{
    size_t D = d->D, Dv = value_stride(D), bytes = chunk_bytes(type, D);
    size_t chunks = (d->S + CHUNK - 1) / CHUNK;
    float *keys = need(malloc(Dv * CHUNK * sizeof *keys));
    float *values = need(malloc(Dv * CHUNK * sizeof *values));
    memset(d->k_chunks, 0, chunks * bytes);
    memset(d->v_chunks, 0, chunks * bytes);
    for (size_t i = 0; i < d->S; i++)
        chunk_store(type, D, d->k_chunks + i / CHUNK * bytes, d->v_chunks + i / CHUNK * bytes,
                    i % CHUNK, d->k + i * D, d->v + i * D);
    for (size_t i = 0; i < d->S; i++) {
        if (i % CHUNK == 0)
            unpack_chunk_ref(type, D, keys, values, d->k_chunks + i / CHUNK * bytes,
                             d->v_chunks + i / CHUNK * bytes);
        for (size_t j = 0; j < D; j++) {
            d->stored_k[i * D + j] = keys[j * CHUNK + i % CHUNK];
            d->stored_v[i * D + j] = values[i % CHUNK * Dv + j];
        }
    }
    free(keys);
    free(values);
}

static float scale_of(size_t D)
{
    return (float)(1 / sqrt((double)D));
}

static void attend(const struct data *d, enum dtype type, float *s, float *v)
{
    const trib_kernels *kernels;
    trib_error error = {0};
    trib_attention a = {
        .heads = 1, .kv_heads = 1, .head_dim = d->D, .scale = scale_of(d->D), .threads = 2};
    trib_queries q = {.q = d->q, .tokens = T, .token_stride = d->D};
    trib_segment kv = {.type = (trib_kv_type)type,
                       .layout = TRIB_KV_CHUNKS,
                       .length = d->S,
                       .k = d->k_chunks,
                       .v = d->v_chunks,
                       .key_stride = chunk_bytes(type, d->D)};
    trib_states out = {s, v, T, d->D};
    if (trib_kernels_choose(&kernels, NULL, &error) == TRIB_OK) {
        size_t bytes = trib_attend_workspace(kernels, &a, T, d->S);
        void *workspace = need(memory_zeroed(bytes));
        trib_attend(kernels, &a, &q, &kv, &out, workspace, bytes, &error);
        free(workspace);
    }
    if (error.message[0]) {
        fprintf(stderr, "precision: %s\n", error.message);
        exit(EXIT_FAILURE);
    }
}

/* The root mean square of the outputs' error against that of the outputs; *s_error: the largest of
 * the log-sum-exp. */
static double error_of(const struct data *d, const float *k, const float *v, const float *s,
                       const float *y, double *s_error)
{
    struct definition in = {.T = T,
                            .S = d->S,
                            .H = 1,
                            .G = 1,
                            .D = d->D,
                            .scale = (double)scale_of(d->D),
                            .q = d->q,
                            .k = k,
                            .v = v};
    double expected[1024], off = 0, size = 0;
    *s_error = 0;
    for (size_t t = 0; t < T; t++) {
        double e = fabs(definition_timestep(&in, t, 0, expected) - (double)s[t]);
        *s_error = e > *s_error ? e : *s_error;
        for (size_t j = 0; j < d->D; j++) {
            double x = (double)y[t * d->D + j] - expected[j];
            off += x * x;
            size += expected[j] * expected[j];
        }
    }
    return sqrt(off / size);
}

int main(void)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0};
    static const size_t lengths[] = {1024, 4096, 16384, 65536, 131072};
    const trib_kernels *kernels;
    if (trib_kernels_choose(&kernels, NULL, NULL) != TRIB_OK)
        return EXIT_FAILURE;
    printf("| KV | D | keys | arithmetic: y | arithmetic: s | with storage: y |\n"
           "| --- | --- | --- | --- | --- | --- |\n");
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (size_t D = 64; D <= 128; D *= 2)
            for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
                struct data d = make(lengths[i], D);
                float s[T], y[T * 128];
                double s_error, unused;
                store(&d, types[t]);
                attend(&d, types[t], s, y);
                double arithmetic = error_of(&d, d.stored_k, d.stored_v, s, y, &s_error);
                double whole = error_of(&d, d.k, d.v, s, y, &unused);
                printf("| %s | %zu | %zu | %.1e | %.1e | %.1e |\n", dtype_info(types[t])->name, D,
                       d.S, arithmetic, s_error, whole);
                fflush(stdout);
                release(&d);
            }
    printf("\nkernel table: %s\n", trib_kernels_name(kernels));
    return EXIT_SUCCESS;
}
