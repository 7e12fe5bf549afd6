/* trib bench speculate: what looking up the text so far gains where a text repeats itself.
 *
 * What a model writes depends on the model. So the text is given: the prompt is a piece again and
 * again, and so is what is appended token by token, but for every Nth token, which is another one.
 * Guesses are then right for N - 1 tokens in a row, as where a text is edited. Logits are computed
 * as in decoding, and hashed: they are the same with and without guesses.
 */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bench.h"
#include "progress.h"
#include "speculation.h"

enum { PIECE = 64, REPEAT_MOST = 1000 };

struct values {
    const char *kv;
    struct size_list lengths;
    size_t prompt, tokens, every, branches, repeat, threads;
    bool json;
};

#define VALUE(field) offsetof(struct values, field)

static const struct option_row options[] = {
    {"draft-tokens", 0, OPTION_SIZES, VALUE(lengths), "LIST",
     "guesses in a row at most; 0: plain decoding (default: 0,4,8,16)"},
    {"draft-branches", 0, OPTION_SIZE, VALUE(branches), "B",
     "ways to go on that are guessed at once (default: 1)"},
    {"every", 0, OPTION_SIZE, VALUE(every), "N", "of N tokens one is new (default: 16)"},
    {"prompt", 0, OPTION_SIZE, VALUE(prompt), "N", "tokens of the prompt (default: 512)"},
    {"tokens", 'n', OPTION_SIZE, VALUE(tokens), "N", "tokens that are appended (default: 128)"},
    {"kv", 0, OPTION_STRING, VALUE(kv), "TYPE",
     "type of the KV cache: f32, f16, bf16 or q8_0 (default: f16)"},
    {"threads", 0, OPTION_SIZE, VALUE(threads), "N", "threads (default: one for each processor)"},
    {"repeat", 0, OPTION_SIZE, VALUE(repeat), "N",
     "runs, of which the fastest counts (default: 3)"},
    {"json", 0, OPTION_FLAG, VALUE(json), NULL, "print one JSON object per line"},
};

/* One call of the program. */
struct bench {
    struct values v;
    const char *path;
    trib_model *model;
    trib_engine *engine;
    trib_model_shape shape;
    int32_t *ids; /* [prompt + tokens] */
    bool first;
    trib_error error;
};

struct result {
    double seconds;
    trib_speculation counts;
    XXH64_hash_t hash;
};

static void draw_text(struct bench *b)
{
    size_t V = b->shape.vocabulary, count = b->v.prompt + b->v.tokens;
    for (size_t i = 0; i < count; i++) {
        bool new = i >= b->v.prompt && (i - b->v.prompt) % b->v.every == b->v.every - 1;
        b->ids[i] = (int32_t)((new ? i * 31 + 5 : i % PIECE * 7919 + 13) % V);
    }
}

/* The tokens of one run, one after the other; only they are timed. */
static trib_status decode(const struct bench *b, size_t length, struct result *result,
                          trib_error *error)
{
    struct speculation s = {.wanted = length > 0, .options = {length, b->v.branches, NULL}};
    trib_session *session = NULL;
    trib_status status = trib_session_open(&session, b->engine, NULL, error);
    if (status == TRIB_OK)
        status = trib_session_append(session, b->ids, b->v.prompt, error);
    double start = progress_seconds();
    if (status == TRIB_OK)
        status = speculation_begin(&s, session, error);
    result->hash = 0;
    for (size_t i = 0; i < b->v.tokens && status == TRIB_OK; i++) {
        status = speculation_append(&s, b->ids[b->v.prompt + i], error);
        if (status == TRIB_OK)
            result->hash = XXH3_64bits_withSeed(speculation_logits(&s),
                                                b->shape.vocabulary * sizeof(float), result->hash);
    }
    result->seconds = progress_seconds() - start;
    speculation_end(&s);
    result->counts = s.counts;
    trib_session_close(session);
    return status;
}

