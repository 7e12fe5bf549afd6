/* trib demo: one continuation, computed in many ways that must not differ in a single bit.
 *
 * The context is handed in whole or cut into segments, each a call of its own: its keys and values
 * join those before it, and the attention of later tokens absorbs them in the canonical order,
 * wherever the cuts are. Every way has an engine and a session of its own, samples its own
 * continuation, and hashes the logits of every position, the prompt's included.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "commands.h"
#include "tributary/engine.h"
#include "tributary/sampling.h"

struct values {
    const char *prompt;
    size_t count;
    trib_sampler_options sampler;
};

#define SAMPLER(field) (offsetof(struct values, sampler) + offsetof(trib_sampler_options, field))

static const struct option_row options[] = {
    {"prompt", 'p', OPTION_STRING, offsetof(struct values, prompt), "TEXT",
     "the text to continue (default: a beginning of a scene, or as much of it as the context has "
     "room for)"},
    {"tokens", 'n', OPTION_SIZE, offsetof(struct values, count), "N",
     "tokens to generate at most (default: 100)"},
    {"temperature", 't', OPTION_FLOAT, SAMPLER(temperature), "T",
     "0 takes the likeliest token; higher is more varied (default: 0.8)"},
    {"seed", 's', OPTION_SEED, SAMPLER(seed), "N",
     "of the random choices; the same seed, the same text (default: 0)"},
};

/* Two chunks of 64 positions and a part of a third, where a token is a byte. */
static const char scene[] = "ROMEO:\n"
                            "But soft! what light through yonder window breaks?\n"
                            "It is the east, and Juliet is the sun.\n"
                            "\n"
                            "JULIET:\n"
                            "O Romeo, Romeo! ";

/* What is the same for every way. */
struct job {
    const struct values *values;
    trib_model *model;
    size_t vocabulary; /* V */
    const char *text;  /* [length] of the prompt */
    size_t length;
    int32_t *prompt; /* [prompt_count]; NULL until the first way knows how long a context is */
    size_t prompt_count;
    float *logits; /* [prompt_count][V], of the segment at hand */
};

/* One way of computing it: tokens of a segment at most, 0 for the whole prompt at once. */
struct way {
    size_t segment;
    int threads;
};

static const struct way ways[] = {{0, 1}, {0, 2}, {64, 1}, {64, 2}, {50, 3}, {7, 2}, {1, 1}};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* What came out of it. */
struct outcome {
    XXH64_hash_t hash; /* of the logits of every position */
    size_t rows;       /* positions */
    int32_t *ids;      /* [count] the continuation */
    size_t count;
    const char *kernels; /* static storage */
};

/* While a way is computed. Everything is NULL until it is opened. */
struct stage {
    trib_engine *engine;
    trib_session *session;
    trib_sampler *sampler;
};

static void stage_close(struct stage *stage)
{
    trib_sampler_close(stage->sampler);
    trib_session_close(stage->session);
    trib_engine_close(stage->engine);
}

static trib_status stage_open(struct stage *stage, const struct job *job, struct way way,
                              trib_error *error)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_status status;
    engine.threads = way.threads;
    if ((status = trib_engine_open(&stage->engine, job->model, &engine, error)) ||
        (status = trib_session_open(&stage->session, stage->engine, NULL, error)))
        return status;
    return trib_sampler_open(&stage->sampler, job->vocabulary, &job->values->sampler, error);
}

/* Row by row, so that the hash does not depend on how many rows came together. */
static void hash_rows(struct outcome *out, const struct job *job, const float *logits, size_t rows)
{
    size_t V = job->vocabulary;
    for (size_t i = 0; i < rows; i++)
        out->hash = XXH3_64bits_withSeed(logits + i * V, V * sizeof *logits, out->hash);
    out->rows += rows;
}

