/* A real encoder, all-MiniLM-L6-v2, gives the vectors that its own package gives for 20 sentences
 * of several languages and kinds: tokenizer, forward pass and pooling together.
 *
 * tools/minilm_gguf.py made the model file, which is too large to be here, and the vectors. Vectors
 * have length 1 and six digits, so their cosine is within 1e-6 of what full ones would give; both
 * sides compute in float32, which leaves as little. One other token in a short sentence takes more
 * than 1e-2. Asked for is 0.9999. */
#include <jansson.h>
#include <math.h>

#include "test.h"
#include "tributary/engine.h"

enum { SENTENCES = 20, WIDTH = 384 };

static json_t *load_golden(void)
{
    char path[4096];
    const char *folder = getenv("TRIB_GOLDEN");
    json_error_t why;
    snprintf(path, sizeof path, "%s/minilm.json", folder ? folder : "tests/golden/data");
    json_t *golden = json_load_file(path, 0, &why);
    assert_non_null(golden);
    assert_int_equal(json_array_size(golden), SENTENCES);
    return golden;
}

static double cosine(const float *a, const json_t *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < WIDTH; i++) {
        double x = (double)a[i], y = json_number_value(json_array_get(b, i));
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

static void the_vectors_agree(void **state)
{
    const char *path = test_data("minilm/all-minilm-l6-v2.gguf");
    static float vectors[SENTENCES][WIDTH], alone[WIDTH];
    trib_ids ids[SENTENCES];
    trib_model *model;
    trib_engine *engine;
    trib_error error = {0};
    double least = 1;
    (void)state;
    json_t *golden = load_golden();
    if (trib_model_open(&model, path, &error) || trib_engine_open(&engine, model, NULL, &error))
        fail_msg("%s", error.message);
    for (size_t i = 0; i < SENTENCES; i++) {
        const char *text = json_string_value(json_object_get(json_array_get(golden, i), "text"));
        int32_t *of_text;
        if (trib_tokenize(model, text, strlen(text), TRIB_TOKENIZE_SPECIAL, &of_text, &ids[i].count,
                          &error))
            fail_msg("%s", error.message);
        ids[i].ids = of_text;
    }
    if (trib_embed(engine, ids, SENTENCES, NULL, vectors[0], &error) ||
        trib_embed(engine, &ids[7], 1, NULL, alone, &error))
        fail_msg("%s", error.message);
    assert_memory_equal(alone, vectors[7], sizeof alone);
    for (size_t i = 0; i < SENTENCES; i++) {
        double one = cosine(vectors[i], json_object_get(json_array_get(golden, i), "vector"));
        if (!(one >= 0.9999))
            fail_msg("sentence %zu: cosine %.6f", i, one);
        least = fmin(least, one);
        trib_free((int32_t *)(uintptr_t)ids[i].ids);
    }
    print_message("# smallest cosine %.8f\n", least);
    trib_engine_close(engine);
    trib_model_close(model);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors_agree),
    };
    return cmocka_run_group_tests_name("minilm", tests, NULL, NULL);
}
