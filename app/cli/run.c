/* trib run: a prompt, continued by a model token by token, once or several times. */
#include "run.h"

#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "progress.h"

enum { COMPLETIONS_MOST = 1024 };

static const struct option_row options[] = {
    {"prompt", 'p', OPTION_STRING, offsetof(struct run_values, prompt), "TEXT",
     "the text to continue (default: none, the model begins)"},
    {"prompt-file", 'f', OPTION_STRING, offsetof(struct run_values, prompt_file), "FILE",
     "read the prompt from a file, - for standard input"},
    {"tokens", 'n', OPTION_SIZE, offsetof(struct run_values, count), "N",
     "tokens to generate at most (default: 256)"},
    SAMPLING_OPTIONS(struct run_values, sampler),
    BIAS_OPTION(struct run_values, bias),
    STOP_OPTION(struct run_values, stop),
    {"logprobs", 0, OPTION_SIZE, offsetof(struct run_values, logprobs), "N",
     "print each token's log probability and the N likeliest in its place"},
    {"n", 0, OPTION_SIZE, offsetof(struct run_values, n), "N",
     "print N completions, of the seeds from --seed on, decoded together (default: 1)"},
    {"best-of", 0, OPTION_SIZE, offsetof(struct run_values, best_of), "M",
     "sample M and print those with the highest mean log probability"},
    {"beams", 0, OPTION_SIZE, offsetof(struct run_values, beams), "W",
     "search for the likeliest completion with W beams instead of sampling"},
    {"length-penalty", 0, OPTION_FLOAT, offsetof(struct run_values, length_penalty), "A",
     "score beams by log probability / tokens^A, A from -10 to 10 (default: 1)"},
    {"context", 'c', OPTION_SIZE, offsetof(struct run_values, context), "N",
     "tokens at most, prompt included (default: as trained)"},
    {"kv-type", 0, OPTION_STRING, offsetof(struct run_values, kv_type), "TYPE",
     "of the KV cache: f16 (default), f32, bf16 or q8_0"},
    {"threads", 0, OPTION_SIZE, offsetof(struct run_values, threads), "N",
     "threads (default: one for each processor)"},
    {"prefill-chunk", 0, OPTION_SIZE, offsetof(struct run_values, chunk), "N",
     "prompt tokens computed together (default: 512)"},
    CACHE_OPTIONS(struct run_values, cache),
    SPECULATION_OPTIONS(struct run_values, speculation),
    {"echo", 0, OPTION_FLAG, offsetof(struct run_values, echo), NULL, "print the prompt too"},
    {"json", 0, OPTION_FLAG, offsetof(struct run_values, json), NULL,
     "print one JSON object at the end instead of the text"},
};

static void completion_close(struct completion *c)
{
    trib_decoder_close(c->decoder);
    trib_stops_close(c->stops);
    trib_sampler_close(c->sampler);
    trib_session_close(c->session);
    free(c->ids);
    free(c->logprobs);
    free(c->top);
    free(c->text);
}

static void job_close(struct job *job)
{
    for (size_t i = 0; i < job->count; i++)
        completion_close(&job->completions[i]);
    free(job->completions);
    speculation_close(&job->speculation);
    trib_session_close(job->session);
    trib_engine_close(job->engine);
    trib_model_close(job->model);
    trib_free(job->prompt_ids);
    free(job->file_text);
}

static trib_status job_prompt(struct job *job, const struct run_values *v, trib_error *error)
{
    trib_status status = TRIB_OK;
    job->prompt = v->prompt ? v->prompt : "";
    job->prompt_length = strlen(job->prompt);
    if (v->prompt_file) {
        status = read_all(v->prompt_file, &job->file_text, &job->prompt_length, error);
        job->prompt = job->file_text;
    }
    if (status == TRIB_OK)
        status = trib_tokenize(job->model, job->prompt, job->prompt_length, TRIB_TOKENIZE_SPECIAL,
                               &job->prompt_ids, &job->prompt_count, error);
    if (status == TRIB_OK && job->prompt_count == 0)
        status = failure(error, TRIB_INVALID,
                         "the prompt has no tokens and the model none to begin with: give -p TEXT");
    return status;
}

