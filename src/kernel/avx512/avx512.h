/* What the table `avx512bf16` has besides what simd/ops.h declares for `avx512`. */
#ifndef KERNEL_AVX512_AVX512_H
#define KERNEL_AVX512_AVX512_H

#include "kernel/kernel.h"

void panel_load_avx512bf16(struct panel *panel, void *memory, const struct chunk_rows *rows,
                           size_t D, enum panel_use use);
void absorb_avx512bf16(const struct absorb *tile);
void product_rows_avx512bf16(enum dtype arithmetic, void *out, size_t out_stride, const float *a,
                             size_t a_m, size_t a_k, size_t rows, size_t terms);
void product_panel_avx512bf16(enum dtype arithmetic, void *out, const float *b, size_t b_k,
                              size_t b_n, size_t terms, size_t columns);
void product_block_avx512bf16(const struct product_block *block);
void quant_row_avx512bf16(enum dtype type, void *out, const float *x, size_t inputs);
void quant_panel_avx512bf16(const struct quant_panel *panel);

/* What absorb_avx512bf16 does with panels of Q8_0. */
void absorb_q8_avx512(const struct absorb *tile);

#endif
