/* Memory aligned to cache lines, for arrays that vectors run over. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>

enum { MEMORY_ALIGN = 64 };

/* `bytes` (at least 1 is had) of zeroed memory aligned to MEMORY_ALIGN; NULL when there is none.
 * Freed with free(). */
void *memory_zeroed(size_t bytes);

#endif
