/* Training as a whole, for every kind of predictor: the same bits for any number of threads and
 * across an interruption, nothing lost when something fails, damage found, and something learned
 * that an untrained predictor does not know. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "random.h"
#include "test.h"
#include "train/trainer.h"
#include "tributary/model.h"

/* One of everything that has code of its own. */
static const struct variant {
    const char *name, *model, *block, *cell, *attention, *dtype;
} variants[] = {
    {"direct", "direct", "modern", "gru", "none", "f32"},
    {"elman", "rnn", "modern", "elman", "none", "f32"},
    {"gru with attention", "rnn", "modern", "gru", "general", "f32"},
    {"lstm with attention", "rnn", "modern", "lstm", "additive", "f32"},
    {"lecture", "transformer", "lecture", "gru", "none", "f32"},
    {"modern", "transformer", "modern", "gru", "none", "f32"},
    {"modern in bf16", "transformer", "modern", "gru", "none", "bf16"},
};

enum { VARIANTS = sizeof variants / sizeof *variants };

static char folder[64], text[96];

/* Lines of three letters that come again: what an untrained predictor cannot know. After the
 * newline each of the first three letters is one of four; the other five tokens follow from what
 * stands before. They are the same in each run: how many steps learning takes depends on the text,
 * and of a hundred there is one that takes the lecture's block more than 2,400. */
