/* Products with dense weights as a share of what the machine can do: reading the weights once, or
 * the multiply-adds, whichever takes longer; both limits are measured between the very runs.
 *
 *     weight_dense [--type LIST] [-M LIST] [-N LIST] [-K LIST] [--megabytes N] [--threads N]
 *                  [--seconds T]
 *
 * M is the rows of x, N and K the outputs and inputs of one matrix. Products go through as many
 * matrices as fill the memory, so that each comes from there, as in a model. Times and limits are
 * medians. The hash is of y: the same for any number of threads.
 */
#include <getopt.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/memory.h"
#include "base/rng.h"
#include "kernel/weight_class.h"
#include "tributary/measure.h"

enum { LIST_MOST = 16, RUNS_MOST = 10000 };

struct list {
    size_t count, values[LIST_MOST];
};

struct options {
    struct list M, N, K;
    const char *types;
    size_t megabytes;
    int threads;
    double seconds;
};

struct series {
    size_t count;
    double values[RUNS_MOST];
};

/* Matrices one behind the other, and what a product with one of them needs. */
struct set {
    const struct kernels *kernels;
    size_t rows, count, bytes;
    struct weight *weights; /* [count] */
    char *memory;           /* [count][bytes] */
    float *x, *y;           /* [rows][K], [rows][N] */
    char *prepared;
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the series. */
static double median(struct series *s)
{
    qsort(s->values, s->count, sizeof *s->values, compare);
    return s->values[s->count / 2];
}

static uint64_t hash_of(const float *c, size_t n)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, c + i, sizeof bits);
        hash = rng_bits(hash ^ bits, i);
    }
    return hash;
}

/* Panels of the matrix, cut over the threads. */
static void multiply(const struct set *s, size_t matrix, int threads)
{
    const struct weight *w = &s->weights[matrix];
    struct weight_job job = {.weight = w, .y = s->y, .y_stride = w->outputs};
    size_t panels = (w->outputs + weight_dense.panel_outputs - 1) / weight_dense.panel_outputs;
    size_t row = weight_dense.row_bytes(w->kernels, w->type, w->inputs);
#pragma omp parallel num_threads(threads)
    {
        size_t i = (size_t)omp_get_thread_num(), n = (size_t)omp_get_num_threads();
        size_t first = s->rows * i / n, end = s->rows * (i + 1) / n;
        weight_dense.prepare(w, s->prepared + first * row, s->x + first * w->inputs, w->inputs,
                             end - first);
#pragma omp barrier
        weight_dense.compute(&job, s->prepared, s->rows, panels * i / n, panels * (i + 1) / n);
    }
}

/* Numbers of [-1/2, 1/2) as a file holds them. */
static void draw_stored(const struct kernels *kernels, enum dtype type, void *out, size_t n)
{
    float some[256];
    for (size_t i = 0; i < n; i += 256) {
        for (size_t j = 0; j < 256; j++)
            some[j] = (float)(rng_uniform(1, i + j) - 0.5);
        kernels->pack(type, (char *)out + dtype_size(type, i), some, n - i < 256 ? n - i : 256);
    }
}

static void set_free(struct set *s)
{
    free(s->weights);
    free(s->memory);
    free(s->x);
    free(s->y);
    free(s->prepared);
}

