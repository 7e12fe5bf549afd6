#include "train_case.h"

#include <stdlib.h>
#include <unistd.h>

#include "random.h"

const struct train_variant train_variants[TRAIN_VARIANTS] = {
    {"direct", "direct", "modern", "gru", "none", "f32"},
    {"elman", "rnn", "modern", "elman", "none", "f32"},
    {"gru with attention", "rnn", "modern", "gru", "general", "f32"},
    {"lstm with attention", "rnn", "modern", "lstm", "additive", "f32"},
    {"lecture", "transformer", "lecture", "gru", "none", "f32"},
    {"modern", "transformer", "modern", "gru", "none", "f32"},
    {"modern in bf16", "transformer", "modern", "gru", "none", "bf16"},
};

char train_text[96];
static char folder[64];

/* What an untrained predictor cannot know: after the newline each of the first three letters is one
 * of four; the other five tokens follow from what stands before. They are the same in each run: how
 * many steps learning takes depends on the text, and of a hundred there is one that takes the
 * lecture's block more than 2,400. */
int train_setup(void **state)
{
    (void)state;
    struct random r = {6};
    strcpy(folder, "/tmp/trib-train-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    snprintf(train_text, sizeof train_text, "%s/text", folder);
    FILE *file = fopen(train_text, "w");
    for (size_t line = 0; line < 4000; line++) {
        char word[4] = {0};
        for (size_t i = 0; i < 3; i++)
            word[i] = "abcd"[random_below(&r, 4)];
        fprintf(file, "%s %s\n", word, word);
    }
    return fclose(file);
}

int train_teardown(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

const char *train_file(const char *name)
{
    static char paths[4][128];
    static size_t next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

trib_train_options train_options_of(const struct train_variant *v)
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

trib_trainer *train_open(const trib_train_options *o)
{
    trib_trainer *t;
    trib_error error = {0};
    const char *texts[] = {train_text};
    if (trib_trainer_open(&t, o, texts, 1, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return t;
}

void train_steps(trib_trainer *t, size_t count)
{
    trib_train_step step;
    trib_error error = {0};
    for (size_t i = 0; i < count; i++)
        if (trib_trainer_step(t, &step, &error) != TRIB_OK)
            fail_msg("%s", error.message);
}
