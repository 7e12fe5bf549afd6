/* Folders as downloaded from Hugging Face: what becomes of names, numbers and settings. That the
 * whole is what llama.cpp's converter makes is shown by tools/hf_golden.py, which compares logits.
 */
#include <math.h>

#include "gguf_expect.h"
#include "hf_build.h"
#include "hf_expect.h"
#include "model/rope.h"
#include "random.h"
#include "test.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void assert_string(const struct gguf *file, const char *key, const char *expected)
{
    struct slice text;
    trib_error error;
    if (gguf_get_string(file, key, &text, NULL, &error))
        fail_msg("%s", error.message);
    if (!slice_is(text, expected))
        fail_msg("%s: expected %s, found %.*s", key, expected, (int)text.length, text.bytes);
}

/* Row r of q, in the order of adjacent pairs, was row h D + p D/2 + j where r = h D + 2 j + p. */
static void assert_permuted(const struct gguf *file, const char *name, uint64_t heads, uint64_t D,
                            uint64_t columns)
{
    for (uint64_t h = 0; h < heads; h++)
        for (uint64_t j = 0; j < D / 2; j++)
            for (uint64_t p = 0; p < 2; p++)
                for (uint64_t c = 0; c < columns; c++) {
                    uint64_t row = h * D + 2 * j + p, from = h * D + p * (D / 2) + j;
                    assert_true(number_of(file, name, row * columns + c) ==
                                hf_build_number(from * columns + c));
                }
}

/* Any piece of a tensor that does not lie in order is what its elements are one by one; nothing
 * behind it is written. */
static void pieces_of_orders(const struct gguf *file, const char *name)
{
    const struct gguf_tensor *t = gguf_find_tensor(file, name);
    struct random random = random_start(5);
    uint8_t piece[4096], one[4];
    assert_non_null(t);
    size_t bytes = dtype_info(t->type)->bytes;
    assert_true(t->order != GGUF_IN_ORDER && t->bytes <= sizeof piece);
    for (int i = 0; i < 100; i++) {
        uint64_t first = random_below(&random, t->elements);
        size_t count = random_below(&random, t->elements - first + 1);
        memset(piece, 0xa5, sizeof piece);
        gguf_copy(t, first, count, piece);
        for (size_t j = 0; j < count; j++) {
            gguf_copy(t, first + j, 1, one);
            assert_memory_equal(piece + j * bytes, one, bytes);
        }
        for (size_t j = count * bytes; j < sizeof piece; j++)
            assert_int_equal(piece[j], 0xa5);
    }
}

static void llama(void **state)
{
    static const char *const types[] = {"F32", "F16", "BF16"};
    static const enum dtype expected[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct hf_build b;
        hf_build_open(&b);
        hf_build_llama(&b, "LlamaForCausalLM", "\"rope_theta\": 5e5,", types[i]);
        hf_build_tensor(&b, "model.layers.1.self_attn.q_proj.bias", types[i], 1, (uint64_t[]){16},
                        NULL);
        hf_build_tensor(&b, "model.layers.0.self_attn.rotary_emb.inv_freq", "F32", 1,
                        (uint64_t[]){2}, NULL);
        hf_build_weights(&b, "model.safetensors");
        struct gguf *file = hf_opened(&b);
        assert_int_equal(file->version, 0);
        assert_int_equal(file->tensor_count, 3 + 2 * 9 + 1);
        assert_string(file, "general.architecture", "llama");
        assert_int_equal(value_of(file, "llama.block_count"), 2);
        assert_int_equal(value_of(file, "llama.attention.head_count_kv"), 2);
        assert_int_equal(value_of(file, "llama.rope.dimension_count"), 4);
        assert_int_equal(value_of(file, "llama.rope.freq_base"), 500000);
        assert_true((float)value_of(file, "llama.attention.layer_norm_rms_epsilon") == 1e-5f);
        assert_int_equal(value_of(file, "tokenizer.ggml.eos_token_id"), 7);
        const struct gguf_tensor *down = gguf_find_tensor(file, "blk.1.ffn_down.weight");
        assert_non_null(down);
        assert_int_equal(down->type, expected[i]);
        assert_int_equal(down->shape[0], 24);
        assert_int_equal(down->shape[1], 16);
        assert_int_equal(gguf_find_tensor(file, "blk.0.attn_norm.weight")->type, DTYPE_F32);
        for (uint64_t j = 0; j < 16; j++)
            assert_true(number_of(file, "blk.0.attn_norm.weight", j) == hf_build_number(j));
        assert_true(number_of(file, "output.weight", 9) == hf_build_number(9));
        assert_permuted(file, "blk.0.attn_q.weight", 4, 4, 16);
        assert_permuted(file, "blk.1.attn_k.weight", 2, 4, 16);
        assert_permuted(file, "blk.1.attn_q.bias", 4, 4, 1);
        pieces_of_orders(file, "blk.1.attn_k.weight");
        gguf_close(file);
        hf_build_close(&b);
    }
}

