/* A tiny model of every architecture gives what Hugging Face transformers gives, logits and pooled
 * hidden states, in every kernel table.
 *
 * tools/architecture_golden.py made golden/data/architectures.json: metadata, tensor names and
 * shapes as in GGUF files. Weights are a function of their place, the same there and here, where
 * the file is built.
 *
 * Bound. Both sides compute in float32 in different orders; transformers takes rotary angles in
 * float32 too (75 positions times 2^-24: 4e-6 of a turn's radian in queries and keys). A value
 * passes up to 7 blocks, each of a few chains of at most 96 roundings of 2^-24, most of which
 * cancel: some 1e-6 of the largest value. 1e-5 of it is allowed. The least of faults, the other
 * form of gelu, is off by 1e-4; a window off by one by tenths.
 */
#include <jansson.h>
#include <math.h>
#include <unistd.h>

#include "base/rng.h"
#include "gguf_build.h"
#include "kernel/kernel.h"
#include "test.h"
#include "tributary/engine.h"

static json_t *goldens;

static int setup(void **state)
{
    char path[4096];
    const char *folder = getenv("TRIB_GOLDEN");
    json_error_t why;
    (void)state;
    snprintf(path, sizeof path, "%s/architectures.json", folder ? folder : "tests/golden/data");
    goldens = json_load_file(path, 0, &why);
    return goldens ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(goldens);
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* first_weights of tools/architecture_golden.py. */
static void fill(float *out, size_t number, const char *name, size_t inputs, size_t outputs)
{
    float middle = ends_with(name, "norm.weight") ? 1 : 0, size = 0.125f;
    if (ends_with(name, "_embd.weight") || strcmp(name, "token_types.weight") == 0)
        size = 1;
    else if (outputs > 0)
        size = ldexpf(strstr(name, "attn_q") || strstr(name, "attn_k.") ? 2 : 1,
                      -(int)(log2((double)inputs) / 2));
    for (size_t i = 0; i < inputs * (outputs ? outputs : 1); i++) {
        float unit = (float)((double)(rng_bits(number + 1, i) >> 40) * 0x1p-23 - 1);
        out[i] = middle + unit * size;
    }
}

static void put_metadata(struct gguf_build *b, const json_t *golden)
{
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(golden, "metadata"), key, value)
    {
        if (json_is_string(value))
            gguf_build_string(b, key, json_string_value(value));
        else if (json_is_boolean(value))
            gguf_build_bool(b, key, json_is_true(value));
        else if (json_is_real(value))
            gguf_build_f32(b, key, (float)json_real_value(value));
        else
            gguf_build_u32(b, key, (uint32_t)json_integer_value(value));
    }
}

static void put_tensors(struct gguf_build *b, const json_t *golden)
{
    size_t number, i;
    json_t *tensor, *value;
    json_array_foreach(json_object_get(golden, "tensors"), number, tensor)
    {
        const char *name = json_string_value(json_array_get(tensor, 0));
        const json_t *shape = json_array_get(tensor, 1);
        size_t dims = json_array_size(shape);
        uint64_t sizes[2] = {(uint64_t)json_integer_value(json_array_get(shape, 0)), 1};
        if (dims == 2)
            sizes[1] = (uint64_t)json_integer_value(json_array_get(shape, 1));
        float *data = malloc(sizes[0] * sizes[1] * sizeof *data);
        assert_non_null(data);
        fill(data, number, name, sizes[0], dims == 2 ? sizes[1] : 0);
        json_array_foreach(json_object_get(json_object_get(golden, "values"), name), i, value)
            data[i] = (float)json_number_value(value);
        gguf_build_tensor(b, name, DTYPE_F32, (uint32_t)dims, sizes, data);
        free(data);
    }
}

struct opened {
    trib_model *model;
    trib_engine *engine;
    int32_t ids[128];
    size_t count, V, E;
};

