/* Model files of every architecture: the tiny ones load; with one key or tensor wrong they are
 * refused, by a message that names it. Nothing is taken for a model that does not fit in memory. */
#include <math.h>
#include <unistd.h>

#include "base/memory.h"
#include "model/model.h"
#include "must.h"
#include "test.h"
#include "tiny_model.h"
#include "tributary/engine.h"

/* Loads a model with one change; the status and the message. */
static trib_status load(const char *architecture, const struct tiny_change *change,
                        trib_error *error)
{
    struct random random = random_start(1);
    struct gguf_build b;
    struct gguf *file;
    struct model model;
    gguf_build_open(&b);
    tiny_model_build(&b, architecture, DTYPE_F32, &random, change);
    gguf_build_finish(&b);
    trib_status status = gguf_parse(&file, b.file.bytes, b.file.size, "tiny", error);
    assert_int_equal(status, TRIB_OK);
    status = model_open(&model, file, 0, kernels_at(0), 1, (struct load_watch){0}, error);
    model_close(&model);
    gguf_close(file);
    gguf_build_close(&b);
    return status;
}

static void all_load(void **state)
{
    (void)state;
    for (size_t i = 0; architecture_at(i); i++) {
        trib_error error = {0};
        if (load(architecture_at(i)->name, NULL, &error) != TRIB_OK)
            fail_msg("%s: %s", architecture_at(i)->name, error.message);
    }
}

