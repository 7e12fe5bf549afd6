/* trib run: what is printed in the end, as text or JSON, and the statistics. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

static double rate(size_t tokens, double time)
{
    return time > 0 ? (double)tokens / time : 0;
}

/* Whether the result is a list, though perhaps of one. */
static bool is_list(const struct run_values *v)
{
    return v->n != NOT_GIVEN || v->best_of != NOT_GIVEN || v->beams != NOT_GIVEN;
}

static double mean_logprob(const struct completion *c)
{
    return c->chosen ? c->logprob / (double)c->chosen : 0;
}

/* ---- Statistics ---- */

static size_t tokens_of(const struct job *job)
{
    size_t sum = 0;
    for (size_t i = 0; i < job->count; i++)
        sum += job->completions[i].count;
    return sum;
}

/* The first token of each completion comes from the prefill's logits, so a step fewer is timed. */
static size_t decode_steps(const struct job *job)
{
    size_t sum = 0;
    for (size_t i = 0; i < job->count; i++)
        sum += job->completions[i].count ? job->completions[i].count - 1 : 0;
    return sum;
}

static void print_statistics(const struct job *job, const struct run_values *v)
{
    char found[48] = "";
    if (trib_session_cached(job->session))
        snprintf(found, sizeof found, " (%zu of them cached)", trib_session_cached(job->session));
    fprintf(stderr,
            "prefill %zu tokens%s, %.1f tokens/s; decode %zu tokens, %.1f tokens/s; %s, %d threads",
            job->prompt_count, found, rate(job->prompt_count, job->prefill_seconds), tokens_of(job),
            rate(decode_steps(job), job->decode_seconds), trib_engine_kernels(job->engine),
            trib_engine_threads(job->engine));
    if (job->count == 1 && v->beams == NOT_GIVEN)
        fprintf(stderr, "; logits %016llx", (unsigned long long)job->completions[0].hash);
    fputc('\n', stderr);
    if (job->speculation.wanted) {
        trib_speculation s = job->speculation.counts;
        fprintf(stderr, "speculation: %zu of %zu guesses accepted; %.2f tokens a step\n",
                s.accepted, s.drafted, rate(s.appended, (double)s.steps));
    }
    bool context = false, cache = false;
    for (size_t i = 0; i < job->count; i++) {
        context = context || strcmp(job->completions[i].stop, "context") == 0;
        cache = cache || strcmp(job->completions[i].stop, "cache") == 0;
    }
    if (context)
        fprintf(stderr, "the context of %zu tokens is full\n", trib_session_context(job->session));
    if (cache)
        fprintf(stderr, "the cache of keys and values is full\n");
}

/* ---- JSON ---- */

static json_t *ids_json(const int32_t *ids, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_integer(ids[i]));
    return array;
}

/* The text of one token alone. */
static json_t *token_json(trib_decoder *decoder, int32_t id)
{
    trib_text whole = trib_decoder_next(decoder, id), rest;
    char *bytes = malloc(whole.length + 4);
    size_t length = whole.length;
    if (!bytes)
        return NULL;
    memcpy(bytes, whole.bytes, length);
    rest = trib_decoder_rest(decoder); /* 3 bytes at most */
    memcpy(bytes + length, rest.bytes, rest.length);
    json_t *text = json_text(bytes, length + rest.length);
    free(bytes);
    return text;
}

/* -inf, which JSON has not, is a token that cannot come: null. */
static json_t *logprob_json(trib_decoder *decoder, trib_logprob one)
{
    return json_pack("{s:i, s:o, s:o}", "id", one.id, "text", token_json(decoder, one.id),
                     "logprob",
                     isfinite(one.logprob) ? json_real((double)one.logprob) : json_null());
}

/* The tokens of a completion with their log probabilities and the N likeliest at each place. */
static json_t *logprobs_json(const struct completion *c, trib_decoder *decoder, size_t N)
{
    json_t *array = json_array();
    for (size_t i = 0; i < c->count; i++) {
        json_t *one = logprob_json(decoder, (trib_logprob){c->ids[i], c->logprobs[i]});
        json_t *top = json_array();
        for (size_t t = 0; t < N; t++)
            json_array_append_new(top, logprob_json(decoder, c->top[i * N + t]));
        json_object_set_new(one, "top", top);
        json_array_append_new(array, one);
    }
    return array;
}

