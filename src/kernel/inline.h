/* What kernels say to the compiler: bodies are inlined into functions where their sizes are
 * constants. */
#ifndef KERNEL_INLINE_H
#define KERNEL_INLINE_H

#define INLINE static inline __attribute__((always_inline))

/* Before a loop over rows or vectors: unrolled whole and early, so that each sum becomes a variable
 * of its own instead of an element of an array in memory. Nothing where each access is
 * checked: see src/meson.build. */
#if defined(UNROLL)
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#endif
