/* A row of results: as a line of a table, a JSON object or a line of CSV, all from the same
 * numbers.
 *
 * share = the least time the limits allow / the median time, with
 * the least time = max(bytes / read bandwidth, operations / peak).
 */
#include <stdlib.h>

#include "bench.h"

struct numbers {
    double ms, ms_min, gflops, gbps, share, limit_gflops, limit_gbps;
    const char *bound; /* which limit is the nearer one */
    char hash[17];
};

static struct numbers numbers_of(const struct bench_row *row)
{
    const struct bench_timing *t = &row->timing;
    double reading = row->bytes / t->limits.read, computing = row->operations / row->peak;
    struct numbers n = {.ms = 1e3 * t->median,
                        .ms_min = 1e3 * t->least,
                        .gflops = 1e-9 * row->operations / t->median,
                        .gbps = 1e-9 * row->bytes / t->median,
                        .limit_gflops = 1e-9 * row->peak,
                        .limit_gbps = 1e-9 * t->limits.read};
    n.share = (reading > computing ? reading : computing) / t->median;
    n.bound = reading > computing ? "read" : row->peak_of;
    snprintf(n.hash, sizeof n.hash, "%016llx", (unsigned long long)row->hash);
    return n;
}

static int print_object(const struct bench_row *r, const struct numbers *n)
{
    return print_json(json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:f, s:f, s:I, s:f, s:f, s:f, s:s, s:f, "
        "s:f, s:s, s:s}",
        "case", r->name, "kv", r->kv, "layout", r->layout, "D", (json_int_t)r->D, "H",
        (json_int_t)r->H, "G", (json_int_t)r->G, "S", (json_int_t)r->S, "N", (json_int_t)r->N,
        "threads", r->threads, "ms", n->ms, "ms_min", n->ms_min, "runs", (json_int_t)r->timing.runs,
        "gflops", n->gflops, "gbps", n->gbps, "share", n->share, "bound", n->bound, "limit_gflops",
        n->limit_gflops, "limit_gbps", n->limit_gbps, "table", r->table, "hash", n->hash));
}

static void print_csv(const struct bench_row *r, const struct numbers *n)
{
    printf("%s,%s,%s,%zu,%zu,%zu,%zu,%zu,%d,%.9g,%.9g,%zu,%.9g,%.9g,%.9g,%s,%.9g,%.9g,%s,%s\n",
           r->name, r->kv, r->layout, r->D, r->H, r->G, r->S, r->N, r->threads, n->ms, n->ms_min,
           r->timing.runs, n->gflops, n->gbps, n->share, n->bound, n->limit_gflops, n->limit_gbps,
           r->table, n->hash);
}

static void print_line(const struct bench_row *r, const struct numbers *n)
{
    printf("%-5s %4zu %3zu %3zu %7zu %6zu %11.4f %11.4f %8.1f %7.2f %6.1f%% %-5s %-11s %s\n", r->kv,
           r->D, r->H, r->G, r->S, r->N, n->ms, n->ms_min, n->gflops, n->gbps, 100 * n->share,
           n->bound, r->table, n->hash);
}

int bench_row_print(const struct bench_row *row, enum bench_format format, bool first,
                    const char *title)
{
    static const char csv_head[] = "case,kv,layout,D,H,G,S,N,threads,ms,ms_min,runs,gflops,gbps,"
                                   "share,bound,limit_gflops,limit_gbps,table,hash";
    struct numbers n = numbers_of(row);
    bench_progress_end();
    if (format == BENCH_JSON)
        return print_object(row, &n);
    if (format == BENCH_CSV) {
        if (first)
            puts(csv_head);
        print_csv(row, &n);
    } else {
        if (first)
            printf("\n%s\n%-5s %4s %3s %3s %7s %6s %11s %11s %8s %7s %7s %-5s %-11s %s\n", title,
                   "kv", "D", "H", "G", "S", "N", "ms", "min ms", "GFLOP/s", "GB/s", "share", "of",
                   "table", "hash");
        print_line(row, &n);
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