static json_t *completion_json(const struct completion *c, const struct run_values *v,
                               trib_decoder *decoder)
{
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)c->hash);
    json_t *object = json_pack("{s:o, s:o, s:s, s:f}", "ids", ids_json(c->ids, c->count), "text",
                               json_text(c->text ? c->text : "", c->length), "stop", c->stop,
                               "mean_logprob", mean_logprob(c));
    if (v->beams != NOT_GIVEN) {
        json_object_set_new(object, "score", json_real(c->score));
    } else {
        json_object_set_new(object, "seed", json_integer((json_int_t)c->seed));
        json_object_set_new(object, "hash", json_string(hash));
    }
    if (v->logprobs != NOT_GIVEN)
        json_object_set_new(object, "logprobs", logprobs_json(c, decoder, v->logprobs));
    return object;
}

static json_t *speculation_json(const struct speculation *s)
{
    return json_pack("{s:I, s:I, s:I}", "steps", (json_int_t)s->counts.steps, "drafted",
                     (json_int_t)s->counts.drafted, "accepted", (json_int_t)s->counts.accepted);
}

/* One completion is told in the object itself, a list of them in an array. */
static int print_result(const struct job *job, const struct run_values *v, trib_decoder *decoder)
{
    json_t *object = json_pack("{s:o}", "prompt_ids", ids_json(job->prompt_ids, job->prompt_count));
    json_t *list = json_array();
    for (size_t i = 0; i < job->wanted; i++)
        json_array_append_new(list, completion_json(&job->completions[i], v, decoder));
    if (is_list(v))
        json_object_set(object, "completions", list);
    else
        json_object_update(object, json_array_get(list, 0));
    json_decref(list);
    json_t *speed = json_pack(
        "{s:I, s:f, s:f, s:s, s:i}", "cached", (json_int_t)trib_session_cached(job->session),
        "prefill_tokens_per_s", rate(job->prompt_count, job->prefill_seconds),
        "decode_tokens_per_s", rate(decode_steps(job), job->decode_seconds), "table",
        trib_engine_kernels(job->engine), "threads", trib_engine_threads(job->engine));
    json_object_update(object, speed);
    json_decref(speed);
    if (job->speculation.wanted)
        json_object_set_new(object, "speculation", speculation_json(&job->speculation));
    return print_json(object);
}

/* ---- Text ---- */

static void print_logprob(trib_decoder *decoder, trib_logprob one)
{
    json_t *text = token_json(decoder, one.id);
    char *quoted = json_dumps(text, JSON_ENCODE_ANY);
    printf("%.4f\t%d\t%s", (double)one.logprob, one.id, quoted ? quoted : "?");
    free(quoted);
    json_decref(text);
}

/* A line for each token: log probability, id and text, then those of the N likeliest, with tabs
 * between. */
static void print_logprobs(const struct completion *c, trib_decoder *decoder, size_t N)
{
    for (size_t i = 0; i < c->count; i++) {
        print_logprob(decoder, (trib_logprob){c->ids[i], c->logprobs[i]});
        for (size_t t = 0; t < N; t++) {
            putchar('\t');
            print_logprob(decoder, c->top[i * N + t]);
        }
        putchar('\n');
    }
}

/* What a list has above each of its texts. */
static void print_heading(const struct completion *c, const struct run_values *v, size_t i)
{
    printf("%s== %zu: ", i ? "\n" : "", i + 1);
    if (v->beams == NOT_GIVEN)
        printf("seed %llu, mean logprob %.4f", (unsigned long long)c->seed, mean_logprob(c));
    else
        printf("score %.4f", c->score);
    printf(", %zu tokens, %s\n", c->count, c->stop);
}

static int print_texts(const struct job *job, const struct run_values *v, trib_decoder *decoder)
{
    for (size_t i = 0; i < job->wanted && !job->streams; i++) {
        const struct completion *c = &job->completions[i];
        if (job->wanted > 1)
            print_heading(c, v, i);
        if (v->logprobs != NOT_GIVEN) {
            print_logprobs(c, decoder, v->logprobs);
            continue;
        }
        if (v->echo)
            fwrite(job->prompt, 1, job->prompt_length, stdout);
        if (c->length)
            fwrite(c->text, 1, c->length, stdout);
        if (c->count)
            putchar('\n');
    }
    return EXIT_SUCCESS;
}

int run_print(const struct job *job, const struct run_values *v)
{
    trib_decoder *decoder;
    trib_error error;
    if (trib_decoder_open(&decoder, job->model, true, true, &error) != TRIB_OK)
        return complain(&error);
    int status = v->json ? print_result(job, v, decoder) : print_texts(job, v, decoder);
    trib_decoder_close(decoder);
    print_statistics(job, v);
    return status;
}
