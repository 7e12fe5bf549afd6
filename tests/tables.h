/* The kernel tables of this machine, one after the other:
 *
 *     for (const struct kernels *k = tables_first(); k; k = tables_after(k))
 */
#ifndef TABLES_H
#define TABLES_H

#include "kernel/kernel.h"

/* ref, the truth in plain C. */
static inline const struct kernels *tables_first(void)
{
    return kernels_at(0);
}

static inline const struct kernels *tables_after(const struct kernels *k)
{
    size_t i = 0;
    while (kernels_at(i) != k)
        i++;
    return kernels_at(i + 1);
}

#endif
