/* Matrix products, shape by shape, as a share of the arithmetic peak that is measured around and
 * between the very runs, on the same threads.
 *
 *     product [--use LIST] [--type LIST] [-M LIST] [-N LIST] [-K LIST] [--threads N]
 *             [--seconds T] [--json | --csv]
 *
 * c is [M][N] over K terms, whichever way a and b lie: forward y = x w^T, input dx = dy w, weight
 * dw += dy^T x. Times and peaks are medians. The hash is of c: the same for any number of threads.
 */
#include <omp.h>
#include <stdio.h>

#include "base/memory.h"
#include "bench.h"
#include "kernel/product.h"
#include "tributary/measure.h"

enum { FORWARD = 0, INPUT = 1, WEIGHT = 2, USES = 3 };

static const char *const use_names[USES] = {"forward", "input", "weight"};
static const char *const type_names[2] = {"f32", "bf16"};

static float *draw(size_t n, uint64_t seed)
{
    float *x = memory_zeroed(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++)
        x[i] = (float)(rng_uniform(seed, i) - 0.5);
    return x;
}

static struct product problem(size_t use, enum dtype type, size_t M, size_t N, size_t K)
{
    struct product p = {.M = M, .N = N, .K = K, .c_m = N, .arithmetic = type};
    p.a_m = use == WEIGHT ? 1 : K;
    p.a_k = use == WEIGHT ? M : 1;
    p.b_k = use == FORWARD ? 1 : N;
    p.b_n = use == FORWARD ? K : 1;
    p.accumulate = use == WEIGHT;
    return p;
}

static void print_row(const struct options *o, const struct product *p, size_t use, size_t runs,
                      double middle, double least, double peak, uint64_t hash)
{
    double operations = 2.0 * (double)p->M * (double)p->N * (double)p->K;
    double rate = 1e-9 * operations / middle, share = operations / middle / peak;
    const char *format = "%-8s %-5s %6zu %6zu %6zu %7d %10.4f %10.4f %6zu %9.1f %9.1f %6.3f "
                         "%016llx\n";
    if (o->format == JSON)
        format = "{\"use\": \"%s\", \"type\": \"%s\", \"M\": %zu, \"N\": %zu, \"K\": %zu, "
                 "\"threads\": %d, \"ms\": %.6g, \"ms_min\": %.6g, \"runs\": %zu, \"gflops\": "
                 "%.6g, \"limit_gflops\": %.6g, \"share\": %.4g, \"hash\": \"%016llx\"}\n";
    if (o->format == CSV)
        format = "%s,%s,%zu,%zu,%zu,%d,%.6g,%.6g,%zu,%.6g,%.6g,%.4g,%016llx\n";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    printf(format, use_names[use], type_names[p->arithmetic == DTYPE_BF16], p->M, p->N, p->K,
           o->threads, 1e3 * middle, 1e3 * least, runs, rate, 1e-9 * peak, share,
           (unsigned long long)hash);
#pragma GCC diagnostic pop
    fflush(stdout);
}

/* A first run warms up and gives the hash; then runs of 50 ms together between two peaks. */
static void time_product(const struct options *o, const struct kernels *kernels, struct product p,
                         size_t use, float *c, void *workspace)
{
    static struct series runs, peaks;
    bool bf16 = p.arithmetic == DTYPE_BF16 && kernels->product_pairs;
    double total = 0;
    runs.count = peaks.count = 0;
    product(kernels, &p, workspace, o->threads);
    uint64_t hash = hash_of(c, p.M * p.N);
    while ((total < o->seconds || runs.count < 3) && runs.count < RUNS_MOST) {
        trib_limits limits = {0};
        trib_measure_limits(&limits, bf16 ? TRIB_MEASURE_BF16 : TRIB_MEASURE_F32, NULL, 0,
                            o->threads, NULL);
        peaks.values[peaks.count++] = bf16 ? limits.bf16 : limits.f32;
        for (double slice = 0, took; slice < 0.05 && runs.count < RUNS_MOST; slice += took) {
            double start = seconds_now();
            product(kernels, &p, workspace, o->threads);
            took = seconds_now() - start;
            runs.values[runs.count++] = took;
            total += took;
        }
    }
    double middle = median(&runs);
    print_row(o, &p, use, runs.count, middle, runs.values[0], median(&peaks), hash);
}

static bool run(const struct options *o, const struct kernels *kernels, size_t use, size_t type,
                size_t M, size_t N, size_t K)
{
    struct product p = problem(use, type ? DTYPE_BF16 : DTYPE_F32, M, N, K);
    float *a = draw(M * K, 1), *b = draw(K * N, 2), *c = draw(M * N, 3);
    void *workspace = memory_zeroed(product_workspace(kernels, &p, o->threads));
    bool done = a && b && c && workspace;
    p.a = a;
    p.b = b;
    p.c = c;
    if (done)
        time_product(o, kernels, p, use, c, workspace);
    free(a);
    free(b);
    free(c);
    free(workspace);
    return done;
}

int main(int argc, char **argv)
{
    struct options o = {.M = {1, {2048}},
                        .N = {2, {384, 1536}},
                        .K = {2, {384, 1536}},
                        .uses = "forward,input,weight",
                        .types = "f32,bf16",
                        .threads = omp_get_num_procs(),
                        .seconds = 0.2};
    const struct kernels *kernels;
    trib_error error;
    if (!parse_options(&o, argc, argv)) {
        fprintf(stderr, "usage: product [--use forward,input,weight] [--type f32,bf16] [-M LIST] "
                        "[-N LIST] [-K LIST] [--threads N] [--seconds T] [--json | --csv]\n");
        return 2;
    }
    if (kernels_choose(&kernels, getenv("TRIB_CPU"), &error) != TRIB_OK) {
        fprintf(stderr, "product: %s\n", error.message);
        return EXIT_FAILURE;
    }
    if (o.format == TABLE)
        printf("kernels %s\n%-8s %-5s %6s %6s %6s %7s %10s %10s %6s %9s %9s %6s %s\n",
               kernels->name, "use", "type", "M", "N", "K", "threads", "ms", "min ms", "runs",
               "GFLOP/s", "peak", "share", "hash");
    if (o.format == CSV)
        puts("use,type,M,N,K,threads,ms,ms_min,runs,gflops,limit_gflops,share,hash");
    for (size_t type = 0; type < 2; type++)
        for (size_t use = 0; use < USES; use++)
            for (size_t m = 0; m < o.M.count; m++)
                for (size_t n = 0; n < o.N.count; n++)
                    for (size_t k = 0; k < o.K.count; k++)
                        if (listed(o.types, type_names[type]) && listed(o.uses, use_names[use]) &&
                            !run(&o, kernels, use, type, o.M.values[m], o.N.values[n],
                                 o.K.values[k])) {
                            fprintf(stderr, "product: no memory\n");
                            return EXIT_FAILURE;
                        }
    return EXIT_SUCCESS;
}
