/* Bursts of one kind of work and nothing else, a few microseconds each: what a machine's limits are
 * measured with. One for each instruction set that changes the limit.
 *
 * The peaks keep as many independent sums as hide the latency of an instruction (4 cycles, two a
 * cycle: 8 at least) and return how many operations they did, a multiply-add being two.
 */
#ifndef KERNEL_PEAK_H
#define KERNEL_PEAK_H

#include <stddef.h>

double peak_f32_ref(void);
double peak_f32_avx2(void);
double peak_f32_avx512(void);
double peak_bf16_avx512(void); /* these two need what cpu_features.avx512bf16 says */
double peak_int8_avx512(void);

/* Reads n bytes, a multiple of PEAK_READ, aligned to 64, as PEAK_STREAMS sequential streams; more
 * than one keep more lines of memory under way. Returns a number made of all of them. */
enum { PEAK_STREAMS = 4, PEAK_READ = PEAK_STREAMS * 256 };

unsigned peak_read_ref(const char *memory, size_t n);
unsigned peak_read_avx2(const char *memory, size_t n);
unsigned peak_read_avx512(const char *memory, size_t n);

#endif
