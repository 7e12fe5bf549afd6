/* trib eval: how well a model predicts a text.
 *
 * The text is read in windows of tokens, each by a session of its own, so that what a token is
 * predicted from is the same on every machine and with any number of threads. A method says which
 * windows there are and which of their tokens count.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "load.h"
#include "progress.h"
#include "tributary/engine.h"

struct values {
    size_t context, stride, threads;
    const char *method, *kv_type;
    float last;
    bool json;
};

static const struct option_row options[] = {
    {"method", 'm', OPTION_STRING, offsetof(struct values, method), "NAME",
     "which tokens are scored: every (default) or llama.cpp, as described above"},
    {"context", 'c', OPTION_SIZE, offsetof(struct values, context), "N",
     "tokens of a window (default: as trained; predictors without end: the whole text)"},
    {"stride", 0, OPTION_SIZE, offsetof(struct values, stride), "N",
     "tokens from one window to the next (default: all of a window)"},
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

enum { EVERY, LLAMA_CPP, METHODS };

static const char *const method_names[METHODS] = {"every", "llama.cpp"};

struct job {
    trib_model *model;
    trib_engine *engine;
    trib_model_shape shape;
    char *text;
    size_t length; /* of what is scored */
    int32_t *ids;
    size_t count;
    int32_t bos; /* that the vocabulary begins texts with; -1: none */
    unsigned method;
    size_t window, stride;
    float *logits; /* [CHUNK_TOKENS][V] */

    double nats; /* sum of -log p */
    size_t scored;
    uint64_t bytes; /* that the scored tokens stand for */
};

static void job_close(struct job *job)
{
    trib_engine_close(job->engine);
    trib_model_close(job->model);
    trib_free(job->ids);
    free(job->text);
    free(job->logits);
}

/* The token that the vocabulary begins every text with, if there is one: alone of an empty text it
 * is there too. */
static trib_status find_bos(struct job *job, trib_error *error)
{
    int32_t *ids;
    size_t count;
    trib_status status =
        trib_tokenize(job->model, "", 0, TRIB_TOKENIZE_SPECIAL, &ids, &count, error);
    job->bos = status == TRIB_OK && count > 0 && ids[0] == job->ids[0] ? ids[0] : -1;
    trib_free(ids);
    return status;
}

/* The text, or its last part from the begin of a character on, as tokens. llama-perplexity leaves
 * out a newline at the end of its file. */
static trib_status read_text(struct job *job, const char *path, double last, trib_error *error)
{
    trib_status status = read_all(path, &job->text, &job->length, error);
    if (status != TRIB_OK)
        return status;
    size_t from = (size_t)((1 - last) * (double)job->length);
    while (from < job->length && ((unsigned char)job->text[from] & 0xc0) == 0x80)
        from++;
    job->length -= from;
    if (job->method == LLAMA_CPP && job->length > 0 && job->text[from + job->length - 1] == '\n')
        job->length--;
    status = trib_tokenize(job->model, job->text + from, job->length, TRIB_TOKENIZE_SPECIAL,
                           &job->ids, &job->count, error);
    if (status == TRIB_OK && job->count < 2)
        status = path_failure(error, TRIB_INVALID, path, "expected a text of at least two tokens");
    return status == TRIB_OK ? find_bos(job, error) : status;
}

static trib_status job_open(struct job *job, const char *path, const char *text,
                            const struct values *v, trib_error *error)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_memory memory;
    trib_status status;
    engine.threads = thread_count(v->threads);
    engine.prefill_chunk = CHUNK_TOKENS;
    engine.context = v->context;
    engine.kv_type = v->kv_type;
    if ((status = trib_model_open(&job->model, path, error)) ||
        (status = trib_model_describe(job->model, &job->shape, error)) ||
        (status = trib_memory_needed(job->model, &engine, NULL, &memory, error)))
        return status;
    engine.cache_bytes = memory.kv; /* of one window: none is looked at again */
    if ((status = load_engine(&job->engine, job->model, engine, error)) ||
        (status = read_text(job, text, (double)v->last, error)))
        return status;
    job->logits = malloc(CHUNK_TOKENS * job->shape.vocabulary * sizeof *job->logits);
    return job->logits ? TRIB_OK
                       : path_failure(error, TRIB_NO_MEMORY, path, "no memory for the logits");
}

