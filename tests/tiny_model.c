/* Building the tiny model. */
#include "tiny_model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf_build.h"
#include "kernel/ref/ref.h"

/* `count` elements of `type`, values of about 1 / sqrt(inputs) so that activations keep their size.
 */
static void *random_weights(struct random *random, enum dtype type, size_t count, size_t inputs)
{
    float size = 1.7f / sqrtf((float)inputs);
    uint8_t *bytes = malloc(dtype_size(type, count));
    float *values = malloc(count * sizeof *values);
    random_fill(random, values, count, size);
    if (type == DTYPE_Q8_0)
        for (size_t block = 0; block < count / 32; block++) {
            uint16_t scale = f16_from_float(size / 127);
            memcpy(bytes + 34 * block, &scale, sizeof scale);
            for (size_t i = 0; i < 32; i++)
                bytes[34 * block + 2 + i] = (uint8_t)random_bits(random);
        }
    else
        pack_ref(type, bytes, values, count);
    free(values);
    return bytes;
}

static void put_tensor(struct gguf_build *b, struct random *random, const char *name,
                       enum dtype type, size_t inputs, size_t outputs)
{
    void *data = random_weights(random, type, inputs * outputs, inputs);
    gguf_build_tensor(b, name, type, outputs == 1 ? 1 : 2, (uint64_t[]){inputs, outputs}, data);
    free(data);
}

static void put_norm(struct gguf_build *b, const char *name)
{
    float ones[TINY_WIDTH];
    for (size_t i = 0; i < TINY_WIDTH; i++)
        ones[i] = 1;
    gguf_build_tensor(b, name, DTYPE_F32, 1, (uint64_t[]){TINY_WIDTH}, ones);
}

static void put_block(struct gguf_build *b, struct random *random, enum dtype type, int layer)
{
    enum { HD = TINY_HEADS * TINY_HEAD_DIM, GD = TINY_KV_HEADS * TINY_HEAD_DIM };
    static const struct {
        const char *name;
        size_t inputs, outputs;
    } matrices[] = {
        {"attn_q", TINY_WIDTH, HD},         {"attn_k", TINY_WIDTH, GD},
        {"attn_v", TINY_WIDTH, GD},         {"attn_output", HD, TINY_WIDTH},
        {"ffn_gate", TINY_WIDTH, TINY_FFN}, {"ffn_up", TINY_WIDTH, TINY_FFN},
        {"ffn_down", TINY_FFN, TINY_WIDTH},
    };
    char name[64];
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, matrices[i].name);
        put_tensor(b, random, name, type, matrices[i].inputs, matrices[i].outputs);
    }
    snprintf(name, sizeof name, "blk.%d.attn_norm.weight", layer);
    put_norm(b, name);
    snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", layer);
    put_norm(b, name);
}

/* A SentencePiece vocabulary of single letters: enough to open; the tests give ids themselves. */
static void put_vocabulary(struct gguf_build *b)
{
    gguf_build_string(b, "tokenizer.ggml.model", "llama");
    gguf_build_array(b, "tokenizer.ggml.tokens", GGUF_STRING, TINY_VOCABULARY);
    for (int i = 0; i < TINY_VOCABULARY; i++) {
        char text[8];
        snprintf(text, sizeof text, "t%d", i);
        put_string(&b->values, text);
    }
    gguf_build_array(b, "tokenizer.ggml.scores", GGUF_F32, TINY_VOCABULARY);
    for (int i = 0; i < TINY_VOCABULARY; i++)
        put_f32(&b->values, 0);
}

void tiny_model_write(char path[64], enum dtype type, struct random *random)
{
    struct gguf_build b;
    gguf_build_open(&b);
    gguf_build_string(&b, "general.architecture", "llama");
    gguf_build_u32(&b, "llama.block_count", TINY_LAYERS);
    gguf_build_u32(&b, "llama.embedding_length", TINY_WIDTH);
    gguf_build_u32(&b, "llama.feed_forward_length", TINY_FFN);
    gguf_build_u32(&b, "llama.context_length", TINY_CONTEXT);
    gguf_build_u32(&b, "llama.attention.head_count", TINY_HEADS);
    gguf_build_u32(&b, "llama.attention.head_count_kv", TINY_KV_HEADS);
    gguf_build_u32(&b, "llama.attention.key_length", TINY_HEAD_DIM);
    gguf_build_u32(&b, "llama.rope.dimension_count", TINY_HEAD_DIM);
    gguf_build_f32(&b, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    put_vocabulary(&b);
    put_tensor(&b, random, "token_embd.weight", type, TINY_WIDTH, TINY_VOCABULARY);
    for (int layer = 0; layer < TINY_LAYERS; layer++)
        put_block(&b, random, type, layer);
    put_norm(&b, "output_norm.weight");
    put_tensor(&b, random, "output.weight", type, TINY_WIDTH, TINY_VOCABULARY);
    gguf_build_finish(&b);
    strcpy(path, "/tmp/trib-tiny-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || !gguf_build_write(&b, path)) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    close(fd);
    gguf_build_close(&b);
}
