/* What the bodies of simd/ define, under the name of the instruction set they are compiled for.
 * Contracts: kernel.h. */
#ifndef KERNEL_SIMD_OPS_H
#define KERNEL_SIMD_OPS_H

#include "kernel/kernel.h"

/* Query rows of an attention tile: as many as fill the registers with sums. */
enum { TILE_ROWS_AVX2 = 6, TILE_ROWS_AVX512 = 6 };

#define SIMD_OPS(set)                                                                              \
    void unpack_##set(enum dtype type, float *out, const void *in, size_t n);                      \
    void pack_##set(enum dtype type, void *out, const float *in, size_t n);                        \
    void quantise_##set(enum dtype type, void *out, const float *x, size_t n);                     \
    void dots_##set(float *y, size_t y_stride, const float *x, size_t rows, const float *w,        \
                    size_t outputs, size_t K);                                                     \
    void rmsnorm_##set(float *y, const float *x, const float *w, size_t n, float eps);             \
    void swiglu_##set(float *y, const float *gate, const float *up, size_t n);                     \
    void gelu_tanh_##set(float *y, const float *x, size_t n);                                      \
    void gelu_erf_##set(float *y, const float *x, size_t n);                                       \
    void geglu_##set(float *y, const float *gate, const float *up, size_t n);                      \
    void add_##set(float *y, const float *x, size_t n);                                            \
    void softcap_##set(float *s, size_t n, float cap);                                             \
    void additive_##set(float *s, const float *q, const float *w, const float *k, size_t D);       \
    void unpack_chunk_##set(enum dtype type, size_t D, float *k, float *v, const void *k_chunk,    \
                            const void *v_chunk);                                                  \
    void panel_load_##set(struct panel *panel, void *memory, const struct chunk_rows *rows,        \
                          size_t D, enum panel_use use);                                           \
    void absorb_##set(const struct absorb *tile);                                                  \
    void merge_##set(const struct partials *into, const struct partials *from, size_t rows,        \
                     size_t D);                                                                    \
    void exp_##set(float *x, size_t n);                                                            \
    void state_range_##set(float *largest, float *least, const float *s, size_t parts);            \
    void state_weights_##set(float *w, float *sum, const float *largest, size_t parts);            \
    void weigh_##set(float *y, const float *w, size_t w_stride, const float *const *x,             \
                     size_t parts, size_t from, size_t rows, size_t n);                            \
    void transpose_##set(float *out, size_t out_stride, const float *in, size_t in_stride,         \
                         size_t rows, size_t columns);                                             \
    void absorb_backward_##set(const struct absorb_backward *tile);                                \
    void product_rows_##set(enum dtype arithmetic, void *out, size_t out_stride, const float *a,   \
                            size_t a_m, size_t a_k, size_t rows, size_t terms);                    \
    void product_panel_##set(enum dtype arithmetic, void *out, const float *b, size_t b_k,         \
                             size_t b_n, size_t terms, size_t columns);                            \
    void product_block_##set(const struct product_block *block);                                   \
    void quant_row_##set(enum dtype type, void *out, const float *x, size_t inputs);               \
    void quant_panel_##set(const struct quant_panel *panel);

SIMD_OPS(avx2)
SIMD_OPS(avx512)

#undef SIMD_OPS

#endif
