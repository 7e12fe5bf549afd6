/* What instruction sets this processor and operating system offer. */
#ifndef BASE_CPU_H
#define BASE_CPU_H

#include <stdbool.h>

struct cpu_features {
    bool avx2;       /* AVX2, FMA and F16C, with the operating system saving their registers */
    bool avx512;     /* F, BW, DQ and VL, with the operating system saving their registers */
    bool avx512bf16; /* those, BF16, VNNI and VBMI */
};

/* Asked of CPUID and XGETBV once; all false on other architectures than x86-64. */
struct cpu_features cpu_detect(void);

#endif
