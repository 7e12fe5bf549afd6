/* trib bench shared: what a step of many sequences costs behind a prefix that they share.
 *
 * The prefix is computed once and forked; then every sequence goes its own way, at once or after a
 * suffix of its own. `cascade` reads the
 * keys and values of the prefix once for all of them, `apart` once for each, which is what the step
 * would cost if nothing were shared (the pages are the same, but more than any cache holds where it
 * matters). Both give the same bits; the share is of the limit with everything read once. `restart`
 * is the time to the logits behind the prefix in an engine that finds it in a folder.
 */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "bench_kv.h"
#include "bench_model.h"
#include "bench_restart.h"
#include "bench_shared_step.h"

enum { CASCADE, APART, RESTART, CASES };

static const char *const case_names[CASES] = {"cascade", "apart", "restart"};

enum { SEQUENCES_MOST = 4096, PAGE = 64, RESTARTS = 3 };

struct values {
    const char *cases, *kv;
    struct size_list sequences, prefix, suffix;
    size_t steps, threads;
    bool json;
};

#define VALUE(field) offsetof(struct values, field)

static const struct option_row options[] = {
    {"case", 0, OPTION_STRING, VALUE(cases), "LIST",
     "of cascade, apart and restart (default: all)"},
    {"sequences", 'N', OPTION_SIZES, VALUE(sequences), "LIST",
     "sequences in a step (default: 1,2,8,32,64)"},
    {"prefix", 0, OPTION_SIZES, VALUE(prefix), "LIST",
     "tokens that they share, in whole pages of 64, or 0 (default: 1k,4k,16k)"},
    {"suffix", 0, OPTION_SIZES, VALUE(suffix), "LIST",
     "tokens behind them that each has of its own (default: 0)"},
    {"steps", 'n', OPTION_SIZE, VALUE(steps), "N", "steps that are timed (default: 16)"},
    {"kv", 0, OPTION_STRING, VALUE(kv), "TYPE",
     "type of the KV cache: f32, f16, bf16 or q8_0 (default: f16)"},
    {"threads", 0, OPTION_SIZE, VALUE(threads), "N", "threads (default: one for each processor)"},
    {"json", 0, OPTION_FLAG, VALUE(json), NULL, "print one JSON object per line"},
};

/* One call of the program, with the engine of one case. */
struct bench {
    struct values v;
    unsigned cases;
    bool first, first_restart;
    void *reading; /* TRIB_MEASURE_BYTES, to measure the bandwidth of memory */
    const char *path;
    trib_model *model;
    trib_engine *engine;
    trib_model_shape shape;
    struct bench_work work;
    trib_error error;
};

/* What the sequences of a row are. */
struct row {
    size_t which, prefix, suffix, count;
};

/* Bytes of keys and values that a step in the middle reads at least. */
static double kv_bytes(const struct bench *b, const struct row *row, bool once)
{
    double own = 0.5 * ((double)b->v.steps + 1) + (double)row->suffix, N = (double)row->count;
    return ((double)row->prefix * (once ? 1 : N) + N * own) * b->work.kv_bytes;
}

