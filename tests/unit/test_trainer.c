/* Training as a whole, for every kind of predictor: the same bits for any number of threads and
 * across an interruption, nothing lost when something fails, and damage found. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "random.h"
#include "train/trainer.h"
#include "train_case.h"
#include "tributary/model.h"

static trib_trainer *resume(const char *path, const trib_train_options *o)
{
    trib_trainer *t;
    trib_error error = {0};
    const char *texts[] = {train_text};
    if (trib_trainer_resume(&t, path, o, texts, 1, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return t;
}

static void save(trib_trainer *t, const char *path)
{
    trib_error error = {0};
    if (trib_trainer_save(t, path, &error) != TRIB_OK)
        fail_msg("%s", error.message);
}

/* The bytes of a file; the caller frees them. */
static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &info), 0);
    *size = (size_t)info.st_size;
    char *bytes = malloc(*size + 1);
    assert_int_equal(fread(bytes, 1, *size, file), *size);
    fclose(file);
    return bytes;
}

static void write_file(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    size_t a_size, b_size;
    char *x = read_file(a, &a_size), *y = read_file(b, &b_size);
    if (a_size != b_size || memcmp(x, y, a_size) != 0)
        fail_msg("%s: %s and %s differ", name, a, b);
    free(x);
    free(y);
}

/* Both files of a training: the model, and all that it goes on from. */
static void assert_same_training(const char *a, const char *b, const char *name)
{
    char x[160], y[160];
    assert_same_file(a, b, name);
    snprintf(x, sizeof x, "%s.state", a);
    snprintf(y, sizeof y, "%s.state", b);
    assert_same_file(x, y, name);
}

/* 8 steps, and 4 that are saved, forgotten, resumed and followed by 4 more; with other numbers of
 * threads, and with an evaluation and a sample in between, which must not disturb anything. */
static void interruption_and_threads_change_no_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < TRAIN_VARIANTS; i++) {
        trib_train_options o = train_options_of(&train_variants[i]),
                           usual = trib_train_options_default();
        trib_train_score score;
        trib_error error = {0};
        char *sample;
        size_t length;
        trib_trainer *t = train_open(&o);
        train_steps(t, 8);
        save(t, train_file("whole"));
        trib_trainer_close(t);

        o.threads = 3;
        t = train_open(&o);
        train_steps(t, 4);
        assert_int_equal(trib_trainer_evaluate(t, 2, &score, &error), TRIB_OK);
        assert_int_equal(trib_trainer_sample(t, 1, 3, 20, &sample, &length, &error), TRIB_OK);
        assert_true(length > 0);
        trib_free(sample);
        save(t, train_file("parts"));
        trib_trainer_close(t);
        usual.threads = 2;
        t = resume(train_file("parts"), &usual);
        assert_int_equal(trib_trainer_position(t), 4);
        train_steps(t, 4);
        save(t, train_file("parts"));
        trib_trainer_close(t);
        assert_same_training(train_file("whole"), train_file("parts"), train_variants[i].name);
    }
}

/* Another seed gives another model: the test above could fail. */
static void seeds_differ(void **state)
{
    (void)state;
    trib_train_options o = train_options_of(&train_variants[0]);
    double losses[2];
    for (size_t i = 0; i < 2; i++) {
        trib_train_step step;
        o.seed = i;
        trib_trainer *t = train_open(&o);
        assert_int_equal(trib_trainer_step(t, &step, NULL), TRIB_OK);
        losses[i] = step.loss;
        trib_trainer_close(t);
    }
    assert_true(losses[0] != losses[1]);
}

/* A step whose loss is no number changes nothing and does not count. */
static void a_broken_loss_is_a_message(void **state)
{
    (void)state;
    trib_train_options o = train_options_of(&train_variants[0]);
    trib_train_step step;
    trib_error error = {0};
    trib_trainer *t = train_open(&o);
    train_steps(t, 2);
    struct parameters *p = &t->predictor.parameters;
    size_t bytes = p->floats * sizeof(float);
    p->weights[p->list[p->count - 1].offset] = NAN;
    float *before = malloc(bytes);
    memcpy(before, p->weights, bytes);
    assert_int_equal(trib_trainer_step(t, &step, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "step 3: expected a finite loss, found "));
    assert_int_equal(trib_trainer_position(t), 2);
    assert_memory_equal(before, p->weights, bytes);
    free(before);
    trib_trainer_close(t);
}