/* Qwen 2 keeps the order of rows; what is tied is left out. */
static void qwen2(void **state)
{
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "Qwen2ForCausalLM", "\"tie_word_embeddings\": true,", "BF16");
    hf_build_weights(&b, "model.safetensors");
    struct gguf *file = hf_opened(&b);
    assert_string(file, "general.architecture", "qwen2");
    assert_null(gguf_find_tensor(file, "output.weight"));
    for (uint64_t i = 0; i < 256; i++)
        assert_true(number_of(file, "blk.0.attn_q.weight", i) == hf_build_number(i));
    gguf_close(file);
    hf_build_close(&b);
}

static void gemma2_adds_one_to_norms(void **state)
{
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "Gemma2ForCausalLM", "\"head_dim\": 4, \"query_pre_attn_scalar\": 16,",
                   "BF16");
    for (int layer = 0; layer < 2; layer++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.pre_feedforward_layernorm.weight", layer);
        hf_build_tensor(&b, name, "BF16", 1, (uint64_t[]){16}, NULL);
        snprintf(name, sizeof name, "model.layers.%d.post_feedforward_layernorm.weight", layer);
        hf_build_tensor(&b, name, "BF16", 1, (uint64_t[]){16}, NULL);
    }
    hf_build_weights(&b, "model.safetensors");
    struct gguf *file = hf_opened(&b);
    static const char *const norms[] = {"output_norm.weight", "blk.0.attn_norm.weight",
                                        "blk.1.post_attention_norm.weight", "blk.1.ffn_norm.weight",
                                        "blk.0.post_ffw_norm.weight"};
    for (size_t i = 0; i < COUNT(norms); i++)
        for (uint64_t j = 0; j < 16; j++)
            assert_true(number_of(file, norms[i], j) == hf_build_number(j) + 1);
    assert_int_equal(value_of(file, "gemma2.attn_logit_softcapping"), 50);
    assert_int_equal(value_of(file, "gemma2.final_logit_softcapping"), 30);
    assert_int_equal(value_of(file, "gemma2.attention.sliding_window"), 4096);
    assert_true(value_of(file, "gemma2.attention.scale") == 0.25);
    assert_null(gguf_find_tensor(file, "output.weight"));
    gguf_close(file);
    hf_build_close(&b);
}

/* The tensors of a Gemma 3 of one layer, E = 16, H = 4, G = 2, D = 4, with the names that begin so.
 */
static void put_gemma3(struct hf_build *b, const char *prefix)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } tensors[] = {
        {"embed_tokens", 8, 16},
        {"norm", 16, 0},
        {"layers.0.self_attn.q_proj", 16, 16},
        {"layers.0.self_attn.k_proj", 8, 16},
        {"layers.0.self_attn.v_proj", 8, 16},
        {"layers.0.self_attn.o_proj", 16, 16},
        {"layers.0.self_attn.q_norm", 4, 0},
        {"layers.0.self_attn.k_norm", 4, 0},
        {"layers.0.mlp.gate_proj", 24, 16},
        {"layers.0.mlp.up_proj", 24, 16},
        {"layers.0.mlp.down_proj", 16, 24},
        {"layers.0.input_layernorm", 16, 0},
        {"layers.0.post_attention_layernorm", 16, 0},
        {"layers.0.pre_feedforward_layernorm", 16, 0},
        {"layers.0.post_feedforward_layernorm", 16, 0},
    };
    for (size_t i = 0; i < COUNT(tensors); i++) {
        char name[96];
        snprintf(name, sizeof name, "%s%s.weight", prefix, tensors[i].name);
        hf_build_tensor(b, name, "BF16", tensors[i].columns ? 2 : 1,
                        (uint64_t[]){tensors[i].rows, tensors[i].columns}, NULL);
    }
}