static int print(struct bench *b, const struct row *row, const struct shared_step *step,
                 const struct bench_timing *timing, const struct bench_numbers *n)
{
    const char *name = case_names[row->which];
    double rate = (double)row->count / timing->median;
    double bytes = kv_bytes(b, row, row->which == CASCADE), fork = 1e6 * step->fork;
    double held = (double)trib_engine_cache_usage(b->engine).held;
    bench_progress_end();
    if (b->v.json)
        return print_json(json_pack(
            "{s:o, s:s, s:I, s:I, s:I, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:s, s:s, s:s}",
            "model", json_text(b->path, strlen(b->path)), "case", name, "N", (json_int_t)row->count,
            "prefix", (json_int_t)row->prefix, "suffix", (json_int_t)row->suffix, "kv", b->v.kv,
            "threads", (int)b->v.threads, "ms_per_step", n->ms, "tokens_per_s", rate,
            "kv_bytes_per_step", bytes, "kv_bytes_held", held, "fork_us", fork, "share", n->share,
            "bound", n->bound, "table", trib_engine_kernels(b->engine), "hash", n->hash));
    if (b->first)
        printf("\n%s: weights mostly %s, %d threads, kernels %s; ms of a step\n"
               "%-7s %5s %7s %7s %10s %10s %12s %10s %8s %7s %-5s %s\n",
               b->path, b->work.type, (int)b->v.threads, trib_engine_kernels(b->engine), "case",
               "N", "prefix", "suffix", "ms", "tokens/s", "KV MB a step", "KV MB held", "fork us",
               "share", "of", "hash");
    b->first = false;
    printf("%-7s %5zu %7zu %7zu %10.3f %10.1f %12.1f %10.1f %8.1f %6.1f%% %-5s %s\n", name,
           row->count, row->prefix, row->suffix, n->ms, rate, bytes / 1e6, held / 1e6, fork,
           100 * n->share, n->bound, n->hash);
    return flush_output() ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int run_row(struct bench *b, const struct row *row, const trib_session *prefix)
{
    struct bench_arithmetic arithmetic =
        bench_arithmetic_of(b->work.type, trib_engine_kernels(b->engine));
    struct shared_step step;
    struct bench_timing timing;
    double N = (double)row->count, peak;
    bench_progress("%s: %zu sequences behind %zu tokens", case_names[row->which], row->count,
                   row->prefix);
    trib_status status = shared_step_open(&step, b->engine, prefix, row->count, row->suffix,
                                          b->v.steps, b->shape.vocabulary, &b->error);
    struct bench_subject subject = {.run = shared_step_run,
                                    .context = &step,
                                    .what = arithmetic.what,
                                    .memory = b->reading,
                                    .bytes = TRIB_MEASURE_BYTES,
                                    .threads = (int)b->v.threads};
    if (status == TRIB_OK)
        status = bench_time(&subject, 0, b->v.steps, &timing, &b->error);
    int result = status == TRIB_OK ? EXIT_SUCCESS : complain(&b->error);
    if (result == EXIT_SUCCESS) {
        memcpy(&peak, (const char *)&timing.limits + arithmetic.peak, sizeof peak);
        double depth = (double)(row->prefix + row->suffix);
        double operations = N * bench_work_operations(&b->work, 1, depth, 1);
        double bytes = bench_work_bytes(&b->work, 0, 0) + kv_bytes(b, row, true);
        struct bench_numbers n =
            bench_numbers_of(&timing, operations, bytes, peak, arithmetic.name, step.hash);
        result = print(b, row, &step, &timing, &n);
    }
    shared_step_close(&step);
    return result;
}

static void leave_out(const struct bench *b, size_t tokens)
{
    bench_note("trib: %zu tokens and %zu steps: left out, %s has a context of %zu tokens", tokens,
               b->v.steps, b->path, b->shape.context);
}

/* The tokens of a prefix; the caller frees them. NULL when there is no memory. */
static int32_t *make_ids(const struct bench *b, size_t count)
{
    int32_t *ids = malloc((count + 1) * sizeof *ids);
    for (size_t i = 0; i < count && ids; i++)
        ids[i] = (int32_t)((i * 7919 + 13) % b->shape.vocabulary);
    return ids;
}

/* All suffixes and numbers of sequences behind one prefix. */
static int prefix_rows(struct bench *b, size_t which, size_t prefix)
{
    trib_session *session = NULL;
    int32_t *ids = make_ids(b, prefix);
    trib_status status = ids ? TRIB_OK : bench_no_memory(&b->error);
    if (status == TRIB_OK)
        status = trib_session_open(&session, b->engine, NULL, &b->error);
    if (status == TRIB_OK && prefix)
        status = trib_session_append(session, ids, prefix, &b->error);
    int result = status == TRIB_OK ? EXIT_SUCCESS : complain(&b->error);
    for (size_t i = 0; i < b->v.suffix.count * b->v.sequences.count && result == EXIT_SUCCESS;
         i++) {
        struct row row = {which, prefix, b->v.suffix.values[i / b->v.sequences.count],
                          b->v.sequences.values[i % b->v.sequences.count]};
        if (prefix + row.suffix + b->v.steps <= b->shape.context)
            result = run_row(b, &row, session);
        else
            leave_out(b, prefix + row.suffix);
    }
    trib_session_close(session);
    free(ids);
    return result;
}

static int print_restart(struct bench *b, size_t prefix, const struct bench_restart_result *r,
                         const struct bench_numbers *n)
{
    double part = r->timing.median / r->prefill, rate = (double)prefix / r->timing.median;
    double bytes = (double)prefix * b->work.kv_bytes;
    bench_progress_end();
    if (b->v.json)
        return print_json(json_pack(
            "{s:o, s:s, s:i, s:I, s:s, s:i, s:f, s:f, s:f, s:f, s:s, s:f, s:f, s:s, s:s}", "model",
            json_text(b->path, strlen(b->path)), "case", case_names[RESTART], "N", 1, "prefix",
            (json_int_t)prefix, "kv", b->v.kv, "threads", (int)b->v.threads, "ms_per_step", n->ms,
            "tokens_per_s", rate, "kv_bytes_per_step", bytes, "share", n->share, "bound", n->bound,
            "prefill_ms", 1e3 * r->prefill, "of_prefill", part, "table", r->table, "hash",
            n->hash));
    if (b->first_restart)
        printf("\n%s: a prefix from a folder, and from its tokens; ms to the next token's logits\n"
               "%-7s %5s %7s %10s %12s %12s %12s %7s %-5s %s\n",
               b->path, "case", "N", "prefix", "ms", "prefill ms", "of prefill", "KV MB", "share",
               "of", "hash");
    b->first_restart = false;
    printf("%-7s %5d %7zu %10.3f %12.1f %11.2f%% %12.1f %6.1f%% %-5s %s\n", case_names[RESTART], 1,
           prefix, n->ms, 1e3 * r->prefill, 100 * part, bytes / 1e6, 100 * n->share, n->bound,
           n->hash);
    return flush_output() ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int restart_row(struct bench *b, const trib_engine_options *engine, size_t prefix)
{
    struct bench_restart_result result;
    int32_t *ids = make_ids(b, prefix + 1);
    struct bench_restart restart = {.model = b->model,
                                    .engine = *engine,
                                    .ids = ids,
                                    .prefix = prefix,
                                    .vocabulary = b->shape.vocabulary,
                                    .reading = b->reading};
    trib_status status =
        ids ? bench_restart(&restart, RESTARTS, &result, &b->error) : bench_no_memory(&b->error);
    free(ids);
    if (status != TRIB_OK)
        return complain(&b->error);
    double bytes = bench_work_bytes(&b->work, 1, (double)prefix);
    struct bench_numbers n = bench_numbers_of(&result.timing, 0, bytes, 1, "", result.hash);
    return print_restart(b, prefix, &result, &n);
}

static int case_rows(struct bench *b, size_t which)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_memory memory;
    int status = EXIT_SUCCESS;
    engine.threads = (int)b->v.threads;
    engine.kv_type = b->v.kv;
    engine.apart = which == APART;
    if (trib_memory_needed(b->model, &engine, NULL, &memory, &b->error) != TRIB_OK ||
        (which != RESTART && trib_engine_open(&b->engine, b->model, &engine, &b->error) != TRIB_OK))
        return complain(&b->error);
    bench_work_read(&b->work, b->model, &b->shape, &memory);
    for (size_t i = 0; i < b->v.prefix.count && status == EXIT_SUCCESS; i++) {
        size_t prefix = b->v.prefix.values[i] / PAGE * PAGE;
        if (prefix + b->v.steps > b->shape.context)
            leave_out(b, prefix);
        else if (which != RESTART)
            status = prefix_rows(b, which, prefix);
        else if (prefix > 0)
            status = restart_row(b, &engine, prefix);
    }
    trib_engine_close(b->engine);
    b->engine = NULL;
    return status;
}

static int check(const struct command *self, struct bench *b)
{
    if (!options_choose(b->v.cases, case_names, CASES, &b->cases))
        return options_complain(self, "case", "a list of cascade, apart and restart", b->v.cases);
    for (size_t i = 0; i < b->v.sequences.count; i++)
        if (b->v.sequences.values[i] < 1 || b->v.sequences.values[i] > SEQUENCES_MOST)
            return options_complain(self, "sequences", "1 to 4096", "a number outside");
    if (b->v.steps < 1 || b->v.steps > 65536)
        return options_complain(self, "steps", "1 to 65536", "a number outside");
    if (b->v.threads < 1 || b->v.threads > TRIB_THREADS_MAX)
        return options_complain(self, "threads", "1 to 1024", "a number outside");
    return EXIT_SUCCESS;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct bench b = {.v = {.cases = "cascade,apart,restart",
                            .kv = "f16",
                            .sequences = {5, {1, 2, 8, 32, 64}},
                            .prefix = {3, {1024, 4096, 16384}},
                            .suffix = {1, {0}},
                            .steps = 16,
                            .threads = (size_t)omp_get_num_procs()},
                      .first = true,
                      .first_restart = true};
    int first, status = options_parse(self, argc, argv, &b.v, &first);
    if (status >= 0)
        return status;
    if ((status = check(self, &b)))
        return status;
    b.path = argv[first];
    b.reading = bench_memory(TRIB_MEASURE_BYTES, (int)b.v.threads);
    if (!b.reading) {
        bench_no_memory(&b.error);
        return complain(&b.error);
    }
    if (trib_model_open(&b.model, b.path, &b.error) != TRIB_OK ||
        trib_model_describe(b.model, &b.shape, &b.error) != TRIB_OK)
        status = complain(&b.error);
    for (size_t which = 0; which < CASES && status == EXIT_SUCCESS; which++)
        if (b.cases >> which & 1)
            status = case_rows(&b, which);
    trib_model_close(b.model);
    bench_progress_end();
    bench_memory_free(b.reading, TRIB_MEASURE_BYTES);
    return status;
}

const struct command bench_shared_command = {
    .name = "bench shared",
    .operands = "MODEL",
    .summary = "Steps of many sequences behind a prefix that they share",
    .description =
        "N sequences, each with a token a step, behind a prefix that is computed once and forked.\n"
        "cascade: the prefix is read once a step for all of them. apart: once for each. Prints "
        "the\n"
        "median time of a step, and its share of this machine's limit with everything read once;\n"
        "the memory that the sequences hold, what they share counted once; and the time of a "
        "fork.\n"
        "The hash is of all logits, and the same in both cases. restart: the time to the logits "
        "behind\n"
        "the prefix, of an engine that has it in a folder on disk (a temporary one, below "
        "$TMPDIR), "
        "and\n"
        "what part that is of computing it.",
    .operands_least = 1,
    .operands_most = 1,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