/* Files may grow to `most` bytes: what a full disk is to a program. */
static void limit_files(rlim_t most)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = most;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_failed_saving_loses_nothing(void **state)
{
    (void)state;
    trib_train_options o = train_options_of(&train_variants[0]);
    trib_error error = {0};
    trib_trainer *t = train_open(&o);
    train_steps(t, 1);
    save(t, train_file("kept"));
    save(t, train_file("copy"));
    train_steps(t, 1);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    limit_files(20000);
    trib_status status = trib_trainer_save(t, train_file("kept"), &error);
    limit_files(before.rlim_cur);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, TRIB_IO);
    assert_non_null(strstr(error.message, "kept.state"));
    assert_same_training(train_file("kept"), train_file("copy"), "after a full disk");
    assert_int_equal(trib_trainer_save(t, "/no/such/folder/model", &error), TRIB_IO);
    assert_non_null(strstr(error.message, "/no/such/folder/model.state"));
    save(t, train_file("kept"));
    trib_trainer_close(t);
}

/* No part of a checkpoint is believed unseen: cut anywhere before the padding at its end it is
 * refused with a message, and so is a changed bit of its options, numbers and arrays. What the
 * checksum leaves out, the entries of a vocabulary that is made anew, may differ without harm. */
static void damage_is_found(void **state)
{
    (void)state;
    trib_train_options o = train_options_of(&train_variants[0]),
                       usual = trib_train_options_default();
    struct random r = random_start(2);
    o.layers = o.width = 1;
    o.ffn = 2;
    o.context = 2;
    o.batch = 1;
    trib_trainer *t = train_open(&o);
    train_steps(t, 1);
    save(t, train_file("damaged"));
    trib_trainer_close(t);
    size_t size, refused = 0, flips = 400;
    char path[160];
    snprintf(path, sizeof path, "%s.state", train_file("damaged"));
    char *bytes = read_file(path, &size);
    const char *texts[] = {train_text}, *model = train_file("damaged");
    for (size_t length = 0; length + GGUF_ALIGNMENT <= size; length += 1 + length / 40) {
        trib_error error = {0};
        write_file(path, bytes, length);
        assert_int_not_equal(trib_trainer_resume(&t, model, &usual, texts, 1, &error), TRIB_OK);
        assert_null(t);
        assert_true(error.message[0] != 0);
    }
    for (size_t i = 0; i < flips; i++) {
        trib_error error = {0};
        size_t at = random_below(&r, size);
        char flipped = (char)(1 << random_below(&r, 8));
        bytes[at] = (char)(bytes[at] ^ flipped);
        write_file(path, bytes, size);
        trib_status status = trib_trainer_resume(&t, model, &usual, texts, 1, &error);
        assert_true(status == TRIB_OK || error.message[0] != 0);
        refused += status != TRIB_OK;
        trib_trainer_close(t);
        bytes[at] = (char)(bytes[at] ^ flipped);
    }
    assert_true(refused > flips / 4);
    write_file(path, bytes, size);
    trib_trainer_close(resume(model, &usual));
    free(bytes);
}

/* A changed bit of a number that is compared with what was asked for, or of the vocabulary that the
 * text is read by, is damage, and not another option or text. */
static void damage_is_told_as_damage(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        size_t value; /* bytes from the end of the key on: types, counts and lengths lie between */
    } places[] = {{"training.width", 4},
                  {"training.text_hash", 4},
                  {"training.tokens", 4},
                  {"training.vocabulary", 4 + 8},
                  {"tokenizer.ggml.tokens", 4 + 4 + 8 + 8}};
    trib_train_options o = train_options_of(&train_variants[0]);
    trib_trainer *t = train_open(&o);
    char path[160], vocabulary[160];
    snprintf(vocabulary, sizeof vocabulary, "%s", train_file("vocabulary"));
    save(t, vocabulary);
    trib_trainer_close(t);
    o.vocabulary = vocabulary;
    t = train_open(&o);
    save(t, train_file("damaged"));
    trib_trainer_close(t);
    size_t size;
    snprintf(path, sizeof path, "%s.state", train_file("damaged"));
    char *bytes = read_file(path, &size);
    const char *texts[] = {train_text};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        trib_error error = {0};
        size_t length = strlen(places[i].key), at = 0;
        while (at + length < size && memcmp(bytes + at, places[i].key, length) != 0)
            at++;
        assert_true(at + length + places[i].value < size);
        char *value = bytes + at + length + places[i].value;
        *value = (char)(*value ^ 1);
        write_file(path, bytes, size);
        *value = (char)(*value ^ 1);
        trib_status status = trib_trainer_resume(&t, train_file("damaged"), &o, texts, 1, &error);
        if (status != TRIB_FORMAT || !strstr(error.message, "training.checksum"))
            fail_msg("%s: %d: %s", places[i].key, (int)status, error.message);
    }
    write_file(path, bytes, size);
    trib_trainer_close(resume(train_file("damaged"), &o));
    free(bytes);
}

