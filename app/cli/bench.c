/* trib bench WHAT: finds the bench; and what all benches share.
 *
 * The rule of timing: a share is taken against limits measured around and between the very runs, on
 * the same threads. Times and limits are both medians: one against the other's best would flatter
 * or wrong what is timed, as the machine's speed drifts.
 */
#include "bench.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* ---- Command ---- */

static const struct command *const benches[] = {&bench_attention_command, &bench_model_command,
                                                &bench_shared_command, &bench_speculate_command};

enum { BENCHES = sizeof benches / sizeof benches[0] };

/* Without the name of a bench a file, or an option other than --help, is for the bench of models.
 */
static bool is_of_models(const char *argument)
{
    if (argument[0] == '-')
        return strcmp(argument, "-h") != 0 && strcmp(argument, "--help") != 0;
    return access(argument, F_OK) == 0;
}

static int run(const struct command *self, int argc, char **argv)
{
    int first, status = command_run_part(self, argc, argv);
    if (status >= 0)
        return status;
    if (argc > 1 && is_of_models(argv[1]))
        return bench_model_command.run(&bench_model_command, argc, argv);
    status = options_parse(self, argc, argv, NULL, &first);
    if (status >= 0)
        return status;
    if (first < argc) {
        fprintf(
            stderr,
            "trib bench: there is no bench and no file '%s'. 'trib bench' lists what there is.\n",
            argv[first]);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < self->part_count; i++)
        printf("%-12s %s\n", command_part(self, i), self->parts[i]->summary);
    return EXIT_SUCCESS;
}

const struct command bench_command = {
    .name = "bench",
    .operands = "WHAT | MODEL...",
    .summary = "Measure how fast things are, and how fast this machine could be",
    .description =
        "Without WHAT it lists what there is to measure. Model files are measured by the "
        "bench of models.",
    .operands_most = 1,
    .run = run,
    .parts = benches,
    .part_count = BENCHES,
};

/* ---- Memory ---- */

void *bench_memory(size_t bytes, int threads)
{
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t at = 0; at < bytes; at += 4096)
        memory[at] = 0;
    return memory;
}

void bench_memory_free(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}

bool bench_memory_fits(double bytes)
{
    return bytes <= 0.5 * (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

/* ---- Timing ---- */

/* Between two measurements of the limits runs take this time, or one run does. */
static const double slice_seconds = 0.05;

/* A run of this time needs no other to warm up. */
static const double long_seconds = 1;

struct series {
    double *values;
    size_t count, capacity;
};

static bool series_add(struct series *s, double value)
{
    if (s->count == s->capacity) {
        size_t capacity = 2 * s->capacity + 64;
        double *larger = realloc(s->values, capacity * sizeof *larger);
        if (!larger)
            return false;
        s->values = larger;
        s->capacity = capacity;
    }
    s->values[s->count++] = value;
    return true;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the series. */
static double series_median(struct series *s)
{
    if (s->count == 0)
        return 0;
    qsort(s->values, s->count, sizeof *s->values, compare);
    return 0.5 * (s->values[(s->count - 1) / 2] + s->values[s->count / 2]);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

enum { READ, F32, BF16, INT8, LIMITS };

struct timer {
    const struct bench_subject *subject;
    struct series runs, limits[LIMITS];
    double total; /* seconds of the runs */
    size_t number;
};

trib_status bench_no_memory(trib_error *error)
{
    error->status = TRIB_NO_MEMORY;
    snprintf(error->message, sizeof error->message, "no memory for what is to be measured");
    return TRIB_NO_MEMORY;
}

static trib_status timer_limits(struct timer *t, trib_error *error)
{
    const struct bench_subject *s = t->subject;
    trib_limits l = {0};
    trib_status status = trib_measure_limits(&l, s->what | TRIB_MEASURE_READ, s->memory, s->bytes,
                                             s->threads, error);
    if (status != TRIB_OK)
        return status;
    bool kept = series_add(&t->limits[READ], l.read) && series_add(&t->limits[F32], l.f32) &&
                series_add(&t->limits[BF16], l.bf16) && series_add(&t->limits[INT8], l.int8);
    return kept ? TRIB_OK : bench_no_memory(error);
}

static trib_status timer_run(struct timer *t, double *seconds, trib_error *error)
{
    double start = seconds_now();
    trib_status status = t->subject->run(t->subject->context, t->number++, error);
    *seconds = seconds_now() - start;
    return status;
}

static trib_status timer_keep(struct timer *t, double seconds, trib_error *error)
{
    t->total += seconds;
    return series_add(&t->runs, seconds) ? TRIB_OK : bench_no_memory(error);
}

/* Runs for a slice of time, and the limits after it. */
static trib_status timer_slice(struct timer *t, trib_error *error)
{
    double slice = 0, seconds;
    trib_status status = TRIB_OK;
    while (status == TRIB_OK && slice < slice_seconds) {
        if ((status = timer_run(t, &seconds, error)) == TRIB_OK)
            status = timer_keep(t, seconds, error);
        slice += seconds;
    }
    return status == TRIB_OK ? timer_limits(t, error) : status;
}

trib_status bench_time(const struct bench_subject *subject, double seconds, size_t repeat,
                       struct bench_timing *timing, trib_error *error)
{
    struct timer t = {.subject = subject};
    double first;
    trib_status status;
    if ((status = timer_limits(&t, error)) || (status = timer_run(&t, &first, error)))
        goto done;
    if (first >= long_seconds &&
        ((status = timer_keep(&t, first, error)) || (status = timer_limits(&t, error))))
        goto done;
    while (status == TRIB_OK && (t.runs.count < repeat || t.total < seconds))
        status = timer_slice(&t, error);
    if (status != TRIB_OK)
        goto done;
    timing->median = series_median(&t.runs);
    timing->least = t.runs.values[0];
    timing->runs = t.runs.count;
    timing->limits.read = series_median(&t.limits[READ]);
    timing->limits.f32 = series_median(&t.limits[F32]);
    timing->limits.bf16 = series_median(&t.limits[BF16]);
    timing->limits.int8 = series_median(&t.limits[INT8]);
done:
    free(t.runs.values);
    for (size_t i = 0; i < LIMITS; i++)
        free(t.limits[i].values);
    return status;
}

/* ---- Progress ---- */

void bench_progress(const char *format, ...)
{
    va_list arguments;
    if (!isatty(STDERR_FILENO))
        return;
    fputs("\r\033[K", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fflush(stderr);
}

void bench_progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
}

void bench_note(const char *format, ...)
{
    va_list arguments;
    bench_progress_end();
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}