/* Gemma 3 with a part that sees images, under its names of both ages: the text part is opened, with
 * the usual numbers where text_config is silent, and it is said what is left out. */
static void gemma3_of_images(void **state)
{
    static const struct {
        const char *text, *vision, *projector;
    } names[] = {{"language_model.model.", "vision_tower.vision_model.post_layernorm.weight",
                  "multi_modal_projector.mm_soft_emb_norm.weight"},
                 {"model.language_model.", "model.vision_tower.vision_model.post_layernorm.weight",
                  "model.multi_modal_projector.mm_soft_emb_norm.weight"}};
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        struct hf_build b;
        hf_build_open(&b);
        hf_build_text(&b, "config.json",
                      "{\"architectures\": [\"Gemma3ForConditionalGeneration\"],"
                      "\"eos_token_id\": [7, 6], \"vision_config\": {\"hidden_size\": 1152},"
                      "\"text_config\": {\"hidden_size\": 16, \"intermediate_size\": 24,"
                      "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 4,"
                      "\"num_hidden_layers\": 1, \"vocab_size\": 8, \"sliding_window\": 1024,"
                      "\"rope_scaling\": {\"factor\": 8.0, \"rope_type\": \"linear\"}}}");
        hf_build_text(&b, "tokenizer.json", hf_build_tokenizer);
        put_gemma3(&b, names[i].text);
        hf_build_tensor(&b, names[i].vision, "BF16", 1, (uint64_t[]){5}, NULL);
        hf_build_tensor(&b, names[i].projector, "BF16", 1, (uint64_t[]){5}, NULL);
        hf_build_weights(&b, "model.safetensors");
        struct gguf *file = hf_opened(&b);
        assert_string(file, "general.architecture", "gemma3");
        assert_int_equal(file->tensor_count, 15);
        assert_non_null(strstr(file->note, "2 tensors"));
        assert_int_equal(value_of(file, "gemma3.context_length"), 131072);
        assert_int_equal(value_of(file, "gemma3.attention.sliding_window"), 1024);
        assert_int_equal(value_of(file, "gemma3.rope.freq_base"), 1000000);
        assert_int_equal(value_of(file, "gemma3.rope.scaling.factor"), 8);
        assert_int_equal(value_of(file, "tokenizer.ggml.eos_token_id"), 7);
        assert_true(number_of(file, "blk.0.attn_q_norm.weight", 3) == hf_build_number(3) + 1);
        gguf_close(file);
        hf_build_text(&b, "config.json",
                      "{\"architectures\": [\"Gemma3ForConditionalGeneration\"]}");
        hf_refused(&b, TRIB_FORMAT, "text_config: expected an object, found nothing");
        hf_build_close(&b);
    }
}

