/* Folders as downloaded from Hugging Face: what does not fit together, or would give other ids or
 * logits than transformers does, is refused with a message that names it. */
#include "hf_build.h"
#include "hf_expect.h"
#include "test.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void refuses_settings(void **state)
{
    static const struct {
        const char *settings, *says;
        trib_status status;
    } bad[] = {
        {"\"hidden_act\": \"relu\",", "hidden_act: expected silu, found relu", TRIB_UNSUPPORTED},
        {"\"quantization_config\": {},", "quantization_config: expected", TRIB_UNSUPPORTED},
        {"\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 2},", "found dynamic",
         TRIB_UNSUPPORTED},
        {"\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"truncate\": false},",
         "truncate: expected true", TRIB_UNSUPPORTED},
        {"\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"attention_factor\": 0},",
         "attention_factor: expected a number above 0, found 0", TRIB_FORMAT},
        {"\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 2, \"mscale\": \"1\"},",
         "mscale: expected a number", TRIB_FORMAT},
        {"\"rope_scaling\": 3,", "rope_scaling: expected an object, found an integer", TRIB_FORMAT},
        {"\"rope_scaling\": {\"type\": \"linear\"},", "factor: expected a number, found nothing",
         TRIB_FORMAT},
        {"\"rope_scaling\": {\"type\": \"yarn\"},", "factor: expected a number, found nothing",
         TRIB_FORMAT},
        {"\"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8},",
         "low_freq_factor: expected a number, found nothing", TRIB_FORMAT},
        {"\"rope_theta\": -1,", "rope_theta: expected a number above 0", TRIB_FORMAT},
        {"\"rope_theta\": 1e300,", "rope_theta: expected a number above 0", TRIB_FORMAT},
        {"\"rope_theta\": \"1\",", "rope_theta: expected a number, found a string", TRIB_FORMAT},
        {"\"partial_rotary_factor\": 0.5,", "partial_rotary_factor", TRIB_UNSUPPORTED},
        {"\"head_dim\": 3,", "even dimension", TRIB_FORMAT},
        {"\"head_dim\": 99999999999,", "head_dim: expected 1 to", TRIB_FORMAT},
        {"\"head_dim\": 8,", "shape: expected [32, 16], as config.json has it, found [16, 16]",
         TRIB_FORMAT},
        {"\"n_ctx\": 1, \"a\": [,", "config.json: JSON: line 1", TRIB_FORMAT},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct hf_build b;
        hf_build_open(&b);
        hf_build_llama(&b, "LlamaForCausalLM", bad[i].settings, "F32");
        hf_build_weights(&b, "model.safetensors");
        hf_refused(&b, bad[i].status, bad[i].says);
        hf_build_close(&b);
    }
}

static void refuses_configurations(void **state)
{
    static const struct {
        const char *config, *says;
        trib_status status;
    } bad[] = {
        {"[1]", "config.json: JSON: expected an object, found an array", TRIB_FORMAT},
        {"{}", "architectures: expected Llama", TRIB_UNSUPPORTED},
        {"{\"architectures\": \"LlamaForCausalLM\"}", "architectures: expected an array",
         TRIB_FORMAT},
        {"{\"architectures\": [\"MambaForCausalLM\"]}", "found MambaForCausalLM", TRIB_UNSUPPORTED},
        {"{\"architectures\": [\"LlamaForCausalLM\"]}",
         "max_position_embeddings: expected an integer, found nothing", TRIB_FORMAT},
        {"{\"architectures\": [\"LlamaForCausalLM\"], \"max_position_embeddings\": 1e3}",
         "max_position_embeddings: expected an integer, found a number", TRIB_FORMAT},
        {"{\"architectures\": [\"LlamaForCausalLM\"], \"max_position_embeddings\": 0}",
         "max_position_embeddings: expected 1 to", TRIB_FORMAT},
    };
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_refused(&b, TRIB_IO, "found a folder without config.json");
    for (size_t i = 0; i < COUNT(bad); i++) {
        hf_build_text(&b, "config.json", bad[i].config);
        hf_refused(&b, bad[i].status, bad[i].says);
    }
    hf_build_llama(&b, "LlamaForCausalLM", "", "F32");
    hf_refused(&b, TRIB_IO, "expected model.safetensors or model.safetensors.index.json");
    hf_build_close(&b);
}

