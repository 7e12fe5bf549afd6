/* Quantised and synthetic files: the types that llama.cpp gives (tools/quantize_golden.py made
 * golden/data/quantize.json), and what the header promises. */
#include <jansson.h>
#include <math.h>
#include <unistd.h>

#include "file/gguf.h"
#include "file/gguf_write.h"
#include "folder.h"
#include "kernel/kernel.h"
#include "test.h"
#include "tributary/engine.h"
#include "tributary/quantize.h"

/* A folder of its own for each test, and paths in it. */
static char folder[FOLDER_NAME], in_path[64], out_path[64];

static int open_folder(void **state)
{
    (void)state;
    folder_make(folder);
    snprintf(in_path, sizeof in_path, "%s/in.gguf", folder);
    snprintf(out_path, sizeof out_path, "%s/out.gguf", folder);
    return 0;
}

/* Fails where anything but the two files is left, so that no half-written one is. */
static int close_folder(void **state)
{
    (void)state;
    unlink(in_path);
    unlink(out_path);
    return rmdir(folder);
}

static void synth(const char *path, trib_synth_options options)
{
    trib_error error;
    if (trib_synth(path, &options, &error) != TRIB_OK)
        fail_msg("%s", error.message);
}

static trib_quantize_report quantize(const char *type)
{
    trib_quantize_options options = trib_quantize_options_default();
    trib_quantize_report report;
    trib_error error;
    options.type = type;
    if (trib_quantize(in_path, out_path, &options, &report, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return report;
}

static struct gguf *open_file(const char *path)
{
    struct gguf *file;
    trib_error error;
    if (gguf_open(&file, path, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return file;
}

static uint32_t number(const struct gguf *file, const char *key)
{
    uint32_t value = 0;
    assert_int_equal(gguf_get_u32(file, key, &value, NULL, NULL), TRIB_OK);
    return value;
}

/* The golden's types of one file type against those of a file. */
static void check_types(const struct gguf *file, const char *name, json_t *expected)
{
    size_t tensor = 0, i;
    json_t *run;
    json_array_foreach(json_object_get(expected, "runs"), i, run)
    {
        const char *type = json_string_value(json_array_get(run, 0));
        for (json_int_t n = json_integer_value(json_array_get(run, 1)); n > 0; n--, tensor++) {
            const struct gguf_tensor *t = &file->tensors[tensor];
            assert_true(tensor < file->tensor_count);
            if (strcmp(dtype_info(t->type)->name, type) != 0)
                fail_msg("%s: %.*s: %s, llama.cpp %s", name, (int)t->name.length, t->name.bytes,
                         dtype_info(t->type)->name, type);
        }
    }
    assert_int_equal(tensor, file->tensor_count);
    assert_int_equal(number(file, "general.file_type"),
                     json_integer_value(json_object_get(expected, "number")));
    assert_int_equal(number(file, "general.quantization_version"), 2);
}

static size_t size_at(json_t *list, size_t i)
{
    return (size_t)json_integer_value(json_array_get(list, i));
}

static trib_synth_options shape_of(json_t *shape)
{
    trib_synth_options o = trib_synth_options_default();
    o.layers = size_at(shape, 0);
    o.width = size_at(shape, 1);
    o.heads = size_at(shape, 2);
    o.kv_heads = size_at(shape, 3);
    o.head_dim = size_at(shape, 4);
    o.ffn = size_at(shape, 5);
    o.tied = json_is_true(json_array_get(shape, 6));
    return o;
}

static void tensors_get_the_types_of_llama_cpp(void **state)
{
    (void)state;
    char path[4096];
    const char *name, *type;
    json_t *shape, *expected;
    size_t checked = 0;
    snprintf(path, sizeof path, "%s/quantize.json", getenv("TRIB_GOLDEN"));
    json_t *golden = json_load_file(path, 0, NULL);
    assert_non_null(golden);
    json_object_foreach(json_object_get(golden, "shapes"), name, shape)
    {
        trib_synth_options o = shape_of(json_object_get(shape, "shape"));
        bool smallest = o.width < 256; /* quantising takes its time */
        o.type = "f32";
        synth(in_path, o);
        json_object_foreach(json_object_get(shape, "types"), type, expected)
        {
            struct gguf *file;
            if (smallest) {
                quantize(type);
                file = open_file(out_path);
                check_types(file, type, expected);
                gguf_close(file);
            }
            o.type = type; /* drawn in that type, the tensors have the same ones */
            synth(out_path, o);
            file = open_file(out_path);
            check_types(file, type, expected);
            gguf_close(file);
            checked++;
        }
    }
    json_decref(golden);
    assert_int_equal(checked, 3 * 18);
}

static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*size);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

static void threads_change_no_byte(void **state)
{
    (void)state;
    uint8_t *first[2] = {NULL, NULL};
    size_t size[2] = {0, 0};
    for (int threads = 1; threads <= 3; threads++) {
        trib_synth_options o = trib_synth_options_default();
        trib_quantize_options q = trib_quantize_options_default();
        o.threads = q.threads = threads;
        o.type = "q6_k";
        synth(in_path, o);
        assert_int_equal(trib_quantize(in_path, out_path, &q, NULL, NULL), TRIB_OK);
        for (int i = 0; i < 2; i++) {
            size_t again;
            uint8_t *bytes = read_file(i ? out_path : in_path, &again);
            if (!first[i]) {
                first[i] = bytes;
                size[i] = again;
                continue;
            }
            assert_int_equal(again, size[i]);
            assert_memory_equal(bytes, first[i], again);
            free(bytes);
        }
    }
    free(first[0]);
    free(first[1]);
}

/* The mean and the deviation of the weights as they are drawn. The mean of n is off by 0.02 /
 * sqrt(n), rarely by more than five times that: 4e-4 of 65,536. Of types whose levels reach one
 * step farther down than up, a group's mean is half a level, and its sign is drawn: of Q3_K 0.0043
 * in 4,096 groups, 3.4e-4 more. Deviations are rounded as an f16 near its least is, by up to 3 %.
 */
static void synthetic_weights_have_their_deviation(void **state)
{
    (void)state;
    static float x[256 * 256];
    enum { N = 256 * 256 };
    for (size_t i = 0; trib_file_type(i); i++) {
        trib_synth_options o = trib_synth_options_default();
        o.type = trib_file_type(i);
        synth(in_path, o);
        struct gguf *file = open_file(in_path);
        const struct gguf_tensor *t = gguf_find_tensor(file, "blk.0.attn_q.weight");
        double sum = 0, squares = 0;
        assert_int_equal(t->elements, N);
        kernels_best()->unpack(t->type, x, t->data, N);
        for (size_t j = 0; j < N; j++) {
            sum += x[j];
            squares += (double)x[j] * x[j];
        }
        if (!(fabs(sum / N) < 1e-3 && fabs(sqrt(squares / N) / 0.02 - 1) < 0.03))
            fail_msg("%s: mean %g, deviation %g", o.type, sum / N, sqrt(squares / N));
        gguf_close(file);
    }
}

static void synthetic_models_run(void **state)
{
    (void)state;
    for (size_t i = 0; trib_file_type(i); i++) {
        trib_synth_options o = trib_synth_options_default();
        trib_model *model;
        trib_engine *engine;
        trib_session *session;
        trib_error error;
        int32_t *ids;
        size_t count;
        o.type = trib_file_type(i);
        synth(in_path, o);
        assert_int_equal(trib_model_open(&model, in_path, NULL), TRIB_OK);
        if (trib_engine_open(&engine, model, NULL, &error) != TRIB_OK)
            fail_msg("%s: %s", o.type, error.message);
        assert_int_equal(trib_session_open(&session, engine, NULL, NULL), TRIB_OK);
        assert_int_equal(
            trib_tokenize(model, "a word", 6, TRIB_TOKENIZE_SPECIAL, &ids, &count, NULL), TRIB_OK);
        assert_int_equal(ids[0], 1);
        assert_int_equal(trib_session_append(session, ids, count, NULL), TRIB_OK);
        const float *logits = trib_session_logits(session);
        double squares = 0;
        for (size_t v = 0; v < 512; v++)
            squares += (double)logits[v] * logits[v];
        /* 256 terms of a normed activation and a weight of 0.02 each: 0.02 sqrt(256) = 0.32 */
        assert_true(sqrt(squares / 512) > 0.2 && sqrt(squares / 512) < 0.5);
        trib_free(ids);
        trib_session_close(session);
        trib_engine_close(engine);
        trib_model_close(model);
    }
}

static void metadata_is_carried_over(void **state)
{
    (void)state;
    synth(in_path, trib_synth_options_default());
    trib_quantize_report report = quantize("q4_0");
    struct gguf *before = open_file(in_path), *after = open_file(out_path);
    assert_int_equal(before->value_count, after->value_count);
    for (size_t i = 0; i < before->value_count; i++) {
        char key[128];
        const struct gguf_value *v = &before->values[i];
        snprintf(key, sizeof key, "%.*s", (int)v->key.length, v->key.bytes);
        const struct gguf_value *w = gguf_find(after, key);
        assert_non_null(w);
        assert_int_equal(v->type, w->type);
        assert_int_equal(v->count, w->count);
    }
    assert_int_equal(number(before, "general.file_type"), 7);
    assert_int_equal(number(after, "general.file_type"), 2);
    const struct gguf_tensor *norm = gguf_find_tensor(after, "output_norm.weight");
    assert_int_equal(norm->type, DTYPE_F32);
    assert_memory_equal(norm->data, gguf_find_tensor(before, "output_norm.weight")->data, 1024);
    assert_int_equal(report.tensors, after->tensor_count);
    assert_int_equal(report.quantised_before, 16); /* all but the five norms */
    assert_int_equal(report.fallbacks, 0);
    assert_true(report.bytes_after < report.bytes_before);
    gguf_close(before);
    gguf_close(after);
}

static size_t matrices_of_other_types(const char *path, enum dtype type)
{
    size_t others = 0;
    struct gguf *file = open_file(path);
    assert_int_equal(number(file, "general.file_type"), 15);
    assert_true(file->tensor_count > 0);
    for (size_t i = 0; i < file->tensor_count; i++)
        others += file->tensors[i].dims == 2 && file->tensors[i].type != type;
    gguf_close(file);
    return others;
}

static void pure_files_have_one_type(void **state)
{
    (void)state;
    trib_synth_options drawn = trib_synth_options_default();
    trib_quantize_options o = trib_quantize_options_default();
    o.type = "Q4_K"; /* of which the mix is q4_k_m */
    for (int pure = 0; pure < 2; pure++) {
        trib_error error;
        o.pure = drawn.pure = pure;
        drawn.type = "f32";
        synth(in_path, drawn);
        if (trib_quantize(in_path, out_path, &o, NULL, &error) != TRIB_OK)
            fail_msg("%s", error.message);
        assert_int_equal(matrices_of_other_types(out_path, DTYPE_Q4_K) == 0, pure);
        drawn.type = "q4_k";
        synth(in_path, drawn);
        assert_int_equal(matrices_of_other_types(in_path, DTYPE_Q4_K) == 0, pure);
    }
    assert_string_equal(trib_file_type_find("q5_K"), "q5_k_m");
    assert_string_equal(trib_file_type_find("BF16"), "bf16");
    assert_null(trib_file_type_find("q7_k"));
}

static void expect_refusal(const trib_quantize_options *options, trib_status status,
                           const char *what)
{
    trib_error error = {0};
    assert_int_equal(trib_quantize(in_path, out_path, options, NULL, &error), status);
    if (!strstr(error.message, what))
        fail_msg("expected '%s', found: %s", what, error.message);
    assert_int_equal(access(out_path, F_OK), -1);
}

static bool stop(void *calls, uint64_t done, uint64_t total)
{
    assert_true(done > 0 && done <= total);
    return ++*(int *)calls < 3;
}

static void what_cannot_be_done_leaves_no_file(void **state)
{
    (void)state;
    trib_quantize_options o = trib_quantize_options_default();
    trib_error error;
    int calls = 0;
    expect_refusal(&o, TRIB_IO, "No such file");
    synth(in_path, trib_synth_options_default());
    o.type = "q9";
    expect_refusal(&o, TRIB_INVALID, "\"q9\" is no file type");
    o.type = "q4_0";
    o.threads = -1;
    expect_refusal(&o, TRIB_INVALID, "threads: expected 1 to");
    o.threads = 2;
    o.progress = stop;
    o.progress_context = &calls;
    expect_refusal(&o, TRIB_STOPPED, "stopped");
    assert_int_equal(calls, 3);
    o.progress = NULL;
    assert_int_equal(trib_quantize(in_path, in_path, &o, NULL, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "another file than the one that is read"));
}

/* A weight that is no number is named; formats of float32's range let it pass. */
static void weights_that_are_no_numbers_are_refused(void **state)
{
    (void)state;
    static float x[512];
    static const float others[] = {NAN, INFINITY, -1e30f};
    trib_quantize_options o = trib_quantize_options_default();
    for (size_t i = 0; i < 3; i++) {
        struct gguf_writer *w = gguf_writer_open();
        x[300] = others[i];
        gguf_put_tensor(w, "blk.0.ffn_up.weight", DTYPE_F32, 2, (uint64_t[]){256, 2}, x);
        assert_int_equal(gguf_writer_save(w, in_path, NULL), TRIB_OK);
        gguf_writer_close(w);
        o.type = "q4_k_m";
        expect_refusal(&o, TRIB_INVALID,
                       "tensor blk.0.ffn_up.weight: element 300: expected a number");
        quantize("bf16");
        unlink(out_path);
    }
}

static void shapes_out_of_range_are_named(void **state)
{
    (void)state;
    static const struct {
        trib_synth_options options;
        const char *what;
    } cases[] = {
        {{.shape = "huge", .type = "q8_0"}, "\"huge\" is no shape"},
        {{.shape = "tiny", .type = "q9"}, "\"q9\" is no file type"},
        {{.shape = "tiny", .type = "f16", .vocabulary = 100}, "vocabulary: expected 320 to"},
        {{.shape = "tiny", .type = "f16", .heads = 3},
         "KV heads: expected a divisor of 3, found 2"},
        {{.shape = "tiny", .type = "f16", .head_dim = 7}, "head dimension: expected an even"},
        {{.shape = "tiny", .type = "f16", .layers = 5000}, "layers: expected 1 to 1024"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        trib_error error = {0};
        assert_int_equal(trib_synth(out_path, &cases[i].options, &error), TRIB_INVALID);
        if (!strstr(error.message, cases[i].what))
            fail_msg("expected '%s', found: %s", cases[i].what, error.message);
        assert_int_equal(access(out_path, F_OK), -1);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_folder, close_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(tensors_get_the_types_of_llama_cpp),
        CASE(pure_files_have_one_type),
        CASE(threads_change_no_byte),
        CASE(synthetic_weights_have_their_deviation),
        CASE(synthetic_models_run),
        CASE(metadata_is_carried_over),
        CASE(what_cannot_be_done_leaves_no_file),
        CASE(weights_that_are_no_numbers_are_refused),
        CASE(shapes_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
