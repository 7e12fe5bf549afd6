/* Training: batches, losses, gradients, updates. */
#include "train/trainer.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "train/adamw.h"
#include "train/predictor_file.h"

enum { THREADS_MAX = 1024 };

/* ---- Opening ---- */

static trib_status resolve_machine(trib_train_options *o, const struct kernels **kernels,
                                   trib_error *error)
{
    if (o->threads == 0)
        o->threads = omp_get_num_procs();
    if (o->threads < 1 || o->threads > THREADS_MAX)
        return error_set(error, TRIB_INVALID, "threads: expected 1 to %d, found %d", THREADS_MAX,
                         o->threads);
    trib_status status =
        kernels_choose(kernels, o->kernels ? o->kernels : getenv("TRIB_CPU"), error);
    o->kernels = status == TRIB_OK ? (*kernels)->name : NULL;
    return status;
}

/* The vocabulary that the options name, or that of the checkpoint. Bytes and characters are made
 * anew, as the texts are the same. */
static trib_status open_vocabulary(struct trib_trainer *t, trib_error *error)
{
    static const char *const kinds[] = {"bytes", "chars", "file"};
    trib_status status = TRIB_OK;
    if (t->checkpoint && strcmp(t->options.vocabulary, "file") == 0)
        status = vocabulary_of_file(&t->vocabulary, t->checkpoint, error);
    else
        status = vocabulary_open(&t->vocabulary, t->options.vocabulary, error);
    if (status == TRIB_OK)
        t->options.vocabulary = kinds[t->vocabulary.kind];
    return status;
}

bool trainer_streams(const struct trib_trainer *t)
{
    return t->predictor.config.model == MODEL_RNN;
}

static trib_status open_parts(struct trib_trainer *t, const char *const *texts, size_t text_count,
                              trib_error *error)
{
    const struct kernels *kernels;
    trib_status status;
    if (text_count == 0)
        return error_set(error, TRIB_INVALID, "expected at least one text");
    if ((status = resolve_machine(&t->options, &kernels, error)) ||
        (status = train_options_resolve(&t->options, error)) ||
        (status = open_vocabulary(t, error)) ||
        (status = data_open(&t->data, &t->vocabulary, texts, text_count,
                            (double)t->options.validation, error)))
        return status;
    struct predictor_config config = train_options_config(&t->options, t->data.vocabulary);
    if ((status = predictor_open(&t->predictor, &config, kernels, t->options.threads, error)) ||
        (status = predictor_check_type(&t->predictor, train_options_save_type(&t->options), error)))
        return status;
    size_t B = t->options.batch, T = t->options.context;
    if (pass_bytes(&t->predictor, B, T, true) == SIZE_MAX)
        return error_set(error, TRIB_NO_MEMORY, "no memory holds a batch of %zu windows of %zu", B,
                         T);
    return data_check(&t->data, B, T, trainer_streams(t), error);
}

trib_status trainer_open(struct trib_trainer **out, const trib_train_options *options,
                         struct gguf *saved, const char *const *texts, size_t text_count,
                         trib_error *error)
{
    *out = NULL;
    struct trib_trainer *t = calloc(1, sizeof *t);
    if (!t) {
        gguf_close(saved);
        return error_no_memory(error, "a trainer", sizeof *t);
    }
    t->options = *options;
    t->checkpoint = saved;
    t->checkpoint_bytes = saved ? saved->size : 0;
    trib_status status = open_parts(t, texts, text_count, error);
    if (status != TRIB_OK)
        trib_trainer_close(t);
    else
        *out = t;
    return status;
}

trib_status trib_trainer_open(trib_trainer **out, const trib_train_options *options,
                              const char *const *texts, size_t text_count, trib_error *error)
{
    trib_train_options o = options ? *options : trib_train_options_default();
    return trainer_open(out, &o, NULL, texts, text_count, error);
}

static void release(struct trib_trainer *t)
{
    free(t->m);
    free(t->v);
    free(t->tokens);
    free(t->targets);
    free(t->carry);
    t->m = t->v = NULL;
    t->tokens = t->targets = NULL;
    t->carry = NULL;
}

