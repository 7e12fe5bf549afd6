/* The kernel tables and the choice among them. */
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "kernel/kernel.h"
#include "kernel/learn.h"
#include "kernel/ref/ref.h"

#if TRIB_HAVE_SIMD
#include "kernel/avx512/avx512.h"
#include "kernel/simd/ops.h"
#endif

enum { REF, AVX2, AVX512, AVX512BF16, TABLES };

static const struct kernels tables[TABLES] = {
    [REF] = {"ref", TILE_ROWS_REF, unpack_ref, pack_ref, dots_ref, rmsnorm_ref, swiglu_ref, add_ref,
             softcap_ref, additive_ref, panel_load_ref, absorb_ref, merge_ref, .learn = &learn_ref,
             .transpose = transpose_ref, .absorb_backward = absorb_backward_ref,
             .product_rows = product_rows_ref, .product_panel = product_panel_ref,
             .product_block = product_block_ref},
#if TRIB_HAVE_SIMD
    [AVX2] = {"avx2", TILE_ROWS_AVX2, unpack_avx2, pack_avx2, dots_avx2, rmsnorm_avx2, swiglu_avx2,
              add_avx2, softcap_avx2, additive_avx2, panel_load_avx2, absorb_avx2, merge_avx2,
              .learn = &learn_avx2, .transpose = transpose_avx2,
              .absorb_backward = absorb_backward_avx2, .product_rows = product_rows_avx2,
              .product_panel = product_panel_avx2, .product_block = product_block_avx2},
    [AVX512] = {"avx512", TILE_ROWS_AVX512, unpack_avx512, pack_avx512, dots_avx512, rmsnorm_avx512,
                swiglu_avx512, add_avx512, softcap_avx512, additive_avx512, panel_load_avx512,
                absorb_avx512, merge_avx512, .learn = &learn_avx512, .transpose = transpose_avx512,
                .absorb_backward = absorb_backward_avx512, .product_rows = product_rows_avx512,
                .product_panel = product_panel_avx512, .product_block = product_block_avx512},
    [AVX512BF16] = {"avx512bf16",
                    TILE_ROWS_AVX512,
                    unpack_avx512,
                    pack_avx512,
                    dots_avx512,
                    rmsnorm_avx512,
                    swiglu_avx512,
                    add_avx512,
                    softcap_avx512,
                    additive_avx512,
                    panel_load_avx512bf16,
                    absorb_avx512bf16,
                    merge_avx512,
                    .learn = &learn_avx512,
                    .transpose = transpose_avx512,
                    .absorb_backward = absorb_backward_avx512,
                    .product_pairs = true,
                    .product_rows = product_rows_avx512bf16,
                    .product_panel = product_panel_avx512bf16,
                    .product_block = product_block_avx512bf16},
#else
    [AVX2] = {.name = "avx2"},
    [AVX512] = {.name = "avx512"},
    [AVX512BF16] = {.name = "avx512bf16"},
#endif
};

static bool runs_here(size_t table)
{
#if TRIB_HAVE_SIMD
    struct cpu_features cpu = cpu_detect();
    return table == REF || (table == AVX2 && cpu.avx2) || (table == AVX512 && cpu.avx512) ||
           (table == AVX512BF16 && cpu.avx512bf16);
#else
    return table == REF;
#endif
}

const struct kernels *kernels_at(size_t i)
{
    for (size_t table = 0; table < TABLES; table++)
        if (runs_here(table) && i-- == 0)
            return &tables[table];
    return NULL;
}

trib_status kernels_choose(const struct kernels **out, const char *name, trib_error *error)
{
    *out = NULL;
    if (!name || !*name) {
        for (size_t i = 0; kernels_at(i); i++)
            *out = kernels_at(i);
        return TRIB_OK;
    }
    for (size_t table = 0; table < TABLES; table++) {
        if (strcmp(tables[table].name, name) != 0)
            continue;
        if (!runs_here(table))
            return error_set(error, TRIB_UNSUPPORTED,
                             "this machine cannot run the kernel table '%s'", name);
        *out = &tables[table];
        return TRIB_OK;
    }
    return error_set(error, TRIB_INVALID,
                     "unknown kernel table '%.32s': expected ref, avx2, avx512 or "
                     "avx512bf16",
                     name);
}
