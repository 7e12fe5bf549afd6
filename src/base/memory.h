/* Memory aligned to cache lines, for arrays that vectors run over. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

enum { MEMORY_ALIGN = 64 };

/* `bytes` (at least 1 is had) of zeroed memory aligned to MEMORY_ALIGN; NULL when there is none.
 * Freed with free(). */
void *memory_zeroed(size_t bytes);

/* The same alignment, or more, for memory that is large and read as a whole again and again: in
 * huge pages where the system has them. Not zeroed. */
void *memory_large(size_t bytes);

/* Bytes that this process can still take without pushing others out, by what the system and the
 * memory limit of its control group say; UINT64_MAX where neither says anything. */
uint64_t memory_available(void);

#endif
