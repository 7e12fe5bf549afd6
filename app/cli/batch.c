/* trib batch: a file of requests, answered many at a time. What is finished is written at once, a
 * line for each request, so that a run that ends early, however it ends, is gone on with by the
 * same command. The scheduler (tributary/schedule.h) says who runs; here lines become requests and
 * what it tells becomes lines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "batch_pending.h"
#include "commands.h"
#include "load.h"
#include "progress.h"
#include "sampling.h"
#include "tributary/schedule.h"

/* Requests that are read ahead of those that run: who shares a prefix is found among them, and
 * their priorities count. */
enum { AHEAD = 1024 };

struct values {
    const char *output, *kv_type;
    size_t count, parallel, context, threads, chunk, cache;
    struct cache_values folder;
    trib_sampler_options sampler;
};

static const struct option_row options[] = {
    {"output", 'o', OPTION_STRING, offsetof(struct values, output), "FILE",
     "results, a line for each request, as they finish; what is there already is not done again "
     "(default: standard output)"},
    {"parallel", 'j', OPTION_SIZE, offsetof(struct values, parallel), "N",
     "sequences that run at once, at most (default: 32)"},
    {"tokens", 'n', OPTION_SIZE, offsetof(struct values, count), "N",
     "tokens to generate at most, where max_tokens says nothing else (default: 256)"},
    SAMPLING_OPTIONS(struct values, sampler),
    {"context", 'c', OPTION_SIZE, offsetof(struct values, context), "N",
     "tokens of a sequence at most, prompt included (default: as trained)"},
    {"cache", 0, OPTION_SIZE, offsetof(struct values, cache), "MIB",
     "memory for keys and values at most (default: half of what is available)"},
    CACHE_OPTIONS(struct values, folder),
    {"kv-type", 0, OPTION_STRING, offsetof(struct values, kv_type), "TYPE",
     "of the KV cache: f16 (default), f32, bf16 or q8_0"},
    {"threads", 0, OPTION_SIZE, offsetof(struct values, threads), "N",
     "threads (default: one for each processor)"},
    {"prefill-chunk", 0, OPTION_SIZE, offsetof(struct values, chunk), "N",
     "tokens computed together, of prompts and sequences (default: 512)"},
};

/* The run. All of it is NULL until it is there, so that close can be called at any time. */
struct job {
    trib_model *model;
    trib_engine *engine;
    trib_scheduler *scheduler;
    trib_model_shape shape;
    trib_request request; /* what a line that says nothing gets */
    struct batch_requests requests;
    struct batch_results results;
    struct batch_pendings pendings;
    size_t next; /* of the requests, not looked at yet */
    struct progress bar;
    double start;
};

/* The result of a line that is no request, or of a request that is refused. */
static trib_status refuse(struct job *job, struct batch_entry *entry, json_t *id,
                          const trib_error *why)
{
    if (why->status == TRIB_NO_MEMORY) {
        job->pendings.error = *why;
        return TRIB_NO_MEMORY;
    }
    batch_complain(&job->pendings, entry, why->message);
    json_t *rest = json_object();
    bool fits =
        rest && (!id || json_object_set(rest, "id", id) == 0) &&
        json_object_set_new(rest, "error", json_text(why->message, strlen(why->message))) == 0;
    if (fits)
        return batch_results_add(&job->results, entry, rest, &job->pendings.error);
    json_decref(rest);
    return batch_no_memory(&job->pendings.error);
}

static trib_status submit(struct job *job, struct batch_entry *entry)
{
    struct batch_line line;
    trib_error error;
    uint64_t id;
    trib_status status = batch_line_read(&line, entry->text.bytes, entry->text.length, job->model,
                                         &job->request, &error);
    struct batch_pending *p = NULL;
    if (status == TRIB_OK && !(p = batch_pending_open(&job->pendings, entry, &line)))
        status = batch_no_memory(&error);
    if (status == TRIB_OK)
        status = trib_scheduler_submit(job->scheduler, &line.request, &id, &error);
    if (status != TRIB_OK) {
        if (p)
            batch_pending_close(p);
        status = refuse(job, entry, line.id, &error);
    }
    batch_line_close(&line);
    return status;
}

/* Requests are read as there is room for them. */
static void feed(struct job *job)
{
    while (job->next < job->requests.count && job->pendings.status == TRIB_OK && !interrupted() &&
           trib_scheduler_counts(job->scheduler).waiting < AHEAD) {
        struct batch_entry *entry = &job->requests.entries[job->next++];
        if (!entry->done)
            batch_give_up(&job->pendings, submit(job, entry));
    }
}

static void show(struct job *job)
{
    char note[64];
    double time = progress_seconds() - job->start;
    snprintf(note, sizeof note, "requests, %.1f tokens/s",
             time > 0 ? (double)job->pendings.tokens / time : 0);
    progress_show(&job->bar, job->results.done, note);
}

static void run_all(struct job *job)
{
    progress_open(&job->bar, job->results.done, job->requests.count);
    job->start = progress_seconds();
    catch_interrupts();
    while (job->pendings.status == TRIB_OK && !interrupted()) {
        feed(job);
        if (trib_scheduler_idle(job->scheduler))
            break;
        trib_scheduler_step(job->scheduler);
        show(job);
    }
    progress_clear(&job->bar);
}

