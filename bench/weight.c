/* Products with packed weights, type by type, as a share of what the machine can do: reading the
 * weights once, or the multiply-adds, whichever takes longer. Both limits are measured around and
 * between the very runs, on the same threads.
 *
 *     weight [--type LIST] [-M LIST] [-N LIST] [-K LIST] [--threads N] [--seconds T] [--mega BYTES]
 *            [--json | --csv]
 *
 * y is [M][N] over K terms. As many matrices as have --mega megabytes (256) together take turns, as
 * the layers of a model do, so that no cache holds one until it is used again. Times and limits are
 * medians. The hash is of y of the first matrix: the same for any number of threads, and of
 * block-quantised types for any table.
 */
#include <omp.h>
#include <stdio.h>

#include "base/memory.h"
#include "bench.h"
#include "kernel/weight.h"
#include "tributary/measure.h"

static const enum dtype types[] = {
#define TYPE_OF(name, number, text, block, bytes) DTYPE_##name,
    DTYPE_LIST(TYPE_OF)
#undef TYPE_OF
};

enum { TYPES = sizeof types / sizeof *types };

/* ---- One case ---- */

struct bench {
    const struct options *options;
    const struct kernels *kernels;
    enum dtype type;
    size_t M, N, K;
    size_t matrices, each; /* bytes packed */
    char *packed, *stored;
    float *x, *y;
    void *workspace;
    struct weight *weights;
};

/* Numbers of [-1/2, 1/2) as a file holds them; of blocks any bytes, but of a scale that is not
 * finite or huge, which would hide the others. */
static void draw(struct bench *b, size_t bytes)
{
    float some[256];
    size_t n = b->N * b->K;
    bool blocks = dtype_info(b->type)->block > 1;
    for (size_t i = 0; blocks && i < bytes; i++)
        b->stored[i] = (char)(rng_bits(1, i) & 0x3b);
    for (size_t i = 0; !blocks && i < n; i += 256) {
        for (size_t j = 0; j < 256; j++)
            some[j] = (float)(rng_uniform(1, i + j) - 0.5);
        b->kernels->pack(b->type, b->stored + dtype_size(b->type, i), some,
                         n - i < 256 ? n - i : 256);
    }
    for (size_t i = 0; i < b->M * b->K; i++)
        b->x[i] = (float)(rng_uniform(2, i) - 0.5);
}

static bool bench_new(struct bench *b)
{
    const struct options *o = b->options;
    size_t bytes = b->N * dtype_size(b->type, b->K);
    b->each = weight_bytes(b->kernels, b->type, b->N, b->K);
    b->matrices = b->M > 64 ? 1 : o->bytes / b->each + 1;
    b->packed = huge_new(b->matrices * b->each);
    b->stored = memory_zeroed(bytes);
    b->x = memory_zeroed(b->M * b->K * sizeof(float));
    b->y = memory_zeroed(b->M * b->N * sizeof(float));
    b->workspace = memory_zeroed(weight_workspace(b->kernels, b->M, b->K, o->threads));
    b->weights = calloc(b->matrices, sizeof *b->weights);
    if (!b->packed || !b->stored || !b->x || !b->y || !b->workspace || !b->weights)
        return false;
    draw(b, bytes);
    for (size_t i = 0; i < b->matrices; i++)
        weight_pack(&b->weights[i], b->kernels, b->type, b->N, b->K, b->stored,
                    b->packed + i * b->each, o->threads);
    return true;
}

static void bench_free(struct bench *b)
{
    if (b->packed)
        munmap(b->packed, b->matrices * b->each);
    free(b->stored);
    free(b->x);
    free(b->y);
    free(b->workspace);
    free(b->weights);
}

static void run_once(const struct bench *b, size_t matrix)
{
    struct weight_job job = {.weight = &b->weights[matrix], .y = b->y, .y_stride = b->N};
    weight_products(&job, 1, b->x, b->K, b->M, b->workspace, b->options->threads);
}

static double operations(const struct bench *b)
{
    return 2.0 * (double)b->M * (double)b->N * (double)b->K;
}

/* Seconds that a product takes at least, at the limits of this moment: of the arithmetic that the
 * table uses. */
static double least_now(const struct bench *b, const char *read)
{
    trib_limits limits = {0};
    bool f32 = b->type == DTYPE_F32 || b->type == DTYPE_F16 || !b->kernels->product_pairs;
    bool bf16 = b->type == DTYPE_BF16 && !f32;
    unsigned what = f32 ? TRIB_MEASURE_F32 : bf16 ? TRIB_MEASURE_BF16 : TRIB_MEASURE_INT8;
    trib_measure_limits(&limits, TRIB_MEASURE_READ | what, read, TRIB_MEASURE_BYTES,
                        b->options->threads, NULL);
    double peak = f32 ? limits.f32 : bf16 ? limits.bf16 : limits.int8;
    double reading = (double)b->each / limits.read, adding = operations(b) / peak;
    return reading > adding ? reading : adding;
}

