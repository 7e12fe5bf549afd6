/* A model that `trib train` saved means the same to llama.cpp, which shares no code with us: it
 * reads the file, makes the same tokens of a text, and computes the same logits. Made once, by
 * tools/llama_cpp_golden.py.
 *
 * Bound. Everything is float32 on both sides, the cache too, so that they differ by rounding alone:
 * a few hundred roundings of 2^-24 relative on logits of magnitude 10, below 1e-3 by far. Another
 * base of the rotation, another order of its pairs or another epsilon of the norm is off by more.
 */
#include <math.h>

#include <jansson.h>

#include "kernel/kernel.h"
#include "test.h"
#include "tributary/engine.h"

enum { MOST = 256 }; /* tokens */

struct golden {
    json_t *json;
    char model[4096];
    int32_t ids[MOST];
    size_t count;
};

static void in_golden(char *path, size_t size, const char *name)
{
    const char *folder = getenv("TRIB_GOLDEN");
    snprintf(path, size, "%s/%s", folder ? folder : "tests/golden/data", name);
}

static int setup(void **state)
{
    static struct golden g;
    char path[4096];
    json_error_t why;
    json_t *id;
    size_t i;
    in_golden(path, sizeof path, "llama_cpp.json");
    in_golden(g.model, sizeof g.model, "llama_cpp.gguf");
    g.json = json_load_file(path, 0, &why);
    if (!g.json)
        return -1;
    json_array_foreach(json_object_get(g.json, "ids"), i, id) if (g.count < MOST) g.ids[g.count++] =
        (int32_t)json_integer_value(id);
    *state = &g;
    return 0;
}

static int teardown(void **state)
{
    struct golden *g = *state;
    json_decref(g->json);
    return 0;
}

static void the_tokens_are_equal(void **state)
{
    const struct golden *g = *state;
    const char *text = json_string_value(json_object_get(g->json, "text"));
    trib_model *model;
    trib_error error = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    if (trib_model_open(&model, g->model, &error) != TRIB_OK ||
        trib_tokenize(model, text, strlen(text), TRIB_TOKENIZE_SPECIAL, &ids, &count, &error) !=
            TRIB_OK)
        fail_msg("%s", error.message);
    assert_int_equal(count, g->count);
    assert_memory_equal(ids, g->ids, count * sizeof *ids);
    trib_free(ids);
    trib_model_close(model);
}

/* logits [count][V], the caller's to free. */
static float *score(const struct golden *g, const char *table, size_t *V)
{
    trib_model *model;
    trib_engine *engine = NULL;
    trib_session *session = NULL;
    trib_model_shape shape;
    trib_engine_options options = {
        .threads = 2, .prefill_chunk = MOST, .kernels = table, .kv_type = "f32"};
    trib_error error = {0};
    if (trib_model_open(&model, g->model, &error) != TRIB_OK ||
        trib_model_describe(model, &shape, &error) != TRIB_OK ||
        trib_engine_open(&engine, model, &options, &error) != TRIB_OK ||
        trib_session_open(&session, engine, NULL, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    float *logits = malloc(g->count * shape.vocabulary * sizeof *logits);
    assert_non_null(logits);
    if (trib_session_score(session, g->ids, g->count, logits, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    trib_session_close(session);
    trib_engine_close(engine);
    trib_model_close(model);
    *V = shape.vocabulary;
    return logits;
}

static void the_logits_agree(void **state)
{
    const struct golden *g = *state;
    for (size_t i = 0; kernels_at(i); i++) {
        const char *position;
        json_t *expected, *value;
        double largest = 0;
        size_t V, compared = 0, j;
        float *logits = score(g, kernels_at(i)->name, &V);
        json_object_foreach(json_object_get(g->json, "logits"), position, expected)
        {
            size_t row = strtoul(position, NULL, 10);
            assert_true(row < g->count);
            assert_int_equal(json_array_size(expected), V);
            json_array_foreach(expected, j, value)
            {
                double off = fabs((double)logits[row * V + j] - json_number_value(value));
                largest = off > largest || isnan(off) ? off : largest;
                compared++;
            }
        }
        print_message("# %s: largest error of %zu logits %.2e\n", kernels_at(i)->name, compared,
                      largest);
        assert_true(compared > 0);
        assert_true(largest < 1e-3);
        free(logits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tokens_are_equal),
        cmocka_unit_test(the_logits_agree),
    };
    return cmocka_run_group_tests_name("llama_cpp", tests, setup, teardown);
}