static int print(struct bench *b, size_t length, const struct result *r)
{
    double tokens = (double)b->v.tokens, rate = tokens / r->seconds;
    double of_step = length ? tokens / (double)r->counts.steps : 1;
    double right = r->counts.drafted ? (double)r->counts.accepted / (double)r->counts.drafted : 0;
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)r->hash);
    if (b->v.json)
        return print_json(json_pack(
            "{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:i, s:f, s:f, s:f, s:f, s:s, s:s}", "model",
            json_text(b->path, strlen(b->path)), "case", length ? "lookup" : "plain",
            "draft_tokens", (json_int_t)length, "branches",
            (json_int_t)(length ? b->v.branches : 0), "every", (json_int_t)b->v.every, "prompt",
            (json_int_t)b->v.prompt, "tokens", (json_int_t)b->v.tokens, "kv", b->v.kv, "threads",
            (int)b->v.threads, "ms_per_token", 1e3 / rate, "tokens_per_s", rate, "tokens_per_step",
            of_step, "acceptance", right, "table", trib_engine_kernels(b->engine), "hash", hash));
    if (b->first)
        printf("\n%s: %d threads, kernels %s; every %zuth token new\n"
               "%-7s %6s %8s %9s %10s %12s %9s %s\n",
               b->path, (int)b->v.threads, trib_engine_kernels(b->engine), b->v.every, "case",
               "draft", "branches", "ms", "tokens/s", "tokens/step", "accepted", "hash");
    b->first = false;
    printf("%-7s %6zu %8zu %9.3f %10.1f %12.2f %8.1f%% %s\n", length ? "lookup" : "plain", length,
           length ? b->v.branches : 0, 1e3 / rate, rate, of_step, 100 * right, hash);
    return flush_output() ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int row(struct bench *b, size_t length)
{
    struct result best = {0}, result;
    for (size_t i = 0; i < b->v.repeat; i++) {
        bench_progress("%zu guesses in a row, run %zu of %zu", length, i + 1, b->v.repeat);
        if (decode(b, length, &result, &b->error) != TRIB_OK)
            return complain(&b->error);
        if (i == 0 || result.seconds < best.seconds)
            best = result;
    }
    bench_progress_end();
    return print(b, length, &best);
}

static int check(const struct command *self, const struct values *v)
{
    for (size_t i = 0; i < v->lengths.count; i++)
        if (v->lengths.values[i] > TRIB_DRAFT_TOKENS_MOST)
            return options_complain(self, "draft-tokens", "0 to 64", "a number outside");
    if (v->branches < 1 || v->branches > TRIB_DRAFT_BRANCHES_MOST)
        return options_complain(self, "draft-branches", "1 to 16", "a number outside");
    if (v->every < 1)
        return options_complain(self, "every", "1 or more", "0");
    if (v->prompt < 1 || v->tokens < 1)
        return options_complain(self, v->prompt ? "tokens" : "prompt", "1 or more", "0");
    if (v->repeat < 1 || v->repeat > REPEAT_MOST)
        return options_complain(self, "repeat", "1 to 1000", "a number outside");
    if (v->threads < 1 || v->threads > TRIB_THREADS_MAX)
        return options_complain(self, "threads", "1 to 1024", "a number outside");
    return EXIT_SUCCESS;
}

static trib_status bench_open(struct bench *b, trib_error *error)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_status status;
    engine.threads = (int)b->v.threads;
    engine.kv_type = b->v.kv;
    if ((status = trib_model_open(&b->model, b->path, error)) ||
        (status = trib_model_describe(b->model, &b->shape, error)))
        return status;
    if (b->v.prompt > b->shape.context || b->v.tokens > b->shape.context - b->v.prompt) {
        snprintf(error->message, sizeof error->message,
                 "%.100s has a context of %zu tokens: less than --prompt and --tokens", b->path,
                 b->shape.context);
        return error->status = TRIB_INVALID;
    }
    b->ids = malloc((b->v.prompt + b->v.tokens) * sizeof *b->ids);
    return b->ids ? trib_engine_open(&b->engine, b->model, &engine, error) : bench_no_memory(error);
}

static int run(const struct command *self, int argc, char **argv)
{
    struct bench b = {.v = {.kv = "f16",
                            .lengths = {4, {0, 4, 8, 16}},
                            .prompt = 512,
                            .tokens = 128,
                            .every = 16,
                            .branches = 1,
                            .repeat = 3,
                            .threads = (size_t)omp_get_num_procs()},
                      .first = true};
    int first, status = options_parse(self, argc, argv, &b.v, &first);
    if (status >= 0)
        return status;
    if ((status = check(self, &b.v)))
        return status;
    b.path = argv[first];
    if (bench_open(&b, &b.error) == TRIB_OK)
        draw_text(&b);
    else
        status = complain(&b.error);
    for (size_t i = 0; i < b.v.lengths.count && status == EXIT_SUCCESS; i++)
        status = row(&b, b.v.lengths.values[i]);
    trib_engine_close(b.engine);
    trib_model_close(b.model);
    free(b.ids);
    return status;
}

const struct command bench_speculate_command = {
    .name = "bench speculate",
    .operands = "MODEL",
    .summary = "Decoding ahead by prompt look-up, in a text that repeats itself",
    .description =
        "Appends a given text token by token: a piece of 64 tokens again and again, in which\n"
        "every Nth token is new, after a prompt of the same piece. Prints the time of a token, "
        "how\n"
        "many came of a step, and how many of the guesses were right; the hash is of all logits, "
        "and\n"
        "the same however they were come by.",
    .operands_least = 1,
    .operands_most = 1,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
