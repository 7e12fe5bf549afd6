/* Tributary: what this machine can do at most, measured: the bandwidth of reading and the peaks of
 * arithmetic that a result is held against.
 *
 * A measurement is short, so that it can stand directly before and after what it shall judge: the
 * speed of a machine drifts with its neighbours and its temperature, and a share of a limit means
 * something only against the limit of that moment.
 */
#ifndef TRIBUTARY_MEASURE_H
#define TRIBUTARY_MEASURE_H

#include <stddef.h>

#include "tributary/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All per second and of all threads together. An operation is a multiplication or an addition; a
 * multiply-add is two. 0 where the processor has no instruction for it that this library uses. */
typedef struct trib_limits {
    double read; /* bytes */
    double f32;  /* operations on float32: fused multiply-adds */
    double bf16; /* on bfloat16: dot products of pairs into float32 */
    double int8; /* on 8-bit integers: dot products of fours into 32 bits */
} trib_limits;

/* What to measure; add them up. */
enum {
    TRIB_MEASURE_READ = 1,
    TRIB_MEASURE_F32 = 2,
    TRIB_MEASURE_BF16 = 4,
    TRIB_MEASURE_INT8 = 8,
};

/* More bytes than caches hold: what to read for the bandwidth of memory. */
#define TRIB_MEASURE_BYTES ((size_t)256 << 20)

/* Measures what `what` asks for, about 10 ms each, with the widest instructions of this processor
 * on `threads` threads (1 to 1,024), and leaves the other fields as they were.
 *
 * `memory` is read from begin to end, over and over: with TRIB_MEASURE_BYTES or more the result is
 * the bandwidth of memory, with fewer that of the cache that holds them. The caller has written it
 * (pages never written share one page of zeros) and, for the most that memory gives, asked the
 * system for huge pages. It is aligned to 64 bytes and has 1,024 for each thread at least; it may
 * be NULL where READ is not asked for.
 *
 * TRIB_INVALID for arguments outside this contract; then nothing is written. */
trib_status trib_measure_limits(trib_limits *limits, unsigned what, const void *memory,
                                size_t bytes, int threads, trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