static void gpt2_is_transposed(void **state)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } tensors[] = {
        {"transformer.wte.weight", 8, 4},
        {"transformer.wpe.weight", 16, 4},
        {"transformer.ln_f.weight", 4, 0},
        {"transformer.ln_f.bias", 4, 0},
        {"transformer.h.0.ln_1.weight", 4, 0},
        {"transformer.h.0.ln_1.bias", 4, 0},
        {"transformer.h.0.ln_2.weight", 4, 0},
        {"transformer.h.0.ln_2.bias", 4, 0},
        {"transformer.h.0.attn.c_attn.weight", 4, 12},
        {"transformer.h.0.attn.c_attn.bias", 12, 0},
        {"transformer.h.0.attn.c_proj.weight", 4, 4},
        {"transformer.h.0.attn.c_proj.bias", 4, 0},
        {"transformer.h.0.mlp.c_fc.weight", 4, 16},
        {"transformer.h.0.mlp.c_fc.bias", 16, 0},
        {"transformer.h.0.mlp.c_proj.weight", 16, 4},
        {"transformer.h.0.mlp.c_proj.bias", 4, 0},
        {"transformer.h.0.attn.bias", 16, 16},
    };
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_text(&b, "config.json",
                  "{\"architectures\": [\"GPT2LMHeadModel\"], \"n_embd\": 4, \"n_head\": 2,"
                  "\"n_layer\": 1, \"n_positions\": 16, \"n_inner\": null, \"vocab_size\": 8}");
    hf_build_text(&b, "tokenizer.json", hf_build_tokenizer);
    for (size_t i = 0; i < COUNT(tensors); i++)
        hf_build_tensor(&b, tensors[i].name, "F16", tensors[i].columns ? 2 : 1,
                        (uint64_t[]){tensors[i].rows, tensors[i].columns}, NULL);
    hf_build_weights(&b, "model.safetensors");
    struct gguf *file = hf_opened(&b);
    assert_int_equal(file->tensor_count, COUNT(tensors) - 1);
    assert_int_equal(value_of(file, "gpt2.feed_forward_length"), 16);
    assert_int_equal(value_of(file, "gpt2.context_length"), 16);
    const struct gguf_tensor *qkv = gguf_find_tensor(file, "blk.0.attn_qkv.weight");
    assert_int_equal(qkv->shape[0], 4);
    assert_int_equal(qkv->shape[1], 12);
    for (uint64_t r = 0; r < 12; r++)
        for (uint64_t c = 0; c < 4; c++)
            assert_true(number_of(file, "blk.0.attn_qkv.weight", r * 4 + c) ==
                        hf_build_number(c * 12 + r));
    assert_int_equal(gguf_find_tensor(file, "position_embd.weight")->type, DTYPE_F32);
    assert_true(number_of(file, "blk.0.attn_qkv.bias", 11) == hf_build_number(11));
    pieces_of_orders(file, "blk.0.attn_qkv.weight");
    pieces_of_orders(file, "blk.0.ffn_down.weight");
    gguf_close(file);
    hf_build_close(&b);
}

/* The factors of Llama 3.1's rule, by its definition: D = 4, base 100, so wavelengths of tau and 10
 * tau; an original context of 64, factor 8, low 1 and high 4: 64 / 4 = 16 lies between them. */
static void llama3_factors(void **state)
{
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(
        &b, "LlamaForCausalLM",
        "\"rope_theta\": 100, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
        "\"low_freq_factor\": 1, \"high_freq_factor\": 4,"
        "\"original_max_position_embeddings\": 64},",
        "F32");
    hf_build_weights(&b, "model.safetensors");
    struct gguf *file = hf_opened(&b);
    double wave = 10 * 2 * acos(-1), smooth = (64 / wave - 1) / 3;
    assert_true(number_of(file, "rope_freqs.weight", 0) == 1);
    assert_true(number_of(file, "rope_freqs.weight", 1) ==
                (float)(1 / ((1 - smooth) / 8 + smooth)));
    assert_null(gguf_find(file, "llama.rope.scaling.type"));
    gguf_close(file);
    hf_build_close(&b);
}

static void yarn_and_new_names(void **state)
{
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "MistralForCausalLM",
                   "\"sliding_window\": 32, \"rope_parameters\": {\"rope_type\": \"yarn\","
                   "\"factor\": 4.0, \"rope_theta\": 1e6, \"beta_fast\": 16,"
                   "\"original_max_position_embeddings\": 16},",
                   "F32");
    hf_build_weights(&b, "model.safetensors");
    struct gguf *file = hf_opened(&b);
    assert_string(file, "llama.rope.scaling.type", "yarn");
    assert_int_equal(value_of(file, "llama.rope.scaling.factor"), 4);
    assert_int_equal(value_of(file, "llama.rope.scaling.original_context_length"), 16);
    assert_int_equal(value_of(file, "llama.rope.scaling.yarn_beta_fast"), 16);
    assert_int_equal(value_of(file, "llama.rope.freq_base"), 1000000);
    assert_int_equal(value_of(file, "llama.attention.sliding_window"), 32);
    gguf_close(file);
    hf_build_close(&b);
}

/* What scaling leaves out is as transformers has it: a factor that is null is that of the contexts,
 * and the original context is the model's. */