/* Pages of 2 MiB where the system has them: reading 4 KiB ones costs a tenth. */
static void *large_pages(size_t bytes)
{
    enum { LARGE = 1 << 21 };
    void *memory = aligned_alloc(LARGE, (bytes + LARGE - 1) / LARGE * LARGE);
    if (memory)
        madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

static bool set_new(struct set *s, const struct options *o, enum dtype type, size_t N, size_t K)
{
    s->bytes = weight_dense.bytes(s->kernels, type, N, K);
    s->count = (o->megabytes << 20) / s->bytes;
    s->count += !s->count;
    s->weights = memory_zeroed(s->count * sizeof *s->weights);
    s->memory = large_pages(s->count * s->bytes);
    s->x = memory_zeroed(s->rows * K * sizeof *s->x);
    s->y = memory_zeroed(s->rows * N * sizeof *s->y);
    s->prepared = memory_zeroed(s->rows * weight_dense.row_bytes(s->kernels, type, K));
    void *stored = memory_zeroed(N * dtype_size(type, K));
    bool had = s->weights && s->memory && s->x && s->y && s->prepared && stored;
    if (had) {
        draw_stored(s->kernels, type, stored, N * K);
        for (size_t i = 0; i < s->rows * K; i++)
            s->x[i] = (float)(rng_uniform(2, i) - 0.5);
        for (size_t i = 0; i < s->count; i++) {
            s->weights[i] =
                (struct weight){s->kernels, type, N, K, s->memory + i * s->bytes};
            weight_dense.pack(&s->weights[i], stored, 0,
                              (N + weight_dense.panel_outputs - 1) / weight_dense.panel_outputs);
        }
    }
    free(stored);
    return had;
}

/* Seconds that a product takes at least, at the limits of this moment. */
static double bound(const struct set *s, const struct options *o)
{
    const struct weight *w = &s->weights[0];
    bool bf16 = w->type == DTYPE_BF16 && s->kernels->product_pairs;
    trib_limits limits = {0};
    trib_measure_limits(&limits, TRIB_MEASURE_READ | (bf16 ? TRIB_MEASURE_BF16 : TRIB_MEASURE_F32),
                        s->memory, s->count * s->bytes, o->threads, NULL);
    double operations = 2.0 * (double)s->rows * (double)w->outputs * (double)w->inputs;
    double reading = (double)s->bytes / limits.read;
    double adding = operations / (bf16 ? limits.bf16 : limits.f32);
    return reading > adding ? reading : adding;
}

/* Every matrix once, to warm up; then runs of 50 ms or more between two measurements of the limits.
 */
static void time_products(const struct set *s, const struct options *o)
{
    static struct series runs, bounds;
    const struct weight *w = &s->weights[0];
    double total = 0;
    size_t next = 0;
    runs.count = bounds.count = 0;
    for (size_t i = 0; i < s->count; i++)
        multiply(s, i, o->threads);
    uint64_t hash = hash_of(s->y, s->rows * w->outputs);
    while ((total < o->seconds || runs.count < 3) && runs.count < RUNS_MOST) {
        bounds.values[bounds.count++] = bound(s, o);
        for (double slice = 0, took; slice < 0.05 && runs.count < RUNS_MOST; slice += took) {
            double start = seconds_now();
            multiply(s, next++ % s->count, o->threads);
            took = seconds_now() - start;
            runs.values[runs.count++] = took;
            total += took;
        }
    }
    double middle = median(&runs), least = median(&bounds);
    double operations = 2.0 * (double)s->rows * (double)w->outputs * (double)w->inputs;
    printf("%-5s %6zu %6zu %6zu %7d %10.4f %10.4f %6zu %8.1f %9.1f %6.3f %016llx\n",
           dtype_info(w->type)->name, s->rows, w->outputs, w->inputs, o->threads, 1e3 * middle,
           1e3 * least, runs.count, 1e-9 * (double)s->bytes / middle, 1e-9 * operations / middle,
           least / middle, (unsigned long long)hash);
    fflush(stdout);
}

static bool run(const struct options *o, const struct kernels *kernels, enum dtype type, size_t N,
                size_t K)
{
    struct set s = {.kernels = kernels};
    for (size_t m = 0; m < o->M.count; m++) {
        s.rows = o->M.values[m];
        bool had = set_new(&s, o, type, N, K);
        if (had)
            time_products(&s, o);
        set_free(&s);
        if (!had)
            return false;
    }
    return true;
}

static bool parse_list(struct list *list, const char *text)
{
    char *end;
    for (list->count = 0; list->count < LIST_MOST; text = end + 1) {
        size_t value = strtoull(text, &end, 10);
        if (end == text || value < 1 || value > 1 << 20 || (*end && *end != ','))
            return false;
        list->values[list->count++] = value;
        if (!*end)
            return true;
    }
    return false;
}

static bool parse(struct options *o, int argc, char **argv)
{
    static const struct option rows[] = {{"type", 1, NULL, 't'},    {"megabytes", 1, NULL, 'b'},
                                         {"threads", 1, NULL, 'j'}, {"seconds", 1, NULL, 's'},
                                         {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "M:N:K:", rows, NULL)) != -1;) {
        bool good = c != '?';
        if (c == 'M' || c == 'N' || c == 'K')
            good = parse_list(c == 'M' ? &o->M : c == 'N' ? &o->N : &o->K, optarg);
        else if (c == 't')
            o->types = optarg;
        else if (c == 'b')
            good = (o->megabytes = strtoull(optarg, NULL, 10)) > 0 && o->megabytes < 1 << 20;
        else if (c == 'j')
            good = (o->threads = atoi(optarg)) > 0;
        else if (c == 's')
            o->seconds = atof(optarg);
        if (!good)
            return false;
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    static const enum dtype types[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};
    static const char *const names[] = {"bf16", "f16", "f32"};
    struct options o = {.M = {5, {1, 4, 8, 32, 512}},
                        .N = {1, {4096}},
                        .K = {1, {4096}},
                        .types = "bf16,f16,f32",
                        .megabytes = 512,
                        .threads = omp_get_num_procs(),
                        .seconds = 0.3};
    const struct kernels *kernels;
    trib_error error;
    if (!parse(&o, argc, argv)) {
        fprintf(stderr, "usage: weight_dense [--type bf16,f16,f32] [-M LIST] [-N LIST] [-K LIST] "
                        "[--megabytes N] [--threads N] [--seconds T]\n");
        return 2;
    }
    if (kernels_choose(&kernels, getenv("TRIB_CPU"), &error) != TRIB_OK) {
        fprintf(stderr, "weight_dense: %s\n", error.message);
        return EXIT_FAILURE;
    }
    printf("kernels %s\n%-5s %6s %6s %6s %7s %10s %10s %6s %8s %9s %6s %s\n", kernels->name,
           "type", "M", "N", "K", "threads", "ms", "limit ms", "runs", "GB/s", "GFLOP/s", "share",
           "hash");
    for (size_t type = 0; type < 3; type++)
        for (size_t n = 0; n < o.N.count; n++)
            for (size_t k = 0; k < o.K.count; k++)
                if (strstr(o.types, names[type]) &&
                    !run(&o, kernels, types[type], o.N.values[n], o.K.values[k])) {
                    fprintf(stderr, "weight_dense: no memory\n");
                    return EXIT_FAILURE;
                }
    return EXIT_SUCCESS;
}
