/* The arguments of attention, forward and backward, held against their contract in
 * tributary/attention.h. Nothing is written, whatever is found but the error. */
#ifndef ATTENTION_CHECK_H
#define ATTENTION_CHECK_H

#include "base/dtype.h"
#include "tributary/attention.h"

/* The row of a type that keys and values are kept in; NULL of the others, which weights may have.
 */
const struct dtype_info *check_kv_type(trib_kv_type type);

/* Whether a workspace can be asked for. */
bool check_sizes(const trib_kernels *kernels, const trib_attention *attention, size_t tokens,
                 size_t keys);

/* `who` begins the message where no argument does. */
trib_status check_arguments(const char *who, const trib_kernels *kernels,
                            const trib_attention *attention, const trib_queries *queries,
                            const trib_segment *segment, const trib_states *states,
                            trib_error *error);

trib_status check_workspace(const char *who, const void *workspace, size_t bytes, size_t needed,
                            trib_error *error);

#endif
