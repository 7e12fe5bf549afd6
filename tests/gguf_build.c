/* Writing GGUF files into memory. The format as in src/file/gguf.c, written down a second time: the
 * two agree only if both are right. */
#include "gguf_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void put_bytes(struct buffer *buffer, const void *bytes, size_t size)
{
    if (buffer->capacity - buffer->size < size) {
        buffer->capacity = 2 * buffer->capacity + size;
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (!buffer->bytes)
            abort();
    }
    if (size)
        memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

void put_zeros(struct buffer *buffer, size_t size)
{
    static const uint8_t zeros[64];
    for (; size > sizeof zeros; size -= sizeof zeros)
        put_bytes(buffer, zeros, sizeof zeros);
    put_bytes(buffer, zeros, size);
}

void put_u8(struct buffer *buffer, uint8_t value)
{
    put_bytes(buffer, &value, sizeof value);
}

void put_u16(struct buffer *buffer, uint16_t value)
{
    put_bytes(buffer, &value, sizeof value);
}

void put_u32(struct buffer *buffer, uint32_t value)
{
    put_bytes(buffer, &value, sizeof value);
}

void put_u64(struct buffer *buffer, uint64_t value)
{
    put_bytes(buffer, &value, sizeof value);
}

void put_f32(struct buffer *buffer, float value)
{
    put_bytes(buffer, &value, sizeof value);
}

void put_f64(struct buffer *buffer, double value)
{
    put_bytes(buffer, &value, sizeof value);
}

void put_slice(struct buffer *buffer, const void *bytes, size_t size)
{
    put_u64(buffer, size);
    put_bytes(buffer, bytes, size);
}

void put_string(struct buffer *buffer, const char *text)
{
    put_slice(buffer, text, strlen(text));
}

static void pad(struct buffer *buffer, size_t alignment)
{
    if (buffer->size % alignment != 0)
        put_zeros(buffer, alignment - buffer->size % alignment);
}

void gguf_build_open(struct gguf_build *b)
{
    *b = (struct gguf_build){.version = 3, .alignment = 32};
}

void gguf_build_close(struct gguf_build *b)
{
    free(b->values.bytes);
    free(b->infos.bytes);
    free(b->data.bytes);
    free(b->file.bytes);
    *b = (struct gguf_build){0};
}

void gguf_build_key(struct gguf_build *b, const char *key, uint32_t type)
{
    b->value_count++;
    put_string(&b->values, key);
    put_u32(&b->values, type);
}

void gguf_build_array(struct gguf_build *b, const char *key, uint32_t element, uint64_t count)
{
    gguf_build_key(b, key, GGUF_ARRAY);
    put_u32(&b->values, element);
    put_u64(&b->values, count);
}

void gguf_build_u32(struct gguf_build *b, const char *key, uint32_t value)
{
    gguf_build_key(b, key, GGUF_U32);
    put_u32(&b->values, value);
}

void gguf_build_f32(struct gguf_build *b, const char *key, float value)
{
    gguf_build_key(b, key, GGUF_F32);
    put_f32(&b->values, value);
}

void gguf_build_bool(struct gguf_build *b, const char *key, bool value)
{
    gguf_build_key(b, key, GGUF_BOOL);
    put_u8(&b->values, value);
}

void gguf_build_string(struct gguf_build *b, const char *key, const char *value)
{
    gguf_build_key(b, key, GGUF_STRING);
    put_string(&b->values, value);
}

void gguf_build_info(struct gguf_build *b, const char *name, uint32_t type, uint32_t dims,
                     const uint64_t *shape, uint64_t offset)
{
    b->tensor_count++;
    put_string(&b->infos, name);
    put_u32(&b->infos, dims);
    for (uint32_t d = 0; d < dims; d++)
        put_u64(&b->infos, shape[d]);
    put_u32(&b->infos, type);
    put_u64(&b->infos, offset);
}

void gguf_build_tensor(struct gguf_build *b, const char *name, enum dtype type, uint32_t dims,
                       const uint64_t *shape, const void *data)
{
    uint64_t elements = 1;
    for (uint32_t d = 0; d < dims; d++)
        elements *= shape[d];
    size_t bytes = dtype_size(type, (size_t)elements);
    gguf_build_info(b, name, type, dims, shape, b->data.size);
    if (data)
        put_bytes(&b->data, data, bytes);
    else
        put_zeros(&b->data, bytes);
    pad(&b->data, b->alignment);
}

void gguf_build_finish(struct gguf_build *b)
{
    put_bytes(&b->file, "GGUF", 4);
    put_u32(&b->file, b->version);
    put_u64(&b->file, b->tensor_count);
    put_u64(&b->file, b->value_count);
    put_bytes(&b->file, b->values.bytes, b->values.size);
    b->infos_at = b->file.size;
    put_bytes(&b->file, b->infos.bytes, b->infos.size);
    if (b->tensor_count)
        pad(&b->file, b->alignment);
    b->data_at = b->file.size;
    put_bytes(&b->file, b->data.bytes, b->data.size);
}

bool gguf_build_write(const struct gguf_build *b, const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return false;
    bool whole = fwrite(b->file.bytes, 1, b->file.size, file) == b->file.size;
    return fclose(file) == 0 && whole;
}
