/* CPU detection: CPUID says what the processor can do, XGETBV what the system saves on a switch. */
#include "base/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>
#include <stdint.h>

static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static struct cpu_features ask(void)
{
    struct cpu_features f = {0};
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return f;
    bool osxsave = c & bit_OSXSAVE, fma = c & bit_FMA, f16c = c & bit_F16C;
    if (!osxsave || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return f;
    uint64_t xcr0 = read_xcr0();
    bool ymm_saved = (xcr0 & 0x06) == 0x06; /* SSE and AVX state */
    bool zmm_saved = (xcr0 & 0xe6) == 0xe6; /* and opmasks, upper halves, zmm16 to zmm31 */
    f.avx2 = ymm_saved && fma && f16c && (b & bit_AVX2);
    f.avx512 = f.avx2 && zmm_saved && (b & bit_AVX512F) && (b & bit_AVX512BW) &&
               (b & bit_AVX512DQ) && (b & bit_AVX512VL);
    bool bytes = (c & bit_AVX512VNNI) && (c & bit_AVX512VBMI);
    f.avx512bf16 =
        f.avx512 && bytes && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & bit_AVX512BF16);
    return f;
}

/* In a virtual machine each CPUID is a trip out of it, 20 microseconds and more. Threads that ask
 * at once find the same. */
struct cpu_features cpu_detect(void)
{
    enum { AVX2 = 1, AVX512 = 2, AVX512BF16 = 4, KNOWN = 8 };
    static atomic_uint found;
    unsigned known = atomic_load_explicit(&found, memory_order_relaxed);
    if (!known) {
        struct cpu_features f = ask();
        known = KNOWN + f.avx2 * AVX2 + f.avx512 * AVX512 + f.avx512bf16 * AVX512BF16;
        atomic_store_explicit(&found, known, memory_order_relaxed);
    }
    return (struct cpu_features){known & AVX2, known & AVX512, known & AVX512BF16};
}
#else
struct cpu_features cpu_detect(void)
{
    return (struct cpu_features){0};
}
#endif