/* What results depend on besides their requests: texts do not depend on the rest. */
static uint64_t run_hash(const struct job *job, const struct values *v)
{
    const trib_sampler_options *s = &v->sampler;
    char text[512];
    int length = snprintf(
        text, sizeof text, "%s %s %s %.16s %zu %zu %.9g %zu %.9g %.9g %.9g %zu %llu", TRIB_VERSION,
        trib_engine_fingerprint(job->engine), trib_engine_kernels(job->engine), v->kv_type,
        v->context, v->count, (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p,
        (double)s->repeat_penalty, s->repeat_last, (unsigned long long)s->seed);
    return XXH3_64bits(text, (size_t)length);
}

static trib_status job_open(struct job *job, char **operands, const struct values *v)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_error *error = &job->pendings.error;
    trib_status status;
    engine.threads = thread_count(v->threads);
    engine.prefill_chunk = v->chunk;
    engine.context = v->context;
    engine.kv_type = v->kv_type;
    engine.cache_bytes = (uint64_t)v->cache << 20;
    engine.fingerprint = true;
    load_cache(&engine, &v->folder);
    job->request = trib_request_default();
    job->request.max_tokens = v->count;
    job->request.sampling = v->sampler;
    if ((status = trib_model_open(&job->model, operands[0], error)) ||
        (status = trib_model_describe(job->model, &job->shape, error)) ||
        (status = batch_requests_read(&job->requests, operands[1], error)) ||
        (status = batch_results_open(&job->results, v->output, &job->requests, error)) ||
        (status = load_engine(&job->engine, job->model, engine, error)) ||
        (status = batch_results_begin(&job->results, run_hash(job, v), error)) ||
        job->results.done == job->requests.count)
        return status;
    const trib_scheduler_options limits = {
        .model = job->model, .sequences = v->parallel, .waiting = AHEAD};
    job->pendings.model = job->model;
    job->pendings.vocabulary = job->shape.vocabulary;
    job->pendings.requests = job->requests.name;
    job->pendings.results = &job->results;
    job->pendings.bar = &job->bar;
    job->pendings.top = malloc(job->shape.vocabulary * sizeof *job->pendings.top);
    if (!job->pendings.top)
        return batch_no_memory(error);
    return trib_scheduler_open(&job->scheduler, job->engine, &limits, error);
}

static void job_close(struct job *job)
{
    trib_scheduler_close(job->scheduler);
    while (job->pendings.latest)
        batch_pending_close(job->pendings.latest);
    trib_engine_close(job->engine);
    trib_model_close(job->model);
    batch_requests_close(&job->requests);
    free(job->pendings.top);
}

static void print_statistics(const struct job *job, size_t had)
{
    double time = progress_seconds() - job->start;
    trib_schedule_counts counts = trib_scheduler_counts(job->scheduler);
    fprintf(stderr,
            "%zu of %zu requests%s, %zu of them with an error; %zu prompt tokens, %llu computed; "
            "%zu tokens, %.1f tokens/s\n",
            job->results.done, job->requests.count, had ? " (with those of before)" : "",
            job->results.failed, job->pendings.prompt_tokens, (unsigned long long)counts.computed,
            job->pendings.tokens, time > 0 ? (double)job->pendings.tokens / time : 0);
}

/* A cache of which the bytes can be counted; -1, or an exit status after a complaint. */
static int check(const struct command *self, const struct values *v)
{
    char found[32];
    if (v->cache <= UINT64_MAX >> 20)
        return -1;
    snprintf(found, sizeof found, "%zu", v->cache);
    return options_complain(self, "cache", "at most 17592186044415", found);
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.kv_type = "f16",
                       .count = 256,
                       .parallel = 32,
                       .chunk = trib_engine_options_default().prefill_chunk,
                       .sampler = trib_sampler_options_default()};
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status < 0)
        status = check(self, &v);
    if (status >= 0)
        return status;
    struct job job = {.results = {.file = -1}};
    job.pendings.status = job_open(&job, argv + first, &v);
    size_t had = job.results.done;
    if (job.pendings.status == TRIB_OK && job.scheduler) {
        run_all(&job);
        print_statistics(&job, had);
    } else if (job.pendings.status == TRIB_OK) {
        fprintf(stderr, "%zu of %zu requests are done, %zu of them with an error\n", had,
                job.requests.count, job.results.failed);
    }
    bool whole = job.results.done == job.requests.count && job.results.failed == 0;
    status = job.pendings.status == TRIB_OK && whole ? EXIT_SUCCESS : EXIT_FAILURE;
    if (job.pendings.status != TRIB_OK)
        complain(&job.pendings.error);
    else if (interrupted())
        fprintf(stderr, "trib: interrupted%s\n",
                job.results.regular ? "; the same command goes on" : "");
    else if (job.results.done < job.requests.count)
        fprintf(stderr, "trib: the cache is too small for %zu of %zu requests%s\n",
                job.requests.count - job.results.done, job.requests.count,
                job.results.regular ? "; the same command with more --cache goes on" : "");
    if (!batch_results_close(&job.results)) {
        fprintf(stderr, "trib: %s: cannot be written\n", job.results.name);
        status = EXIT_FAILURE;
    }
    job_close(&job);
    return status;
}

const struct command batch_command = {
    .name = "batch",
    .operands = "MODEL REQUESTS",
    .summary = "Answer a file of requests, many at a time",
    .description =
        "REQUESTS (- for standard input) has a JSON object a line: prompt (a text, or token ids), "
        "and if wanted\nid, max_tokens, temperature, top_k, top_p, min_p, repeat_penalty, "
        "repeat_last, seed, n, best_of, stop,\nlogit_bias, logprobs, priority. A result has the "
        "request's line, hash and id, and its completions, or an\nerror. The text of a request is "
        "its own whatever runs beside it; what prompts share is computed once.\n"
        "Run again after an interruption of any kind, the command goes on where it was.",
    .operands_least = 2,
    .operands_most = 2,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