/* Leaving out any one tensor that is required is noticed, and its name said. */
static void missing_tensors_are_named(void **state)
{
    static const struct {
        const char *architecture, *tensor;
    } cases[] = {
        {"llama", "token_embd.weight"},
        {"llama", "blk.1.ffn_down.weight"},
        {"qwen2", "blk.0.attn_k.bias"},
        {"qwen3", "blk.1.attn_q_norm.weight"},
        {"gemma2", "blk.1.post_ffw_norm.weight"},
        {"gemma3", "blk.0.attn_k_norm.weight"},
        {"phi3", "blk.0.attn_qkv.weight"},
        {"phi3", "rope_factors_long.weight"},
        {"phi3", "rope_factors_short.weight"},
        {"gpt2", "position_embd.weight"},
        {"gpt2", "blk.1.ffn_up.bias"},
        {"gpt2", "output_norm.bias"},
        {"bert", "token_types.weight"},
        {"bert", "blk.0.layer_output_norm.bias"},
        {"bert", "token_embd_norm.weight"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        trib_error error = {0};
        struct tiny_change change = {.kind = TINY_NO_TENSOR, .name = cases[i].tensor};
        assert_int_equal(load(cases[i].architecture, &change, &error), TRIB_FORMAT);
        if (!strstr(error.message, cases[i].tensor) || !strstr(error.message, "missing"))
            fail_msg("%s", error.message);
    }
}

static void wrong_keys_are_named(void **state)
{
    static const struct {
        const char *architecture;
        struct tiny_change change;
        trib_status status;
        const char *word;
    } cases[] = {
        {"llama", {TINY_STRING, "general.architecture", 0, "mamba"}, TRIB_UNSUPPORTED, "mamba"},
        {"llama", {TINY_NO_KEY, "llama.block_count", 0, NULL}, TRIB_FORMAT, "block_count"},
        {"llama", {TINY_U32, "llama.block_count", 300, NULL}, TRIB_FORMAT, "block_count"},
        {"llama", {TINY_U32, "llama.block_count", 3, NULL}, TRIB_FORMAT, "blk.2.attn_norm"},
        {"llama", {TINY_U32, "llama.block_count", 0, NULL}, TRIB_FORMAT, "block_count"},
        {"llama", {TINY_U32, "llama.block_count", 1, NULL}, TRIB_UNSUPPORTED, "blk.1."},
        {"llama", {TINY_U32, "llama.attention.head_count", 0, NULL}, TRIB_FORMAT, "head_count"},
        {"llama", {TINY_U32, "llama.attention.head_count", 5, NULL}, TRIB_FORMAT, "multiple"},
        {"llama", {TINY_U32, "llama.attention.head_count", 6, NULL}, TRIB_FORMAT, "attn_q"},
        {"llama", {TINY_U32, "llama.attention.head_count_kv", 4, NULL}, TRIB_FORMAT, "attn_k"},
        {"llama", {TINY_U32, "llama.attention.key_length", 4096, NULL}, TRIB_FORMAT, "key_length"},
        {"llama", {TINY_U32, "llama.attention.value_length", 8, NULL}, TRIB_UNSUPPORTED, "value"},
        {"llama",
         {TINY_U32, "llama.rope.dimension_count", 7, NULL},
         TRIB_FORMAT,
         "dimension_count"},
        {"llama", {TINY_U32, "llama.rope.dimension_count", 26, NULL}, TRIB_FORMAT, "even number"},
        {"llama", {TINY_F32, "llama.rope.freq_base", 0, NULL}, TRIB_FORMAT, "freq_base"},
        {"llama", {TINY_F32, "llama.rope.freq_base", NAN, NULL}, TRIB_FORMAT, "freq_base"},
        {"gemma2",
         {TINY_STRING, "gemma2.rope.scaling.type", 0, "longrope"},
         TRIB_FORMAT,
         "rope_factors_long"},
        {"llama",
         {TINY_STRING, "llama.rope.scaling.type", 0, "dynamic"},
         TRIB_UNSUPPORTED,
         "dynamic"},
        {"llama",
         {TINY_F32, "llama.rope.freq_base_swa", 5, NULL},
         TRIB_UNSUPPORTED,
         "freq_base_swa"},
        {"llama", {TINY_F32, "llama.rope.scaling.factor", -2, NULL}, TRIB_FORMAT, "factor"},
        {"llama",
         {TINY_F32, "llama.attention.layer_norm_rms_epsilon", -1, NULL},
         TRIB_FORMAT,
         "epsilon"},
        {"llama", {TINY_U32, "llama.expert_count", 8, NULL}, TRIB_UNSUPPORTED, "expert_count"},
        {"llama", {TINY_F32, "llama.logit_scale", 2, NULL}, TRIB_UNSUPPORTED, "logit_scale"},
        {"llama", {TINY_F32, "llama.attention.max_alibi_bias", 8, NULL}, TRIB_UNSUPPORTED, "alibi"},
        {"llama", {TINY_BOOL, "llama.attention.causal", 0, NULL}, TRIB_UNSUPPORTED, "causal"},
        {"llama",
         {TINY_MORE_TENSOR, "blk.0.attn_sinks.weight", 0, NULL},
         TRIB_UNSUPPORTED,
         "attn_sinks"},
        {"llama",
         {TINY_MORE_TENSOR, "blk.0.attn_qkv.weight", 0, NULL},
         TRIB_UNSUPPORTED,
         "attn_qkv"},
        {"llama",
         {TINY_MORE_TENSOR, "blk.2.attn_norm.weight", 0, NULL},
         TRIB_UNSUPPORTED,
         "blk.2."},
        {"gemma2", {TINY_STRING, "gemma2.attention.sliding_window", 0, "9"}, TRIB_FORMAT, "window"},
        {"gemma2", {TINY_U32, "gemma2.attention.sliding_window", 2e9, NULL}, TRIB_FORMAT, "window"},
        {"gemma2", {TINY_F32, "gemma2.attn_logit_softcapping", -1, NULL}, TRIB_FORMAT, "softcap"},
        {"gemma2",
         {TINY_F32, "gemma2.final_logit_softcapping", INFINITY, NULL},
         TRIB_FORMAT,
         "softcap"},
        {"gemma3",
         {TINY_U32, "gemma3.attention.sliding_window_pattern", 0, NULL},
         TRIB_FORMAT,
         "pattern"},
        {"qwen2",
         {TINY_STRING, "qwen2.rope.scaling.type", 0, "dynamic"},
         TRIB_UNSUPPORTED,
         "dynamic"},
        {"phi3", {TINY_U32, "phi3.feed_forward_length", 95, NULL}, TRIB_FORMAT, "ffn_up"},
        {"gpt2",
         {TINY_NO_KEY, "gpt2.attention.layer_norm_epsilon", 0, NULL},
         TRIB_FORMAT,
         "layer_norm_epsilon"},
        {"bert", {TINY_BOOL, "bert.attention.causal", 1, NULL}, TRIB_UNSUPPORTED, "causal"},
        {"bert", {TINY_U32, "bert.pooling_type", 4, NULL}, TRIB_UNSUPPORTED, "pooling_type"},
        {"bert", {TINY_U32, "bert.attention.sliding_window", 4, NULL}, TRIB_UNSUPPORTED, "window"},
        {"bert", {TINY_MORE_TENSOR, "cls.bias", 0, NULL}, TRIB_UNSUPPORTED, "cls.bias"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        trib_error error = {0};
        trib_status status = load(cases[i].architecture, &cases[i].change, &error);
        if (status != cases[i].status || !strstr(error.message, cases[i].word))
            fail_msg("%s with %s: status %s, %s", cases[i].architecture, cases[i].change.name,
                     trib_status_name(status), error.message);
    }
}

static struct model_config config_of(const char *architecture, struct tiny_change change)
{
    struct random random = random_start(2);
    struct gguf_build b;
    struct gguf *file;
    struct model_config config = {0};
    trib_error error = {0};
    gguf_build_open(&b);
    tiny_model_build(&b, architecture, DTYPE_F32, &random, &change);
    gguf_build_finish(&b);
    if (gguf_parse(&file, b.file.bytes, b.file.size, "tiny", &error) ||
        model_config_read(&config, file, &error))
        fail_msg("%s", error.message);
    gguf_close(file);
    gguf_build_close(&b);
    return config;
}

/* Which layers have a window, and what the file's silence means. */
static void windows_are_where_they_belong(void **state)
{
    (void)state;
    struct model_config c = config_of("gemma2", (struct tiny_change){0});
    assert_int_equal(model_config_window(&c, 0), TINY_WINDOW);
    assert_int_equal(model_config_window(&c, 1), 0);
    c = config_of("gemma2",
                  (struct tiny_change){TINY_NO_KEY, "gemma2.attention.sliding_window", 0, NULL});
    assert_int_equal(model_config_window(&c, 0), 4096);
    assert_true(c.attention_softcap == 50 && c.final_softcap == 30);
    c = config_of("gemma3", (struct tiny_change){
                                TINY_NO_KEY, "gemma3.attention.sliding_window_pattern", 0, NULL});
    for (size_t layer = 0; layer < 12; layer++)
        assert_int_equal(model_config_window(&c, layer), layer % 6 == 5 ? 0 : TINY_WINDOW);
    c = config_of("llama",
                  (struct tiny_change){TINY_U32, "llama.attention.sliding_window", 9, NULL});
    assert_int_equal(model_config_window(&c, 0), 9);
    assert_int_equal(model_config_window(&c, 1), 9);
    c = config_of("phi3", (struct tiny_change){TINY_U32, "phi3.attention.sliding_window", 0, NULL});
    assert_int_equal(model_config_window(&c, 0), 0);
}

static void learned_positions_bound_the_context(void **state)
{
    (void)state;
    struct model_config c =
        config_of("gpt2", (struct tiny_change){TINY_U32, "gpt2.context_length", 1 << 20, NULL});
    assert_int_equal(c.context, TINY_CONTEXT);
    c = config_of("gpt2", (struct tiny_change){TINY_U32, "gpt2.context_length", 100, NULL});
    assert_int_equal(c.context, 100);
}

/* An encoder gives vectors and has no timeline; what embedding refuses leaves it usable. */
static void encoders_give_vectors_alone(void **state)
{
    const int32_t ids[] = {1, 2, 3}, outside = TINY_VOCABULARY;
    const trib_ids text = {ids, 3}, empty = {ids, 0}, bad = {&outside, 1};
    static int32_t long_ids[TINY_CONTEXT + 1];
    const trib_ids long_text = {long_ids, TINY_CONTEXT + 1};
    struct random random = random_start(3);
    float vector[TINY_WIDTH], square = 0;
    char path[64];
    trib_model *model;
    trib_engine *engine;
    trib_session *session;
    trib_memory memory;
    trib_error error = {0};
    (void)state;
    tiny_architecture_write(path, "bert", DTYPE_F32, &random);
    assert_int_equal(trib_model_open(&model, path, &error), TRIB_OK);
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_OK);
    assert_int_equal(trib_session_open(&session, engine, NULL, &error), TRIB_UNSUPPORTED);
    assert_non_null(strstr(error.message, "trib_embed"));
    assert_int_equal(trib_memory_needed(model, NULL, NULL, &memory, &error), TRIB_OK);
    assert_int_equal(memory.kv_per_token, 0);
    assert_int_equal(trib_embed(engine, &empty, 1, NULL, vector, &error), TRIB_INVALID);
    assert_int_equal(trib_embed(engine, &bad, 1, NULL, vector, &error), TRIB_INVALID);
    assert_int_equal(trib_embed(engine, &long_text, 1, NULL, vector, &error), TRIB_FULL);
    assert_int_equal(trib_embed(engine, &text, 1, NULL, vector, &error), TRIB_OK);
    for (size_t i = 0; i < TINY_WIDTH; i++)
        square += vector[i] * vector[i];
    assert_true(fabsf(square - 1) < 1e-5f);
    trib_engine_close(engine);
    trib_model_close(model);
    unlink(path);
}

/* An embedding of a billion rows, which is the head too, in a file that is mostly a hole: 256 GiB
 * to pack. */
static void what_does_not_fit_is_refused_with_numbers(void **state)
{
    enum { ROWS = 1 << 30 };
    const uint64_t bytes = (uint64_t)ROWS * TINY_WIDTH * sizeof(float);
    struct random random = random_start(4);
    struct tiny_change change = {TINY_NO_TENSOR, "token_embd.weight", 0, "output.weight"};
    struct gguf_build b;
    char path[] = "/tmp/trib-large-XXXXXX";
    trib_model *model = NULL;
    trib_engine *engine;
    trib_error error = {0};
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    gguf_build_open(&b);
    tiny_model_build(&b, "gemma2", DTYPE_F32, &random, &change);
    uint64_t offset = b.data.size;
    gguf_build_info(&b, "token_embd.weight", DTYPE_F32, 2, (uint64_t[]){TINY_WIDTH, ROWS}, offset);
    gguf_build_finish(&b);
    bool written =
        gguf_build_write(&b, path) && ftruncate(fd, (off_t)(b.data_at + offset + bytes)) == 0;
    close(fd);
    gguf_build_close(&b);
    if (!written || memory_available() > bytes) {
        unlink(path);
        print_message("# skipped: %s\n", written ? "memory for 256 GiB" : "no files with holes");
        skip();
    }
    trib_status status = trib_model_open(&model, path, &error);
    unlink(path);
    must(status, &error);
    assert_int_equal(trib_engine_open(&engine, model, NULL, &error), TRIB_NO_MEMORY);
    assert_non_null(strstr(error.message, "expected 26"));
    assert_non_null(strstr(error.message, "MiB available"));
    assert_null(engine);
    trib_model_close(model);
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_load),
        cmocka_unit_test(missing_tensors_are_named),
        cmocka_unit_test(wrong_keys_are_named),
        cmocka_unit_test(windows_are_where_they_belong),
        cmocka_unit_test(learned_positions_bound_the_context),
        cmocka_unit_test(encoders_give_vectors_alone),
        cmocka_unit_test(what_does_not_fit_is_refused_with_numbers),
    };
    return cmocka_run_group_tests_name("architecture", tests, NULL, NULL);
}
