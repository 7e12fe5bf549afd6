/* trib train: a predictor from texts, with everything one wants to see and keep while it learns. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "commands.h"
#include "output.h"
#include "progress.h"
#include "train_log.h"
#include "tributary/engine.h"
#include "tributary/train.h"

struct values {
    trib_train_options train;
    const char *output, *log, *plot;
    size_t threads, eval_every, eval_batches, sample_every, sample_tokens, save_every;
    bool resume, overwrite;
};

#define TRAIN(field) (offsetof(struct values, train) + offsetof(trib_train_options, field))
#define OWN(field)   offsetof(struct values, field)

static const struct option_row options[] = {
    {"output", 'o', OPTION_STRING, OWN(output), "FILE",
     "the model; FILE.state beside it is for --resume (default: model.gguf)"},
    {"resume", 0, OPTION_FLAG, OWN(resume), NULL,
     "go on where the training of --output stopped, with its options"},
    {"overwrite", 0, OPTION_FLAG, OWN(overwrite), NULL,
     "begin anew where --output or its training is there already"},
    {"model", 0, OPTION_STRING, TRAIN(model), "KIND", "transformer (default), rnn or direct"},
    {"block", 0, OPTION_STRING, TRAIN(block), "KIND",
     "of transformers: modern (default) or lecture"},
    {"positions", 0, OPTION_STRING, TRAIN(positions), "KIND",
     "of the lecture's block: learned (default) or sinusoidal"},
    {"cell", 0, OPTION_STRING, TRAIN(cell), "KIND", "of rnn: gru (default), lstm or elman"},
    {"attention", 0, OPTION_STRING, TRAIN(attention), "SCORE",
     "of rnn over its past states: none (default), dot, general or additive"},
    {"activation", 0, OPTION_STRING, TRAIN(activation), "KIND",
     "of direct: tanh (default) or relu"},
    {"layers", 0, OPTION_SIZE, TRAIN(layers), "N", "blocks, cells or hidden layers (default: 4)"},
    {"heads", 0, OPTION_SIZE, TRAIN(heads), "N", "of transformers (default: 4)"},
    {"kv-heads", 0, OPTION_SIZE, TRAIN(kv_heads), "N",
     "heads of keys and values (default: as --heads)"},
    {"width", 0, OPTION_SIZE, TRAIN(width), "N", "of embeddings and states (default: 128)"},
    {"ffn", 0, OPTION_SIZE, TRAIN(ffn), "N",
     "hidden width (default: 4 widths; modern block: 8/3, in multiples of 32)"},
    {"context", 'c', OPTION_SIZE, TRAIN(context), "N", "tokens of a window (default: 64)"},
    {"tied", 0, OPTION_FLAG, TRAIN(tied), NULL,
     "transformers use the embedding as the output matrix"},
    {"vocab", 0, OPTION_STRING, TRAIN(vocabulary), "KIND",
     "bytes (default), chars, or a GGUF file whose tokenizer to use"},
    {"validation", 0, OPTION_FLOAT, TRAIN(validation), "SHARE",
     "of the text, its end, is not trained on (default: 0.1)"},
    {"batch", 0, OPTION_SIZE, TRAIN(batch), "N", "windows of a batch (default: 12)"},
    {"accumulate", 0, OPTION_SIZE, TRAIN(accumulate), "N", "batches of a step (default: 1)"},
    {"steps", 'n', OPTION_SIZE, TRAIN(steps), "N", "updates of the weights (default: 2000)"},
    {"lr", 0, OPTION_FLOAT, TRAIN(lr), "X", "the highest learning rate (default: 0.001)"},
    {"min-lr", 0, OPTION_FLOAT, TRAIN(min_lr), "X",
     "what it falls to behind the last step (default: a tenth of --lr)"},
    {"warmup", 0, OPTION_SIZE, TRAIN(warmup), "N",
     "steps until --lr is reached (default: 100, or all steps where they are fewer)"},
    {"beta1", 0, OPTION_FLOAT, TRAIN(beta1), "X", "of AdamW (default: 0.9)"},
    {"beta2", 0, OPTION_FLOAT, TRAIN(beta2), "X", "of AdamW (default: 0.99)"},
    {"weight-decay", 0, OPTION_FLOAT, TRAIN(weight_decay), "X", "of matrices (default: 0.1)"},
    {"clip", 0, OPTION_FLOAT, TRAIN(clip), "X",
     "norm of the gradient at most; 0: any (default: 1)"},
    {"dropout", 0, OPTION_FLOAT, TRAIN(dropout), "P", "share of dropped activations (default: 0)"},
    {"seed", 's', OPTION_SEED, TRAIN(seed), "N",
     "of weights, windows and dropout; the same seed, the same model (default: 1)"},
    {"dtype", 0, OPTION_STRING, TRAIN(dtype), "TYPE",
     "of the factors of matrix products: f32 (default) or bf16"},
    {"save-type", 0, OPTION_STRING, TRAIN(save_type), "TYPE",
     "of matrices in the model's file: f32, f16, bf16 or q8_0 (default: f32, or as before)"},
    {"threads", 0, OPTION_SIZE, OWN(threads), "N", "threads (default: one for each processor)"},
    {"eval-every", 0, OPTION_SIZE, OWN(eval_every), "N",
     "steps from one validation to the next; 0: at the end (default: 250)"},
    {"eval-batches", 0, OPTION_SIZE, OWN(eval_batches), "N",
     "batches of a validation; 0: the whole part (default: 20)"},
    {"sample-every", 0, OPTION_SIZE, OWN(sample_every), "N",
     "steps from one sample of text to the next; 0: none (default: 500)"},
    {"sample-tokens", 0, OPTION_SIZE, OWN(sample_tokens), "N", "tokens of a sample (default: 100)"},
    {"save-every", 0, OPTION_SIZE, OWN(save_every), "N",
     "steps from one saving to the next; 0: at the end (default: 500)"},
    {"log", 0, OPTION_STRING, OWN(log), "FILE", "write a line of JSON for each step"},
    {"plot", 0, OPTION_STRING, OWN(plot), "FILE",
     "draw the curves of the loss as SVG; steps before --resume are drawn from --log"},
};

/* One training under way. */
struct job {
    const struct values *values;
    trib_trainer *trainer;
    trib_train_info info;
    struct train_log log;
    struct progress progress;
    size_t saved; /* position of the last saving */
    bool has_saved, log_failed, plot_failed;
    double seconds; /* spent in steps */
    uint64_t tokens;
    double loss; /* of late: a mean that forgets */
};