static void scaling_left_out(void **state)
{
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM",
                   "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": null,"
                   "\"original_max_position_embeddings\": 16},",
                   "F32");
    hf_build_weights(&b, "model.safetensors");
    struct gguf *file = hf_opened(&b);
    assert_int_equal(value_of(file, "llama.rope.scaling.factor"), 4);
    gguf_close(file);
    hf_build_llama(&b, "LlamaForCausalLM",
                   "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8,"
                   "\"low_freq_factor\": 1, \"high_freq_factor\": 4},",
                   "F32");
    hf_build_weights(&b, "model.safetensors");
    file = hf_opened(&b);
    assert_true(number_of(file, "rope_freqs.weight", 1) == 8); /* a wave of 628 positions, of 64 */
    gguf_close(file);
    hf_build_close(&b);
}

/* Queries and keys grow as in transformers, by its definition with a factor of 4. It is
 * u = 1 + 0.1 ln 4 where nothing else is said, and then no key says it. */
static void yarn_magnitudes(void **state)
{
    static const struct {
        const char *fields;
        double magnitude; /* 0: u */
    } cases[] = {
        {"", 0},
        {", \"attention_factor\": 1.1386294361119891", 0}, /* u */
        {", \"mscale\": 2, \"mscale_all_dim\": 0", 0},
        {", \"mscale\": 2", 0},
        {", \"mscale\": 1, \"mscale_all_dim\": 1, \"truncate\": true", 1},
        {", \"mscale\": 2, \"mscale_all_dim\": 1", 1.2772588722239782 / 1.1386294361119891},
        {", \"attention_factor\": 1.0", 1},
        {", \"attention_factor\": 1.5, \"mscale\": 2, \"mscale_all_dim\": 1", 1.5},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char settings[256];
        struct hf_build b;
        struct model_config config;
        struct rope rope;
        trib_error error;
        hf_build_open(&b);
        snprintf(settings, sizeof settings,
                 "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4,"
                 "\"original_max_position_embeddings\": 16%s},",
                 cases[i].fields);
        hf_build_llama(&b, "LlamaForCausalLM", settings, "F32");
        hf_build_weights(&b, "model.safetensors");
        struct gguf *file = hf_opened(&b);
        if (model_config_read(&config, file, &error) ||
            rope_open(&rope, &config, (struct rope_factors){0}, "", &error))
            fail_msg("%s", error.message);
        double usual = 0.1 * log(4) + 1, expected = cases[i].magnitude;
        assert_true((gguf_find(file, "llama.rope.scaling.attn_factor") == NULL) == (expected == 0));
        assert_true(fabs(rope.magnitude / (expected > 0 ? expected : usual) - 1) < 0x1p-23);
        rope_close(&rope);
        gguf_close(file);
        hf_build_close(&b);
    }
}

/* The part of a head that Phi-3 rotates is of the head, whatever the width is. */
static void phi3_rotates_in_part(void **state)
{
    static const struct {
        const char *name;
        uint64_t shape[2];
    } tensors[] = {
        {"model.embed_tokens", {8, 16}},
        {"lm_head", {8, 16}},
        {"model.norm", {16, 0}},
        {"model.layers.0.input_layernorm", {16, 0}},
        {"model.layers.0.self_attn.qkv_proj", {64, 16}},
        {"model.layers.0.self_attn.o_proj", {16, 32}},
        {"model.layers.0.post_attention_layernorm", {16, 0}},
        {"model.layers.0.mlp.gate_up_proj", {48, 16}},
        {"model.layers.0.mlp.down_proj", {16, 24}},
    };
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_text(&b, "config.json",
                  "{\"architectures\": [\"Phi3ForCausalLM\"], \"hidden_size\": 16, \"head_dim\": 8,"
                  "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 8,"
                  "\"intermediate_size\": 24, \"num_hidden_layers\": 1,"
                  "\"max_position_embeddings\": 64, \"partial_rotary_factor\": 0.5}");
    hf_build_text(&b, "tokenizer.json", hf_build_tokenizer);
    for (size_t i = 0; i < COUNT(tensors); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.weight", tensors[i].name);
        hf_build_tensor(&b, name, "F32", tensors[i].shape[1] ? 2 : 1, tensors[i].shape, NULL);
    }
    hf_build_weights(&b, "model.safetensors");
    struct gguf *file = hf_opened(&b);
    assert_int_equal(value_of(file, "phi3.rope.dimension_count"), 4);
    gguf_close(file);
    hf_build_close(&b);
}

/* A Mistral has the window that its config.json names, or its class's; a Llama has none whatever is
 * named. */
