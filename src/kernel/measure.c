/* The limits of the machine: bursts on every thread at once, until the time is over.
 *
 * All threads run for the same time, so their rates add up to what the machine gives while all are
 * at work; a thread that loses its processor for a moment costs its own share alone.
 */
#include "tributary/measure.h"

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "base/cpu.h"
#include "base/error.h"
#include "kernel/peak.h"

static const double measure_seconds = 0.01;

/* A piece of memory that one thread reads before it takes the next: long enough for its streams to
 * run in. Between looks at the clock a thread reads SMALL bytes or more. */
enum { PIECE = 1 << 20, SMALL = 1 << 16, MOST_THREADS = 1024 };

/* The bursts of this processor; NULL: it has no instruction for it. */
struct bursts {
    double (*f32)(void), (*bf16)(void), (*int8)(void);
    unsigned (*read)(const char *memory, size_t n);
};

static struct bursts bursts_here(void)
{
    struct bursts b = {peak_f32_ref, NULL, NULL, peak_read_ref};
#if TRIB_HAVE_SIMD
    struct cpu_features cpu = cpu_detect();
    if (cpu.avx2) {
        b.f32 = peak_f32_avx2;
        b.read = peak_read_avx2;
    }
    if (cpu.avx512) {
        b.f32 = peak_f32_avx512;
        b.read = peak_read_avx512;
    }
    if (cpu.avx512bf16) {
        b.bf16 = peak_bf16_avx512;
        b.int8 = peak_int8_avx512;
    }
#endif
    return b;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* The first burst is not counted: it brings the thread and its vector units up. */
static double peak_rate(double (*burst)(void), int threads)
{
    double rate = 0;
    if (!burst)
        return 0;
#pragma omp parallel num_threads(threads) reduction(+ : rate)
    {
        double done = burst(), start, elapsed;
        done = 0;
#pragma omp barrier
        start = seconds();
        do {
            done += burst();
            elapsed = seconds() - start;
        } while (elapsed < measure_seconds);
        rate += done / elapsed;
    }
    return rate;
}

/* Threads take the pieces of the memory in turn. */
static double read_rate(unsigned (*read)(const char *, size_t), const char *memory, size_t bytes,
                        int threads)
{
    size_t piece = bytes / (size_t)threads / PEAK_READ * PEAK_READ;
    if (piece > PIECE)
        piece = PIECE;
    size_t pieces = bytes / piece, at_once = piece < SMALL ? SMALL / piece : 1;
    double rate = 0;
    atomic_size_t next = 0;
    atomic_uint sink = 0; /* so that what is read is needed */
#pragma omp parallel num_threads(threads) reduction(+ : rate)
    {
        double done = 0, start, elapsed;
        unsigned sum = 0;
#pragma omp barrier
        start = seconds();
        do {
            for (size_t i = 0; i < at_once; i++) {
                size_t at = atomic_fetch_add(&next, 1) % pieces * piece;
                sum += read(memory + at, piece);
                done += (double)piece;
            }
            elapsed = seconds() - start;
        } while (elapsed < measure_seconds);
        atomic_fetch_add(&sink, sum);
        rate += done / elapsed;
    }
    return rate;
}

trib_status trib_measure_limits(trib_limits *limits, unsigned what, const void *memory,
                                size_t bytes, int threads, trib_error *error)
{
    const unsigned all =
        TRIB_MEASURE_READ | TRIB_MEASURE_F32 | TRIB_MEASURE_BF16 | TRIB_MEASURE_INT8;
    if (!limits || (what & ~all))
        return error_set(error, TRIB_INVALID, "measure: limits is NULL or what is unknown: %u",
                         what);
    if (threads < 1 || threads > MOST_THREADS)
        return error_set(error, TRIB_INVALID, "measure: threads: expected 1 to %d, found %d",
                         MOST_THREADS, threads);
    if ((what & TRIB_MEASURE_READ) &&
        (!memory || (uintptr_t)memory % 64 != 0 || bytes < (size_t)threads * PEAK_READ))
        return error_set(error, TRIB_INVALID,
                         "measure: memory: expected %zu bytes or more aligned to 64, found %zu%s",
                         (size_t)threads * PEAK_READ, bytes, memory ? "" : " and NULL");
    struct bursts bursts = bursts_here();
    if (what & TRIB_MEASURE_READ)
        limits->read = read_rate(bursts.read, memory, bytes, threads);
    if (what & TRIB_MEASURE_F32)
        limits->f32 = peak_rate(bursts.f32, threads);
    if (what & TRIB_MEASURE_BF16)
        limits->bf16 = peak_rate(bursts.bf16, threads);
    if (what & TRIB_MEASURE_INT8)
        limits->int8 = peak_rate(bursts.int8, threads);
    return TRIB_OK;
}