static trib_status job_open(struct job *job, const char *path, const struct run_values *v,
                            trib_error *error)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_model_shape shape;
    trib_status status;
    engine.threads = thread_count(v->threads);
    engine.prefill_chunk = v->chunk;
    engine.context = v->context;
    engine.kv_type = v->kv_type;
    load_cache(&engine, &v->cache);
    if ((status = trib_model_open(&job->model, path, error)) ||
        (status = trib_model_describe(job->model, &shape, error)) ||
        (status = load_engine(&job->engine, job->model, engine, error)) ||
        (status = speculation_open(&job->speculation, &v->speculation, &engine, error)) ||
        (status = trib_session_open(&job->session, job->engine, NULL, error)) ||
        (status = job_prompt(job, v, error)))
        return status;
    job->vocabulary = shape.vocabulary;
    if (v->logprobs != NOT_GIVEN && v->logprobs > job->vocabulary)
        return failure(error, TRIB_INVALID, "log probabilities: expected at most %zu, found %zu",
                       job->vocabulary, v->logprobs);
    return TRIB_OK;
}

/* Computes the prompt. What a completion may have behind it: its last token is not appended. */
static trib_status prefill(struct job *job, const struct run_values *v, trib_error *error)
{
    double start = progress_seconds();
    trib_status status =
        trib_session_append(job->session, job->prompt_ids, job->prompt_count, error);
    job->prefill_seconds = progress_seconds() - start;
    size_t room = trib_session_context(job->session) - trib_session_length(job->session) + 1;
    job->most = v->count < room ? v->count : room;
    return status;
}

/* Options that contradict each other; -1, or an exit status after a complaint. */
static int check(const struct command *self, const struct run_values *v)
{
    size_t n = v->n == NOT_GIVEN ? 1 : v->n;
    char found[32];
    if (v->prompt && v->prompt_file)
        return options_complain(self, "prompt-file", "it without --prompt", v->prompt_file);
    if (n == 0 || n > COMPLETIONS_MOST) {
        snprintf(found, sizeof found, "%zu", n);
        return options_complain(self, "n", "1 to 1024", found);
    }
    if (v->best_of != NOT_GIVEN && (v->best_of < n || v->best_of > COMPLETIONS_MOST)) {
        snprintf(found, sizeof found, "%zu", v->best_of);
        return options_complain(self, "best-of", "at least --n and at most 1024", found);
    }
    size_t count = v->best_of == NOT_GIVEN ? n : v->best_of;
    if (v->sampler.seed > INT64_MAX - (uint64_t)(count - 1)) { /* JSON has no larger ones */
        snprintf(found, sizeof found, "%llu", (unsigned long long)v->sampler.seed);
        return options_complain(self, "seed", "less than 2^63, for all completions", found);
    }
    if (v->speculation.source &&
        (v->n != NOT_GIVEN || v->best_of != NOT_GIVEN || v->beams != NOT_GIVEN))
        return options_complain(self, "speculate", "neither --n, --best-of nor --beams",
                                v->speculation.source);
    if (v->beams == NOT_GIVEN)
        return -1;
    snprintf(found, sizeof found, "%zu", v->beams);
    if (v->beams < n)
        return options_complain(self, "beams", "at least --n", found);
    if (v->best_of != NOT_GIVEN)
        return options_complain(self, "beams", "no --best-of", found);
    return -1;
}

static trib_status complete(struct job *job, const struct run_values *v, trib_error *error)
{
    return v->beams == NOT_GIVEN ? run_sample(job, v, error) : run_beams(job, v, error);
}

static int run(const struct command *self, int argc, char **argv)
{
    struct run_values v = {.kv_type = "f16",
                           .count = 256,
                           .chunk = trib_engine_options_default().prefill_chunk,
                           .n = NOT_GIVEN,
                           .best_of = NOT_GIVEN,
                           .beams = NOT_GIVEN,
                           .logprobs = NOT_GIVEN,
                           .length_penalty = 1,
                           .sampler = trib_sampler_options_default(),
                           .speculation = speculation_values_default()};
    trib_logit_bias bias[TEXTS_MOST];
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status < 0)
        status = check(self, &v);
    if (status < 0)
        status = sampling_bias(self, &v.bias, bias, &v.sampler);
    if (status >= 0)
        return status;
    struct job job = {0};
    trib_error error;
    bool done = job_open(&job, argv[first], &v, &error) == TRIB_OK &&
                prefill(&job, &v, &error) == TRIB_OK && complete(&job, &v, &error) == TRIB_OK;
    if (job.streams && job.count && job.completions[0].count)
        putchar('\n');
    status = done ? run_print(&job, &v) : complain(&error);
    job_close(&job);
    return status;
}

const struct command run_command = {
    .name = "run",
    .operands = "MODEL",
    .summary = "Continue a prompt with a model",
    .description = "Streams the continuation to standard output, statistics to standard error.",
    .operands_least = 1,
    .operands_most = 1,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