static void windows(void **state)
{
    struct hf_build b;
    (void)state;
    for (int i = 0; i < 2; i++) {
        hf_build_open(&b);
        hf_build_llama(&b, i ? "MistralForCausalLM" : "LlamaForCausalLM", "\"sliding_window\": 32,",
                       "F32");
        hf_build_weights(&b, "model.safetensors");
        struct gguf *file = hf_opened(&b);
        assert_int_equal(gguf_find(file, "llama.attention.sliding_window") != NULL, i);
        assert_permuted(file, "blk.1.attn_k.weight", 2, 4, 16);
        gguf_close(file);
        hf_build_close(&b);
    }
    for (int null = 0; null < 2; null++) {
        hf_build_open(&b);
        hf_build_llama(&b, "MistralForCausalLM", null ? "\"sliding_window\": null," : "", "F32");
        hf_build_weights(&b, "model.safetensors");
        struct gguf *file = hf_opened(&b);
        if (null)
            assert_null(gguf_find(file, "llama.attention.sliding_window"));
        else
            assert_int_equal(value_of(file, "llama.attention.sliding_window"), 4096);
        gguf_close(file);
        hf_build_close(&b);
    }
    hf_build_open(&b);
    hf_build_llama(&b, "MistralForCausalLM", "\"sliding_window\": -5,", "F32");
    hf_refused(&b, TRIB_FORMAT, "sliding_window: expected 0 to");
    hf_build_close(&b);
}

/* ---- Vocabulary ---- */

static void settings_of_the_tokenizer(void **state)
{
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM", "", "F32");
    hf_build_weights(&b, "model.safetensors");
    hf_build_text(&b, "tokenizer_config.json",
                  "{\"bos_token\": {\"content\": \"a\"}, \"eos_token\": \"b\","
                  "\"add_bos_token\": true, \"chat_template\": \"{{ x }}\"}");
    hf_build_text(&b, "generation_config.json", "{\"eos_token_id\": [1, 7]}");
    struct gguf *file = hf_opened(&b);
    assert_int_equal(value_of(file, "tokenizer.ggml.bos_token_id"), 0);
    assert_int_equal(value_of(file, "tokenizer.ggml.eos_token_id"), 1);
    assert_int_equal(value_of(file, "tokenizer.ggml.eot_token_id"), 7);
    assert_int_equal(value_of(file, "tokenizer.ggml.add_bos_token"), 1);
    assert_int_equal(value_of(file, "tokenizer.ggml.add_eos_token"), 0);
    assert_string(file, "tokenizer.chat_template", "{{ x }}");
    gguf_close(file);
    hf_build_text(&b, "chat_template.jinja", "{{ y }}");
    file = hf_opened(&b);
    assert_string(file, "tokenizer.chat_template", "{{ y }}");
    gguf_close(file);
    hf_build_close(&b);
}

/* Tokens of bytes stay such when they are listed among the added ones. */
static void bytes_that_are_added(void **state)
{
    struct hf_build b;
    const struct gguf_value *kinds;
    trib_error error;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM", "", "F32");
    hf_build_text(
        &b, "tokenizer.json",
        "{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"},"
        "\"content\": \"\xe2\x96\x81\"}, \"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", "
        "\"special\": true},"
        "{\"id\": 1, \"content\": \"<0x41>\", \"special\": true},"
        "{\"id\": 2, \"content\": \"<s>\", \"special\": true}], \"model\": {\"type\": \"BPE\","
        "\"vocab\": {\"<unk>\": 0, \"<0x41>\": 1, \"<s>\": 2}, \"merges\": [],"
        "\"byte_fallback\": true, \"unk_token\": \"<unk>\", \"fuse_unk\": true}}");
    hf_build_weights(&b, "model.safetensors");
    struct gguf *file = hf_opened(&b);
    assert_int_equal(
        gguf_get_array(file, "tokenizer.ggml.token_type", GGUF_I32, &kinds, NULL, &error), TRIB_OK);
    assert_true(gguf_number(kinds, 0) == 2 && gguf_number(kinds, 1) == 6 &&
                gguf_number(kinds, 2) == 3); /* unknown, a byte, control */
    gguf_close(file);
    hf_build_close(&b);
}

/* ---- Shards ---- */