static int setup(void **state)
{
    (void)state;
    struct random r = {6};
    strcpy(folder, "/tmp/trib-train-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(text, sizeof text, "%s/text", folder);
    FILE *file = fopen(text, "w");
    for (size_t line = 0; line < 4000; line++) {
        char word[4] = {0};
        for (size_t i = 0; i < 3; i++)
            word[i] = "abcd"[random_below(&r, 4)];
        fprintf(file, "%s %s\n", word, word);
    }
    return fclose(file);
}

static int teardown(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static size_t next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static trib_train_options options_of(const struct variant *v)
{
    trib_train_options o = trib_train_options_default();
    o.model = v->model;
    o.block = v->block;
    o.cell = v->cell;
    o.attention = v->attention;
    o.dtype = v->dtype;
    o.vocabulary = "chars";
    o.layers = 2;
    o.heads = 2;
    o.kv_heads = 1;
    o.width = 32;
    o.context = 16;
    o.batch = 6;
    o.accumulate = 2;
    o.steps = 8;
    o.warmup = 2;
    o.dropout = 0.1f;
    o.threads = 1;
    return o;
}

static trib_trainer *open_trainer(const trib_train_options *o)
{
    trib_trainer *t;
    trib_error error = {0};
    const char *texts[] = {text};
    if (trib_trainer_open(&t, o, texts, 1, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return t;
}

static trib_trainer *resume(const char *path, const trib_train_options *o)
{
    trib_trainer *t;
    trib_error error = {0};
    const char *texts[] = {text};
    if (trib_trainer_resume(&t, path, o, texts, 1, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return t;
}

static void steps(trib_trainer *t, size_t count)
{
    trib_train_step step;
    trib_error error = {0};
    for (size_t i = 0; i < count; i++)
        if (trib_trainer_step(t, &step, &error) != TRIB_OK)
            fail_msg("%s", error.message);
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
    for (size_t i = 0; i < VARIANTS; i++) {
        trib_train_options o = options_of(&variants[i]), usual = trib_train_options_default();
        trib_train_score score;
        trib_error error = {0};
        char *sample;
        size_t length;
        trib_trainer *t = open_trainer(&o);
        steps(t, 8);
        save(t, in_folder("whole"));
        trib_trainer_close(t);

        o.threads = 3;
        t = open_trainer(&o);
        steps(t, 4);
        assert_int_equal(trib_trainer_evaluate(t, 2, &score, &error), TRIB_OK);
        assert_int_equal(trib_trainer_sample(t, 1, 3, 20, &sample, &length, &error), TRIB_OK);
        assert_true(length > 0);
        trib_free(sample);
        save(t, in_folder("parts"));
        trib_trainer_close(t);
        usual.threads = 2;
        t = resume(in_folder("parts"), &usual);
        assert_int_equal(trib_trainer_position(t), 4);
        steps(t, 4);
        save(t, in_folder("parts"));
        trib_trainer_close(t);
        assert_same_training(in_folder("whole"), in_folder("parts"), variants[i].name);
    }
}

/* Another seed gives another model: the test above could fail. */
static void seeds_differ(void **state)
{
    (void)state;
    trib_train_options o = options_of(&variants[0]);
    double losses[2];
    for (size_t i = 0; i < 2; i++) {
        trib_train_step step;
        o.seed = i;
        trib_trainer *t = open_trainer(&o);
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
    trib_train_options o = options_of(&variants[0]);
    trib_train_step step;
    trib_error error = {0};
    trib_trainer *t = open_trainer(&o);
    steps(t, 2);
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
    trib_train_options o = options_of(&variants[0]);
    trib_error error = {0};
    trib_trainer *t = open_trainer(&o);
    steps(t, 1);
    save(t, in_folder("kept"));
    save(t, in_folder("copy"));
    steps(t, 1);
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    limit_files(20000);
    trib_status status = trib_trainer_save(t, in_folder("kept"), &error);
    limit_files(before.rlim_cur);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, TRIB_IO);
    assert_non_null(strstr(error.message, "kept.state"));
    assert_same_training(in_folder("kept"), in_folder("copy"), "after a full disk");
    assert_int_equal(trib_trainer_save(t, "/no/such/folder/model", &error), TRIB_IO);
    assert_non_null(strstr(error.message, "/no/such/folder/model.state"));
    save(t, in_folder("kept"));
    trib_trainer_close(t);
}

/* No part of a checkpoint is believed unseen: cut anywhere it is refused with a message, and so is
 * a changed bit of its options, numbers and arrays. What the checksum leaves out, the vocabulary's
 * entries, may differ without harm. */
static void damage_is_found(void **state)
{
    (void)state;
    trib_train_options o = options_of(&variants[0]), usual = trib_train_options_default();
    struct random r = random_start(2);
    o.layers = o.width = 1;
    o.ffn = 2;
    o.context = 2;
    o.batch = 1;
    trib_trainer *t = open_trainer(&o);
    steps(t, 1);
    save(t, in_folder("damaged"));
    trib_trainer_close(t);
    size_t size, refused = 0, flips = 400;
    char path[160];
    snprintf(path, sizeof path, "%s.state", in_folder("damaged"));
    char *bytes = read_file(path, &size);
    const char *texts[] = {text}, *model = in_folder("damaged");
    for (size_t length = 0; length < size; length += 1 + length / 40) {
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

static void another_text_or_option_is_refused(void **state)
{
    (void)state;
    trib_train_options o = options_of(&variants[0]), other = trib_train_options_default();
    trib_error error = {0};
    trib_trainer *t = open_trainer(&o);
    save(t, in_folder("one"));
    trib_trainer_close(t);
    const char *texts[] = {in_folder("one"), text}, *model = in_folder("one");
    other.width = 64;
    assert_int_equal(trib_trainer_resume(&t, model, &other, texts + 1, 1, &error), TRIB_INVALID);
    assert_non_null(strstr(error.message, "width"));
    other = trib_train_options_default();
    other.vocabulary = "chars";
    assert_int_equal(trib_trainer_resume(&t, model, &other, texts, 1, &error), TRIB_INVALID);
    const char *twice[] = {text, text};
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
        bad[i].options = options_of(&variants[0]);
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
        const char *texts[] = {text};
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
        trib_train_options o = options_of(&variants[0]);
        o.warmup = trib_train_options_default().warmup;
        o.steps = steps_of[i];
        trib_trainer *t = open_trainer(&o);
        assert_int_equal(trib_trainer_options(t).warmup, warmups[i]);
        trib_trainer_close(t);
    }
}

/* Of the 8 tokens of a line three are one of four, the rest is known: so the loss of who copies is
 * 3/8 ln 4 = 0.52, and of who knows all but the copied letters 6/8 ln 4 = 1.04 at least. A window
 * of 16 begins anywhere, so that of its first tokens some cannot be known: about a quarter of a
 * window's copied letters have no letter to copy from. 0.75 is what only copying reaches; before
 * training the loss is near ln 7 = 1.95, of 6 characters and the end. Who learns gets there within
 * 800 steps; 2,400 leave room for other orders of sums on other machines. */
static void repetition_is_learned(void **state)
{
    (void)state;
    for (size_t i = 0; i < VARIANTS; i++) {
        trib_train_options o = options_of(&variants[i]);
        trib_train_score before, after;
        trib_error error = {0};
        o.layers = strcmp(o.model, "transformer") == 0 ? 2 : 1;
        o.positions = "sinusoidal";
        o.width = 64;
        o.heads = o.kv_heads = 4;
        o.accumulate = 1;
        o.batch = 16;
        o.warmup = 50;
        o.dropout = 0;
        o.lr = o.min_lr = 0.003f;
        o.steps = 2400;
        o.threads = 2;
        trib_trainer *t = open_trainer(&o);
        assert_int_equal(trib_trainer_evaluate(t, 4, &before, &error), TRIB_OK);
        assert_true(before.loss > 1.5);
        do {
            steps(t, 100);
            assert_int_equal(trib_trainer_evaluate(t, 4, &after, &error), TRIB_OK);
        } while (after.loss >= 0.75 && trib_trainer_position(t) < o.steps);
        print_message("# %s: loss %.4f, and %.4f after %zu steps\n", variants[i].name, before.loss,
                      after.loss, trib_trainer_position(t));
        assert_true(after.loss < 0.75);
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
        cmocka_unit_test(another_text_or_option_is_refused),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(warm_up_that_is_left_open_is_at_most_the_steps),
        cmocka_unit_test(repetition_is_learned),
    };
    return cmocka_run_group_tests_name("trainer", tests, setup, teardown);
}
