/* trib run: a prompt, continued by a model token by token. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "commands.h"
#include "load.h"
#include "sampling.h"
#include "speculation.h"
#include "tributary/engine.h"

struct values {
    const char *prompt, *prompt_file, *kv_type;
    size_t count, context, threads, chunk;
    struct cache_values cache;
    bool echo, json;
    trib_sampler_options sampler;
    struct speculation_values speculation;
};

static const struct option_row options[] = {
    {"prompt", 'p', OPTION_STRING, offsetof(struct values, prompt), "TEXT",
     "the text to continue (default: none, the model begins)"},
    {"prompt-file", 'f', OPTION_STRING, offsetof(struct values, prompt_file), "FILE",
     "read the prompt from a file, - for standard input"},
    {"tokens", 'n', OPTION_SIZE, offsetof(struct values, count), "N",
     "tokens to generate at most (default: 256)"},
    SAMPLING_OPTIONS(struct values, sampler),
    {"context", 'c', OPTION_SIZE, offsetof(struct values, context), "N",
     "tokens at most, prompt included (default: as trained)"},
    {"kv-type", 0, OPTION_STRING, offsetof(struct values, kv_type), "TYPE",
     "of the KV cache: f16 (default), f32, bf16 or q8_0"},
    {"threads", 0, OPTION_SIZE, offsetof(struct values, threads), "N",
     "threads (default: one for each processor)"},
    {"prefill-chunk", 0, OPTION_SIZE, offsetof(struct values, chunk), "N",
     "prompt tokens computed together (default: 512)"},
    CACHE_OPTIONS(struct values, cache),
    SPECULATION_OPTIONS(struct values, speculation),
    {"echo", 0, OPTION_FLAG, offsetof(struct values, echo), NULL, "print the prompt too"},
    {"json", 0, OPTION_FLAG, offsetof(struct values, json), NULL,
     "print one JSON object at the end instead of the text"},
};

/* One continuation under way. Everything is NULL until it is opened, so that close can be called at
 * any time. */
struct job {
    trib_model *model;
    trib_engine *engine;
    trib_session *session;
    trib_sampler *sampler;
    trib_decoder *decoder;
    struct speculation speculation;
    size_t vocabulary;
    bool continues; /* there is a prompt text before the continuation */
    char *file_text;
    int32_t *prompt_ids;
    size_t prompt_count;
    int32_t *ids; /* [count] generated */
    size_t count;
    char *text; /* what they spell, kept for JSON */
    size_t text_length, text_capacity;
    const char *stop; /* why it ended: "length", "end", "context" */
    double prefill_seconds, decode_seconds;
    XXH64_hash_t hash; /* of the logits of every generated token */
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void job_close(struct job *job)
{
    trib_decoder_close(job->decoder);
    trib_sampler_close(job->sampler);
    speculation_close(&job->speculation);
    trib_session_close(job->session);
    trib_engine_close(job->engine);
    trib_model_close(job->model);
    trib_free(job->prompt_ids);
    free(job->file_text);
    free(job->ids);
    free(job->text);
}

static trib_status fail(trib_error *error, trib_status status, const char *message)
{
    error->status = status;
    snprintf(error->message, sizeof error->message, "%s", message);
    return status;
}

static trib_status job_prompt(struct job *job, const struct values *v, trib_error *error)
{
    const char *prompt = v->prompt ? v->prompt : "";
    size_t length = strlen(prompt);
    trib_status status = TRIB_OK;
    if (v->prompt_file) {
        status = read_all(v->prompt_file, &job->file_text, &length, error);
        prompt = job->file_text;
    }
    if (status == TRIB_OK)
        status = trib_tokenize(job->model, prompt, length, TRIB_TOKENIZE_SPECIAL, &job->prompt_ids,
                               &job->prompt_count, error);
    if (status == TRIB_OK && job->prompt_count == 0)
        status = fail(error, TRIB_INVALID,
                      "the prompt has no tokens and the model none to begin with: give -p TEXT");
    job->continues = length > 0;
    if (status == TRIB_OK && v->echo && !v->json)
        fwrite(prompt, 1, length, stdout);
    return status;
}

static trib_status job_open(struct job *job, const char *path, const struct values *v,
                            trib_error *error)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_model_shape shape;
    trib_status status;
    engine.threads = v->threads > TRIB_THREADS_MAX ? TRIB_THREADS_MAX + 1 : (int)v->threads;
    engine.prefill_chunk = v->chunk;
    engine.context = v->context;
    engine.kv_type = v->kv_type;
    load_cache(&engine, &v->cache);
    if ((status = trib_model_open(&job->model, path, error)) ||
        (status = trib_model_describe(job->model, &shape, error)) ||
        (status = load_engine(&job->engine, job->model, engine, error)) ||
        (status = speculation_open(&job->speculation, &v->speculation, &engine, error)) ||
        (status = trib_session_open(&job->session, job->engine, NULL, error)) ||
        (status = trib_sampler_open(&job->sampler, shape.vocabulary, &v->sampler, error)) ||
        (status = job_prompt(job, v, error)) ||
        (status = trib_decoder_open(&job->decoder, job->model, job->continues, false, error)))
        return status;
    job->vocabulary = shape.vocabulary;
    return TRIB_OK;
}

/* Prints a piece of the continuation, or keeps it for the JSON. */
static trib_status put_text(struct job *job, const struct values *v, trib_text piece,
                            trib_error *error)
{
    if (!v->json) {
        if (fwrite(piece.bytes, 1, piece.length, stdout) != piece.length || fflush(stdout) != 0)
            return fail(error, TRIB_IO, "standard output cannot be written");
        return TRIB_OK;
    }
    if (job->text_length + piece.length > job->text_capacity) {
        size_t capacity = 2 * job->text_capacity + piece.length;
        char *larger = realloc(job->text, capacity);
        if (!larger)
            return fail(error, TRIB_NO_MEMORY, "no memory for the text");
        job->text = larger;
        job->text_capacity = capacity;
    }
    memcpy(job->text + job->text_length, piece.bytes, piece.length);
    job->text_length += piece.length;
    return TRIB_OK;
}

