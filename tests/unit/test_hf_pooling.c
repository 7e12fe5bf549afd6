/* Folders of sentence-transformers: the pooling that their files name is what the model has, and
 * what would make other vectors is refused. */
#include "gguf_expect.h"
#include "hf_build.h"
#include "hf_expect.h"
#include "test.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

#define MODULE(class) "{\"type\": \"sentence_transformers." class "\"}"
#define TWO           "[" MODULE("models.Transformer") ", " MODULE("models.Pooling")
#define NEW_POOLING   MODULE("sentence_transformer.modules.pooling.Pooling")

/* A BERT of one layer, E = 4, H = 2, F = 6, V = 5, with a folder for the pooling. */
static void build_bert(struct hf_build *b)
{
    static const struct {
        const char *name;
        uint64_t rows, columns;
    } tensors[] = {
        {"embeddings.word_embeddings", 5, 4},
        {"embeddings.position_embeddings", 8, 4},
        {"embeddings.token_type_embeddings", 2, 4},
        {"embeddings.LayerNorm", 4, 0},
        {"encoder.layer.0.attention.self.query", 4, 4},
        {"encoder.layer.0.attention.self.key", 4, 4},
        {"encoder.layer.0.attention.self.value", 4, 4},
        {"encoder.layer.0.attention.output.dense", 4, 4},
        {"encoder.layer.0.attention.output.LayerNorm", 4, 0},
        {"encoder.layer.0.intermediate.dense", 6, 4},
        {"encoder.layer.0.output.dense", 4, 6},
        {"encoder.layer.0.output.LayerNorm", 4, 0},
    };
    char name[96];
    hf_build_open(b);
    hf_build_text(b, "config.json",
                  "{\"architectures\": [\"BertModel\"], \"hidden_size\": 4,"
                  "\"num_attention_heads\": 2, \"num_hidden_layers\": 1, \"intermediate_size\": 6,"
                  "\"max_position_embeddings\": 8, \"vocab_size\": 5}");
    hf_build_text(b, "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n");
    hf_build_folder(b, "1_Pooling");
    for (size_t i = 0; i < COUNT(tensors); i++) {
        snprintf(name, sizeof name, "%s.weight", tensors[i].name);
        hf_build_tensor(b, name, "F32", tensors[i].columns ? 2 : 1,
                        (uint64_t[]){tensors[i].rows, tensors[i].columns}, NULL);
        snprintf(name, sizeof name, "%s.bias", tensors[i].name);
        if (!strstr(name, "_embeddings"))
            hf_build_tensor(b, name, "F32", 1, (uint64_t[]){tensors[i].rows}, NULL);
    }
    hf_build_weights(b, "model.safetensors");
}

/* The model's pooling_type; 0: it has none. */
static double pooling_of(const struct hf_build *b)
{
    struct gguf *file = hf_opened(b);
    double type = gguf_find(file, "bert.pooling_type") ? value_of(file, "bert.pooling_type") : 0;
    gguf_close(file);
    return type;
}

static void poolings(void **state)
{
    static const struct {
        const char *config;
        int type;
    } good[] = {
        {"{}", 0},
        {"{\"pooling_mode_mean_tokens\": false, \"pooling_mode_max_tokens\": false}", 0},
        {"{\"pooling_mode_mean_tokens\": true, \"pooling_mode_max_tokens\": false}", 1},
        {"{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": null}", 2},
        {"{\"pooling_mode_lasttoken\": true, \"include_prompt\": true}", 3},
        {"{\"pooling_mode\": \"mean\", \"embedding_dimension\": 4}", 1},
        {"{\"pooling_mode\": \"cls\"}", 2},
        {"{\"pooling_mode\": \"lasttoken\"}", 3},
    };
    static const struct {
        const char *config, *says;
        trib_status status;
    } bad[] = {
        {"{\"pooling_mode_max_tokens\": true}", "found pooling_mode_max_tokens", TRIB_UNSUPPORTED},
        {"{\"pooling_mode_mean_sqrt_len_tokens\": true}", "lasttoken, found", TRIB_UNSUPPORTED},
        {"{\"pooling_mode_\": true}", "lasttoken, found", TRIB_UNSUPPORTED},
        {"{\"pooling_mode_mean_tokens\": true, \"pooling_mode_cls_token\": true}", "found several",
         TRIB_UNSUPPORTED},
        {"{\"pooling_mode\": \"max\"}", "pooling_mode: expected mean, cls or lasttoken, found max",
         TRIB_UNSUPPORTED},
        {"{\"pooling_mode\": [\"cls\", \"mean\"]}", "found an array", TRIB_UNSUPPORTED},
        {"{\"pooling_mode_max_tokens\": 1}", "pooling_mode_max_tokens: expected true or false",
         TRIB_FORMAT},
        {"[]", "1_Pooling/config.json: JSON: expected an object, found an array", TRIB_FORMAT},
    };
    struct hf_build b;
    (void)state;
    build_bert(&b);
    assert_true(pooling_of(&b) == 0);
    for (size_t i = 0; i < COUNT(good); i++) {
        hf_build_text(&b, "1_Pooling/config.json", good[i].config);
        assert_true(pooling_of(&b) == good[i].type);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        hf_build_text(&b, "1_Pooling/config.json", bad[i].config);
        hf_refused(&b, bad[i].status, bad[i].says);
    }
    hf_build_close(&b);
}

static void modules(void **state)
{
    static const char *const good[] = {
        "[]",
        TWO "]",
        TWO ", " MODULE("models.Normalize") "]",
        "[" MODULE("base.modules.transformer.Transformer") ", " NEW_POOLING "]",
    };
    static const struct {
        const char *modules, *says;
        trib_status status;
    } bad[] = {
        {TWO ", " MODULE("models.Dense") "]",
         "modules.json: 2: type: expected Normalize, found sentence_transformers.models.Dense",
         TRIB_UNSUPPORTED},
        {TWO ", " MODULE("models.Normalize") ", " MODULE("models.Dense") "]",
         "3: type: expected no module", TRIB_UNSUPPORTED},
        {"[" MODULE("models.MLMTransformer") "]", "0: type: expected Transformer",
         TRIB_UNSUPPORTED},
        {"[{\"type\": \"\"}]", "0: type: expected Transformer", TRIB_UNSUPPORTED},
        {"[7]", "0: type: expected Transformer, found nothing", TRIB_UNSUPPORTED},
        {"[{\"type\": 7}]", "type: expected a string, found an integer", TRIB_FORMAT},
        {"{}", "modules.json: JSON: expected an array, found an object", TRIB_FORMAT},
        {"[", "modules.json: JSON: line 1", TRIB_FORMAT},
    };
    struct hf_build b;
    (void)state;
    build_bert(&b);
    hf_build_text(&b, "modules.json", good[1]);
    hf_refused(&b, TRIB_IO, "1_Pooling/config.json: No such file");
    hf_build_text(&b, "1_Pooling/config.json", "{\"pooling_mode_cls_token\": true}");
    for (size_t i = 0; i < COUNT(good); i++) {
        hf_build_text(&b, "modules.json", good[i]);
        assert_true(pooling_of(&b) == 2);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        hf_build_text(&b, "modules.json", bad[i].modules);
        hf_refused(&b, bad[i].status, bad[i].says);
    }
    hf_build_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(poolings),
        cmocka_unit_test(modules),
    };
    return cmocka_run_group_tests_name("hf_pooling", tests, NULL, NULL);
}
