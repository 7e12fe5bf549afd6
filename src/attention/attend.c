/* The public face of the fold: arguments are held against their contract, then folded. */
#include <stdlib.h>

#include "attention/apart.h"
#include "attention/check.h"
#include "attention/fold.h"
#include "base/error.h"
#include "kernel/chunk.h"

trib_status trib_kernels_choose(const trib_kernels **out, const char *name, trib_error *error)
{
    return kernels_choose(out, name ? name : getenv("TRIB_CPU"), error);
}

const char *trib_kernels_name(const trib_kernels *kernels)
{
    return kernels->name;
}

size_t trib_chunk_bytes(trib_kv_type type, size_t head_dim)
{
    const struct dtype_info *info = check_kv_type(type);
    if (!info || head_dim < 1 || head_dim > HEAD_DIM_MOST || head_dim % info->block != 0)
        return 0;
    return chunk_bytes((enum dtype)type, head_dim);
}

void trib_chunk_store(trib_kv_type type, size_t head_dim, void *k_chunk, void *v_chunk, size_t slot,
                      const float *k, const float *v)
{
    chunk_store((enum dtype)type, head_dim, k_chunk, v_chunk, slot, k, v);
}

size_t trib_attend_workspace(const trib_kernels *kernels, const trib_attention *attention,
                             size_t tokens, size_t keys)
{
    if (!check_sizes(kernels, attention, tokens, keys))
        return 0;
    return fold_workspace(kernels, attention, tokens, keys);
}

static trib_status run(const trib_kernels *kernels, const trib_attention *a, const trib_queries *q,
                       const trib_segment *s, const trib_states *states, bool onto, void *workspace,
                       size_t workspace_bytes, trib_error *error)
{
    trib_status status = check_arguments("attend", kernels, a, q, s, states, error);
    if (status != TRIB_OK)
        return status;
    size_t needed = fold_workspace(kernels, a, q->tokens, s->first + s->length);
    status = check_workspace("attend", workspace, workspace_bytes, needed, error);
    const struct extent written[] = {
        {"s of the states", states->s, states->count * sizeof *states->s},
        {"v of the states", states->v, states->count * a->head_dim * sizeof *states->v},
        {"the workspace", workspace, needed},
    };
    if (status == TRIB_OK)
        status = check_apart("attend", a, q, s, written, 3, 3, error);
    if (status != TRIB_OK)
        return status;
    fold_run(kernels, a, q, s, states->s, states->v, onto, workspace);
    return TRIB_OK;
}

trib_status trib_attend(const trib_kernels *kernels, const trib_attention *attention,
                        const trib_queries *queries, const trib_segment *segment,
                        const trib_states *states, void *workspace, size_t workspace_bytes,
                        trib_error *error)
{
    return run(kernels, attention, queries, segment, states, false, workspace, workspace_bytes,
               error);
}

trib_status trib_absorb(const trib_kernels *kernels, const trib_attention *attention,
                        const trib_queries *queries, const trib_segment *segment,
                        const trib_states *states, void *workspace, size_t workspace_bytes,
                        trib_error *error)
{
    return run(kernels, attention, queries, segment, states, true, workspace, workspace_bytes,
               error);
}
