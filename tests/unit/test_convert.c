/* Writing models as GGUF files, of folders and of files: the same bits run, and types are what was
 * asked for. */
#include <math.h>
#include <unistd.h>

#include "gguf_expect.h"
#include "hf_build.h"
#include "kernel/ref/ref.h"
#include "tiny_model.h"
#include "tributary/engine.h"
#include "tributary/quantize.h"

/* The logits of a few tokens, to be freed, and the engine's fingerprint. */
static float *logits_of(const char *path, size_t *count, char fingerprint[33])
{
    static const int32_t ids[] = {0, 3, 6, 1, 5};
    trib_model *model;
    trib_engine *engine = NULL;
    trib_session *session = NULL;
    trib_engine_options options = trib_engine_options_default();
    trib_error error;
    options.fingerprint = true;
    if (trib_model_open(&model, path, &error) ||
        trib_engine_open(&engine, model, &options, &error) ||
        trib_session_open(&session, engine, NULL, &error) ||
        trib_session_append(session, ids, sizeof ids / sizeof *ids, &error))
        fail_msg("%s", error.message);
    *count = trib_vocabulary_size(model);
    float *logits = malloc(*count * sizeof *logits);
    memcpy(logits, trib_session_logits(session), *count * sizeof *logits);
    snprintf(fingerprint, 33, "%s", trib_engine_fingerprint(engine));
    trib_session_close(session);
    trib_engine_close(engine);
    trib_model_close(model);
    return logits;
}

/* A folder and the file written of it compute the same bits, and are the same model. */
static void runs_and_converts(void **state)
{
    struct hf_build b;
    char path[128], fingerprints[2][33];
    trib_model *model;
    trib_error error;
    size_t count, again;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM", "", "BF16");
    hf_build_weights(&b, "model.safetensors");
    snprintf(path, sizeof path, "%s/model.gguf", b.path);
    if (trib_model_open(&model, b.path, &error) ||
        trib_model_convert(model, path, NULL, NULL, NULL, &error))
        fail_msg("%s", error.message);
    float *folder = logits_of(b.path, &count, fingerprints[0]);
    float *file = logits_of(path, &again, fingerprints[1]);
    assert_string_equal(fingerprints[0], fingerprints[1]);
    assert_int_equal(count, 8);
    assert_int_equal(count, again);
    assert_memory_equal(folder, file, count * sizeof *folder);
    free(file);
    if (trib_model_convert(model, path, "f32", NULL, NULL, &error)) /* bf16 is in it exactly */
        fail_msg("%s", error.message);
    struct gguf *written;
    assert_int_equal(gguf_open(&written, path, &error), TRIB_OK);
    assert_int_equal(written->version, 3);
    assert_int_equal(value_of(written, "general.file_type"), 0);
    for (size_t i = 0; i < written->tensor_count; i++)
        assert_int_equal(written->tensors[i].type, DTYPE_F32);
    assert_true(number_of(written, "blk.1.ffn_up.weight", 20) == hf_build_number(20));
    gguf_close(written);
    free(folder);
    trib_model_close(model);
    hf_build_close(&b);
}

