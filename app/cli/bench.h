/* What all benches share: timing between measurements of the machine's limits, memory in huge
 * pages, rows of results, progress. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "commands.h"
#include "tributary/measure.h"

extern const struct command bench_attention_command, bench_model_command, bench_shared_command,
    bench_speculate_command;

/* ---- Memory ---- */

/* Zeroed memory aligned to a page, written once by `threads` threads, in huge pages where the
 * system gives them. NULL when there is none. */
void *bench_memory(size_t bytes, int threads);
void bench_memory_free(void *memory, size_t bytes);

/* Whether so much is at most half of this machine's memory. */
bool bench_memory_fits(double bytes);

trib_status bench_no_memory(trib_error *error);

/* ---- Timing ---- */

/* Something to time. Between its runs the limits are measured: `memory` is read by `threads`
 * threads, and of arithmetic what `what` names. */
struct bench_subject {
    trib_status (*run)(void *context, size_t number, trib_error *error);
    void *context;
    unsigned what;
    const void *memory;
    size_t bytes;
    int threads;
};

struct bench_timing {
    double median, least; /* seconds of a run */
    size_t runs;
    trib_limits limits; /* medians of what was measured before, between and after the runs */
};

/* Runs it for `seconds` and `repeat` times at least. */
trib_status bench_time(const struct bench_subject *subject, double seconds, size_t repeat,
                       struct bench_timing *timing, trib_error *error);

/* ---- Results ---- */

struct bench_row {
    const char *name, *kv, *layout, *table; /* table: the kernels, or a peer's name */
    size_t D, H, G, S, N;
    int threads;
    double operations, bytes; /* of a run */
    struct bench_timing timing;
    double peak;         /* of the arithmetic it uses, operations per second */
    const char *peak_of; /* "f32" */
    uint64_t hash;
};

enum bench_format { BENCH_TABLE, BENCH_JSON, BENCH_CSV };

/* What is printed of a timing: rates, and
 *
 *     share = the least time the limits allow / the median time, with
 *     the least time = max(bytes / read bandwidth, operations / peak) */
struct bench_numbers {
    double ms, ms_min, gflops, gbps, share, limit_gflops, limit_gbps;
    const char *bound; /* which limit is the nearer one: "read" or `peak_of` */
    char hash[17];
};

struct bench_numbers bench_numbers_of(const struct bench_timing *timing, double operations,
                                      double bytes, double peak, const char *peak_of,
                                      uint64_t hash);

/* Prints a row, below `title` and the names of the columns where it is `first` of its kind. */
int bench_row_print(const struct bench_row *row, enum bench_format format, bool first,
                    const char *title);

/* The line of progress, and its end; only where stderr is a terminal. */
void bench_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void bench_progress_end(void);

/* A line on stderr. */
void bench_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
