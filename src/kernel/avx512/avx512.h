/* What the table `avx512bf16` has besides what simd/ops.h declares for `avx512`. */
#ifndef KERNEL_AVX512_AVX512_H
#define KERNEL_AVX512_AVX512_H

#include "kernel/kernel.h"

void panel_load_avx512bf16(struct panel *panel, void *memory, const struct chunk_rows *rows,
                           size_t D, enum panel_use use);
void absorb_avx512bf16(const struct absorb *tile);

/* What absorb_avx512bf16 does with panels of Q8_0. */
void absorb_q8_avx512(const struct absorb *tile);

#endif