/* A folder is quantised as the file written of it is, and never onto its own weights. */
static void quantises(void **state)
{
    static const char *const names[] = {"file.gguf", "small.gguf", "smaller.gguf"};
    struct hf_build b;
    char paths[3][128], own[128];
    trib_quantize_options options = trib_quantize_options_default();
    trib_model *model;
    trib_error error;
    struct gguf *files[2];
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM", "", "BF16");
    hf_build_weights(&b, "model.safetensors");
    for (size_t i = 0; i < 3; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%s", b.path, names[i]);
    snprintf(own, sizeof own, "%s/model.safetensors", b.path);
    options.type = "f16";
    if (trib_model_open(&model, b.path, &error) ||
        trib_model_convert(model, paths[0], NULL, NULL, NULL, &error) ||
        trib_quantize(paths[0], paths[1], &options, NULL, &error) ||
        trib_quantize(b.path, paths[2], &options, NULL, &error))
        fail_msg("%s", error.message);
    trib_model_close(model);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(gguf_open(&files[i], paths[1 + i], &error), TRIB_OK);
    assert_int_equal(files[0]->tensor_count, files[1]->tensor_count);
    for (size_t i = 0; i < files[0]->tensor_count; i++) {
        const struct gguf_tensor *t = &files[0]->tensors[i], *u = &files[1]->tensors[i];
        assert_true(slice_equal(t->name, u->name));
        assert_int_equal(t->type, u->type);
        assert_memory_equal(t->data, u->data, t->bytes);
    }
    for (size_t i = 0; i < 2; i++)
        gguf_close(files[i]);
    assert_int_equal(trib_quantize(b.path, own, &options, NULL, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "expected another file"));
    hf_build_close(&b);
}

static bool stop(void *context, uint64_t done, uint64_t total)
{
    (void)context;
    return done < total / 2;
}

/* The largest difference from a block's numbers that Q8_0 may make: half a step of max / 127, and
 * 127 steps times the rounding of the scale to f16, 2^-11 relative. */
static float q8_0_bound(const float *block)
{
    float most = 0;
    for (size_t i = 0; i < 32; i++)
        most = fmaxf(most, fabsf(block[i]));
    return most / 127 * 0.5f + most * 0x1p-11f + most * 0x1p-20f; /* and what is float32's own */
}

static void converts_to_q8_0(void **state)
{
    char path[64], out[80];
    trib_model *model;
    trib_error error;
    struct gguf *before, *after;
    struct random random = random_start(1);
    (void)state;
    tiny_model_write(path, DTYPE_F32, &random);
    snprintf(out, sizeof out, "%s.gguf", path);
    if (trib_model_open(&model, path, &error) ||
        trib_model_convert(model, out, "q8_0", NULL, NULL, &error))
        fail_msg("%s", error.message);
    assert_int_equal(gguf_open(&before, path, &error), TRIB_OK);
    assert_int_equal(gguf_open(&after, out, &error), TRIB_OK);
    assert_int_equal(value_of(after, "general.file_type"), 7);
    assert_int_equal(gguf_find_tensor(after, "output_norm.weight")->type, DTYPE_F32);
    const struct gguf_tensor *from = gguf_find_tensor(before, "blk.1.ffn_down.weight");
    const struct gguf_tensor *to = gguf_find_tensor(after, "blk.1.ffn_down.weight");
    assert_int_equal(to->type, DTYPE_Q8_0);
    for (uint64_t i = 0; i < from->elements; i += 32) {
        float was[32], is[32];
        memcpy(was, from->data + 4 * i, sizeof was);
        unpack_ref(DTYPE_Q8_0, is, to->data + i / 32 * 34, 32);
        for (size_t j = 0; j < 32; j++)
            assert_true(fabsf(was[j] - is[j]) <= q8_0_bound(was));
    }
    gguf_close(before);
    gguf_close(after);
    trib_model_close(model);
    unlink(path);
    unlink(out);
}

/* Weights in blocks become the very floats that they stand for. */
static void converts_blocks(void **state)
{
    char path[64], out[80];
    trib_model *model;
    trib_error error;
    struct gguf *before, *after;
    struct random random = random_start(2);
    (void)state;
    tiny_model_write(path, DTYPE_Q4_0, &random);
    snprintf(out, sizeof out, "%s.gguf", path);
    if (trib_model_open(&model, path, &error) ||
        trib_model_convert(model, out, "f32", NULL, NULL, &error))
        fail_msg("%s", error.message);
    assert_int_equal(gguf_open(&before, path, &error), TRIB_OK);
    assert_int_equal(gguf_open(&after, out, &error), TRIB_OK);
    const struct gguf_tensor *from = gguf_find_tensor(before, "blk.1.ffn_down.weight");
    const struct gguf_tensor *to = gguf_find_tensor(after, "blk.1.ffn_down.weight");
    assert_int_equal(from->type, DTYPE_Q4_0);
    assert_int_equal(to->type, DTYPE_F32);
    for (uint64_t i = 0; i < from->elements; i += 32) {
        float floats[32];
        unpack_ref(DTYPE_Q4_0, floats, from->data + i / 32 * 18, 32);
        assert_memory_equal(floats, to->data + 4 * i, sizeof floats);
    }
    gguf_close(before);
    gguf_close(after);
    trib_model_close(model);
    unlink(path);
    unlink(out);
}

/* Rows that are no multiple of 32 become F16; a type that is none is refused; who stops has no
 * file. */
static void converts_with_care(void **state)
{
    struct hf_build b;
    char path[128];
    trib_model *model;
    trib_error error;
    struct gguf *written;
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM", "", "F32");
    hf_build_weights(&b, "model.safetensors");
    snprintf(path, sizeof path, "%s/model.gguf", b.path);
    if (trib_model_open(&model, b.path, &error) ||
        trib_model_convert(model, path, "q8_0", NULL, NULL, &error))
        fail_msg("%s", error.message);
    assert_int_equal(gguf_open(&written, path, &error), TRIB_OK);
    assert_int_equal(gguf_find_tensor(written, "token_embd.weight")->type, DTYPE_F16);
    gguf_close(written);
    assert_int_equal(trib_model_convert(model, path, "q9", NULL, NULL, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "found q9"));
    snprintf(path, sizeof path, "%s/stopped.gguf", b.path);
    assert_int_equal(trib_model_convert(model, path, "f16", stop, NULL, &error), TRIB_STOPPED);
    assert_int_equal(access(path, F_OK), -1);
    trib_model_close(model);
    hf_build_close(&b);
}

/* A program that is none of the families is shown, and a name asked for; with one, it is done. */
static void unknown_chat_templates_are_named(void **state)
{
    struct hf_build b;
    trib_model *model;
    trib_chat *chat;
    trib_error error = {0};
    (void)state;
    hf_build_open(&b);
    hf_build_llama(&b, "LlamaForCausalLM", "", "F32");
    hf_build_text(&b, "chat_template.jinja", "{{ bos_token }}<<speak>>{{ messages }}");
    hf_build_weights(&b, "model.safetensors");
    if (trib_model_open(&model, b.path, &error))
        fail_msg("%s", error.message);
    assert_int_equal(trib_chat_open(&chat, model, NULL, &error), TRIB_UNSUPPORTED);
    assert_non_null(strstr(error.message, "<<speak>>"));
    assert_non_null(strstr(error.message, "name a template"));
    assert_null(chat);
    if (trib_chat_open(&chat, model, "plain", &error))
        fail_msg("%s", error.message);
    trib_chat_close(chat);
    trib_model_close(model);
    hf_build_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_and_converts),  cmocka_unit_test(quantises),
        cmocka_unit_test(converts_to_q8_0),   cmocka_unit_test(converts_blocks),
        cmocka_unit_test(converts_with_care), cmocka_unit_test(unknown_chat_templates_are_named),
    };
    random_seed();
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