void trib_trainer_close(trib_trainer *t)
{
    if (!t)
        return;
    pass_close(&t->pass);
    predictor_close(&t->predictor);
    data_close(&t->data);
    vocabulary_close(&t->vocabulary);
    gguf_close(t->checkpoint);
    release(t);
    free(t);
}

trib_status trainer_allocate(struct trib_trainer *t, trib_error *error)
{
    size_t B = t->options.batch, T = t->options.context;
    trib_status status = TRIB_OK;
    if (!t->predictor.parameters.weights)
        status = parameters_allocate(&t->predictor.parameters, true, error);
    if (status == TRIB_OK && !t->pass.memory)
        status = pass_open(&t->pass, &t->predictor, B, T, true, error);
    if (status != TRIB_OK)
        return status;
    size_t floats = t->predictor.parameters.floats;
    t->m = memory_zeroed(floats * sizeof *t->m);
    t->v = memory_zeroed(floats * sizeof *t->v);
    t->tokens = memory_zeroed(B * T * sizeof *t->tokens);
    t->targets = memory_zeroed(B * T * sizeof *t->targets);
    t->carry = memory_zeroed(t->pass.carry_bytes);
    if (t->m && t->v && t->tokens && t->targets && t->carry)
        return TRIB_OK;
    release(t);
    return error_no_memory(error, "the optimiser", 2 * floats * sizeof *t->m);
}

trib_status trib_trainer_prepare(trib_trainer *t, trib_error *error)
{
    if (t->carry)
        return TRIB_OK;
    trib_status status = trainer_allocate(t, error);
    if (status == TRIB_OK)
        parameters_init(&t->predictor.parameters, t->options.seed);
    return status;
}

/* ---- What a trainer is ---- */

trib_train_info trib_trainer_info(const trib_trainer *t)
{
    /* Buffers of the file writer, stacks of the team and the like. */
    enum { SAVING = 4 << 20, PER_THREAD = 1 << 20 };
    const trib_train_options *o = &t->options;
    size_t rows = o->batch * o->context;
    trib_train_info info = {
        .parameters = t->predictor.parameters.elements,
        .vocabulary = t->data.vocabulary,
        .text_bytes = t->data.bytes,
        .train_tokens = t->data.train,
        .validation_tokens = t->data.count - t->data.train,
        .steps = o->steps,
        .tokens_per_step = rows * o->accumulate,
        .kernels = o->kernels,
        .threads = o->threads,
        .text_memory = data_memory(&t->data),
        .weights_memory = 4 * t->predictor.parameters.floats * sizeof(float),
        .activations_memory =
            pass_bytes(&t->predictor, o->batch, o->context, true) + 2 * rows * sizeof(int32_t),
    };
    info.peak_memory = info.text_memory + info.weights_memory + info.activations_memory +
                       t->checkpoint_bytes + vocabulary_memory(&t->vocabulary) + SAVING +
                       (uint64_t)o->threads * PER_THREAD;
    return info;
}

trib_train_options trib_trainer_options(const trib_trainer *t)
{
    return t->options;
}

size_t trib_trainer_position(const trib_trainer *t)
{
    return t->position;
}

/* ---- Steps ---- */

/* Fills tokens and targets with micro-batch number n. */
static struct batch draw_batch(struct trib_trainer *t, uint64_t n)
{
    size_t B = t->options.batch, T = t->options.context;
    struct batch batch = {.B = B,
                          .T = T,
                          .tokens = t->tokens,
                          .targets = t->targets,
                          .training = true,
                          .seed = t->options.seed,
                          .draw = n};
    if (trainer_streams(t))
        batch.continues = data_stream(&t->data, DATA_TRAIN, B, T, n, t->tokens, t->targets);
    else
        data_windows(&t->data, B, T, t->options.seed, n, t->tokens, t->targets);
    return batch;
}

