/* Building Hugging Face folders. */
#include "hf_build.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/half.h"

const char hf_build_tokenizer[] =
    "{\"added_tokens\": [{\"id\": 7, \"content\": \"<|end|>\", \"special\": true}],"
    "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"d\": 3, \"e\": 4,"
    "\"f\": 5, \"ab\": 6}, \"merges\": [\"a b\"]}}";

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

void hf_build_open(struct hf_build *b)
{
    *b = (struct hf_build){.path = "/tmp/trib-hf-XXXXXX"};
    if (!mkdtemp(b->path))
        die(b->path);
}

static void remove_folder(const char *name)
{
    char path[512];
    DIR *folder = opendir(name);
    if (!folder)
        die(name);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", name, entry->d_name);
            if (unlink(path) != 0)
                remove_folder(path);
        }
    closedir(folder);
    rmdir(name);
}

void hf_build_close(struct hf_build *b)
{
    remove_folder(b->path);
    free(b->header.bytes);
    free(b->data.bytes);
}

void hf_build_folder(struct hf_build *b, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", b->path, name);
    if (mkdir(path, 0700) != 0)
        die(path);
}

void hf_build_file(struct hf_build *b, const char *name, const void *bytes, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", b->path, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        die(path);
}

void hf_build_text(struct hf_build *b, const char *name, const char *text)
{
    hf_build_file(b, name, text, strlen(text));
}

float hf_build_number(uint64_t i)
{
    return (float)((int)(i * 37 % 113) - 56) / 64;
}

void hf_build_tensor(struct hf_build *b, const char *name, const char *type, size_t dims,
                     const uint64_t *shape, const void *data)
{
    char text[512], numbers[128] = "";
    uint64_t elements = 1, begin = b->data.size;
    for (size_t d = 0; d < dims; d++) {
        size_t used = strlen(numbers);
        snprintf(numbers + used, sizeof numbers - used, d ? ", %llu" : "%llu",
                 (unsigned long long)shape[d]);
        elements *= shape[d];
    }
    for (uint64_t i = 0; i < elements; i++) {
        float number = data ? ((const float *)data)[i] : hf_build_number(i);
        if (strcmp(type, "F32") == 0)
            put_f32(&b->data, number);
        else
            put_u16(&b->data, type[0] == 'B' ? bf16_from_float(number) : f16_from_float(number));
    }
    snprintf(text, sizeof text,
             "%s\"%s\": {\"dtype\": \"%s\", \"shape\": [%s], \"data_offsets\": [%llu, %zu]}",
             b->header.size ? ", " : "{", name, type, numbers, (unsigned long long)begin,
             b->data.size);
    put_bytes(&b->header, text, strlen(text));
}

void hf_build_weights(struct hf_build *b, const char *name)
{
    struct buffer file = {0};
    if (b->header.size == 0)
        put_u8(&b->header, '{');
    put_u8(&b->header, '}');
    while (b->header.size % 8 != 0)
        put_u8(&b->header, ' ');
    put_u64(&file, b->header.size);
    put_bytes(&file, b->header.bytes, b->header.size);
    put_bytes(&file, b->data.bytes, b->data.size);
    hf_build_file(b, name, file.bytes, file.size);
    free(file.bytes);
    b->header.size = b->data.size = 0;
}

void hf_build_llama(struct hf_build *b, const char *architecture, const char *settings,
                    const char *type)
{
    static const struct {
        const char *name;
        uint64_t shape[2];
    } tensors[] = {
        {"self_attn.q_proj", {16, 16}},        {"self_attn.k_proj", {8, 16}},
        {"self_attn.v_proj", {8, 16}},         {"self_attn.o_proj", {16, 16}},
        {"mlp.gate_proj", {24, 16}},           {"mlp.up_proj", {24, 16}},
        {"mlp.down_proj", {16, 24}},           {"input_layernorm", {16, 0}},
        {"post_attention_layernorm", {16, 0}},
    };
    char text[1024];
    snprintf(text, sizeof text,
             "{%s \"architectures\": [\"%s\"], \"hidden_size\": 16, \"num_attention_heads\": 4,"
             "\"num_key_value_heads\": 2, \"intermediate_size\": 24, \"num_hidden_layers\": 2,"
             "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"vocab_size\": 8,"
             "\"eos_token_id\": 7}",
             settings, architecture);
    hf_build_text(b, "config.json", text);
    hf_build_text(b, "tokenizer.json", hf_build_tokenizer);
    hf_build_tensor(b, "model.embed_tokens.weight", type, 2, (uint64_t[]){8, 16}, NULL);
    hf_build_tensor(b, "lm_head.weight", type, 2, (uint64_t[]){8, 16}, NULL);
    hf_build_tensor(b, "model.norm.weight", type, 1, (uint64_t[]){16}, NULL);
    for (int layer = 0; layer < 2; layer++)
        for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
            snprintf(text, sizeof text, "model.layers.%d.%s.weight", layer, tensors[i].name);
            hf_build_tensor(b, text, type, tensors[i].shape[1] ? 2 : 1, tensors[i].shape, NULL);
        }
}