static double mib(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

/* What the process takes already, bytes. */
static uint64_t taken(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

static void print_plan(const struct job *job, uint64_t before)
{
    const trib_train_info *i = &job->info;
    trib_train_options o = trib_trainer_options(job->trainer);
    fprintf(stderr, "text    %" PRIu64 " bytes, vocabulary of %zu, %" PRIu64 " tokens to train on",
            i->text_bytes, i->vocabulary, i->train_tokens);
    fprintf(stderr, " and %" PRIu64 " to validate\n", i->validation_tokens);
    fprintf(stderr, "model   %s, %" PRIu64 " parameters, context of %zu\n", o.model, i->parameters,
            o.context);
    fprintf(stderr, "steps   %zu to %zu, %zu tokens each; kernels %s, %d thread%s\n",
            trib_trainer_position(job->trainer), i->steps, i->tokens_per_step, i->kernels,
            i->threads, i->threads == 1 ? "" : "s");
    uint64_t parts = i->weights_memory + i->activations_memory + i->text_memory;
    uint64_t most = i->peak_memory + before, read = taken(); /* with all texts in memory as files */
    most = most > read ? most : read;
    fprintf(stderr,
            "memory  at most %.1f MiB: weights and optimiser %.1f, activations %.1f, text %.1f, "
            "program and files %.1f\n",
            mib(most), mib(i->weights_memory), mib(i->activations_memory), mib(i->text_memory),
            mib(most - parts));
}

/* The GGUF file among what is read. */
static const char *vocabulary_file(const struct values *v)
{
    const char *name = v->train.vocabulary;
    return strcmp(name, "bytes") == 0 || strcmp(name, "chars") == 0 ? NULL : name;
}

/* A new training replaces what may have taken days only where that is asked for: to forget --resume
 * is easy. */
static trib_status check_new(const struct values *v, const char *state, trib_error *error)
{
    if (v->resume || v->overwrite)
        return TRIB_OK;
    if (access(state, F_OK) == 0)
        return failure(error, TRIB_INVALID,
                       "%.160s: a training is there already: --resume goes on with it, "
                       "--overwrite begins anew",
                       v->output);
    if (access(v->output, F_OK) == 0)
        return failure(error, TRIB_INVALID,
                       "%.160s: a file is there already: --overwrite replaces it", v->output);
    return TRIB_OK;
}

/* The files that will be written: each can be, and is no other one and none that is read. The log
 * is opened for good later, which checks as much. */
static trib_status check_files(const struct values *v, const char *const *texts, size_t count,
                               trib_error *error)
{
    char state[PATH_MAX + sizeof ".state"];
    snprintf(state, sizeof state, "%s.state", v->output);
    const struct {
        const char *path, *what;
    } files[] = {{v->output, "the model"},
                 {state, "the state of the training"},
                 {v->plot, "the plot"},
                 {v->log, "the log"}};
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && status == TRIB_OK; i++) {
        const char *path = files[i].path;
        status = output_differs(path, vocabulary_file(v), "the vocabulary", error);
        for (size_t t = 0; t < count && status == TRIB_OK; t++)
            status = output_differs(path, texts[t], "the text", error);
        for (size_t j = 0; j < i && status == TRIB_OK; j++)
            status = output_differs(path, files[j].path, files[j].what, error);
        if (status == TRIB_OK && path && path != v->log)
            status = output_check(path, error);
    }
    return status == TRIB_OK ? check_new(v, state, error) : status;
}

static trib_status open_job(struct job *job, const char *const *texts, size_t count,
                            trib_error *error)
{
    const struct values *v = job->values;
    trib_train_options o = v->train;
    uint64_t before = taken();
    o.threads = thread_count(v->threads);
    trib_status status = check_files(v, texts, count, error);
    if (status == TRIB_OK)
        status = v->resume ? trib_trainer_resume(&job->trainer, v->output, &o, texts, count, error)
                           : trib_trainer_open(&job->trainer, &o, texts, count, error);
    if (status != TRIB_OK)
        return status;
    job->info = trib_trainer_info(job->trainer);
    print_plan(job, before);
    size_t position = trib_trainer_position(job->trainer);
    job->saved = position;
    job->has_saved = v->resume;
    status = trib_trainer_prepare(job->trainer, error);
    return status == TRIB_OK ? train_log_open(&job->log, v->log, position, error) : status;
}

/* What is not written is worth a note, and not the end of the training. */
static void note_failure(struct job *job, const char *what, const trib_error *error)
{
    progress_clear(&job->progress);
    fprintf(stderr, "trib: %s: %s; the training goes on\n", what, error->message);
}

static void logged(struct job *job, trib_status status, const trib_error *error)
{
    if (status != TRIB_OK && !job->log_failed)
        note_failure(job, "no longer logged", error);
    job->log_failed = job->log_failed || status != TRIB_OK;
}

static void draw(struct job *job, trib_error *error)
{
    bool failed = train_log_plot(&job->log, job->values->plot, error) != TRIB_OK;
    if (failed && !job->plot_failed)
        note_failure(job, "not drawn", error);
    job->plot_failed = failed;
}

static trib_status save(struct job *job, trib_error *error)
{
    trib_status status = trib_trainer_save(job->trainer, job->values->output, error);
    if (status == TRIB_OK) {
        job->saved = trib_trainer_position(job->trainer);
        job->has_saved = true;
    }
    return status;
}

static trib_status evaluate(struct job *job, trib_error *error)
{
    trib_train_score score;
    size_t step = trib_trainer_position(job->trainer);
    if (job->info.validation_tokens == 0)
        return TRIB_OK;
    trib_status status =
        trib_trainer_evaluate(job->trainer, job->values->eval_batches, &score, error);
    if (status != TRIB_OK)
        return status;
    progress_clear(&job->progress);
    fprintf(stderr, "step %zu: loss %.4f, validation %.4f (%.4f bits per byte)\n", step, job->loss,
            score.loss, score.bits_per_byte);
    logged(job, train_log_score(&job->log, step, &score, error), error);
    return TRIB_OK;
}

static trib_status sample(struct job *job, trib_error *error)
{
    char *text;
    size_t length, step = trib_trainer_position(job->trainer);
    trib_status status = trib_trainer_sample(job->trainer, 0.8f, step, job->values->sample_tokens,
                                             &text, &length, error);
    if (status != TRIB_OK)
        return status;
    progress_clear(&job->progress);
    fwrite(text, 1, length, stderr);
    fputc('\n', stderr);
    logged(job, train_log_sample(&job->log, step, text, length, error), error);
    trib_free(text);
    return TRIB_OK;
}

static bool due(size_t step, size_t every, size_t last)
{
    return (every && step % every == 0) || step == last;
}

/* What happens between steps. A saving that fails does not end the training: the disk may have room
 * again when it is next tried. */
static trib_status between_steps(struct job *job, trib_error *error)
{
    const struct values *v = job->values;
    size_t step = trib_trainer_position(job->trainer), last = job->info.steps;
    trib_status status = TRIB_OK;
    if (due(step, v->eval_every, last))
        status = evaluate(job, error);
    if (status == TRIB_OK && v->sample_every && due(step, v->sample_every, last))
        status = sample(job, error);
    if (status == TRIB_OK && v->save_every && step % v->save_every == 0 && step < last &&
        save(job, error) != TRIB_OK)
        note_failure(job, "not saved", error);
    if (status == TRIB_OK && v->plot && due(step, v->eval_every, last))
        draw(job, error);
    return status;
}

static trib_status train(struct job *job, trib_error *error)
{
    size_t position = trib_trainer_position(job->trainer), last = job->info.steps;
    trib_status status = TRIB_OK;
    progress_open(&job->progress, position, last);
    while (position < last && !interrupted() && status == TRIB_OK) {
        trib_train_step step;
        char note[96];
        double start = progress_seconds();
        status = trib_trainer_step(job->trainer, &step, error);
        if (status != TRIB_OK)
            break;
        job->seconds += progress_seconds() - start;
        job->tokens += step.tokens;
        job->loss = job->loss > 0 ? job->loss + 0.05 * (step.loss - job->loss) : step.loss;
        position = step.step;
        snprintf(note, sizeof note, "loss %.4f  %.0f tokens/s", job->loss,
                 (double)job->tokens / job->seconds);
        progress_show(&job->progress, position, note);
        logged(job, train_log_step(&job->log, &step, error), error);
        status = between_steps(job, error);
    }
    progress_clear(&job->progress);
    return status;
}

/* Saves what is not saved yet, and says where everything is. After a failure nothing is saved over
 * the last checkpoint. A log or a plot that is not whole is a failure at last. */
static int finish(struct job *job, trib_status status, trib_error *error)
{
    const char *output = job->values->output;
    size_t position = trib_trainer_position(job->trainer);
    if (job->tokens)
        fprintf(stderr,
                "trained on %" PRIu64
                " tokens in %.1f s (%.0f tokens/s), memory %.1f MiB at most\n",
                job->tokens, job->seconds, (double)job->tokens / job->seconds, mib(taken()));
    if (status == TRIB_OK &&
        (!job->has_saved || job->saved != position || position == job->info.steps))
        status = save(job, error);
    if (status == TRIB_OK) {
        fprintf(stderr, "%s%s is the model after step %zu of %zu%s\n",
                interrupted() ? "interrupted: " : "", output, position, job->info.steps,
                interrupted() ? "; --resume goes on" : "");
        return job->log_failed || job->plot_failed ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    complain(error);
    if (job->has_saved)
        fprintf(stderr, "trib: %s is still the model after step %zu\n", output, job->saved);
    return EXIT_FAILURE;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.train = trib_train_options_default(),
                       .output = "model.gguf",
                       .eval_every = 250,
                       .eval_batches = 20,
                       .sample_every = 500,
                       .sample_tokens = 100,
                       .save_every = 500};
    v.train.steps = SIZE_MAX; /* which nobody can give, unlike 0, which leaves them open */
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (v.train.steps == 0)
        return options_complain(self, "steps", "1 or more", "0");
    if (v.train.steps == SIZE_MAX)
        v.train.steps = 0;
    struct job job = {.values = &v};
    trib_error error = {0};
    catch_interrupts();
    if (open_job(&job, (const char *const *)(argv + first), (size_t)(argc - first), &error) !=
        TRIB_OK)
        status = complain(&error);
    /* A disk without room is better known now than after hours. */
    else if (!v.resume && access(v.output, F_OK) != 0 && save(&job, &error) != TRIB_OK)
        status = complain(&error);
    else
        status = finish(&job, train(&job, &error), &error);
    train_log_close(&job.log);
    trib_trainer_close(job.trainer);
    return status;
}

const struct command train_command = {
    .name = "train",
    .operands = "TEXT...",
    .summary = "Train a predictor of text",
    .description =
        "Learns to predict the tokens of the texts, one after the other read as one. What it "
        "prints\n"
        "goes to standard error. Ctrl-C saves and ends; --resume goes on as if nothing had been.",
    .operands_least = 1,
    .operands_most = SIZE_MAX,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
