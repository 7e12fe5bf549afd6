/* The table of element types. */
#include "base/dtype.h"

#include <assert.h>
#include <strings.h>

static const struct {
    uint32_t number;
    struct dtype_info info;
} dtypes[] = {
#define DTYPE_ROW(name, number, text, block, bytes) {number, {text, block, bytes}},
    DTYPE_LIST(DTYPE_ROW)
#undef DTYPE_ROW
};

enum { DTYPE_COUNT = sizeof dtypes / sizeof dtypes[0] };

const struct dtype_info *dtype_info(uint32_t number)
{
    for (size_t i = 0; i < DTYPE_COUNT; i++)
        if (dtypes[i].number == number)
            return &dtypes[i].info;
    return NULL;
}

bool dtype_find(const char *name, enum dtype *out)
{
    for (size_t i = 0; i < DTYPE_COUNT; i++)
        if (strcasecmp(dtypes[i].info.name, name) == 0) {
            *out = (enum dtype)dtypes[i].number;
            return true;
        }
    return false;
}

size_t dtype_size(enum dtype type, size_t elements)
{
    const struct dtype_info *info = dtype_info(type);
    assert(info && elements % info->block == 0);
    return elements / info->block * info->bytes;
}
