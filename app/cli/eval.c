/* trib eval: how well a model predicts a text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "load.h"
#include "progress.h"
#include "tributary/engine.h"

struct values {
    size_t context, stride, threads;
    const char *kv_type;
    float last;
    bool json;
};

static const struct option_row options[] = {
    {"context", 'c', OPTION_SIZE, offsetof(struct values, context), "N",
     "tokens of a window (default: as trained; predictors without end: the whole text)"},
    {"stride", 0, OPTION_SIZE, offsetof(struct values, stride), "N",
     "tokens from one window to the next; the others of a window are only read (default: all)"},
    {"last", 0, OPTION_FLOAT, offsetof(struct values, last), "SHARE",
     "only the end of the text, such as what training did not see (default: 1)"},
    {"kv-type", 0, OPTION_STRING, offsetof(struct values, kv_type), "TYPE",
     "of the KV cache: f32 (default), f16, bf16 or q8_0"},
    {"threads", 0, OPTION_SIZE, offsetof(struct values, threads), "N",
     "threads (default: one for each processor)"},
    {"json", 0, OPTION_FLAG, offsetof(struct values, json), NULL, "print one JSON object"},
};

/* Tokens whose logits are held at one time. */
enum { CHUNK_TOKENS = 256 };

struct job {
    trib_model *model;
    trib_engine *engine;
    trib_model_shape shape;
    char *text;
    size_t length; /* of what is scored */
    int32_t *ids;
    size_t count;
    size_t window, stride;
    float *logits; /* [CHUNK_TOKENS][V] */

    double nats; /* sum of -log p */
    size_t scored;
    uint64_t bytes; /* that the scored tokens stand for */
};

static trib_status fail(trib_error *error, trib_status status, const char *path, const char *why)
{
    error->status = status;
    snprintf(error->message, sizeof error->message, "%.180s: %s", path, why);
    return status;
}

static void job_close(struct job *job)
{
    trib_engine_close(job->engine);
    trib_model_close(job->model);
    trib_free(job->ids);
    free(job->text);
    free(job->logits);
}

/* The text, or its last part from the begin of a character on, as tokens. */
static trib_status read_text(struct job *job, const char *path, double last, trib_error *error)
{
    trib_status status = read_all(path, &job->text, &job->length, error);
    if (status != TRIB_OK)
        return status;
    size_t from = (size_t)((1 - last) * (double)job->length);
    while (from < job->length && ((unsigned char)job->text[from] & 0xc0) == 0x80)
        from++;
    job->length -= from;
    status = trib_tokenize(job->model, job->text + from, job->length, TRIB_TOKENIZE_SPECIAL,
                           &job->ids, &job->count, error);
    if (status == TRIB_OK && job->count < 2)
        status = fail(error, TRIB_INVALID, path, "expected a text of at least two tokens");
    return status;
}

/* Bytes that a token stands for. */
static trib_status token_bytes(const struct job *job, int32_t id, size_t *bytes, trib_error *error)
{
    trib_decoder *decoder;
    trib_status status = trib_decoder_open(&decoder, job->model, true, false, error);
    if (status != TRIB_OK)
        return status;
    *bytes = trib_decoder_next(decoder, id).length;
    *bytes += trib_decoder_rest(decoder).length;
    trib_decoder_close(decoder);
    return TRIB_OK;
}

static trib_status job_open(struct job *job, const char *path, const char *text,
                            const struct values *v, trib_error *error)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_status status;
    size_t first = 0;
    engine.threads = v->threads > TRIB_THREADS_MAX ? TRIB_THREADS_MAX + 1 : (int)v->threads;
    engine.prefill_chunk = CHUNK_TOKENS;
    if ((status = trib_model_open(&job->model, path, error)) ||
        (status = trib_model_describe(job->model, &job->shape, error)) ||
        (status = load_engine(&job->engine, job->model, engine, error)) ||
        (status = read_text(job, text, (double)v->last, error)) ||
        (status = token_bytes(job, job->ids[0], &first, error)))
        return status;
    job->bytes = job->length - first; /* the first token has nothing before it to predict it */
    job->logits = malloc(CHUNK_TOKENS * job->shape.vocabulary * sizeof *job->logits);
    return job->logits ? TRIB_OK : fail(error, TRIB_NO_MEMORY, path, "no memory for the logits");
}

