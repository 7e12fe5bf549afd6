/* The bursts in plain C, for processors without the instruction sets that have their own. */
#include "kernel/peak.h"

#include <stdint.h>
#include <string.h>

double peak_f32_ref(void)
{
    enum { STEPS = 4096, SUMS = 32 };
    volatile float start = 0.5f, result;
    float sum[SUMS], a = start, b = start;
    for (size_t i = 0; i < SUMS; i++)
        sum[i] = b;
    for (size_t step = 0; step < STEPS; step++)
        for (size_t i = 0; i < SUMS; i++)
            sum[i] = sum[i] * a + b;
    for (size_t i = 0; i < SUMS; i++)
        result = sum[i];
    (void)result;
    return 2.0 * STEPS * SUMS;
}

unsigned peak_read_ref(const char *memory, size_t n)
{
    uint64_t sum[8] = {0};
    for (size_t at = 0; at < n; at += sizeof sum) {
        uint64_t line[8];
        memcpy(line, memory + at, sizeof line);
        for (size_t i = 0; i < 8; i++)
            sum[i] += line[i];
    }
    for (size_t i = 1; i < 8; i++)
        sum[0] += sum[i];
    return (unsigned)sum[0];
}