/* -log p of a token, natural logarithm, in float64. */
static double surprise(const float *logits, size_t V, int32_t id)
{
    float most = logits[0];
    for (size_t i = 1; i < V; i++)
        most = fmaxf(most, logits[i]);
    double sum = exp((double)logits[0] - (double)most);
    for (size_t i = 1; i < V; i++)
        sum += exp((double)logits[i] - (double)most);
    return log(sum) + (double)most - (double)logits[id];
}

/* Tokens first to last - 1 are read; tokens scored to last count, each predicted from the ones
 * before it in the window. */
struct window {
    size_t first, scored, last;
    bool bos; /* it begins with BOS in the place of its first token */
};

static size_t window_count(const struct job *job)
{
    size_t n = job->count, window = job->window, stride = job->stride;
    if (job->method == EVERY)
        return n - 1 <= window ? 1 : 1 + (n - 1 - window + stride - 1) / stride;
    return stride == window ? n / window : (n - window + stride - 1) / stride;
}

/* every: windows overlap by window - stride tokens, so that each token is scored once: in the first
 * window all, in the others the last `stride`.
 *
 * llama.cpp (tools/perplexity/perplexity.cpp): with stride = window its perplexity(), which scores
 * the second half of each window, less the token that the middle one predicts from; otherwise its
 * perplexity_v2(), which scores the last `stride` tokens and puts BOS nowhere. Only whole windows
 * count. */
static struct window window_at(const struct job *job, size_t i)
{
    size_t first = i * job->stride, left = job->count - 1 - first;
    size_t scored = i ? first + job->window - job->stride + 1 : first + 1;
    if (job->method == EVERY)
        return (struct window){first, scored, first + (left < job->window ? left : job->window),
                               false};
    size_t last = first + job->window - 1;
    if (job->stride < job->window)
        return (struct window){first, last + 1 - job->stride, last, false};
    return (struct window){first, first + job->window / 2 + 1, last, job->bos >= 0};
}

static trib_status score_window(struct job *job, struct window w, struct progress *progress,
                                trib_error *error)
{
    size_t V = job->shape.vocabulary;
    char note[64];
    trib_session *session;
    trib_status status = trib_session_open(&session, job->engine, NULL, error);
    int32_t begin = job->ids[w.first];
    job->ids[w.first] = w.bos ? job->bos : begin;
    for (size_t at = w.first; at < w.last && status == TRIB_OK;) {
        size_t count = w.last - at < CHUNK_TOKENS ? w.last - at : CHUNK_TOKENS;
        status = trib_session_score(session, job->ids + at, count, job->logits, error);
        for (size_t i = 0; i < count && status == TRIB_OK; i++)
            if (at + i + 1 >= w.scored) {
                job->nats += surprise(job->logits + i * V, V, job->ids[at + i + 1]);
                job->scored++;
            }
        at += count;
        snprintf(note, sizeof note, "tokens, perplexity %.4f",
                 job->scored ? exp(job->nats / (double)job->scored) : 0);
        progress_show(progress, at, note);
    }
    job->ids[w.first] = begin;
    trib_session_close(session);
    return status;
}

/* The window and the stride in tokens. */
static trib_status resolve(struct job *job, const struct values *v, trib_error *error)
{
    trib_session *session;
    trib_status status = trib_session_open(&session, job->engine, NULL, error);
    if (status != TRIB_OK)
        return status;
    job->window = trib_session_context(session);
    trib_session_close(session);
    job->stride = v->stride && v->stride < job->window ? v->stride : job->window;
    if (job->method == LLAMA_CPP && (job->window < 3 || job->count / 2 < job->window)) {
        error->status = TRIB_INVALID;
        snprintf(error->message, sizeof error->message,
                 "--method llama.cpp: expected a context of at least 3 and a text of at least two "
                 "contexts, found %zu and %zu tokens",
                 job->window, job->count);
        return TRIB_INVALID;
    }
    return TRIB_OK;
}

