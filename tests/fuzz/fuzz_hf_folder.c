/* Fuzz target of Hugging Face folders but for the vocabulary: config.json and a safetensors file,
 * with the bytes 0xff 0xfe between them. They are refused with a message, or become a GGUF file
 * whose tensors can be read whole and in pieces; what config.json asks for is there in every block.
 */
#include <stdlib.h>
#include <string.h>

#include "file/hf.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            __builtin_trap();                                                                      \
    } while (0)

static trib_status read_parts(struct hf_folder *folder, struct slice config, struct slice weights,
                              trib_error *error)
{
    trib_status status = json_file_parse(&folder->config_json, config.bytes, config.length,
                                         "config.json", false, error);
    if (status == TRIB_OK)
        status = hf_config_read(folder, error);
    if (status != TRIB_OK)
        return status;
    folder->shards = calloc(1, sizeof *folder->shards);
    CHECK(folder->shards);
    status = safetensors_parse(&folder->shards[0], weights.bytes, weights.length, "weights", error);
    folder->shard_count = status == TRIB_OK;
    if (status == TRIB_OK)
        status = hf_tensors_read(folder, error);
    if (status == TRIB_OK && folder->config.kind & HF_ROTARY)
        status = hf_rope_read(folder, error);
    return status;
}

/* Every tensor at once is what it is in two pieces. */
static void check_tensor(const struct gguf_tensor *t)
{
    size_t half = (size_t)t->elements / 2, bytes = (size_t)t->bytes;
    uint8_t *whole = malloc(bytes), *pieces = malloc(bytes);
    CHECK(whole && pieces && dtype_size(t->type, (size_t)t->elements) == bytes);
    gguf_copy(t, 0, (size_t)t->elements, whole);
    gguf_copy(t, 0, half, pieces);
    gguf_copy(t, half, (size_t)t->elements - half, pieces + dtype_size(t->type, half));
    CHECK(memcmp(whole, pieces, bytes) == 0);
    free(whole);
    free(pieces);
}

static void check_file(struct hf_folder *folder)
{
    struct gguf *file;
    size_t size;
    trib_error error;
    CHECK(gguf_writer_bytes(folder->metadata, &folder->bytes, &size, &error) == TRIB_OK);
    const struct gguf_pieces pieces = {.bytes = folder->bytes,
                                       .size = size,
                                       .tensors = folder->tensors,
                                       .tensor_count = folder->tensor_count,
                                       .owner = folder,
                                       .release = hf_close};
    trib_status status = gguf_assemble(&file, &pieces, "input", &error);
    CHECK(status == TRIB_OK || (status == TRIB_FORMAT && strstr(error.message, "twice")));
    if (status != TRIB_OK) {
        hf_close(folder);
        return;
    }
    for (size_t i = 0; i < file->tensor_count; i++)
        check_tensor(&file->tensors[i]);
    gguf_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice config = {(const char *)data, 0}, weights = {"", 0};
    while (config.length + 1 < size && memcmp(data + config.length, "\xff\xfe", 2) != 0)
        config.length++;
    if (config.length + 1 < size)
        weights = (struct slice){(const char *)data + config.length + 2, size - config.length - 2};
    struct hf_folder *folder = calloc(1, sizeof *folder);
    trib_error error = {0};
    CHECK(folder);
    folder->path = "folder";
    folder->metadata = gguf_writer_open();
    trib_status status = read_parts(folder, config, weights, &error);
    CHECK(status == TRIB_OK || (error.status == status && error.message[0]));
    if (status == TRIB_OK)
        check_file(folder);
    else
        hf_close(folder);
    return 0;
}