static trib_status prefill(struct stage *stage, const struct job *job, struct way way,
                           struct outcome *out, trib_error *error)
{
    size_t most = way.segment ? way.segment : job->prompt_count;
    trib_status status = TRIB_OK;
    for (size_t done = 0; done < job->prompt_count && status == TRIB_OK;) {
        size_t left = job->prompt_count - done, count = left < most ? left : most;
        status = trib_session_score(stage->session, job->prompt + done, count, job->logits, error);
        if (status == TRIB_OK)
            hash_rows(out, job, job->logits, count);
        done += count;
    }
    for (size_t i = 0; i < job->prompt_count; i++)
        trib_sampler_accept(stage->sampler, job->prompt[i]);
    return status;
}

/* Samples until there are enough tokens, the text ends or the context is full. */
static trib_status decode(struct stage *stage, const struct job *job, struct outcome *out,
                          trib_error *error)
{
    size_t room = trib_session_context(stage->session) - trib_session_length(stage->session);
    size_t most = job->values->count < room ? job->values->count : room;
    trib_status status = TRIB_OK;
    out->ids = malloc((most + 1) * sizeof *out->ids);
    if (!out->ids) {
        snprintf(error->message, sizeof error->message, "no memory for the tokens");
        return error->status = TRIB_NO_MEMORY;
    }
    while (out->count < most && status == TRIB_OK) {
        int32_t id;
        status = trib_sampler_next(stage->sampler, trib_session_logits(stage->session), &id, error);
        if (status != TRIB_OK || trib_token_is_end(job->model, id))
            break;
        out->ids[out->count++] = id;
        status = trib_session_append(stage->session, &id, 1, error);
        if (status == TRIB_OK)
            hash_rows(out, job, trib_session_logits(stage->session), 1);
    }
    return status;
}

/* Tokens of the scene at most: those that the context has room for beside the ones that are
 * generated, and at least half of it. */
static size_t scene_most(size_t context, size_t count)
{
    size_t room = context > count ? context - count : 0, half = context - context / 2;
    return room > half ? room : half;
}

/* A prompt that was asked for is taken as it is, the scene without its end where that is too much.
 * A token has a byte at least, so cutting a byte for each token too many does not cut too far. */
static trib_status tokenize(struct job *job, size_t context, trib_error *error)
{
    const struct values *v = job->values;
    size_t most = v->prompt ? SIZE_MAX : scene_most(context, v->count), excess = 0;
    trib_status status;
    job->text = v->prompt ? v->prompt : scene;
    job->length = strlen(job->text);
    do {
        job->length -= excess < job->length ? excess : job->length;
        trib_free(job->prompt);
        status = trib_tokenize(job->model, job->text, job->length, TRIB_TOKENIZE_SPECIAL,
                               &job->prompt, &job->prompt_count, error);
        excess = job->prompt_count > most ? job->prompt_count - most : 0;
    } while (status == TRIB_OK && excess && job->length);
    return status;
}

static trib_status take_prompt(struct job *job, size_t context, trib_error *error)
{
    trib_status status = tokenize(job, context, error);
    if (status != TRIB_OK)
        return status;
    if (job->prompt_count == 0) {
        snprintf(error->message, sizeof error->message,
                 "the prompt has no tokens and the model none to begin with: give -p TEXT");
        return error->status = TRIB_INVALID;
    }
    job->logits = calloc(job->prompt_count * job->vocabulary, sizeof *job->logits);
    if (!job->logits) {
        snprintf(error->message, sizeof error->message, "no memory for the logits of %zu tokens",
                 job->prompt_count);
        return error->status = TRIB_NO_MEMORY;
    }
    return TRIB_OK;
}

static trib_status compute(struct job *job, struct way way, struct outcome *out, trib_error *error)
{
    struct stage stage = {0};
    trib_status status = stage_open(&stage, job, way, error);
    if (status == TRIB_OK && !job->prompt)
        status = take_prompt(job, trib_session_context(stage.session), error);
    if (status == TRIB_OK)
        status = prefill(&stage, job, way, out, error);
    if (status == TRIB_OK)
        status = decode(&stage, job, out, error);
    if (status == TRIB_OK)
        out->kernels = trib_engine_kernels(stage.engine);
    stage_close(&stage);
    return status;
}