static void print_row(const struct bench *b, size_t runs, double middle, double least, double limit,
                      uint64_t hash)
{
    const char *format = "%-7s %5zu %6zu %6zu %7d %10.4f %10.4f %10.4f %6zu %8.1f %9.1f %6.3f "
                         "%016llx\n";
    if (b->options->format == JSON)
        format = "{\"type\": \"%s\", \"M\": %zu, \"N\": %zu, \"K\": %zu, \"threads\": %d, "
                 "\"ms\": %.6g, \"ms_min\": %.6g, \"limit_ms\": %.6g, \"runs\": %zu, "
                 "\"gbytes\": %.6g, \"gops\": %.6g, \"share\": %.4g, \"hash\": \"%016llx\"}\n";
    if (b->options->format == CSV)
        format = "%s,%zu,%zu,%zu,%d,%.6g,%.6g,%.6g,%zu,%.6g,%.6g,%.4g,%016llx\n";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    printf(format, dtype_info(b->type)->name, b->M, b->N, b->K, b->options->threads, 1e3 * middle,
           1e3 * least, 1e3 * limit, runs, 1e-9 * (double)b->each / middle,
           1e-9 * operations(b) / middle, limit / middle, (unsigned long long)hash);
#pragma GCC diagnostic pop
    fflush(stdout);
}

/* A first run warms up and gives the hash; then runs of 30 ms together between two limits. */
static void time_case(struct bench *b, const char *read)
{
    static struct series runs, limits;
    double total = 0;
    size_t next = 0;
    runs.count = limits.count = 0;
    run_once(b, 0);
    uint64_t hash = hash_of(b->y, b->M * b->N);
    while ((total < b->options->seconds || runs.count < 3) && runs.count < RUNS_MOST) {
        limits.values[limits.count++] = least_now(b, read);
        for (double slice = 0, took; slice < 0.03 && runs.count < RUNS_MOST; slice += took) {
            next = (next + 1) % b->matrices;
            double start = seconds_now();
            run_once(b, next);
            took = seconds_now() - start;
            runs.values[runs.count++] = took;
            total += took;
        }
    }
    double middle = median(&runs);
    print_row(b, runs.count, middle, runs.values[0], median(&limits), hash);
}

static bool run(const struct options *o, const struct kernels *kernels, enum dtype type,
                const size_t shape[3], const char *read)
{
    struct bench b = {.options = o,
                      .kernels = kernels,
                      .type = type,
                      .M = shape[0],
                      .N = shape[1],
                      .K = shape[2]};
    bool done = bench_new(&b);
    if (done)
        time_case(&b, read);
    bench_free(&b);
    return done;
}

static bool run_all(const struct options *o, const struct kernels *kernels, const char *read)
{
    for (size_t type = 0; type < TYPES; type++)
        for (size_t m = 0; m < o->M.count; m++)
            for (size_t n = 0; n < o->N.count; n++)
                for (size_t k = 0; k < o->K.count; k++) {
                    size_t shape[3] = {o->M.values[m], o->N.values[n], o->K.values[k]};
                    if (listed(o->types, dtype_info(types[type])->name) &&
                        !run(o, kernels, types[type], shape, read))
                        return false;
                }
    return true;
}

int main(int argc, char **argv)
{
    struct options o = {.M = {4, {1, 8, 32, 512}},
                        .N = {1, {8192}},
                        .K = {1, {2048}},
                        .types = "F32,F16,BF16,Q8_0,Q4_0,Q4_K,Q6_K",
                        .threads = omp_get_num_procs(),
                        .seconds = 0.2,
                        .bytes = (size_t)256 << 20};
    const struct kernels *kernels;
    trib_error error;
    if (!parse_options(&o, argc, argv)) {
        fprintf(stderr, "usage: weight [--type LIST] [-M LIST] [-N LIST] [-K LIST] [--threads N] "
                        "[--seconds T] [--mega BYTES] [--json | --csv]\n");
        return 2;
    }
    if (kernels_choose(&kernels, getenv("TRIB_CPU"), &error) != TRIB_OK) {
        fprintf(stderr, "weight: %s\n", error.message);
        return EXIT_FAILURE;
    }
    void *read = huge_new(TRIB_MEASURE_BYTES);
    if (o.format == TABLE)
        printf("kernels %s\n%-7s %5s %6s %6s %7s %10s %10s %10s %6s %8s %9s %6s %s\n",
               kernels->name, "type", "M", "N", "K", "threads", "ms", "min ms", "limit ms", "runs",
               "GB/s", "GOP/s", "share", "hash");
    if (o.format == CSV)
        puts("type,M,N,K,threads,ms,ms_min,limit_ms,runs,gbytes,gops,share,hash");
    bool done = read && run_all(&o, kernels, read);
    if (!done)
        fprintf(stderr, "weight: no memory\n");
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
