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

/* A table of what is compiled for `set`; attention's panels and the products, which
 * AVX512-BF16 and VNNI change, for `best`. */
#define TABLE(table, set, best, rows)                                                              \
    {                                                                                              \
        .name = table, .tile_rows = (rows), .unpack = unpack_##set, .pack = pack_##set,            \
        .quantise = quantise_##set, .dots = dots_##set, .rmsnorm = rmsnorm_##set,                  \
        .swiglu = swiglu_##set, .add = add_##set, .gelu_tanh = gelu_tanh_##set,                    \
        .gelu_erf = gelu_erf_##set, .geglu = geglu_##set, .softcap = softcap_##set,                \
        .additive = additive_##set, .panel_load = panel_load_##best, .absorb = absorb_##best,      \
        .merge = merge_##set, .exp = exp_##set, .state_range = state_range_##set,                  \
        .state_weights = state_weights_##set, .weigh = weigh_##set, .learn = &learn_##set,         \
        .transpose = transpose_##set, .absorb_backward = absorb_backward_##set,                    \
        .product_rows = product_rows_##best, .product_panel = product_panel_##best,                \
        .product_block = product_block_##best, .product_pairs = PAIRS_##best,                      \
        .quant_row = quant_row_##best, .quant_panel = quant_panel_##best,                          \
    }

/* Whether products of bf16 are summed in pairs. */
enum { PAIRS_ref = false, PAIRS_avx2 = false, PAIRS_avx512 = false, PAIRS_avx512bf16 = true };

static const struct kernels tables[TABLES] = {
    [REF] = TABLE("ref", ref, ref, TILE_ROWS_REF),
#if TRIB_HAVE_SIMD
    [AVX2] = TABLE("avx2", avx2, avx2, TILE_ROWS_AVX2),
    [AVX512] = TABLE("avx512", avx512, avx512, TILE_ROWS_AVX512),
    [AVX512BF16] = TABLE("avx512bf16", avx512, avx512bf16, TILE_ROWS_AVX512),
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

const struct kernels *kernels_best(void)
{
    const struct kernels *best = NULL;
    for (size_t i = 0; kernels_at(i); i++)
        best = kernels_at(i);
    return best;
}

trib_status kernels_choose(const struct kernels **out, const char *name, trib_error *error)
{
    *out = NULL;
    if (!name || !*name) {
        *out = kernels_best();
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
