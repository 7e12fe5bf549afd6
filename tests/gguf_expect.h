/* What stands in a GGUF file, for tests: a number of a tensor, a number behind a key. */
#ifndef GGUF_EXPECT_H
#define GGUF_EXPECT_H

#include "base/half.h"
#include "file/gguf.h"
#include "test.h"

/* Element i of a tensor that must be there. */
static inline float number_of(const struct gguf *file, const char *name, uint64_t i)
{
    const struct gguf_tensor *t = gguf_find_tensor(file, name);
    uint16_t half;
    float single;
    if (!t)
        fail_msg("no tensor %s", name);
    if (t->type == DTYPE_F32) {
        gguf_copy(t, i, 1, &single);
        return single;
    }
    gguf_copy(t, i, 1, &half);
    return t->type == DTYPE_F16 ? f16_to_float(half) : bf16_to_float(half);
}

static inline double value_of(const struct gguf *file, const char *key)
{
    const struct gguf_value *value = gguf_find(file, key);
    if (!value)
        fail_msg("no key %s", key);
    return gguf_number(value, 0);
}

#endif