static void open_golden(struct opened *o, const json_t *golden, const char *table)
{
    char path[] = "/tmp/trib-golden-XXXXXX";
    struct gguf_build b;
    trib_error error = {0};
    trib_model_shape shape;
    trib_engine_options options = trib_engine_options_default();
    const json_t *ids = json_object_get(golden, "ids");
    options.threads = 2;
    options.kernels = table;
    options.kv_type = "f32";
    options.context = (size_t)json_integer_value(json_object_get(golden, "context"));
    gguf_build_open(&b);
    put_metadata(&b, golden);
    put_tensors(&b, golden);
    gguf_build_finish(&b);
    int fd = mkstemp(path);
    assert_true(fd >= 0 && gguf_build_write(&b, path));
    close(fd);
    gguf_build_close(&b);
    if (trib_model_open(&o->model, path, &error) || trib_model_describe(o->model, &shape, &error) ||
        trib_engine_open(&o->engine, o->model, &options, &error))
        fail_msg("%s", error.message);
    unlink(path);
    o->count = json_array_size(ids);
    o->V = shape.vocabulary;
    o->E = shape.width;
    assert_true(o->count <= 128);
    for (size_t i = 0; i < o->count; i++)
        o->ids[i] = (int32_t)json_integer_value(json_array_get(ids, i));
}

/* The largest error of a row, of its largest value. */
static double compare(const json_t *expected, const float *found, size_t n)
{
    double off = 0, largest = 0;
    assert_int_equal(json_array_size(expected), n);
    for (size_t i = 0; i < n; i++) {
        double value = json_number_value(json_array_get(expected, i));
        double error = fabs((double)found[i] - value);
        off = larger(off, error);
        largest = fmax(largest, fabs(value));
    }
    return off / largest;
}

static const double bound = 1e-5;

/* Negative where the golden has none; of vectors_of too. */
static double logits_of(const struct opened *o, const json_t *golden)
{
    trib_session *session;
    trib_error error = {0};
    const json_t *positions = json_object_get(golden, "positions");
    double worst = -1;
    if (!positions)
        return worst;
    float *logits = malloc(o->count * o->V * sizeof *logits);
    assert_non_null(logits);
    if (trib_session_open(&session, o->engine, NULL, &error) ||
        trib_session_score(session, o->ids, o->count, logits, &error))
        fail_msg("%s", error.message);
    for (size_t i = 0; i < json_array_size(positions); i++) {
        size_t at = (size_t)json_integer_value(json_array_get(positions, i));
        const json_t *row = json_array_get(json_object_get(golden, "logits"), i);
        worst = larger(worst, compare(row, logits + at * o->V, o->V));
    }
    trib_session_close(session);
    free(logits);
    return worst;
}

/* Each pooling that the golden has; the text stands between two strangers. */
static double vectors_of(const struct opened *o, const json_t *golden)
{
    static const struct {
        const char *name;
        trib_pooling pooling;
    } poolings[] = {
        {"mean", TRIB_POOLING_MEAN}, {"cls", TRIB_POOLING_FIRST}, {"last", TRIB_POOLING_LAST}};
    const trib_ids texts[] = {{o->ids + 3, 5}, {o->ids, o->count}, {o->ids + 20, 1}};
    float *vectors = malloc(3 * o->E * sizeof *vectors);
    trib_error error = {0};
    double worst = -1;
    assert_non_null(vectors);
    for (size_t i = 0; i < 3; i++) {
        const json_t *expected = json_object_get(golden, poolings[i].name);
        trib_embed_options options = {poolings[i].pooling, false};
        if (!expected)
            continue;
        if (trib_embed(o->engine, texts, 3, &options, vectors, &error))
            fail_msg("%s", error.message);
        worst = larger(worst, compare(expected, vectors + o->E, o->E));
    }
    free(vectors);
    return worst;
}

static void all_agree_with_transformers(void **state)
{
    size_t i;
    json_t *golden;
    (void)state;
    assert_true(json_array_size(goldens) >= 10);
    json_array_foreach(goldens, i, golden) for (size_t table = 0; kernels_at(table); table++)
    {
        struct opened o;
        const char *name = json_string_value(json_object_get(golden, "name"));
        open_golden(&o, golden, kernels_at(table)->name);
        double logits = logits_of(&o, golden), vectors = vectors_of(&o, golden);
        print_message("# %s, %s: logits %.1e, vectors %.1e\n", name, kernels_at(table)->name,
                      logits, vectors);
        assert_true(logits >= 0 || vectors >= 0 || isnan(logits) || isnan(vectors));
        if (!(logits <= bound && vectors <= bound))
            fail_msg("%s, %s: off by %.2e and %.2e, expected %.0e at most", name,
                     kernels_at(table)->name, logits, vectors, bound);
        trib_engine_close(o.engine);
        trib_model_close(o.model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_agree_with_transformers),
    };
    return cmocka_run_group_tests_name("architectures", tests, setup, teardown);
}
