/* A row of results: as a line of a table, a JSON object or a line of CSV, all from the same
 * numbers. */
#include <stdlib.h>

#include "bench.h"

struct bench_numbers bench_numbers_of(const struct bench_timing *t, double operations, double bytes,
                                      double peak, const char *peak_of, uint64_t hash)
{
    double reading = bytes / t->limits.read, computing = operations / peak;
    struct bench_numbers n = {.ms = 1e3 * t->median,
                              .ms_min = 1e3 * t->least,
                              .gflops = 1e-9 * operations / t->median,
                              .gbps = 1e-9 * bytes / t->median,
                              .limit_gflops = 1e-9 * peak,
                              .limit_gbps = 1e-9 * t->limits.read};
    n.share = (reading > computing ? reading : computing) / t->median;
    n.bound = reading > computing ? "read" : peak_of;
    snprintf(n.hash, sizeof n.hash, "%016llx", (unsigned long long)hash);
    return n;
}

static int print_object(const struct bench_row *r, const struct bench_numbers *n)
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

static void print_csv(const struct bench_row *r, const struct bench_numbers *n)
{
    printf("%s,%s,%s,%zu,%zu,%zu,%zu,%zu,%d,%.9g,%.9g,%zu,%.9g,%.9g,%.9g,%s,%.9g,%.9g,%s,%s\n",
           r->name, r->kv, r->layout, r->D, r->H, r->G, r->S, r->N, r->threads, n->ms, n->ms_min,
           r->timing.runs, n->gflops, n->gbps, n->share, n->bound, n->limit_gflops, n->limit_gbps,
           r->table, n->hash);
}

static void print_line(const struct bench_row *r, const struct bench_numbers *n)
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
    struct bench_numbers n = bench_numbers_of(&row->timing, row->operations, row->bytes, row->peak,
                                              row->peak_of, row->hash);
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
    return flush_output() ? EXIT_SUCCESS : EXIT_FAILURE;
}