/* -log p of a token, natural logarithm, in float64. */
static double surprise(const float *logits, size_t V, int32_t id)
{
    double most = (double)logits[0];
    for (size_t i = 1; i < V; i++)
        most = fmax(most, (double)logits[i]);
    double sum = exp((double)logits[0] - most);
    for (size_t i = 1; i < V; i++)
        sum += exp((double)logits[i] - most);
    return log(sum) + most - (double)logits[id];
}

/* Tokens first to end, of which those from `scored` on count: each is predicted from the ones
 * before it in the window. */
static trib_status score_window(struct job *job, const trib_session_options *session_options,
                                size_t first, size_t scored, size_t end, struct progress *progress,
                                trib_error *error)
{
    size_t V = job->shape.vocabulary;
    trib_session *session;
    trib_status status = trib_session_open(&session, job->engine, session_options, error);
    for (size_t at = first; at < end && status == TRIB_OK;) {
        size_t count = end - at < CHUNK_TOKENS ? end - at : CHUNK_TOKENS;
        status = trib_session_score(session, job->ids + at, count, job->logits, error);
        for (size_t i = 0; i < count && status == TRIB_OK; i++)
            if (at + i + 1 >= scored && at + i + 1 < job->count) {
                job->nats += surprise(job->logits + i * V, V, job->ids[at + i + 1]);
                job->scored++;
            }
        at += count;
        progress_show(progress, at, "tokens");
    }
    trib_session_close(session);
    return status;
}

/* Windows that overlap by window - stride tokens, so that each token is scored once: in the first
 * window all, in the others the last `stride`. */
static trib_status score(struct job *job, const struct values *v, trib_error *error)
{
    trib_session_options session_options = {0, v->kv_type};
    trib_session *session;
    struct progress progress;
    trib_status status = trib_session_open(&session, job->engine, &session_options, error);
    if (status != TRIB_OK)
        return status;
    size_t most = trib_session_context(session);
    trib_session_close(session);
    job->window = v->context && v->context < most ? v->context : most;
    job->stride = v->stride && v->stride < job->window ? v->stride : job->window;
    progress_open(&progress, 0, job->count - 1);
    for (size_t first = 0, next = 1; next < job->count && status == TRIB_OK; first += job->stride) {
        size_t left = job->count - 1 - first;
        size_t end = first + (left < job->window ? left : job->window);
        status = score_window(job, &session_options, first, next, end, &progress, error);
        next = end + 1;
    }
    progress_clear(&progress);
    return status;
}

static int print_result(const struct job *job, const char *path, bool json)
{
    double loss = job->nats / (double)job->scored;
    double bits = job->nats / log(2) / (double)job->bytes;
    if (json)
        return print_json(json_pack(
            "{s:o, s:f, s:f, s:f, s:I, s:I, s:I, s:I}", "model", json_text(path, strlen(path)),
            "loss", loss, "perplexity", exp(loss), "bits_per_byte", bits, "tokens",
            (json_int_t)job->scored, "bytes", (json_int_t)job->bytes, "context",
            (json_int_t)job->window, "stride", (json_int_t)job->stride));
    printf("loss           %.4f nats per token\n", loss);
    printf("perplexity     %.4f\n", exp(loss));
    printf("bits per byte  %.4f\n", bits);
    printf("scored         %zu tokens, %llu bytes\n", job->scored, (unsigned long long)job->bytes);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.kv_type = "f32", .last = 1};
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (!(v.last > 0 && v.last <= 1))
        return options_complain(self, "last", "above 0 and at most 1", "another number");
    struct job job = {0};
    trib_error error = {0};
    if (job_open(&job, argv[first], argv[first + 1], &v, &error) != TRIB_OK ||
        score(&job, &v, &error) != TRIB_OK)
        status = complain(&error);
    else
        status = print_result(&job, argv[first], v.json);
    job_close(&job);
    return status;
}

const struct command eval_command = {
    .name = "eval",
    .operands = "MODEL TEXT",
    .summary = "Measure how well a model predicts a text",
    .description = "Prints the mean loss in nats per token, its exponential, and bits per byte, "
                   "which compares\n"
                   "models of any vocabulary. Every token but the first is scored once.",
    .operands_least = 2,
    .operands_most = 2,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