/* Losses and gradients of all micro-batches of the next step; the mean loss. */
static double step_gradients(struct trib_trainer *t)
{
    struct parameters *p = &t->predictor.parameters;
    size_t A = t->options.accumulate;
    size_t rows = t->options.batch * t->options.context * A;
    double sum = 0;
    memset(p->gradients, 0, p->floats * sizeof *p->gradients);
    for (size_t a = 0; a < A; a++) {
        struct batch batch = draw_batch(t, t->position * A + a);
        sum += pass_forward(&t->pass, &batch).sum;
        pass_backward(&t->pass, &batch, 1 / (float)rows);
    }
    return sum / (double)rows;
}

static void update(struct trib_trainer *t, double norm, double lr)
{
    const trib_train_options *o = &t->options;
    struct parameters *p = &t->predictor.parameters;
    struct adamw u = {.lr = lr,
                      .beta1 = (double)o->beta1,
                      .beta2 = (double)o->beta2,
                      .eps = (double)o->eps,
                      .t = t->position + 1,
                      .scale = gradient_clip(norm, (double)o->clip)};
    for (size_t i = 0; i < p->count; i++) {
        size_t at = p->list[i].offset;
        u.weight_decay = p->list[i].decay ? (double)o->weight_decay : 0;
        adamw_update(&u, p->weights + at, p->gradients + at, t->m + at, t->v + at, p->list[i].count,
                     o->threads);
    }
}

trib_status trib_trainer_step(trib_trainer *t, trib_train_step *out, trib_error *error)
{
    trib_status status = trib_trainer_prepare(t, error);
    if (status != TRIB_OK)
        return status;
    const trib_train_options *o = &t->options;
    struct schedule schedule = {(double)o->lr, (double)o->min_lr, o->warmup, o->steps};
    trib_train_step step = {.step = t->position + 1,
                            .lr = schedule_rate(&schedule, t->position),
                            .tokens = o->batch * o->context * o->accumulate};
    if (t->pass.carry_bytes)
        memcpy(t->carry, t->pass.carry, t->pass.carry_bytes);
    step.loss = step_gradients(t);
    step.norm = gradient_norm(t->predictor.parameters.gradients, t->predictor.parameters.floats,
                              o->threads);
    if (!isfinite(step.loss) || !isfinite(step.norm)) {
        if (t->pass.carry_bytes)
            memcpy(t->pass.carry, t->carry, t->pass.carry_bytes);
        return error_set(error, TRIB_INVALID,
                         "step %zu: expected a finite loss, found %g with a gradient of norm %g: a "
                         "lower lr, more warmup or clip may help",
                         step.step, step.loss, step.norm);
    }
    update(t, step.norm, step.lr);
    t->position++;
    *out = step;
    return TRIB_OK;
}

/* ---- Evaluation ---- */

trib_status trib_trainer_evaluate(trib_trainer *t, size_t batches, trib_train_score *out,
                                  trib_error *error)
{
    size_t B = t->options.batch, T = t->options.context;
    size_t held = t->data.count - t->data.train;
    if (held == 0)
        return error_set(error, TRIB_INVALID, "validation: no part of the text is kept for it");
    trib_status status = trib_trainer_prepare(t, error);
    if (status != TRIB_OK)
        return status;
    if (B > (held - 1) / T)
        B = (held - 1) / T;
    size_t windows = data_stream_windows(&t->data, DATA_VALIDATION, B, T);
    if (batches == 0 || batches > windows)
        batches = windows;
    struct loss total = {0, 0};
    if (t->pass.carry_bytes)
        memcpy(t->carry, t->pass.carry, t->pass.carry_bytes);
    for (size_t n = 0; n < batches; n++) {
        struct batch batch = {.B = B, .T = T, .tokens = t->tokens, .targets = t->targets};
        batch.continues = data_stream(&t->data, DATA_VALIDATION, B, T, n, t->tokens, t->targets);
        struct loss loss = pass_forward(&t->pass, &batch);
        total.sum += loss.sum;
        total.count += loss.count;
    }
    if (t->pass.carry_bytes)
        memcpy(t->pass.carry, t->carry, t->pass.carry_bytes);
    double loss = total.sum / (double)total.count;
    *out = (trib_train_score){.loss = loss,
                              .bits_per_byte =
                                  loss / log(2) * (double)t->data.count / (double)t->data.bytes,
                              .tokens = total.count};
    return TRIB_OK;
}