/* Where config.json leaves the number of KV heads out it is the class's, which k_proj has not. */
static void heads_left_out(void **state)
{
    static const struct {
        const char *architecture, *heads, *says;
    } cases[] = {
        {"LlamaForCausalLM", "", "k_proj.weight: shape: expected [16, 16]"},
        {"MistralForCausalLM", "", "num_key_value_heads 8, found 4"},
        {"MistralForCausalLM", "\"num_key_value_heads\": null,",
         "k_proj.weight: shape: expected [16, 16]"},
        {"Qwen2ForCausalLM", "", "num_key_value_heads 32, found 4"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct hf_build b;
        char config[512];
        hf_build_open(&b);
        hf_build_llama(&b, cases[i].architecture, "", "F32");
        snprintf(config, sizeof config,
                 "{%s \"architectures\": [\"%s\"], \"hidden_size\": 16, \"num_attention_heads\": 4,"
                 "\"intermediate_size\": 24, \"num_hidden_layers\": 2,"
                 "\"max_position_embeddings\": 64, \"vocab_size\": 8}",
                 cases[i].heads, cases[i].architecture);
        hf_build_text(&b, "config.json", config);
        hf_build_weights(&b, "model.safetensors");
        hf_refused(&b, TRIB_FORMAT, cases[i].says);
        hf_build_close(&b);
    }
}

static void refuses_tensors(void **state)
{
    static const struct {
        const char *name, *type, *says;
        trib_status status;
    } more[] = {
        {"model.layers.2.mlp.up_proj.weight", "F32", "no part of a llama model of 2 layers",
         TRIB_UNSUPPORTED},
        {"model.layers.0.mlp.experts.weight", "F32", "no part of a llama model", TRIB_UNSUPPORTED},
        {"model.layers.0.mlp.up_proj", "F32", "no part of a llama model", TRIB_UNSUPPORTED},
        {"model.layers.0.self_attn.q_proj.bias", "F32", "shape: expected [16]", TRIB_FORMAT},
        {"norm.weight", "F32", "shape: expected [16]", TRIB_FORMAT},
    };
    struct hf_build b;
    (void)state;
    for (size_t i = 0; i < COUNT(more); i++) {
        hf_build_open(&b);
        hf_build_llama(&b, "LlamaForCausalLM", "", "F32");
        hf_build_tensor(&b, more[i].name, more[i].type, 2, (uint64_t[]){2, 2}, NULL);
        hf_build_weights(&b, "model.safetensors");
        hf_refused(&b, more[i].status, more[i].says);
        hf_build_close(&b);
    }
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM", "", "F32");
    hf_build_tensor(&b, "norm.weight", "F32", 1, (uint64_t[]){16}, NULL); /* once more */
    hf_build_weights(&b, "model.safetensors");
    hf_refused(&b, TRIB_FORMAT, "tensor output_norm.weight stands twice");
    hf_build_tensor(&b, "model.norm.weight", "F32", 1, (uint64_t[]){16}, NULL);
    hf_build_weights(&b, "model.safetensors");
    hf_refused(&b, TRIB_FORMAT, "of layer 0 is missing");
    hf_build_close(&b);
}

static void refuses_vocabularies(void **state)
{
#define PRE "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false},"
#define SPACES                                                                                     \
    "\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"},"                    \
    "\"content\": \"\xe2\x96\x81\"},"
    static const struct {
        const char *tokenizer, *says;
        trib_status status;
    } bad[] = {
        {"{", "tokenizer.json: JSON", TRIB_FORMAT},
        {"{}", "model.type: expected BPE or WordPiece, found nothing", TRIB_UNSUPPORTED},
        {"{\"model\": 1}", "model: expected an object", TRIB_FORMAT},
        {"{\"model\": {\"type\": \"Unigram\"}}", "found Unigram", TRIB_UNSUPPORTED},
        {"{" PRE "\"model\": {\"type\": \"BPE\"}}", "model.vocab: expected tokens", TRIB_FORMAT},
        {"{" PRE "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 8}, \"merges\": []}}",
         "an id below the 8 rows of the embedding, found 8", TRIB_FORMAT},
        {"{" PRE "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": -1}, \"merges\": []}}",
         "found -1", TRIB_FORMAT},
        {"{" PRE "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}",
         "id 0 stands twice", TRIB_FORMAT},
        {"{" PRE "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}}}",
         "model.merges: expected an array", TRIB_FORMAT},
        {"{" PRE "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [\"aa\"]}}",
         "model.merges: 0: expected two tokens", TRIB_FORMAT},
        {"{" PRE "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [[\"a\"]]}}",
         "model.merges: 0: expected two tokens", TRIB_FORMAT},
        {"{" PRE "\"model\": {\"type\": \"BPE\", \"dropout\": 0.1}}", "model.dropout",
         TRIB_UNSUPPORTED},
        {"{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\"}}",
         "pre_tokenizer: expected the steps", TRIB_UNSUPPORTED},
        {"{\"normalizer\": {\"type\": \"NFKC\"}," PRE "\"model\": {\"type\": \"BPE\"}}",
         "normalizer: expected none", TRIB_UNSUPPORTED},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "normalizer: expected U+2581", TRIB_UNSUPPORTED},
        {"{" SPACES "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2,"
         "\"bc\": 3, \"c\": 4, \"abc\": 5}, \"merges\": [\"a b\", \"b c\", \"ab c\"]}}",
         "of the 2 that make abc, found 1", TRIB_UNSUPPORTED},
        {"{" SPACES "\"added_tokens\": [{\"id\": 3, \"content\": \"bc\"}], \"model\": {\"type\":"
         "\"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"bc\": 3, \"c\": 4, \"abc\": 5},"
         "\"merges\": [\"a b\", \"ab c\"]}}",
         "unk_token: expected a token", TRIB_UNSUPPORTED}, /* the merges are whole */
        {"{" SPACES "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": [],"
         "\"unk_token\": \"a\"}}",
         "fuse_unk: expected true", TRIB_UNSUPPORTED},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}}}",
         "pre_tokenizer: expected BertPreTokenizer", TRIB_UNSUPPORTED},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0},"
         "\"max_input_chars_per_word\": 50}}",
         "max_input_chars_per_word: expected 100", TRIB_UNSUPPORTED},
        {"{\"added_tokens\": [{\"content\": \"x\"}]," PRE
         "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "added_tokens: expected objects with an id", TRIB_FORMAT},
        {"{\"added_tokens\": [{\"id\": 1}]," PRE
         "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "added token 1: content", TRIB_FORMAT},
#define ADDED(flag)                                                                                \
    "{\"added_tokens\": [{\"id\": 1, \"content\": \"x\", " flag ": true}]," PRE                    \
    "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}"
        {ADDED("\"lstrip\""), "added token 1: lstrip: expected false", TRIB_UNSUPPORTED},
        {ADDED("\"rstrip\""), "added token 1: rstrip: expected false", TRIB_UNSUPPORTED},
        {ADDED("\"single_word\""), "added token 1: single_word: expected", TRIB_UNSUPPORTED},
    };
    struct hf_build b;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM", "", "F32");
    hf_build_weights(&b, "model.safetensors");
    for (size_t i = 0; i < COUNT(bad); i++) {
        hf_build_text(&b, "tokenizer.json", bad[i].tokenizer);
        hf_refused(&b, bad[i].status, bad[i].says);
    }
    hf_build_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_settings),     cmocka_unit_test(refuses_configurations),
        cmocka_unit_test(heads_left_out),       cmocka_unit_test(refuses_tensors),
        cmocka_unit_test(refuses_vocabularies),
    };
    return cmocka_run_group_tests_name("hf_refused", tests, NULL, NULL);
}