static trib_status prefill(struct job *job, trib_error *error)
{
    double start = seconds();
    trib_status status =
        trib_session_append(job->session, job->prompt_ids, job->prompt_count, error);
    if (status == TRIB_OK)
        status = speculation_begin(&job->speculation, job->session, error);
    job->prefill_seconds = seconds() - start;
    for (size_t i = 0; i < job->prompt_count; i++)
        trib_sampler_accept(job->sampler, job->prompt_ids[i]);
    return status;
}

/* Samples, prints and appends, until there are enough tokens, the text ends or the context is full.
 */
static trib_status decode(struct job *job, const struct values *v, trib_error *error)
{
    size_t had = speculation_length(&job->speculation);
    size_t room = trib_session_context(job->session) - had + 1;
    size_t most = v->count < room ? v->count : room;
    double start = seconds();
    trib_status status = TRIB_OK;
    job->ids = malloc((most + 1) * sizeof *job->ids);
    if (!job->ids)
        return fail(error, TRIB_NO_MEMORY, "no memory for the tokens");
    job->stop = most < v->count ? "context" : "length";
    while (job->count < most && status == TRIB_OK) {
        const float *logits = speculation_logits(&job->speculation);
        int32_t id;
        job->hash = XXH3_64bits_withSeed(logits, job->vocabulary * sizeof *logits, job->hash);
        status = trib_sampler_next(job->sampler, logits, &id, error);
        if (status != TRIB_OK)
            break;
        if (trib_token_is_end(job->model, id)) {
            job->stop = "end";
            break;
        }
        job->ids[job->count++] = id;
        status = put_text(job, v, trib_decoder_next(job->decoder, id), error);
        if (status == TRIB_OK && job->count < most)
            status = speculation_append(&job->speculation, id, error);
    }
    speculation_end(&job->speculation);
    job->decode_seconds = seconds() - start;
    if (status == TRIB_OK)
        status = put_text(job, v, trib_decoder_rest(job->decoder), error);
    return status;
}

static double rate(size_t tokens, double time)
{
    return time > 0 ? (double)tokens / time : 0;
}

/* The first of the generated tokens comes from the prefill's logits, so one step fewer is timed. */
static size_t decode_steps(const struct job *job)
{
    return job->count ? job->count - 1 : 0;
}

static void print_statistics(const struct job *job)
{
    char found[48] = "";
    if (trib_session_cached(job->session))
        snprintf(found, sizeof found, " (%zu of them cached)", trib_session_cached(job->session));
    fprintf(
        stderr,
        "prefill %zu tokens%s, %.1f tokens/s; decode %zu tokens, %.1f tokens/s; %s, %d threads; "
        "logits %016llx\n",
        job->prompt_count, found, rate(job->prompt_count, job->prefill_seconds), job->count,
        rate(decode_steps(job), job->decode_seconds), trib_engine_kernels(job->engine),
        trib_engine_threads(job->engine), (unsigned long long)job->hash);
    if (job->speculation.wanted) {
        trib_speculation c = job->speculation.counts;
        fprintf(stderr, "speculation: %zu of %zu guesses accepted; %.2f tokens a step\n",
                c.accepted, c.drafted, rate(c.appended, (double)c.steps));
    }
    if (strcmp(job->stop, "context") == 0)
        fprintf(stderr, "the context of %zu tokens is full\n", trib_session_context(job->session));
}

static json_t *ids_json(const int32_t *ids, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer(ids[i]));
    return array;
}

static int print_result(const struct job *job)
{
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)job->hash);
    json_t *result = json_pack(
        "{s:o, s:o, s:o, s:s, s:I, s:f, s:f, s:s, s:i, s:s}", "prompt_ids",
        ids_json(job->prompt_ids, job->prompt_count), "ids", ids_json(job->ids, job->count), "text",
        json_text(job->text ? job->text : "", job->text_length), "stop", job->stop, "cached",
        (json_int_t)trib_session_cached(job->session), "prefill_tokens_per_s",
        rate(job->prompt_count, job->prefill_seconds), "decode_tokens_per_s",
        rate(decode_steps(job), job->decode_seconds), "table", trib_engine_kernels(job->engine),
        "threads", trib_engine_threads(job->engine), "hash", hash);
    if (job->speculation.wanted)
        json_object_set_new(result, "speculation",
                            json_pack("{s:I, s:I, s:I}", "steps",
                                      (json_int_t)job->speculation.counts.steps, "drafted",
                                      (json_int_t)job->speculation.counts.drafted, "accepted",
                                      (json_int_t)job->speculation.counts.accepted));
    return print_json(result);
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.kv_type = "f16",
                       .count = 256,
                       .chunk = trib_engine_options_default().prefill_chunk,
                       .sampler = trib_sampler_options_default(),
                       .speculation = speculation_values_default()};
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    struct job job = {0};
    trib_error error;
    bool done = job_open(&job, argv[first], &v, &error) == TRIB_OK &&
                prefill(&job, &error) == TRIB_OK && decode(&job, &v, &error) == TRIB_OK;
    if (job.count && !v.json)
        putchar('\n');
    if (!done)
        status = complain(&error);
    else
        status = v.json ? print_result(&job) : EXIT_SUCCESS;
    if (done)
        print_statistics(&job);
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