static trib_status job_open(struct job *job, const char *path, trib_error *error)
{
    trib_model_shape shape;
    trib_status status;
    if ((status = trib_model_open(&job->model, path, error)) ||
        (status = trib_model_describe(job->model, &shape, error)))
        return status;
    job->vocabulary = shape.vocabulary;
    return TRIB_OK;
}

static void job_close(struct job *job)
{
    free(job->logits);
    trib_free(job->prompt);
    trib_model_close(job->model);
}

static trib_status print_text(const struct job *job, const char *path, const struct outcome *out,
                              trib_error *error)
{
    trib_decoder *decoder;
    trib_status status = trib_decoder_open(&decoder, job->model, job->length > 0, false, error);
    if (status != TRIB_OK)
        return status;
    printf("The prompt:\n\n%.*s\n\nContinued by %s:\n\n", (int)job->length, job->text, path);
    for (size_t i = 0; i < out->count; i++) {
        trib_text piece = trib_decoder_next(decoder, out->ids[i]);
        fwrite(piece.bytes, 1, piece.length, stdout);
    }
    trib_text rest = trib_decoder_rest(decoder);
    fwrite(rest.bytes, 1, rest.length, stdout);
    trib_decoder_close(decoder);
    printf("\n\n");
    return TRIB_OK;
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    return a->hash == b->hash && a->rows == b->rows && a->count == b->count &&
           memcmp(a->ids, b->ids, a->count * sizeof *a->ids) == 0;
}

static void print_row(const struct job *job, struct way way, const struct outcome *out,
                      bool is_same)
{
    size_t most = way.segment ? way.segment : job->prompt_count;
    printf("%8zu  %10zu  %7d  %016" PRIx64 "  %s\n", (job->prompt_count + most - 1) / most,
           most < job->prompt_count ? most : job->prompt_count, way.threads, (uint64_t)out->hash,
           is_same ? "equal" : "DIFFERENT");
}

static void print_heading(const struct job *job, const struct outcome *first)
{
    printf("The same again, the %zu tokens of the prompt cut into segments (kernels %s):\n\n",
           job->prompt_count, first->kernels);
    printf("%8s  %10s  %7s  %-16s\n", "segments", "of tokens", "threads", "hash of logits");
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.count = 100, .sampler = trib_sampler_options_default()};
    int operand, status = options_parse(self, argc, argv, &v, &operand);
    if (status >= 0)
        return status;
    struct job job = {.values = &v};
    struct outcome outcomes[WAYS] = {0}, *first = &outcomes[0];
    trib_error error = {0};
    size_t done = 0, different = 0;
    trib_status result = job_open(&job, argv[operand], &error);
    for (size_t i = 0; i < WAYS && result == TRIB_OK; i++) {
        result = compute(&job, ways[i], &outcomes[i], &error);
        if (result == TRIB_OK && i == 0 &&
            (result = print_text(&job, argv[operand], first, &error)) == TRIB_OK)
            print_heading(&job, first);
        if (result != TRIB_OK)
            break;
        bool is_same = same(first, &outcomes[i]);
        print_row(&job, ways[i], &outcomes[i], is_same);
        different += !is_same;
        done++;
    }
    if (done == WAYS && different == 0)
        printf("\nThe same bits every time: %zu logits of %zu tokens, %zu of them continued.\n",
               first->rows * job.vocabulary, first->rows, first->count);
    else if (done == WAYS)
        printf("\n%zu of %d ways gave other bits.\n", different, WAYS);
    status = result != TRIB_OK ? complain(&error) : different ? EXIT_FAILURE : EXIT_SUCCESS;
    for (size_t i = 0; i < WAYS; i++)
        free(outcomes[i].ids);
    job_close(&job);
    return status;
}

const struct command demo_command = {
    .name = "demo",
    .operands = "MODEL",
    .summary = "Show that the same tokens give the same bits",
    .description =
        "Continues a prompt, then computes the same again with the context cut into segments and\n"
        "with other numbers of threads. Exit status 1 where a single bit of a logit differs.",
    .operands_least = 1,
    .operands_most = 1,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
