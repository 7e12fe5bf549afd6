/* The fingerprint of an engine: one and the same for the same model, another one for any other
 * model, and none where nobody asks. */
#include "folder.h"
#include "kernel/kernel.h"
#include "model/architecture.h"
#include "must.h"
#include "tiny_model.h"
#include "tributary/cache.h"
#include "tributary/engine.h"

enum { DIGITS = 32, PAGE = 64 };

struct text {
    char digits[DIGITS + 1]; /* empty: there is none */
};

static struct text of_model(const trib_model *model, const trib_engine_options *options)
{
    struct text text = {""};
    trib_engine *engine;
    trib_error error = {0};
    must(trib_engine_open(&engine, model, options, &error), &error);
    const char *fingerprint = trib_engine_fingerprint(engine);
    if (fingerprint) {
        assert_int_equal(strlen(fingerprint), DIGITS);
        memcpy(text.digits, fingerprint, sizeof text.digits);
    }
    trib_engine_close(engine);
    return text;
}

static struct text of_file(const char *path, const trib_engine_options *options)
{
    trib_model *model;
    trib_error error = {0};
    must(trib_model_open(&model, path, &error), &error);
    struct text text = of_model(model, options);
    trib_model_close(model);
    return text;
}

static trib_engine_options asking(void)
{
    trib_engine_options options = trib_engine_options_default();
    options.threads = 1;
    options.fingerprint = true;
    return options;
}

/* A copy of a file, which the caller unlinks. */
static void copy(char to[64], const char *from)
{
    char bytes[4096];
    FILE *in = fopen(from, "rb");
    strcpy(to, "/tmp/trib-copy-XXXXXX");
    FILE *out = fdopen(mkstemp(to), "wb");
    assert_true(in && out);
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, in));)
        assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_true(fclose(in) == 0 && fclose(out) == 0);
}

/* Threads, chunks, kernels and the types of keys are none of the model's, nor is the place of its
 * file. */
static void the_same_model_has_the_same_one(void **state)
{
    struct random random = random_start(1);
    char path[64], elsewhere[64];
    trib_engine_options options = asking();
    (void)state;
    tiny_model_write(path, DTYPE_Q8_0, &random);
    const struct text first = of_file(path, &options);
    assert_int_equal(strspn(first.digits, "0123456789abcdef"), DIGITS);
    for (options.threads = 1; options.threads <= 3; options.threads++) {
        options.prefill_chunk = 40 * (size_t)options.threads;
        assert_string_equal(of_file(path, &options).digits, first.digits);
    }
    options = asking();
    options.kv_type = "f32";
    for (size_t i = 0; kernels_at(i); i++) {
        options.kernels = kernels_at(i)->name;
        assert_string_equal(of_file(path, &options).digits, first.digits);
    }
    options = asking();
    copy(elsewhere, path);
    assert_string_equal(of_file(elsewhere, &options).digits, first.digits);
    unlink(path);
    unlink(elsewhere);
}

/* Models of one shape and size: in every architecture one bit of any tensor is enough. */
static void one_bit_makes_another_model(void **state)
{
    struct random random = random_start(2);
    const trib_engine_options options = asking();
    (void)state;
    for (size_t i = 0; architecture_at(i); i++) {
        struct gguf_build b;
        struct gguf *file;
        trib_error error = {0};
        char path[] = "/tmp/trib-model-XXXXXX";
        gguf_build_open(&b);
        tiny_model_build(&b, architecture_at(i)->name, DTYPE_F32, &random, NULL);
        gguf_build_finish(&b);
        must(gguf_parse(&file, b.file.bytes, b.file.size, "tiny", &error), &error);
        int fd = mkstemp(path);
        assert_true(fd >= 0 && close(fd) == 0 && gguf_build_write(&b, path));
        const struct text first = of_file(path, &options);
        for (size_t j = 0; j < file->tensor_count; j++) {
            const struct gguf_tensor *t = &file->tensors[j];
            size_t at = (size_t)(t->data - b.file.bytes) + 4 * random_below(&random, t->elements);
            b.file.bytes[at] ^= 1;
            assert_true(gguf_build_write(&b, path));
            b.file.bytes[at] ^= 1;
            if (strcmp(of_file(path, &options).digits, first.digits) == 0)
                fail_msg("%s: %.*s does not count", architecture_at(i)->name, (int)t->name.length,
                         t->name.bytes);
        }
        assert_true(gguf_build_write(&b, path));
        assert_string_equal(of_file(path, &options).digits, first.digits);
        gguf_close(file);
        gguf_build_close(&b);
        unlink(path);
    }
}

/* A folder needs it, and its files bear it. One that is given for a model that keeps nothing there
 * is no reason. */
static void who_asks_for_it_has_it(void **state)
{
    struct random random = random_start(3);
    trib_engine_options on_folder = trib_engine_options_default(), both = asking(),
                        asked = asking();
    char folder[FOLDER_NAME];
    int32_t ids[PAGE + 1] = {1};
    trib_model *model = tiny_open("llama", &random), *encoder = tiny_open("bert", &random);
    trib_engine *engine;
    trib_session *session;
    trib_cache_list list;
    trib_error error = {0};
    (void)state;
    folder_make(folder);
    on_folder.cache_dir = both.cache_dir = folder;
    assert_string_equal(of_model(model, NULL).digits, "");
    const struct text first = of_model(model, &asked);
    assert_int_equal(strlen(first.digits), DIGITS);
    assert_string_equal(of_model(model, &on_folder).digits, first.digits);
    assert_string_equal(of_model(model, &both).digits, first.digits);
    assert_string_equal(of_model(encoder, &on_folder).digits, "");
    assert_string_equal(of_model(encoder, &both).digits, of_model(encoder, &asked).digits);
    assert_int_equal(strlen(of_model(encoder, &asked).digits), DIGITS);

    must(trib_engine_open(&engine, model, &on_folder, &error), &error);
    must(trib_session_open(&session, engine, NULL, &error), &error);
    must(trib_session_append(session, ids, PAGE + 1, &error), &error);
    trib_session_close(session);
    trib_engine_close(engine);
    must(trib_cache_list_open(&list, folder, &error), &error);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.files[0].model, first.digits);
    trib_cache_list_free(&list);
    trib_model_close(model);
    trib_model_close(encoder);
    folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_model_has_the_same_one),
        cmocka_unit_test(one_bit_makes_another_model),
        cmocka_unit_test(who_asks_for_it_has_it),
    };
    random_seed();
    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
