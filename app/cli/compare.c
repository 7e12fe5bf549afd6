/* trib compare: all predictors on one text, at equal parameters and at equal data or equal time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "compare.h"
#include "output.h"
#include "tributary/engine.h"

const struct compare_kind compare_kinds[COMPARE_KINDS] = {
    {"direct", "direct", "modern", "gru", "none", 1},
    {"rnn elman", "rnn", "modern", "elman", "none", 2},
    {"rnn gru", "rnn", "modern", "gru", "none", 2},
    {"rnn lstm", "rnn", "modern", "lstm", "none", 2},
    {"rnn lstm + attention", "rnn", "modern", "lstm", "general", 1},
    {"transformer lecture", "transformer", "lecture", "gru", "none", 4},
    {"transformer modern", "transformer", "modern", "gru", "none", 4},
};

#define FIELD(name) offsetof(struct compare_settings, name)

static const struct option_row options[] = {
    {"parameters", 0, OPTION_SIZE, FIELD(parameters), "N",
     "of each predictor, within 10 percent (default: 200000)"},
    {"steps", 'n', OPTION_SIZE, FIELD(steps), "N",
     "equal data: updates of the weights of each predictor (default: 400)"},
    {"time", 0, OPTION_FLOAT, FIELD(time), "SECONDS",
     "equal time instead: for the training of each predictor"},
    {"context", 'c', OPTION_SIZE, FIELD(context), "N", "tokens of a window (default: 64)"},
    {"batch", 0, OPTION_SIZE, FIELD(batch), "N", "windows of a batch (default: 12)"},
    {"vocab", 0, OPTION_STRING, FIELD(vocabulary), "KIND",
     "bytes (default), chars, or a GGUF file whose tokenizer to use"},
    {"lr", 0, OPTION_FLOAT, FIELD(lr), "X", "the highest learning rate (default: 0.002)"},
    {"recall-steps", 0, OPTION_SIZE, FIELD(recall_steps), "N",
     "updates for the task of associative recall (default: 1700)"},
    {"recall-pairs", 0, OPTION_SIZE, FIELD(recall_pairs), "N",
     "keys and values of it, 1 to 26 (default: 8)"},
    {"seed", 's', OPTION_SEED, FIELD(seed), "N", "the same seed, the same losses (default: 1)"},
    {"threads", 0, OPTION_SIZE, FIELD(threads), "N", "threads (default: one for each processor)"},
    {"quick", 0, OPTION_FLAG, FIELD(quick), NULL,
     "small predictors and few steps, for a look at the report in seconds"},
    {"json", 0, OPTION_FLAG, FIELD(json), NULL, "print one JSON object"},
    {"html", 0, OPTION_STRING, FIELD(html), "FILE", "write a page with plots, one file for itself"},
};

enum { BAR_OF_A_JOB = 100 };

trib_status compare_pause(struct comparison *c, double share, const char *name, trib_error *error)
{
    if (interrupted())
        return path_failure(error, TRIB_INVALID, name, "interrupted, nothing is reported");
    progress_show(&c->progress, c->job * BAR_OF_A_JOB + (size_t)(share * BAR_OF_A_JOB), name);
    return TRIB_OK;
}

struct compare_path compare_path_of(const struct comparison *c, const char *name)
{
    struct compare_path path;
    snprintf(path.text, sizeof path.text, "%s/%s", c->folder, name);
    return path;
}

static trib_status open_folder(struct comparison *c, trib_error *error)
{
    const char *place = getenv("TMPDIR");
    if (!place || !*place)
        place = "/tmp";
    int length = snprintf(c->folder, sizeof c->folder, "%s/trib-compare-XXXXXX", place);
    if (length < 0 || (size_t)length >= sizeof c->folder) {
        c->folder[0] = 0;
        return path_failure(error, TRIB_INVALID, place, "the path of TMPDIR is too long");
    }
    if (mkdtemp(c->folder))
        return TRIB_OK;
    c->folder[0] = 0;
    return path_failure(error, TRIB_IO, place, strerror(errno));
}

static void close_folder(struct comparison *c)
{
    static const char *const names[] = {"cost.gguf", "cost.gguf.state", "recall.txt", "recall.gguf",
                                        "recall.gguf.state"};
    if (!c->folder[0])
        return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        remove(compare_path_of(c, names[i]).text);
    rmdir(c->folder);
}

/* Counts, of which 0 would be nothing, and what they are where they are not given. */
static const struct {
    const char *name;
    size_t offset, usual, quick;
} counts[] = {
    {"parameters", FIELD(parameters), 200000, 20000},
    {"steps", FIELD(steps), 400, 20},
    {"context", FIELD(context), 64, 32},
    {"batch", FIELD(batch), 12, 4},
    {"recall-steps", FIELD(recall_steps), 1700, 20},
    {"recall-pairs", FIELD(recall_pairs), 8, 4},
};