/* Bytes that the scored tokens stand for: those of the text without those of the others. */
static trib_status count_bytes(struct job *job, trib_error *error)
{
    trib_decoder *decoder;
    trib_status status = trib_decoder_open(&decoder, job->model, false, false, error);
    size_t count = window_count(job), at = 0, skipped = 0;
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i <= count; i++) {
        struct window w = {.scored = job->count};
        if (i < count)
            w = window_at(job, i);
        for (; at < job->count && (i == count || at <= w.last); at++) {
            size_t bytes = trib_decoder_next(decoder, job->ids[at]).length;
            bytes += trib_decoder_rest(decoder).length;
            skipped += at < w.scored ? bytes : 0;
        }
    }
    trib_decoder_close(decoder);
    job->bytes = job->length > skipped ? job->length - skipped : 0;
    return TRIB_OK;
}

static trib_status score(struct job *job, const struct values *v, trib_error *error)
{
    struct progress progress;
    trib_status status = resolve(job, v, error);
    if (status != TRIB_OK)
        return status;
    size_t count = window_count(job);
    progress_open(&progress, 0, window_at(job, count - 1).last);
    for (size_t i = 0; i < count && status == TRIB_OK; i++)
        status = score_window(job, window_at(job, i), &progress, error);
    progress_clear(&progress);
    return status == TRIB_OK ? count_bytes(job, error) : status;
}

static int print_result(const struct job *job, const char *path, bool json)
{
    double loss = job->nats / (double)job->scored;
    double bits = job->nats / log(2) / (double)job->bytes;
    if (json)
        return print_json(json_pack("{s:o, s:f, s:f, s:f, s:s, s:I, s:I, s:I, s:I}", "model",
                                    json_text(path, strlen(path)), "loss", loss, "perplexity",
                                    exp(loss), "bits_per_byte", bits, "method",
                                    method_names[job->method], "tokens", (json_int_t)job->scored,
                                    "bytes", (json_int_t)job->bytes, "context",
                                    (json_int_t)job->window, "stride", (json_int_t)job->stride));
    printf("loss           %.4f nats per token\n", loss);
    printf("perplexity     %.4f\n", exp(loss));
    printf("bits per byte  %.4f\n", bits);
    printf("scored         %zu tokens, %llu bytes\n", job->scored, (unsigned long long)job->bytes);
    return EXIT_SUCCESS;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.method = "every", .kv_type = "f32", .last = 1};
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (!(v.last > 0 && v.last <= 1)) {
        char found[32];
        snprintf(found, sizeof found, "%g", (double)v.last);
        return options_complain(self, "last", "above 0 and at most 1", found);
    }
    struct job job = {0};
    trib_error error = {0};
    while (job.method < METHODS && strcmp(v.method, method_names[job.method]) != 0)
        job.method++;
    if (job.method == METHODS)
        return options_complain(self, "method", "every or llama.cpp", v.method);
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
    .description =
        "Prints the mean loss in nats per token, its exponential, which is the perplexity, and "
        "bits\n"
        "per byte, which compares models of any vocabulary.\n"
        "\n"
        "--method every: every token but the first is scored once. With a stride below the "
        "context\n"
        "windows overlap: in all but the first only the last STRIDE tokens are scored.\n"
        "\n"
        "--method llama.cpp: the perplexity that llama-perplexity prints, so that published ones\n"
        "can be compared (most have a context of 512). Windows follow one another, the second "
        "half\n"
        "of each is scored, and BOS takes the place of their first token where the vocabulary\n"
        "begins texts with it. With a stride below the context it is llama-perplexity "
        "--ppl-stride,\n"
        "and the context what it reports as its calculation chunk: the last STRIDE tokens of each\n"
        "window are scored. A rest that fills no window is left out.",
    .operands_least = 2,
    .operands_most = 2,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
