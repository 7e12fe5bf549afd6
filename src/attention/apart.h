/* What a call of attention writes lies apart from everything else that it is given. An overlap
 * would change arguments after they were checked, while threads read them. */
#ifndef ATTENTION_APART_H
#define ATTENTION_APART_H

#include "tributary/attention.h"

/* Memory of a call, from its first to behind its last byte; with 0 bytes there is none. */
struct extent {
    const char *name;
    const void *at;
    size_t bytes;
};

/* TRIB_INVALID where one of the `written` first of `count` extents overlaps another of them, or an
 * array that the attention, the queries or the segment point to. These keep the rest of their
 * contract. */
trib_status check_apart(const char *who, const trib_attention *attention,
                        const trib_queries *queries, const trib_segment *segment,
                        const struct extent *extents, size_t written, size_t count,
                        trib_error *error);

#endif