enum { COUNTS = sizeof counts / sizeof counts[0] };

#define NOT_GIVEN SIZE_MAX /* more than can be */

static size_t *count_of(struct compare_settings *s, size_t i)
{
    return (size_t *)(void *)((char *)s + counts[i].offset);
}

static void fill_in(struct compare_settings *s)
{
    static const size_t lengths[] = {16, 64, 256, 1024, 2048};
    for (size_t i = 0; i < COUNTS; i++)
        if (*count_of(s, i) == NOT_GIVEN)
            *count_of(s, i) = s->quick ? counts[i].quick : counts[i].usual;
    s->eval_batches = s->quick ? 4 : 12;
    s->length_count = s->quick ? 2 : sizeof lengths / sizeof lengths[0];
    memcpy(s->lengths, lengths, s->length_count * sizeof *lengths);
}

/* Of all predictors before the first is trained: what cannot be compared is better known now than
 * after hours. */
static trib_status find_sizes(struct comparison *c, trib_error *error)
{
    const struct compare_settings *s = &c->settings;
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < COMPARE_KINDS && status == TRIB_OK; i++) {
        struct compare_row *row = &c->rows[i];
        row->kind = &compare_kinds[i];
        row->options = (trib_train_options){.context = s->context,
                                            .batch = s->batch,
                                            .steps = s->steps,
                                            .vocabulary = s->vocabulary};
        if ((status = compare_pause(c, 0, row->kind->name, error)) == TRIB_OK)
            status = compare_size(c, row->kind, s->text, &row->options, error);
    }
    return status == TRIB_OK ? compare_recall_size(c, error) : status;
}

static trib_status compare(struct comparison *c, trib_error *error)
{
    const struct compare_settings *s = &c->settings;
    trib_status status = output_differs(s->html, s->text, "the text", error);
    if (status == TRIB_OK && s->html)
        status = output_check(s->html, error);
    if (status == TRIB_OK && (status = open_folder(c, error)) == TRIB_OK)
        status = find_sizes(c, error);
    for (size_t i = 0; i < COMPARE_KINDS && status == TRIB_OK; i++) {
        struct compare_row *row = &c->rows[i];
        if ((status = compare_train(c, row, error)) == TRIB_OK)
            status = compare_cost(c, row, error);
        c->job++;
    }
    return status == TRIB_OK ? compare_recall(c, error) : status;
}

/* The page comes last: when it fails, what took so long has been told. */
static int report(const struct comparison *c)
{
    const char *html = c->settings.html;
    trib_error error = {0};
    int status;
    if (c->settings.json) {
        status = compare_print_json(c);
    } else {
        compare_print(c, stdout);
        status = flush_output() ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (html && compare_page(c, html, &error) != TRIB_OK)
        status = complain(&error);
    return status;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct comparison c = {.settings = {.vocabulary = "bytes", .lr = 2e-3f, .seed = 1}};
    struct compare_settings *s = &c.settings;
    for (size_t i = 0; i < COUNTS; i++)
        *count_of(s, i) = NOT_GIVEN;
    int first, status = options_parse(self, argc, argv, s, &first);
    if (status >= 0)
        return status;
    if (s->time < 0)
        return options_complain(self, "time", "a number above 0", "one below");
    if (s->time > 0 && s->steps != NOT_GIVEN)
        return options_complain(self, "time", "it without --steps", "both");
    fill_in(s);
    if (s->recall_pairs < 1 || s->recall_pairs > 26)
        return options_complain(self, "recall-pairs", "1 to 26", "a number outside");
    for (size_t i = 0; i < COUNTS; i++)
        if (*count_of(s, i) == 0)
            return options_complain(self, counts[i].name, "1 or more", "0");
    s->text = argv[first];
    c.threads = thread_count(s->threads);
    trib_error error = {0};
    catch_interrupts(); /* the folder is to be cleared then, too */
    progress_open(&c.progress, 0, BAR_OF_A_JOB * (COMPARE_KINDS + COMPARE_RECALLS));
    trib_status done = compare(&c, &error);
    progress_clear(&c.progress);
    close_folder(&c);
    return done == TRIB_OK ? report(&c) : complain(&error);
}

const struct command compare_command = {
    .name = "compare",
    .operands = "TEXT",
    .summary = "Train every kind of predictor on a text and compare them",
    .description =
        "Direct, recurrent and transformer predictors of equally many parameters learn the text, "
        "on\n"
        "equally many tokens or for equally long. Reports bits per byte, speeds, the cost of a "
        "token\n"
        "by the length of its context, and associative recall by distance.",
    .operands_least = 1,
    .operands_most = 1,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