static void another_text_or_option_is_refused(void **state)
{
    (void)state;
    trib_train_options o = train_options_of(&train_variants[0]),
                       other = trib_train_options_default();
    trib_error error = {0};
    trib_trainer *t = train_open(&o);
    train_steps(t, 4);
    save(t, train_file("one"));
    trib_trainer_close(t);
    const char *texts[] = {train_file("one"), train_text}, *model = train_file("one");
    other.width = 64;
    assert_int_equal(trib_trainer_resume(&t, model, &other, texts + 1, 1, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "width"));
    other = trib_train_options_default();
    other.steps = 3;
    assert_int_equal(trib_trainer_resume(&t, model, &other, texts + 1, 1, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "steps: expected at least 4, which are done, found 3"));
    other = trib_train_options_default();
    other.vocabulary = "chars";
    assert_int_equal(trib_trainer_resume(&t, model, &other, texts, 1, &error), TRIB_INVALID);
    const char *twice[] = {train_text, train_text};
    assert_int_equal(trib_trainer_resume(&t, model, &other, twice, 2, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "expected the text of the training"));
    assert_null(t);
}

static void options_are_checked(void **state)
{
    (void)state;
    struct {
        trib_train_options options;
        const char *word;
    } bad[16];
    size_t n = 0;
    for (size_t i = 0; i < 16; i++)
        bad[i].options = train_options_of(&train_variants[0]);
    bad[n].options.model = "crystal ball", bad[n++].word = "model: expected direct, rnn or";
    bad[n].options.layers = 0, bad[n++].word = "layers";
    bad[n].options.width = 0, bad[n++].word = "width";
    bad[n].options.lr = NAN, bad[n++].word = "lr";
    bad[n].options.lr = -1, bad[n++].word = "lr";
    bad[n].options.min_lr = 1, bad[n++].word = "min-lr: expected at most";
    bad[n].options.beta2 = 1, bad[n++].word = "beta2: expected 0 to below 1";
    bad[n].options.dropout = 1, bad[n++].word = "dropout";
    bad[n].options.validation = 1, bad[n++].word = "validation";
    bad[n].options.warmup = 9, bad[n++].word = "warmup";
    bad[n].options.dtype = "f8", bad[n++].word = "dtype: expected f32 or bf16";
    bad[n].options.save_type = "f8", bad[n++].word = "save-type";
    bad[n].options.threads = -1, bad[n++].word = "threads";
    bad[n].options.kernels = "mmx", bad[n++].word = "'mmx'";
    bad[n].options.batch = 0, bad[n++].word = "batch";
    bad[n].options.accumulate = 0, bad[n++].word = "accumulate";
    for (size_t i = 0; i < n; i++) {
        trib_trainer *t;
        trib_error error = {0};
        const char *texts[] = {train_text};
        assert_int_equal(trib_trainer_open(&t, &bad[i].options, texts, 1, &error), TRIB_INVALID);
        if (!strstr(error.message, bad[i].word))
            fail_msg("expected '%s' in '%s'", bad[i].word, error.message);
        assert_null(t);
    }
}

static void warm_up_that_is_left_open_is_at_most_the_steps(void **state)
{
    (void)state;
    const size_t steps_of[] = {1, 8, 100, 101, 0}, warmups[] = {1, 8, 100, 100, 100};
    for (size_t i = 0; i < sizeof steps_of / sizeof steps_of[0]; i++) {
        trib_train_options o = train_options_of(&train_variants[0]);
        o.warmup = trib_train_options_default().warmup;
        o.steps = steps_of[i];
        trib_trainer *t = train_open(&o);
        assert_int_equal(trib_trainer_options(t).warmup, warmups[i]);
        trib_trainer_close(t);
    }
}

int main(void)
{
    random_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interruption_and_threads_change_no_bit),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(a_broken_loss_is_a_message),
        cmocka_unit_test(a_failed_saving_loses_nothing),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(damage_is_told_as_damage),
        cmocka_unit_test(another_text_or_option_is_refused),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(warm_up_that_is_left_open_is_at_most_the_steps),
    };
    return cmocka_run_group_tests_name("trainer", tests, train_setup, train_teardown);
}
