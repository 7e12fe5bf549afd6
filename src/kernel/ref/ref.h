/* The reference operations, one per file, in plain C. Contracts: kernel.h. */
#ifndef KERNEL_REF_REF_H
#define KERNEL_REF_REF_H

#include "kernel/kernel.h"

enum { TILE_ROWS_REF = 8 };

void unpack_ref(enum dtype type, float *out, const void *in, size_t n);
void unpack_blocks_ref(enum dtype type, float *out, const void *in, size_t n); /* block types */
void quantise_ref(enum dtype type, void *out, const float *x, size_t n);
void pack_ref(enum dtype type, void *out, const float *in, size_t n);
void dots_ref(float *y, size_t y_stride, const float *x, size_t rows, const float *w,
              size_t outputs, size_t K);
void rmsnorm_ref(float *y, const float *x, const float *w, size_t n, float eps);
void swiglu_ref(float *y, const float *gate, const float *up, size_t n);
void gelu_tanh_ref(float *y, const float *x, size_t n);
void gelu_erf_ref(float *y, const float *x, size_t n);
void geglu_ref(float *y, const float *gate, const float *up, size_t n);
void add_ref(float *y, const float *x, size_t n);
void softcap_ref(float *s, size_t n, float cap);
void additive_ref(float *s, const float *q, const float *w, const float *k, size_t D);
void unpack_chunk_ref(enum dtype type, size_t D, float *k, float *v, const void *k_chunk,
                      const void *v_chunk); /* keys [Dv][CHUNK], values [CHUNK][Dv] */
void panel_load_ref(struct panel *panel, void *memory, const struct chunk_rows *rows, size_t D,
                    enum panel_use use);
void absorb_ref(const struct absorb *tile);
void merge_ref(const struct partials *into, const struct partials *from, size_t rows, size_t D);
void exp_ref(float *x, size_t n);
void state_range_ref(float *largest, float *least, const float *s, size_t parts);
void state_weights_ref(float *w, float *sum, const float *largest, size_t parts);
void weigh_ref(float *y, const float *w, size_t w_stride, const float *const *x, size_t parts,
               size_t from, size_t rows, size_t n);
void transpose_ref(float *out, size_t out_stride, const float *in, size_t in_stride, size_t rows,
                   size_t columns);
void absorb_backward_ref(const struct absorb_backward *tile);
void product_rows_ref(enum dtype arithmetic, void *out, size_t out_stride, const float *a,
                      size_t a_m, size_t a_k, size_t rows, size_t terms);
void product_panel_ref(enum dtype arithmetic, void *out, const float *b, size_t b_k, size_t b_n,
                       size_t terms, size_t columns);
void product_block_ref(const struct product_block *block);
void quant_row_ref(enum dtype type, void *out, const float *x, size_t inputs);
void quant_panel_ref(const struct quant_panel *panel);

#endif
