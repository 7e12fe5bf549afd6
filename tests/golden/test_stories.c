/* A real trained model against an independent float64 program: stories260K continues
 * "Once upon a time" with the same 256 greedy tokens, and the logits agree.
 *
 * Bounds. With a float32 KV cache every number in the pass is float32: the error is rounding alone,
 * a few hundred roundings of 2^-24 relative on logits of magnitude 10 to 20, so 1e-4 holds. With
 * float16 every key and value is off by up to 2^-11 of itself; five layers of that on logits of
 * magnitude 20 allow 5 x 20 x 2^-11 = 0.049. */
#include <math.h>

#include <jansson.h>

#include "kernel/kernel.h"
#include "test.h"
#include "tributary/engine.h"
#include "tributary/sampling.h"

struct golden {
    json_t *json;
    char model_path[4096];
    int32_t ids[512]; /* the prompt, then the greedy continuation */
    size_t prompt, count;
};

static struct golden golden_load(void)
{
    struct golden golden = {0};
    json_error_t why;
    json_t *id;
    size_t i;
    snprintf(golden.model_path, sizeof golden.model_path, "%s",
             test_data("stories260K/stories260K.gguf"));
    golden.json = json_load_file(test_data("stories260K/golden.json"), 0, &why);
    assert_non_null(golden.json);
    json_array_foreach(json_object_get(golden.json, "prompt_ids"), i, id)
        golden.ids[golden.count++] = (int32_t)json_integer_value(id);
    golden.prompt = golden.count;
    json_array_foreach(json_object_get(golden.json, "greedy_ids"), i, id)
        golden.ids[golden.count++] = (int32_t)json_integer_value(id);
    assert_int_equal(golden.count, golden.prompt + 256);
    return golden;
}

/* Everything that is open while the model runs. */
struct stage {
    trib_model *model;
    trib_engine *engine;
    trib_session *session;
    size_t V;
};

static struct stage stage_open(const struct golden *golden, const char *table, const char *kv_type)
{
    struct stage s = {0};
    trib_error error = {0};
    trib_model_shape shape;
    trib_engine_options options = trib_engine_options_default();
    options.threads = 2;
    options.kernels = table;
    options.kv_type = kv_type;
    if (trib_model_open(&s.model, golden->model_path, &error) != TRIB_OK ||
        trib_model_describe(s.model, &shape, &error) != TRIB_OK ||
        trib_engine_open(&s.engine, s.model, &options, &error) != TRIB_OK ||
        trib_session_open(&s.session, s.engine, NULL, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    s.V = shape.vocabulary;
    return s;
}

static void stage_close(struct stage *s)
{
    trib_session_close(s->session);
    trib_engine_close(s->engine);
    trib_model_close(s->model);
}

/* Logits of all positions by one scoring call; the largest error over those the golden file holds.
 */
static double largest_error(const struct golden *golden, const char *table, const char *kv_type)
{
    struct stage s = stage_open(golden, table, kv_type);
    float *logits = malloc(golden->count * s.V * sizeof *logits);
    trib_error error = {0};
    double largest = 0;
    size_t compared = 0;
    const char *position;
    json_t *expected, *value;
    size_t i;
    if (trib_session_score(s.session, golden->ids, golden->count, logits, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    json_object_foreach(json_object_get(golden->json, "logits_by_position"), position, expected)
    {
        const float *row = logits + strtoul(position, NULL, 10) * s.V;
        assert_int_equal(json_array_size(expected), s.V);
        json_array_foreach(expected, i, value)
        {
            double off = fabs((double)row[i] - json_number_value(value));
            largest = off > largest || isnan(off) ? off : largest;
            compared++;
        }
    }
    assert_int_equal(compared, 7 * s.V);
    free(logits);
    stage_close(&s);
    return largest;
}

static void logits_agree(void **state)
{
    (void)state;
    struct golden golden = golden_load();
    for (size_t i = 0; kernels_at(i); i++) {
        const char *table = kernels_at(i)->name;
        double f32 = largest_error(&golden, table, "f32");
        double f16 = largest_error(&golden, table, "f16");
        print_message("# %s: largest logit error %.2e (f32 KV), %.2e (f16 KV)\n", table, f32, f16);
        assert_true(f32 < 1e-4);
        assert_true(f16 < 0.049);
    }
    json_decref(golden.json);
}

/* Token by token, as `trib run --temperature 0` does it, from the text of the prompt. */
static void greedy_story_is_the_golden_one(void **state)
{
    (void)state;
    struct golden golden = golden_load();
    for (size_t i = 0; kernels_at(i); i++) {
        struct stage s = stage_open(&golden, kernels_at(i)->name, "f16");
        trib_sampler_options greedy = trib_sampler_options_default();
        trib_sampler *sampler;
        trib_error error = {0};
        const char *prompt = json_string_value(json_object_get(golden.json, "prompt"));
        int32_t *ids;
        size_t count;
        greedy.temperature = 0;
        assert_int_equal(trib_sampler_open(&sampler, s.V, &greedy, &error), TRIB_OK);
        assert_int_equal(trib_tokenize(s.model, prompt, strlen(prompt), TRIB_TOKENIZE_SPECIAL, &ids,
                                       &count, &error),
                         TRIB_OK);
        assert_int_equal(count, golden.prompt);
        assert_memory_equal(ids, golden.ids, count * sizeof *ids);
        assert_int_equal(trib_session_append(s.session, ids, count, &error), TRIB_OK);
        for (size_t at = count; at < golden.count; at++) {
            int32_t id;
            assert_int_equal(
                trib_sampler_next(sampler, trib_session_logits(s.session), &id, &error), TRIB_OK);
            assert_int_equal(id, golden.ids[at]);
            assert_int_equal(trib_session_append(s.session, &id, 1, &error), TRIB_OK);
        }
        trib_free(ids);
        trib_sampler_close(sampler);
        stage_close(&s);
    }
    json_decref(golden.json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_agree),
        cmocka_unit_test(greedy_story_is_the_golden_one),
    };
    return cmocka_run_group_tests_name("stories", tests, NULL, NULL);
}