static void build_shards(struct hf_build *b, const char *index)
{
    hf_build_open(b);
    hf_build_llama(b, "LlamaForCausalLM", "", "F32");
    hf_build_weights(b, "one.safetensors");
    hf_build_tensor(b, "model.layers.0.self_attn.v_proj.bias", "F32", 1, (uint64_t[]){8}, NULL);
    hf_build_tensor(b, "model.layers.0.self_attn.o_proj.bias", "F32", 1, (uint64_t[]){16}, NULL);
    hf_build_weights(b, "two.safetensors");
    hf_build_text(b, "model.safetensors.index.json", index);
}

/* An index of all tensors of build_shards, and `more`. */
static void make_index(char *out, size_t size, const char *more)
{
    static const char *const blocks[] = {
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
        "mlp.down_proj",    "input_layernorm",  "post_attention_layernorm"};
    size_t used = (size_t)snprintf(
        out, size,
        "{\"weight_map\": {\"model.embed_tokens.weight\": \"one.safetensors\","
        "\"lm_head.weight\": \"one.safetensors\", \"model.norm.weight\": \"one.safetensors\"");
    for (int layer = 0; layer < 2; layer++)
        for (size_t i = 0; i < COUNT(blocks); i++)
            used += (size_t)snprintf(out + used, size - used,
                                     ", \"model.layers.%d.%s.weight\": \"one.safetensors\"", layer,
                                     blocks[i]);
    snprintf(out + used, size - used, "%s}}", more);
}

#define V_BIAS ", \"model.layers.0.self_attn.v_proj.bias\": \"two.safetensors\""
#define BIAS   V_BIAS ", \"model.layers.0.self_attn.o_proj.bias\": \"two.safetensors\""

static void shards(void **state)
{
    static const struct {
        const char *more, *says;
        trib_status status;
    } bad[] = {
        {V_BIAS, "expected all 23 tensors of the shards, found 22", TRIB_FORMAT},
        {BIAS ", \"x\": \"three.safetensors\"", "three.safetensors: No such file", TRIB_IO},
        {BIAS ", \"x\": \"two.safetensors\"", "two.safetensors has no tensor x", TRIB_FORMAT},
        {BIAS ", \"x\": \"../two.safetensors\"", "expected the name of a file beside it",
         TRIB_FORMAT},
        {BIAS ", \"x\": \"..\"", "expected the name of a file beside it", TRIB_FORMAT},
        {BIAS ", \"x\": \"\"", "expected the name of a file beside it", TRIB_FORMAT},
        {BIAS ", \"x\": 7", "expected the name of a file beside it", TRIB_FORMAT},
    };
    static char index[4096];
    struct hf_build b;
    struct gguf *file;
    trib_error error;
    (void)state;
    make_index(index, sizeof index, BIAS);
    build_shards(&b, index);
    file = hf_opened(&b);
    assert_int_equal(file->tensor_count, 23);
    assert_true(number_of(file, "blk.0.attn_v.bias", 3) == hf_build_number(3));
    gguf_close(file);
    for (size_t i = 0; i < COUNT(bad); i++) {
        make_index(index, sizeof index, bad[i].more);
        hf_build_text(&b, "model.safetensors.index.json", index);
        assert_int_equal(hf_folder_open(&file, b.path, &error), bad[i].status);
        assert_null(file);
        if (!strstr(error.message, bad[i].says))
            fail_msg("\"%s\": expected it to say \"%s\"", error.message, bad[i].says);
        assert_int_equal(hf_folder_open(&file, b.path, NULL), bad[i].status);
    }
    hf_build_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama),
        cmocka_unit_test(qwen2),
        cmocka_unit_test(gemma2_adds_one_to_norms),
        cmocka_unit_test(gemma3_of_images),
        cmocka_unit_test(gpt2_is_transposed),
        cmocka_unit_test(llama3_factors),
        cmocka_unit_test(yarn_and_new_names),
        cmocka_unit_test(scaling_left_out),
        cmocka_unit_test(yarn_magnitudes),
        cmocka_unit_test(phi3_rotates_in_part),
        cmocka_unit_test(windows),
        cmocka_unit_test(settings_of_the_tokenizer),
        cmocka_unit_test(bytes_that_are_added),
        cmocka_unit_test(shards),
    };
    random_seed();
    return cmocka_run_group_tests_name("hf_folder", tests, NULL, NULL);
}
